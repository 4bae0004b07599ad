//! Where the command keeps what it needs while it runs and after: by the XDG base directories, private to the user.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use supervisor::sources::{self, FactsError};

/// Directories of sessions that live: `$XDG_RUNTIME_DIR/supervise`; where there is none, `/run/supervise` for root and a
/// directory below the state directory for others.
pub fn runtime(home: &Path) -> PathBuf {
    let base = inside().or_else(|| absolute("XDG_RUNTIME_DIR"));
    match base {
        Some(base) => base.join("supervise"),
        None if nix::unistd::geteuid().is_root() => PathBuf::from("/run/supervise"),
        None => state(home).join("run"),
    }
}

/// What is kept: `$XDG_STATE_HOME/supervise`, by default `~/.local/state/supervise`.
pub fn state(home: &Path) -> PathBuf {
    let base = inside().or_else(|| absolute("XDG_STATE_HOME"));
    base.unwrap_or_else(|| home.join(".local/state"))
        .join("supervise")
}

/// What workers keep: `$XDG_DATA_HOME/supervise`, by default `~/.local/share/supervise`.
pub fn data(home: &Path) -> PathBuf {
    let base = inside().or_else(|| absolute("XDG_DATA_HOME"));
    base.unwrap_or_else(|| home.join(".local/share"))
        .join("supervise")
}

/// This program, by the name under which it was started: what took its place since is it as well, and a daemon that was there before
/// goes on.
///
/// # Errors
/// It cannot be found out.
pub fn own_program() -> std::io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let name = own.as_os_str().as_bytes();
    // As the kernel says it.
    let left = name.strip_suffix(b" (deleted)");
    Ok(left.map_or_else(|| own.clone(), |name| OsStr::from_bytes(name).into()))
}

/// The user's home directory.
///
/// # Errors
/// It cannot be found out.
pub fn home() -> Result<PathBuf, FactsError> {
    let environment: Vec<_> = std::env::vars_os().collect();
    let facts = sources::gather(&environment, None, PathBuf::new(), Some(Path::new("/")))?;
    Ok(facts.home.unwrap_or_else(|| PathBuf::from("/")))
}

/// Where private temporary directories are made: `$TMPDIR`, by default `/tmp`.
pub fn temporary() -> PathBuf {
    absolute("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// Inside another sandbox of ours only its temporary directory is sure to be writable.
fn inside() -> Option<PathBuf> {
    std::env::var_os("SUPERVISE").and_then(|_| absolute("TMPDIR"))
}

/// A variable that holds an absolute path. The specification of the base directories has others ignored.
fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
