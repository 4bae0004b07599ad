//! The foreground process group of a terminal (tcsetpgrp(3)), and its size (ioctl_tty(2)).

use nix::errno::Errno;
use nix::unistd::{Pid, tcgetpgrp, tcsetpgrp};
use std::os::fd::{AsRawFd, BorrowedFd};

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

/// How much a terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

impl Size {
    /// That of a terminal that does not know its own.
    pub const USUAL: Self = Self {
        rows: 24,
        columns: 80,
    };
}

/// How large the terminal is, if it knows; and if it is one.
#[must_use]
pub fn size(fd: BorrowedFd<'_>) -> Option<Size> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes a `winsize`, which is what the pointer is to, and lives until after the call.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    (done == 0 && size.ws_row > 0 && size.ws_col > 0).then_some(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}
