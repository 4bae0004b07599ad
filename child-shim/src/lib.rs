//! What a program inside the sandbox links to ask its supervisor for files.
//!
//! ```no_run
//! use std::io::Read as _;
//! let mut notes = child_shim::open("/data/notes", &child_shim::OpenOptions::new().read(true))?;
//! let mut text = String::new();
//! notes.read_to_string(&mut text)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`open`] first does what any program does, and asks only when the kernel says `EACCES`: what the
//! sandbox permits costs nothing more. A [`Client`] always asks. Programs in C use
//! `c/include/supervise.h`; any other language speaks the protocol, which is one page.
#![deny(unsafe_code)]

mod client;
mod doors;
mod error;
mod options;
#[cfg(target_os = "linux")]
pub mod worker;

use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;

use nix::errno::Errno;

pub use client::{Client, Grant};
pub use doors::Doors;
pub use error::Error;
pub use options::OpenOptions;
pub use protocol::{Code, Refused};

/// The client of this process: every caller gets the same connections.
///
/// # Errors
/// [`Error::NoDoor`] outside a sandbox; [`Error::Socket`] when the supervisor cannot be reached.
pub fn connect() -> Result<Client, Error> {
    static CLIENT: OnceLock<Result<Client, Error>> = OnceLock::new();
    let client = CLIENT
        .get_or_init(|| Client::of(Doors::from_environment()))
        .clone()?;
    client.reach()?;
    Ok(client)
}

/// Opens a file, and asks the supervisor for it when the kernel refuses.
///
/// # Errors
/// What the kernel said, where it was not `EACCES` or there is nobody to ask; else why the
/// supervisor refused.
pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<File, Error> {
    let path = path.as_ref();
    match options.open_natively(path) {
        Ok(fd) => Ok(fd.into()),
        Err(Errno::EACCES) => match connect() {
            Err(Error::NoDoor) => Err(Error::Native(Errno::EACCES)),
            client => client?.open(path, options),
        },
        Err(errno) => Err(Error::Native(errno)),
    }
}
