//! The processes of a worker, of which the keeper tells when the first has ended.

use crate::launch::{Exit, Progress, collect};
use crate::sandbox::Tag;
use crate::session::Life;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use sys::pidfd::Pidfd;

/// Where the daemon's loop says to a session's thread how the worker ended.
#[derive(Debug)]
pub(super) struct Told {
    event: EventFd,
    exit: Mutex<Option<Exit>>,
}

impl Told {
    pub fn new() -> Result<Arc<Self>, Errno> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let exit = Mutex::new(None);
        Ok(Arc::new(Self { event, exit }))
    }

    pub fn tell(&self, exit: Exit) {
        *self.exit.lock().unwrap_or_else(PoisonError::into_inner) = Some(exit);
        // A counter that is full is set already.
        let _set = self.event.write(1);
    }

    fn exit(&self) -> Option<Exit> {
        *self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker's processes. They go on when this is dropped.
#[derive(Debug)]
pub(super) struct Kept {
    pub tag: Tag,
    pub process: Arc<Pidfd>,
    pub told: Arc<Told>,
}

impl Life for Kept {
    fn events(&self) -> BorrowedFd<'_> {
        self.told.event.as_fd()
    }

    fn all_gone(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn acknowledge(&self) {
        // EAGAIN: it was not set.
        let _reset = self.told.event.read();
    }

    fn progress(&mut self) -> Result<Progress, Errno> {
        let Some(exit) = self.told.exit() else {
            return Ok(Progress::Running);
        };
        // What it left behind ends with it, and only then has it ended.
        collect(self.tag)?;
        Ok(Progress::Gone(exit))
    }

    fn left_descendants(&self) -> bool {
        false
    }

    fn signal(&self, signal: i32) -> Result<(), Errno> {
        self.process.signal_if_there(signal)
    }

    fn end(&self) {
        // One that has ended is told of soon.
        let _sent = self.process.send_signal(libc::SIGKILL);
    }
}
