//! The foreground process group of a terminal (tcsetpgrp(3)).

use nix::errno::Errno;
use nix::unistd::{Pid, tcgetpgrp, tcsetpgrp};
use std::os::fd::BorrowedFd;

/// Which process group the terminal has in its foreground; `None` when `fd` is not the controlling terminal.
pub fn foreground(fd: BorrowedFd<'_>) -> Option<Pid> {
    tcgetpgrp(fd).ok()
}

/// Puts `group` into the foreground of the terminal, also from the background, where the kernel would stop the caller
/// with SIGTTOU unless it is blocked.
///
/// # Errors
/// The errno of `tcsetpgrp(3)`.
pub fn set_foreground(fd: BorrowedFd<'_>, group: Pid) -> Result<(), Errno> {
    let mask = crate::signals::block(&[libc::SIGTTOU])?;
    let result = tcsetpgrp(fd, group);
    crate::signals::restore(mask)?;
    result
}
