//! The end of a worker: asked for, demanded, forced. Signals go to the process that is held, and to nobody who may have its number.

use super::super::identity::{Field, Mismatch};
use super::wire::milliseconds;
use super::{BackendHandle, Error};
use crate::launch::Exit;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use protocol::Numbered;
use protocol::pool::PoolRequest;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use sys::messages::{Wait, send};

/// A process that was killed is gone as soon as the kernel comes to it.
const KILLED: Duration = Duration::from_secs(10);

/// How long the parent of a worker that has ended may take to notice. It may be somebody who never does.
const COLLECTED: Duration = Duration::from_millis(100);

impl BackendHandle {
    /// Ends the worker: asks it to, on its own connection; when that was of no use in half of the time, tells it by SIGTERM; then waits for
    /// what is left of it. One that does not speak with us is told at once. Says how it ended, where that is told.
    ///
    /// # Errors
    /// [`Error::ShutdownTimeout`] when it still lives: it is then as it was, told to end. [`Error::Identity`] when it could not be told.
    pub fn shutdown(self, timeout: Duration) -> Result<Option<Exit>, Error> {
        self.shutdown_shared(timeout)
    }

    /// As [`BackendHandle::shutdown`], for those who share a handle.
    ///
    /// # Errors
    /// The same.
    pub fn shutdown_shared(&self, timeout: Duration) -> Result<Option<Exit>, Error> {
        let begin = Instant::now();
        if self.ask() && self.has_ended_before(begin + timeout / 2)? {
            return self.told_exit();
        }
        self.end(libc::SIGTERM, begin + timeout)
    }

    /// Kills the worker and waits until it is gone. Says how it ended, where that is told.
    ///
    /// # Errors
    /// [`Error::ShutdownTimeout`] when the kernel does not come to it; [`Error::Identity`] when it may not be killed.
    pub fn force_kill(self) -> Result<Option<Exit>, Error> {
        self.force_kill_shared()
    }

    /// As [`BackendHandle::force_kill`], for those who share a handle.
    ///
    /// # Errors
    /// The same.
    pub fn force_kill_shared(&self) -> Result<Option<Exit>, Error> {
        self.end(libc::SIGKILL, Instant::now() + KILLED)
    }

    fn end(&self, signal: i32, deadline: Instant) -> Result<Option<Exit>, Error> {
        let sent = self.held.pidfd().signal_if_there(signal);
        sent.map_err(Mismatch::unknown(Field::Process, "pidfd_send_signal"))?;
        match self.has_ended_before(deadline)? {
            true => self.told_exit(),
            false => Err(Error::ShutdownTimeout {
                pid: self.held.pid(),
            }),
        }
    }

    /// How it ended, which others are told when its parent has collected it.
    fn told_exit(&self) -> Result<Option<Exit>, Error> {
        if let Some(exit) = self.exit() {
            return Ok(Some(exit));
        }
        // Nothing is waited for but that it be gone.
        self.becomes(PollFlags::empty(), Instant::now() + COLLECTED)?;
        Ok(self.exit())
    }

    /// Asks for the end. Whether that could be said.
    fn ask(&self) -> bool {
        if self.verification.spoken.is_none() {
            return false;
        }
        let Ok(connection) = self.connect() else {
            return false;
        };
        let requests = [
            PoolRequest::Handshake {
                version: protocol::pool::VERSION,
            },
            PoolRequest::Shutdown {},
        ];
        let mut lines = Vec::new();
        for (id, req) in (1..).zip(requests) {
            if (Numbered { id, req }).encode(&mut lines).is_err() {
                return false;
            }
        }
        // A socket that nothing was said on has room for two lines. The answers are of no interest: the end is.
        let sent = send(connection.as_fd(), &lines, &[], Wait::No);
        // Kept open, lest the worker take its end for a change of mind.
        *self.kept() = Some(connection);
        sent == Ok(lines.len())
    }

    fn has_ended_before(&self, deadline: Instant) -> Result<bool, Error> {
        self.becomes(PollFlags::POLLIN, deadline)
    }

    /// Whether the pidfd becomes so, or is hung up because there is no such process any more.
    fn becomes(&self, what: PollFlags, deadline: Instant) -> Result<bool, Error> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut polled = [PollFd::new(self.held.as_fd(), what)];
            match poll(&mut polled, milliseconds(left)) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(super::wire::io("poll")(errno).into()),
            }
        }
    }
}
