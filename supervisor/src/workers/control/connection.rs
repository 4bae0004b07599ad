//! One client: what it sent and was not yet understood, what it is told and has not yet read.

use super::history::History;
use super::{Asked, Client, OPERATOR};
use crate::audit::Answerer;
use nix::errno::Errno;
use protocol::control::{ControlRequest, ControlResponse, Hello, VERSION};
use protocol::lines::Lines;
use protocol::{Fault, FaultCode, Numbered};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::messages::{Wait, Welcome, receive, send};

/// Requests of one client that are under way. No more are read meanwhile.
const MOST_OPEN: usize = 128;

/// When so much waits to be read by the client, nothing more is read of it, and no more events are put there.
const FULL: usize = 256 * 1024;

/// What came of reading.
#[derive(Debug, PartialEq)]
pub(super) enum Read {
    /// A request, to be answered.
    Request(Numbered<ControlRequest>),
    /// Nothing for now.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    by: Answerer,
    lines: Lines,
    out: Vec<u8>,
    /// So much of `out` was sent.
    sent: usize,
    has_greeted: bool,
    is_operator: bool,
    /// What is there is sent, and then it is over.
    is_closing: bool,
    /// It sends no more.
    has_ended: bool,
    /// Nothing more can be sent.
    is_broken: bool,
    open: usize,
    /// The number of the next event that it is told, if it wants to be told of any.
    cursor: Option<u64>,
    /// What was last waited for.
    pub interest: super::Interest,
}

impl Connection {
    pub fn new(socket: OwnedFd, by: Answerer) -> Self {
        Self {
            socket,
            by,
            lines: Lines::new(),
            out: Vec::new(),
            sent: 0,
            has_greeted: false,
            is_operator: false,
            is_closing: false,
            has_ended: false,
            is_broken: false,
            open: 0,
            cursor: None,
            interest: super::Interest::READ,
        }
    }

    /// Whether nothing will come of it any more.
    pub fn is_over(&self) -> bool {
        let is_silent = self.open == 0 && self.pending() == 0;
        self.is_broken || (is_silent && (self.is_closing || self.has_ended))
    }

    /// What is to be waited for.
    pub fn wanted(&self, history: &History) -> super::Interest {
        let has_events = self.cursor.is_some_and(|cursor| cursor <= history.last());
        super::Interest {
            read: self.takes_more(),
            write: self.pending() > 0 || has_events,
        }
    }

    /// Whether one more request may come.
    fn has_room(&self) -> bool {
        self.pending() < FULL && self.open < MOST_OPEN && !self.is_closing
    }

    fn takes_more(&self) -> bool {
        self.has_room() && !self.has_ended
    }

    fn pending(&self) -> usize {
        self.out.len() - self.sent
    }

    /// The next request, if a whole one is there. `daemon` is what the daemon calls itself.
    pub fn next(&mut self, daemon: &Hello) -> Read {
        while self.has_room() {
            let line = match self.lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => return Read::Nothing,
                Err(error) => {
                    let fault = Fault::new(FaultCode::TooLarge, error.to_string());
                    self.dismiss(ControlResponse::refused(None, fault));
                    return Read::Nothing;
                }
            };
            match ControlRequest::decode(line) {
                Err(unanswerable) => {
                    let response = ControlResponse::from(unanswerable);
                    match self.has_greeted {
                        true => response.encode(&mut self.out),
                        false => self.dismiss(response),
                    }
                }
                Ok(Numbered {
                    id,
                    req: ControlRequest::Hello { version, client },
                }) => {
                    let name = client.as_deref().and_then(|name| name.split(' ').next());
                    self.is_operator = name == Some(OPERATOR);
                    self.greet(id, version, daemon);
                }
                Ok(request) if self.has_greeted => {
                    self.open += 1;
                    return Read::Request(request);
                }
                Ok(request) => {
                    let fault = Fault::new(FaultCode::HandshakeRequired, "say `hello` first");
                    self.dismiss(ControlResponse::refused(request.id, fault));
                }
            }
        }
        Read::Nothing
    }

    pub fn asked(&self, client: Client, request: Numbered<ControlRequest>) -> Asked {
        Asked {
            client,
            id: request.id,
            request: request.req,
            is_operator: self.is_operator,
            by: self.by,
        }
    }

    fn greet(&mut self, id: u64, version: u32, daemon: &Hello) {
        if version != VERSION {
            let fault = Fault::version_mismatch(version, VERSION);
            return self.dismiss(ControlResponse::refused(id, fault));
        }
        self.has_greeted = true;
        let hello = serde_json::to_value(daemon).unwrap_or_default();
        ControlResponse::done(id, hello).encode(&mut self.out);
    }

    /// Says one more thing, and then it is over.
    fn dismiss(&mut self, response: ControlResponse) {
        response.encode(&mut self.out);
        self.is_closing = true;
    }

    /// Reads what is there, up to what a line may have. Whether more may be there.
    pub fn fill(&mut self) -> bool {
        if !self.takes_more() {
            return false;
        }
        let welcome = Welcome {
            fds: 0,
            sender: false,
        };
        let space = self.lines.space();
        if space.is_empty() {
            return false;
        }
        match receive(self.socket.as_fd(), space, welcome, Wait::No) {
            Ok(received) if received.length == 0 => self.has_ended = true,
            Ok(received) => {
                self.lines.filled(received.length);
                return true;
            }
            Err(Errno::EAGAIN) => {}
            Err(_) => self.break_off(),
        }
        false
    }

    /// Answers a request.
    pub fn answer(&mut self, response: ControlResponse) {
        self.open = self.open.saturating_sub(1);
        response.encode(&mut self.out);
    }

    /// From here on it is told of events, from this number on.
    pub fn tell_from(&mut self, seq: u64) {
        self.cursor = Some(seq);
    }

    /// Sends what can be sent now.
    pub fn flush(&mut self, history: &History) {
        loop {
            if let Some(cursor) = &mut self.cursor {
                while self.out.len() - self.sent < FULL && history.next(cursor, &mut self.out) {}
            }
            if self.pending() == 0 || self.is_broken {
                break;
            }
            match send(self.socket.as_fd(), &self.out[self.sent..], &[], Wait::No) {
                Ok(count) => self.sent += count,
                Err(Errno::EAGAIN) => break,
                Err(_) => self.break_off(),
            }
            if self.pending() == 0 {
                self.out.clear();
                self.sent = 0;
            }
        }
        // Memory that a flood took is given back when it is over.
        if self.pending() == 0 {
            self.out.clear();
            self.out.shrink_to(4096);
            self.sent = 0;
        } else if self.sent > FULL {
            self.out.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Both directions are closed, or something is wrong.
    pub fn break_off(&mut self) {
        (self.has_ended, self.is_broken) = (true, true);
    }

    /// Nothing more is read of it; what was asked is still answered.
    pub fn end(&mut self) {
        self.is_closing = true;
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
