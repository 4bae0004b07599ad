//! The thread that works.

use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{Job, Outcome, WorkerError};

/// Jobs go in, one after the other; what they came to comes out, and the descriptor is readable then.
#[derive(Debug)]
pub(super) struct Jobs {
    to: Sender<Job>,
    from: Receiver<Outcome>,
    bell: Arc<EventFd>,
}

impl Jobs {
    /// Starts the thread. It ends with the process, or when it has nothing to do and this is gone.
    pub(super) fn start(
        mut work: impl FnMut(Job) -> Outcome + Send + 'static,
    ) -> Result<Self, WorkerError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_flags(flags).map_err(WorkerError::io("eventfd2"))?;
        let bell = Arc::new(bell);
        let ringing = Arc::clone(&bell);
        let (to, jobs) = channel::<Job>();
        let (outcomes, from) = channel();
        let thread = std::thread::Builder::new().name("job".to_owned());
        let started = thread.spawn(move || {
            for job in jobs {
                // A worker outlives a job that panics; what the job had in its hands is its own affair.
                let outcome = catch_unwind(AssertUnwindSafe(|| work(job)))
                    .unwrap_or_else(|_| Outcome::Failed("the job panicked".to_owned()));
                if outcomes.send(outcome).is_err() || ringing.write(1).is_err() {
                    return;
                }
            }
        });
        started.map_err(|error| WorkerError::of("clone", &error))?;
        Ok(Self { to, from, bell })
    }

    /// Has a job begun.
    pub(super) fn begin(&self, job: Job) -> Result<(), Job> {
        self.to.send(job).map_err(|unsent| unsent.0)
    }

    /// What the job came to that ended.
    pub(super) fn ended(&self) -> Option<Outcome> {
        // Whether the bell rang is only a reason to look.
        let _rang = self.bell.read();
        self.from.try_recv().ok()
    }
}

impl AsFd for Jobs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
