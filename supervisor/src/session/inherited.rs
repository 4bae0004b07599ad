//! Descriptors that the caller opened, by number.

use nix::errno::Errno;
use std::os::fd::{OwnedFd, RawFd};

/// A duplicate of the descriptor that the caller passed down under this number. To be taken before anything else is opened: a
/// number that the caller left free would otherwise be whatever came to stand there.
///
/// # Errors
/// `EBADF` when there is none.
pub fn inherited_descriptor(number: RawFd) -> Result<OwnedFd, Errno> {
    sys::fds::duplicate_number(number)
}
