//! The daemon's connection to a worker, over which its jobs go.

use crate::workers::poller::{Interest, Ready};
use crate::workers::pool::Ticket;
use nix::errno::Errno;
use protocol::lines::Lines;
use protocol::pool::{PoolRequest, PoolResponse};
use protocol::{Error, Numbered};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use sys::messages::{Wait, Welcome, receive, send};

/// What an answer is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Errand {
    /// The versions.
    Handshake,
    /// What it has.
    Status,
    /// Somebody's request. `is_again` when it may have been sent before, over another connection.
    Job { ticket: Ticket, is_again: bool },
    /// The end of a job that nobody waits for.
    Watch(String),
    /// Whether it is still at work on what it was told to stop.
    Look,
}

/// An answer, and the bytes that it took.
#[derive(Debug)]
pub(super) struct Answer {
    pub errand: Errand,
    pub response: PoolResponse,
    pub bytes: u64,
}

/// A worker's answers are not read while so much waits to be sent to it.
const FULL: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Link {
    socket: UnixStream,
    lines: Lines,
    out: Vec<u8>,
    next: u64,
    under_way: BTreeMap<u64, Errand>,
    /// What was last waited for.
    pub interest: Interest,
    /// The worker said how it is, and takes jobs.
    pub is_up: bool,
}

impl Link {
    pub fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            lines: Lines::new(),
            out: Vec::new(),
            next: 1,
            under_way: BTreeMap::new(),
            interest: Interest::READ,
            is_up: false,
        }
    }

    /// What is to be waited for.
    pub fn wanted(&self) -> Interest {
        Interest {
            read: true,
            write: !self.out.is_empty(),
        }
    }

    /// Asks something. Returns how many bytes that took.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: it does not fit on a line.
    pub fn ask(&mut self, errand: Errand, request: PoolRequest) -> Result<u64, Error> {
        let id = self.next;
        let before = self.out.len();
        Numbered { id, req: request }.encode(&mut self.out)?;
        self.next += 1;
        self.under_way.insert(id, errand);
        let bytes = (self.out.len() - before) as u64;
        Ok(bytes)
    }

    /// Sends and reads what can be. `false` when the connection is of no further use.
    pub fn on_ready(&mut self, ready: Ready, answers: &mut Vec<Answer>) -> bool {
        let is_read = match ready.read || ready.broken {
            true => self.read(answers),
            false => true,
        };
        is_read && !ready.broken && self.flush()
    }

    /// Sends what can be sent now. `false` when nothing can be sent any more.
    pub fn flush(&mut self) -> bool {
        while !self.out.is_empty() {
            match send(self.socket.as_fd(), &self.out, &[], Wait::No) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(Errno::EAGAIN) => return self.out.len() < FULL,
                Err(_) => return false,
            }
        }
        true
    }

    fn read(&mut self, answers: &mut Vec<Answer>) -> bool {
        let welcome = Welcome {
            fds: 0,
            sender: false,
        };
        // Others are looked at between two turns.
        for _ in 0..16 {
            let space = self.lines.space();
            match receive(self.socket.as_fd(), space, welcome, Wait::No) {
                Ok(received) if received.length == 0 => return false,
                Ok(received) => self.lines.filled(received.length),
                Err(Errno::EAGAIN) => return true,
                Err(_) => return false,
            }
            loop {
                let line = match self.lines.next_line() {
                    Ok(Some(line)) => line,
                    Ok(None) => break,
                    Err(_) => return false,
                };
                let bytes = line.len() as u64 + 1;
                let Ok(response) = PoolResponse::decode(line) else {
                    return false;
                };
                // An answer to what was not asked is nobody's.
                let errand = response.id.and_then(|id| self.under_way.remove(&id));
                if let Some(errand) = errand {
                    answers.push(Answer {
                        errand,
                        response,
                        bytes,
                    });
                }
            }
        }
        true
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
