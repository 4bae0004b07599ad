//! The control socket: who is let in, what is asked, and who is told what.
//!
//! In: a listening socket. Out: requests, for the daemon's loop to do and answer. Nobody waits for anybody here: a client that does
//! not read is told later what it missed, and one that sends half a line is heard when the other half comes.

mod admission;
mod connection;
mod history;
#[cfg(test)]
mod tests;

pub use admission::{Admission, Stranger};

use super::poller::{Interest, Poller, Ready, Token};
use crate::audit::Answerer;
use connection::{Connection, Read};
use history::History;
use nix::errno::Errno;
use protocol::control::{ControlRequest, ControlResponse, Event, Hello};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

/// Names a client. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(u64);

/// A request, and who wants to have it answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Who.
    pub client: Client,
    /// The request's number.
    pub id: u64,
    /// What.
    pub request: ControlRequest,
    /// It is the operator's own command that asks, as far as it says so itself.
    pub is_operator: bool,
    /// Who connected, as the kernel says.
    pub by: Answerer,
}

/// What the operator's own command calls itself, before its version.
pub const OPERATOR: &str = "supervise";

/// The most clients at a time.
const MOST_CLIENTS: usize = 512;

/// How long nobody is let in when there were no descriptors, unless somebody leaves before.
const PAUSE: Duration = Duration::from_millis(100);

/// So much is read of one client before the others are looked at again.
const TURN: usize = 16;

/// The tokens of clients begin here; that of the listening socket is the one before.
const FIRST: u64 = 1 << 56;
const LISTENER: Token = Token(FIRST - 1);

/// The control socket, and all who are connected to it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    admission: Admission,
    hello: Hello,
    clients: BTreeMap<u64, Connection>,
    next: u64,
    history: History,
    /// Nobody is let in until then.
    paused_until: Option<Instant>,
    /// Who left, and of whom nobody has been told yet.
    gone: Vec<Client>,
}

impl Control {
    /// Begins with a socket that listens and does not wait.
    ///
    /// # Errors
    /// The errno of `epoll_ctl(2)`.
    pub fn new(
        listener: OwnedFd,
        admission: Admission,
        hello: Hello,
        poller: &Poller,
    ) -> Result<Self, Errno> {
        poller.add(listener.as_fd(), LISTENER, Interest::READ)?;
        Ok(Self {
            listener: listener.into(),
            admission,
            hello,
            clients: BTreeMap::new(),
            next: FIRST,
            history: History::default(),
            paused_until: None,
            gone: Vec::new(),
        })
    }

    /// The listening socket.
    #[must_use]
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Whether a token is one of these.
    #[must_use]
    pub fn is_ours(token: Token) -> bool {
        token >= LISTENER
    }

