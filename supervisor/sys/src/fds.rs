//! Descriptors by number: duplicates at chosen numbers, and what may stand at the standard ones.

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// A close-on-exec duplicate of `fd`, at the lowest free number that is not below `lowest`.
///
/// # Errors
/// The errno of `fcntl(2)` with `F_DUPFD_CLOEXEC`.
pub fn duplicate_from(fd: BorrowedFd<'_>, lowest: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the call makes a new descriptor, which nobody else owns.
    unsafe {
        let new = libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest);
        Errno::result(new).map(|new| OwnedFd::from_raw_fd(new))
    }
}

/// A close-on-exec duplicate of an inherited descriptor, by its number: not 0, 1 or 2, and not one of those that were duplicated
/// to.
///
/// # Errors
/// `EBADF` when no descriptor has this number.
pub fn duplicate_number(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: any number may be asked for; the new descriptor is ours, and the one it was made from is left as it is.
    unsafe {
        let new = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3);
        Errno::result(new).map(|new| OwnedFd::from_raw_fd(new))
    }
}
