//! The face of a program that never waits: its end of a connection, in a loop of its own.
//!
//! Comes in: questions, and a socket that is readable or writable. Goes out: answers, each with its
//! descriptors. The socket stays with the caller, who knows how to wait for it; and which answer
//! belongs to which question, the ids say to who kept them.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use protocol::{MAX_FDS, SupervisorMessage, SupervisorResponse};
use sys::messages::{Lost, Wait, Welcome, send};

use crate::inbox::{Filled, Inbox, Reading};
use crate::{Error, Result};

/// What goes over a program's end of one connection, which nobody shares with it. After an error of
/// [`Asker::flush`] or [`Asker::answer`] the connection is to be dropped.
#[derive(Debug, Default)]
pub struct Asker {
    inbox: Inbox,
    outgoing: Vec<u8>,
    sent: usize,
}

/// What the supervisor said.
#[derive(Debug)]
pub struct Answer {
    /// Its words.
    pub response: SupervisorResponse,
    /// The descriptors that it speaks of; an error when this process may have no more.
    pub fds: Result<Vec<OwnedFd>>,
}

impl Asker {
    /// For a connection over which nothing went yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether questions wait for the socket to take them.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.sent < self.outgoing.len()
    }

    /// Puts a question behind those that wait to be sent.
    ///
    /// # Errors
    /// [`Error::TooLarge`], and [`Error::Malformed`] for one that speaks of descriptors. Then nothing
    /// is sent of it.
    pub fn ask(&mut self, question: &SupervisorMessage) -> Result<()> {
        if question.fds() > 0 {
            return Err(Error::malformed("a question carries no descriptors"));
        }
        if !self.wants_write() {
            self.outgoing.clear();
            self.sent = 0;
        }
        let before = self.outgoing.len();
        question.encode(&mut self.outgoing).map_err(|error| {
            self.outgoing.truncate(before);
            error.into()
        })
    }

    /// Sends what waits, as far as the socket takes it; whether all of it went.
    ///
    /// # Errors
    /// [`Error::Closed`]; what the kernel says.
    pub fn flush(&mut self, socket: impl AsFd) -> Result<bool> {
        while self.wants_write() {
            match send(socket.as_fd(), &self.outgoing[self.sent..], &[], Wait::No) {
                Ok(sent) => self.sent += sent,
                Err(Errno::EAGAIN) => return Ok(false),
                Err(errno) => return Err(Error::io("sendmsg")(errno)),
            }
        }
        Ok(true)
    }

    /// The next answer, or `None` when no whole one has come.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::TooLarge`] and [`Error::Malformed`] for what is no answer, since
    /// nobody knows whose it was to be; what the kernel says.
    pub fn answer(&mut self, socket: impl AsFd) -> Result<Option<Answer>> {
        let welcome = Welcome {
            fds: MAX_FDS,
            sender: false,
        };
        loop {
            if let Some(frame) = self.inbox.take()? {
                let response = SupervisorResponse::decode(frame.text)?;
                let fds = match frame.lost {
                    Some(Lost::OutOfDescriptors) => Err(Error::io("recvmsg")(Errno::EMFILE)),
                    Some(Lost::Surplus) => {
                        return Err(Error::malformed("more descriptors than a frame can carry"));
                    }
                    None if frame.fds.len() != response.fds() => {
                        return Err(Error::malformed(format!(
                            "{} descriptors on a frame that speaks of {}",
                            frame.fds.len(),
                            response.fds()
                        )));
                    }
                    None => Ok(frame.fds),
                };
                return Ok(Some(Answer { response, fds }));
            }
            match self
                .inbox
                .fill(socket.as_fd(), welcome, Reading::Take(Wait::No))
            {
                Ok(Filled::Bytes) => {}
                Ok(Filled::End) => return Err(Error::Closed),
                Ok(Filled::Interrupted(_)) => {
                    return Err(Error::malformed("two processes sent parts of one frame"));
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(Error::io("recvmsg")(errno)),
            }
        }
    }
}