    /// When [`Control::tick`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Lets people in again.
    ///
    /// # Errors
    /// The errno of `epoll_ctl(2)`.
    pub fn tick(&mut self, poller: &Poller, now: Instant) -> Result<(), Errno> {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.let_in_again(poller)?;
        }
        Ok(())
    }

    /// Something is ready. What is asked is put into `asked`.
    ///
    /// # Errors
    /// The errno of `epoll_ctl(2)`: of our own doing, and not of a client's.
    pub fn on_ready(
        &mut self,
        poller: &Poller,
        ready: Ready,
        now: Instant,
        asked: &mut Vec<Asked>,
    ) -> Result<(), Errno> {
        if ready.token == LISTENER {
            return self.accept(poller, now);
        }
        let key = ready.token.0;
        let Some(connection) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        if ready.read || ready.broken {
            for _ in 0..TURN {
                let more = connection.fill();
                while let Read::Request(request) = connection.next(&self.hello) {
                    asked.push(connection.asked(Client(key), request));
                }
                if !more {
                    break;
                }
            }
        }
        if ready.broken {
            connection.break_off();
        }
        self.settle(poller, key, asked)
    }

    /// Answers a request. Of somebody who is gone meanwhile there is nobody to answer.
    ///
    /// # Errors
    /// As [`Control::on_ready`].
    pub fn answer(
        &mut self,
        poller: &Poller,
        client: Client,
        response: ControlResponse,
        asked: &mut Vec<Asked>,
    ) -> Result<(), Errno> {
        if let Some(connection) = self.clients.get_mut(&client.0) {
            connection.answer(response);
            self.settle(poller, client.0, asked)?;
        }
        Ok(())
    }

    /// From now on the client is told of events: from those on that came after `after`, or of those that are to come.
    ///
    /// # Errors
    /// As [`Control::on_ready`].
    pub fn subscribe(
        &mut self,
        poller: &Poller,
        client: Client,
        id: u64,
        after: Option<u64>,
        asked: &mut Vec<Asked>,
    ) -> Result<(), Errno> {
        let seq = self.history.last();
        let data = serde_json::json!({ "seq": seq });
        if let Some(connection) = self.clients.get_mut(&client.0) {
            connection.answer(ControlResponse::done(id, data));
            connection.tell_from(after.unwrap_or(seq).min(seq) + 1);
            self.settle(poller, client.0, asked)?;
        }
        Ok(())
    }

    /// Tells everybody who wants to know.
    ///
    /// # Errors
    /// As [`Control::on_ready`].
    pub fn tell(&mut self, poller: &Poller, event: Event) -> Result<(), Errno> {
        self.history.add(event);
        let keys: Vec<u64> = self.clients.keys().copied().collect();
        for key in keys {
            // Nothing is read here, so nothing can be asked.
            self.settle(poller, key, &mut Vec::new())?;
        }
        Ok(())
    }

    /// Whether the client is still there.
    #[must_use]
    pub fn has(&self, client: Client) -> bool {
        self.clients.contains_key(&client.0)
    }

    /// Who left since this was last asked.
    pub fn take_gone(&mut self) -> Vec<Client> {
        std::mem::take(&mut self.gone)
    }

    /// Nothing more is read of anybody; what was asked can still be answered. Whether anybody is still to be told something.
    ///
    /// # Errors
    /// As [`Control::on_ready`].
    pub fn end(&mut self, poller: &Poller) -> Result<bool, Errno> {
        let keys: Vec<u64> = self.clients.keys().copied().collect();
        for key in keys {
            if let Some(connection) = self.clients.get_mut(&key) {
                connection.end();
                self.settle(poller, key, &mut Vec::new())?;
            }
        }
        Ok(!self.clients.is_empty())
    }

    /// Sends what can be sent, waits for what is left, and parts with who is gone.
    fn settle(&mut self, poller: &Poller, key: u64, asked: &mut Vec<Asked>) -> Result<(), Errno> {
        let Some(connection) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        connection.flush(&self.history);
        // What was read and had to wait for an answer to others.
        while let Read::Request(request) = connection.next(&self.hello) {
            asked.push(connection.asked(Client(key), request));
        }
        connection.flush(&self.history);
        if connection.is_over() {
            poller.remove(connection.as_fd());
            self.clients.remove(&key);
            self.gone.push(Client(key));
            return match self.paused_until {
                Some(_) => self.let_in_again(poller),
                None => Ok(()),
            };
        }
        let wanted = connection.wanted(&self.history);
        if wanted != connection.interest {
            connection.interest = wanted;
            poller.change(connection.as_fd(), Token(key), wanted)?;
        }
        Ok(())
    }

    fn accept(&mut self, poller: &Poller, now: Instant) -> Result<(), Errno> {
        // Each turn of the loop a few, so that those who are in are served meanwhile.
        for _ in 0..TURN {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => OwnedFd::from(socket),
                Err(error) if is_scarcity(&error) => {
                    poller.remove(self.listener.as_fd());
                    self.paused_until = Some(now + PAUSE);
                    return Ok(());
                }
                // Whoever connected is gone again, or nobody is left.
                Err(_) => return Ok(()),
            };
            let Ok(by) = self.admission.consider(socket.as_fd()) else {
                continue;
            };
            if self.clients.len() >= MOST_CLIENTS {
                continue;
            }
            // What nobody asked for is not to be closed by us, which may take as long as who sent it likes.
            let _unsupported = sys::peers::refuse_descriptors(socket.as_fd());
            let key = self.next;
            self.next += 1;
            match poller.add(socket.as_fd(), Token(key), Interest::READ) {
                Ok(()) => {}
                // No room for one more.
                Err(Errno::ENOSPC | Errno::ENOMEM) => continue,
                Err(errno) => return Err(errno),
            }
            self.clients.insert(key, Connection::new(socket, by));
        }
        Ok(())
    }

    fn let_in_again(&mut self, poller: &Poller) -> Result<(), Errno> {
        self.paused_until = None;
        poller.add(self.listener.as_fd(), LISTENER, Interest::READ)
    }
}

/// Whether there were no descriptors, or no memory for one.
fn is_scarcity(error: &std::io::Error) -> bool {
    let scarce = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno.is_some_and(|errno| scarce.contains(&errno))
}
