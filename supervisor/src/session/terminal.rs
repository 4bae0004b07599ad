//! The terminal of the caller: job control, and its foreground group given back.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp};
use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};

/// The controlling terminal among the standard streams, if one of them is it.
#[derive(Debug)]
pub struct Terminal {
    fd: Option<OwnedFd>,
    /// Our process group was in its foreground when we started.
    foreground: bool,
}

impl Terminal {
    /// Looks at the standard streams. Keeps a descriptor of its own, so that it can put things right when these are closed.
    pub fn find() -> Self {
        let fd = [stdin().as_fd(), stdout().as_fd(), stderr().as_fd()]
            .into_iter()
            .find(|fd| sys::terminal::foreground(*fd).is_some())
            .and_then(|fd| fd.try_clone_to_owned().ok());
        let foreground = fd
            .as_ref()
            .and_then(|fd| sys::terminal::foreground(fd.as_fd()))
            .is_some_and(|group| group == getpgrp());
        Self { fd, foreground }
    }

    /// The child was stopped: under job control we stop too, so that the shell sees it and has its turn. Without, there would
    /// be nobody to continue us, and deadlines go on.
    pub(super) fn stop_with_child(&self) {
        if self.fd.is_some() {
            // SIGSTOP, since SIGTSTP is blocked. To ourselves it cannot fail.
            let sent = kill(Pid::this(), Signal::SIGSTOP);
            debug_assert!(sent.is_ok());
        }
    }

    /// Gives the foreground back to our process group, if it was there at the start and the session took it.
    pub(super) fn restore(&self) {
        let Some(fd) = self.fd.as_ref().filter(|_| self.foreground) else {
            return;
        };
        if sys::terminal::foreground(fd.as_fd()) != Some(getpgrp()) {
            // It fails when the terminal has hung up; then there is no foreground to give back.
            let _hung_up = sys::terminal::set_foreground(fd.as_fd(), getpgrp());
        }
    }
}
