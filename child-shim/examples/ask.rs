//! Asks the supervisor for a file, and copies it to the standard output.

use std::io::Write as _;

use child_shim::OpenOptions;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: ask PATH")?;
    let options = OpenOptions::new().read(true).why("to show it");
    let mut file = child_shim::connect()?.open(path, &options)?;
    std::io::copy(&mut file, &mut std::io::stdout())?;
    std::io::stdout().flush()?;
    Ok(())
}
