//! Where the command keeps what it needs while it runs and after: by the XDG base directories, private to the user.

use std::path::PathBuf;

/// Directories of sessions that live: `$XDG_RUNTIME_DIR/supervise`; where there is none, `/run/supervise` for root and a
/// directory below the state directory for others.
pub fn runtime(home: &std::path::Path) -> PathBuf {
    absolute("XDG_RUNTIME_DIR")
        .map(|base| base.join("supervise"))
        .unwrap_or_else(|| {
            if nix::unistd::geteuid().is_root() {
                PathBuf::from("/run/supervise")
            } else {
                state(home).join("run")
            }
        })
}

/// What is kept: `$XDG_STATE_HOME/supervise`, by default `~/.local/state/supervise`.
pub fn state(home: &std::path::Path) -> PathBuf {
    absolute("XDG_STATE_HOME")
        .unwrap_or_else(|| home.join(".local/state"))
        .join("supervise")
}

/// Where private temporary directories are made: `$TMPDIR`, by default `/tmp`.
pub fn temporary() -> PathBuf {
    absolute("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"))
}

/// A variable that holds an absolute path. The specification of the base directories has others ignored.
fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
