//! What a machine may lack. Each answers why it is lacking, for `require!`.

use super::built::probe;
use super::run::run;
use std::process::Command;

type Lack = Result<(), String>;

/// The test runs as root.
pub fn root() -> Lack {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err("needs root".to_owned())
    }
}

/// The test runs as somebody else than root.
pub fn ordinary_user() -> Lack {
    if nix::unistd::geteuid().is_root() {
        Err("runs as root".to_owned())
    } else {
        Ok(())
    }
}

/// A program is installed.
pub fn program(name: &str) -> Lack {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    if is_there {
        Ok(())
    } else {
        Err(format!("`{name}` is not installed"))
    }
}

/// What the probe answers to an act outside any sandbox.
fn outside(act: &[&str]) -> String {
    let ran = run(Command::new(probe()).args(act));
    match ran.status.code() {
        Some(0) => ran.stdout.trim_end().to_owned(),
        // An act that this machine answers with a signal.
        _ => ran.status.to_string(),
    }
}

/// An act succeeds where nothing confines it; otherwise that it fails in a sandbox proves nothing.
pub fn works_outside(act: &[&str]) -> Lack {
    let answer = outside(act);
    if answer.starts_with("ok") {
        Ok(())
    } else {
        Err(format!("`{}` gives {answer} here anyway", act.join(" ")))
    }
}

/// Landlock, at least of that ABI.
pub fn landlock(least: u32) -> Lack {
    let answer = outside(&["landlock-abi"]);
    let abi: u32 = answer
        .strip_prefix("ok ")
        .and_then(|abi| abi.parse().ok())
        .unwrap_or(0);
    if abi >= least {
        Ok(())
    } else {
        Err(format!(
            "Landlock ABI {least} is needed, here it is {abi} ({answer})"
        ))
    }
}

/// A seccomp listener: only one may stand above a process.
pub fn listener() -> Lack {
    works_outside(&["seccomp-listener"])
}

/// What it takes to decide about sockets: calls are trapped, and sockets duplicated.
pub fn sockets() -> Lack {
    listener()?;
    pidfd_getfd()
}

/// Descriptors of other processes can be duplicated.
pub fn pidfd_getfd() -> Lack {
    let own = std::process::id().to_string();
    match outside(&["pidfd-getfd", &own, "0"]).as_str() {
        "errno ENOSYS" | "errno EPERM" => Err("pidfd_getfd is refused here".to_owned()),
        _ => Ok(()),
    }
}

/// Programs inside reach their supervisor by its name, and not only over the descriptor that they inherit.
pub fn asking_by_name() -> Lack {
    listener()?;
    pidfd_getfd()
}

/// What file system a file is on is told without asking any server: statmount(2). Otherwise every file might make whoever
/// opens it wait.
pub fn statmount() -> Lack {
    match outside(&["raw", "457", "0", "0", "0", "0"]).as_str() {
        refused @ ("errno ENOSYS" | "errno EPERM") => {
            Err(format!("statmount gives {refused} here"))
        }
        _ => Ok(()),
    }
}

/// Threads can have working directories and umasks of their own: unshare(2) of `CLONE_FS`, which containers refuse with the rest
/// of it.
pub fn own_directories() -> Lack {
    works_outside(&["unshare", "0x200"])
}

/// 32-bit system calls from 64-bit programs.
pub fn int80() -> Lack {
    works_outside(&["int80", "20"])
}

/// At least that many processors for this process.
pub fn processors(least: usize) -> Lack {
    let here = std::thread::available_parallelism().map_or(1, usize::from);
    if here >= least {
        Ok(())
    } else {
        Err(format!("needs {least} processors, here are {here}"))
    }
}
