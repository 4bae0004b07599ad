//! One connection to a worker: lines in, answers out, and how far it has come.

use std::io::{ErrorKind, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{MsgFlags, send};

use protocol::lines::{self, Lines};
use protocol::pool::PoolRequest;
use protocol::probe::{Commission, Probe};
use protocol::{Answer, Fault, FaultCode, Numbered, Serialize, Unanswerable};

use super::probe::Challenge;

/// While so much waits to be read by the caller, nothing more is read from it.
const UNREAD: usize = lines::MAX;

/// How far a connection has come.
#[derive(Debug)]
enum Progress {
    /// Nothing was said yet.
    Fresh,
    /// It was shown the worker's proof, and shall show its own.
    Challenged(Box<Challenge>),
    /// It showed that it knows the worker's secret.
    Verified,
    /// A version was agreed on.
    Greeted,
}

/// The connection is of no further use.
#[derive(Debug)]
pub(super) struct Gone;

/// A line that a caller said.
pub(super) enum Said {
    /// A request, or what has to be answered instead.
    Request(Result<Numbered<PoolRequest>, Unanswerable>),
    /// Nothing that has to be answered, or nothing more.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Caller {
    stream: UnixStream,
    lines: Lines,
    out: Vec<u8>,
    /// How much of that is sent.
    sent: usize,
    progress: Progress,
    pub(super) since: Instant,
    /// It has nothing more to say, or is not listened to any more.
    is_over: bool,
    /// What is waited for.
    awaited: EpollFlags,
}

impl Caller {
    pub(super) fn new(stream: UnixStream, now: Instant) -> Self {
        Self {
            stream,
            lines: Lines::new(),
            out: Vec::new(),
            sent: 0,
            progress: Progress::Fresh,
            since: now,
            is_over: false,
            awaited: EpollFlags::EPOLLIN,
        }
    }

    /// What is to be waited for.
    pub(super) fn wants(&self) -> EpollFlags {
        let mut wanted = EpollFlags::empty();
        wanted.set(EpollFlags::EPOLLIN, self.wants_read());
        wanted.set(EpollFlags::EPOLLOUT, self.wants_write());
        wanted
    }

    /// The same, if it is something else than the last time.
    pub(super) fn wants_other_than_before(&mut self) -> Option<EpollFlags> {
        let wanted = self.wants();
        (std::mem::replace(&mut self.awaited, wanted) != wanted).then_some(wanted)
    }

    pub(super) fn is_greeted(&self) -> bool {
        matches!(self.progress, Progress::Greeted)
    }

    pub(super) fn greet(&mut self) {
        self.progress = Progress::Greeted;
    }

    /// Whether something waits to be sent.
    pub(super) fn wants_write(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Whether something that it says would be read.
    pub(super) fn wants_read(&self) -> bool {
        !self.is_over && self.out.len() - self.sent < UNREAD
    }

    /// Whether it will say nothing more.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Listens to it no more; what was answered is still sent.
    pub(super) fn finish(&mut self) {
        self.is_over = true;
        self.lines = Lines::new();
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        answer.encode(&mut self.out);
    }

    /// Answers that a request was done.
    pub(super) fn answer_done(&mut self, id: u64, data: &impl Serialize) {
        Answer::encode_done(id, data, &mut self.out);
    }

    /// Takes in what has come, and says whether there may be more.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) fn read(&mut self) -> Result<bool, Gone> {
        loop {
            let space = self.lines.space();
            if space.is_empty() {
                // Whole lines wait to be looked at. To read nothing would look like the end.
                return Ok(true);
            }
            let most = space.len();
            return match self.stream.read(space) {
                Ok(0) => {
                    self.is_over = true;
                    Ok(false)
                }
                Ok(count) => {
                    self.lines.filled(count);
                    Ok(count == most)
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock => Ok(false),
                    _ => Err(Gone),
                },
            };
        }
    }

    /// The next line of what has come; `None` when there is none, or the caller first has to read what it was answered.
    pub(super) fn next(&mut self, commission: Option<&Commission>) -> Option<Said> {
        if self.out.len() - self.sent >= UNREAD {
            return None;
        }
        let line = match self.lines.next_line() {
            Ok(line) => line?,
            Err(error) => {
                let fault = Fault::new(FaultCode::TooLarge, error.to_string());
                self.answer(Answer::refused(None, fault));
                self.finish();
                return None;
            }
        };
        let shown = match std::mem::replace(&mut self.progress, Progress::Verified) {
            Progress::Fresh if Probe::begins(line) => commission
                .and_then(|commission| Challenge::new(commission, line).ok())
                .map(|(challenge, proof)| (Progress::Challenged(Box::new(challenge)), proof)),
            Progress::Challenged(challenge) => {
                let ready = challenge.conclude(line).ok();
                ready.map(|ready| (Progress::Verified, ready))
            }
            progress => {
                self.progress = progress;
                return Some(Said::Request(PoolRequest::decode(line)));
            }
        };
        match shown {
            Some((progress, bytes)) => {
                self.progress = progress;
                self.out.extend_from_slice(&bytes);
            }
            // Whoever cannot show what it must is told nothing.
            None => {
                self.progress = Progress::Fresh;
                self.finish();
            }
        }
        Some(Said::Nothing)
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        while self.wants_write() {
            // Programs in C die of a signal that those in Rust ignore.
            let flags = MsgFlags::MSG_NOSIGNAL;
            match send(self.stream.as_raw_fd(), &self.out[self.sent..], flags) {
                Ok(count) => self.sent += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(_) => return Err(Gone),
            }
        }
        self.out.clear();
        self.out.shrink_to(4096);
        self.sent = 0;
        Ok(())
    }
}

impl AsFd for Caller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
