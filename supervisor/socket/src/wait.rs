//! Waiting for a socket, never past a deadline.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{Error, Result};

/// When something must be done; `None` is never.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    pub(crate) fn after(time: Option<Duration>) -> Self {
        // A time too long to be added is as good as none.
        Self(time.and_then(|time| Instant::now().checked_add(time)))
    }

    pub(crate) fn is_set(self) -> bool {
        self.0.is_some()
    }

    /// Waits until the socket is ready, or gone, which the next call on it will say.
    pub(crate) fn ready(self, socket: BorrowedFd<'_>, what: PollFlags) -> Result<()> {
        loop {
            let mut polled = [PollFd::new(socket, what)];
            match poll(&mut polled, self.left()) {
                Ok(0) if self.is_over() => return Err(Error::Timeout),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(Error::io("poll")(errno)),
            }
        }
    }

    fn is_over(self) -> bool {
        self.0.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// What is left, in whole milliseconds, rounded up so that nobody waits in a busy loop.
    fn left(self) -> PollTimeout {
        let Some(deadline) = self.0 else {
            return PollTimeout::NONE;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let millis = left.as_micros().div_ceil(1000);
        i32::try_from(millis)
            .ok()
            .and_then(|millis| PollTimeout::try_from(millis).ok())
            .unwrap_or(PollTimeout::MAX)
    }
}
