//! `contained COMMAND ARGUMENTS…`: runs a command as a container runtime would by default, as far as a process can tell without
//! namespaces: under a replica of its filter, and when root with a container's capabilities only. So any test can be told to run in
//! what looks like a container. The filters have no listener: one can still be installed below them.

mod filter;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use sys::caps::{CapSet, permitted, restrict_thread};

/// What a container's root holds by default (the default capabilities of moby).
const CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(command) = words.next() else {
        eprintln!("contained: which command?");
        return ExitCode::from(64);
    };
    if let Err(error) = confine() {
        eprintln!("contained: {error}");
        return ExitCode::from(125);
    }
    let error = Command::new(&command).args(words).exec();
    eprintln!("contained: {}: {error}", command.display());
    ExitCode::from(127)
}

fn confine() -> Result<(), Box<dyn std::error::Error>> {
    let given = CAPABILITIES
        .iter()
        .filter_map(|name| CapSet::number(name))
        .fold(CapSet::EMPTY, CapSet::with);
    // Installing a filter sets no_new_privs: exec does not give root the rest again.
    restrict_thread(permitted()?.intersection(given))?;
    for program in filter::programs() {
        seccompiler::apply_filter(&program)?;
    }
    Ok(())
}
