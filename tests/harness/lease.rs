//! A file that makes others wait.

use nix::errno::Errno;
use std::fs::File;
use std::os::fd::AsRawFd;

/// Takes the write lease of a file, so that whoever opens it waits until `file` is closed, or for as long as
/// /proc/sys/fs/lease-break-time says.
pub fn lease(file: &File) -> Result<(), Errno> {
    /// fcntl.h; libc does not have it.
    const F_SETSIG: i32 = 10;
    // Asked to give it back, the holder gets a signal that it may ignore.
    // SAFETY: takes numbers; the descriptor is open.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) };
    Errno::result(result)?;
    // SAFETY: as above.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    Errno::result(result).map(drop)
}
