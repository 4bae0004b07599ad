//! `supervise init`: a policy of one's own to begin with. Nothing is ever overwritten.

use crate::render::{fail, print};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use supervisor::policy::{NoFiles, Policy};

/// Writes a policy that extends a preset.
pub fn init(preset: &str, file: &Path) -> ExitCode {
    if let Err(error) = Policy::named(preset, &mut NoFiles) {
        return fail(error);
    }
    // Creating it fails where anything has that name, a link included.
    let made = File::create_new(file).and_then(|mut file| file.write_all(text(preset).as_bytes()));
    let name = file.display();
    match made {
        Ok(()) => print(&format!(
            "wrote {name}; see what it gives with `supervise check {name}`, use it with `supervise -p {} -- COMMAND`\n",
            as_policy(file)
        )),
        Err(error) => fail(format!("cannot make {name}: {error}")),
    }
}

/// The name by which `--policy` takes a file for a file.
fn as_policy(file: &Path) -> String {
    let name = file.display().to_string();
    if name.contains('/') || name.ends_with(".toml") {
        name
    } else {
        format!("./{name}")
    }
}

fn text(preset: &str) -> String {
    format!(
        r#"# What is not allowed here is denied, and a denial always wins. `supervise show {preset}` prints what this extends.
version = 1
extends = ["{preset}"]

[fs]
# A path means itself and all below it; `?` at its end: it may be absent. `write` and `exec` imply `read`.
read = []
write = []
exec = []
# Refused even where something above allows it, and also for what does not exist yet.
deny = []
deny_write = []

# What may be asked for while the command runs: over the supervisor's socket, answered at once or by the approver.
# [[request]]
# path = "$HOME/notes/**"
# access = ["read"]
# decision = "ask"
# ttl = "10m"

[net]
# TCP: an address, a network or `*`, and a port. None by default.
connect = []

[limits]
# wall = "10m"
# memory = "2GiB"
# processes = 256
"#
    )
}
