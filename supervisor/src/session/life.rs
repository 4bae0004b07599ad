//! What a session must know of the processes that it serves, however they were started.

use crate::launch::{Child, Progress};
use nix::errno::Errno;
use std::fmt::Debug;
use std::os::fd::BorrowedFd;

/// The processes of one session. What is to become of them when the session is dropped is theirs to know.
pub trait Life: Debug + Send {
    /// Becomes readable when [`Life::progress`] may have changed. [`Life::acknowledge`] makes it unreadable.
    fn events(&self) -> BorrowedFd<'_>;
    /// Becomes readable when everything has ended, and stays so, where that is told apart from [`Life::events`].
    fn all_gone(&self) -> Option<BorrowedFd<'_>>;
    /// Resets [`Life::events`]. To be called before [`Life::progress`], so that nothing is missed.
    fn acknowledge(&self);
    /// Where they stand.
    ///
    /// # Errors
    /// The errno of what looks.
    fn progress(&mut self) -> Result<Progress, Errno>;
    /// Whether the command has ended and left descendants.
    fn left_descendants(&self) -> bool;
    /// Sends a signal to the command. One that has ended is no error.
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal(2)`.
    fn signal(&self, signal: i32) -> Result<(), Errno>;
    /// Continues the command's process group, where that is its own; otherwise the command.
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal(2)` or `kill(2)`.
    fn continue_group(&self) -> Result<(), Errno> {
        self.signal(libc::SIGCONT)
    }
    /// Kills all of them, and returns at once.
    fn end(&self);
}

impl Life for Child {
    fn events(&self) -> BorrowedFd<'_> {
        Child::events(self)
    }

    fn all_gone(&self) -> Option<BorrowedFd<'_>> {
        Some(self.guardian())
    }

    fn acknowledge(&self) {
        Child::acknowledge(self);
    }

    fn progress(&mut self) -> Result<Progress, Errno> {
        Child::progress(self)
    }

    fn left_descendants(&self) -> bool {
        Child::left_descendants(self)
    }

    fn signal(&self, signal: i32) -> Result<(), Errno> {
        Child::signal(self, signal)
    }

    fn continue_group(&self) -> Result<(), Errno> {
        Child::continue_group(self)
    }

    fn end(&self) {
        Child::end(self);
    }
}
