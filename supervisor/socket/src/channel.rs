//! The face that never waits: one connection of a supervisor's loop.
//!
//! Comes in: that the socket is readable or writable. Goes out: requests, each with its sender.
//! What no program needs to be asked about is answered here: greetings, and what breaks the protocol.
//!
//! A peer can make this channel stop, but nothing else: what it sends is read a bounded piece at a
//! time, what it does not read is bounded by [`MAX_CONSIDERED`], and no call here waits for it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::PollFlags;
use protocol::frame::HEADER;
use protocol::{
    Code, OpenRequest, Refused, Rejected, SupervisorMessage, SupervisorResponse,
    Welcome as Greeting,
};
use sys::messages::{Wait, Welcome, send};

#[cfg(target_os = "linux")]
use crate::durable::Durable;
use crate::inbox::{Filled, Inbox, Reading};
use crate::peer::{Peer, name_by_pidfd, name_senders};
use crate::replay::Replay;
use crate::{Error, Result};

/// How many requests of one connection are considered at once, answers that it has not read
/// included. Further ones wait in the socket, where they cost us nothing.
pub const MAX_CONSIDERED: usize = 32;

/// After so many messages of one process in a row, no more of them brings a pidfd.
///
/// Making one and closing it again is more than a tenth of what a grant costs. As long as the process of
/// the last one lives, its number names it and nobody else; so nothing is lost, but that the first
/// message of another process then comes with its credentials alone.
const SETTLED: u32 = 16;

/// One connection of a program to this supervisor.
///
/// A loop polls its descriptor for [`Channel::interest`], says what came with [`Channel::ready`], and then calls
/// [`Channel::next_request`] until it has no more; also after [`Channel::answer`], which makes room. When
/// [`Channel::is_over`], it is to be dropped.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    inbox: Inbox,
    unsent: VecDeque<Unsent>,
    outgoing: Vec<u8>,
    replay: Replay,
    /// Requests that were handed out and not answered.
    considered: usize,
    /// What [`Channel::next_request`] reports first: it was found while reading.
    found: Option<Incoming>,
    over: bool,
    /// How many messages in a row came from the last sender, counted up to [`SETTLED`].
    in_a_row: u32,
    /// Requests stay in the socket until they are answered.
    #[cfg(target_os = "linux")]
    durable: Option<Durable>,
}

/// What a program sent.
#[derive(Debug)]
pub enum Incoming {
    /// A request; it must be answered once, with [`Channel::answer`].
    Open(Arc<Peer>, OpenRequest),
    /// Something that breaks the protocol. It was answered; this is for the record.
    Rejected(Arc<Peer>, Rejected),
}

/// What came of reading once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// There was nothing.
    Nothing,
    /// Something came.
    Bytes,
    /// The program is gone, and takes no more answers.
    End,
}

/// A frame, or the rest of one, that the socket had no room for.
#[derive(Debug)]
struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
    /// Until the first byte is sent.
    fds: Vec<OwnedFd>,
    id: Option<u64>,
}

impl Channel {
    /// Takes the supervisor's end of a connection: of a pair, or one that was accepted.
    ///
    /// Do so before the other end is given away, or [`Channel::prepare`] it then.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(socket: impl Into<OwnedFd>) -> Result<Self> {
        let socket = socket.into();
        Self::prepare(socket.as_fd())?;
        Ok(Self {
            socket,
            inbox: Inbox::new(),
            unsent: VecDeque::new(),
            outgoing: Vec::new(),
            replay: Replay::default(),
            considered: 0,
            found: None,
            over: false,
            in_a_row: 0,
            #[cfg(target_os = "linux")]
            durable: None,
        })
    }

    /// The same; but each request stays in the socket until it is answered, so that whoever has the socket after us finds those that
    /// were not. One that was answered just before may be found, too, and is then answered twice.
    ///
    /// What is to be polled of it is its descriptor alone, for being readable: it is so after something has happened.
    ///
    /// # Errors
    /// What the kernel says.
    #[cfg(target_os = "linux")]
    pub fn durable(socket: impl Into<OwnedFd>) -> Result<Self> {
        let mut channel = Self::new(socket)?;
        channel.durable = Some(Durable::new(channel.socket.as_fd())?);
        Ok(channel)
    }

    /// The connection itself.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Makes the kernel name the sender of whatever arrives at this end from now on, and keep descriptors
    /// away from it. Of bytes that came before, it names none, and the channel ends with them.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prepare(socket: BorrowedFd<'_>) -> Result<()> {
        name_senders(socket)?;
        // A request carries no descriptors. Before Linux 6.16 they come all the same, and are closed.
        #[cfg(target_os = "linux")]
        sys::peers::refuse_descriptors(socket).map_err(Error::io("setsockopt(SO_PASSRIGHTS)"))?;
        Ok(())
    }

    /// Whether the connection has ended, and can be dropped.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether there is room for further requests.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        !self.over && self.has_room()
    }

    /// Whether answers wait for the socket to take them.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.over && !self.unsent.is_empty()
    }

    /// What to poll for. (That the program is gone is always told.)
    #[must_use]
    pub fn interest(&self) -> PollFlags {
        if self.is_durable() {
            return PollFlags::POLLIN;
        }
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::POLLIN, self.wants_read());
        interest.set(PollFlags::POLLOUT, self.wants_write());
        interest
    }

    /// Does what can be done now that the descriptor is ready for this.
    ///
    /// # Errors
    /// As [`Channel::feed`].
    pub fn ready(&mut self, what: PollFlags) -> Result<()> {
        #[cfg(target_os = "linux")]
        let what = match &mut self.durable {
            Some(durable) => durable.happened()?,
            None => what,
        };
        if what.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL) {
            // Every holder of the other end is gone: what they asked for cannot reach anybody.
            self.over = true;
            return Ok(());
        }
        if what.contains(PollFlags::POLLOUT) {
            self.flush();
        }
        if what.contains(PollFlags::POLLIN) {
            self.feed()?;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn is_durable(&self) -> bool {
        self.durable.is_some()
    }

    #[cfg(not(target_os = "linux"))]
    fn is_durable(&self) -> bool {
        false
    }

    fn reading(&self) -> Reading {
        #[cfg(target_os = "linux")]
        if self.durable.is_some() {
            return Reading::Look;
        }
        Reading::Take(Wait::No)
    }

    /// A frame was looked at: with an id, one that is answered later.
    fn looked(&mut self, length: usize, id: Option<u64>) {
        #[cfg(target_os = "linux")]
        if let Some(durable) = &mut self.durable {
            durable.looked(length, id);
        }
        #[cfg(not(target_os = "linux"))]
        let _nothing = (length, id);
    }

    /// Takes what is answered out of the socket. What was not sent yet is not answered.
    fn consume(&mut self) {
        #[cfg(target_os = "linux")]
        if self.unsent.is_empty()
            && let Some(durable) = &mut self.durable
            && durable.consume(self.socket.as_fd()).is_err()
        {
            self.over = true;
        }
    }

    /// There is nothing more to be looked at, for now.
    fn seen_all(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(durable) = &mut self.durable {
            durable.unseen = false;
        }
    }

    fn has_unseen(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.durable.as_ref().is_some_and(|durable| durable.unseen);
        #[cfg(not(target_os = "linux"))]
        false
    }

    fn has_room(&self) -> bool {
        self.considered + self.unsent.len() < MAX_CONSIDERED
    }

    /// Reads what is there, once: one call to the kernel, and a bounded number of bytes, so that no
    /// peer gets more of the loop's time than another.
    ///
    /// # Errors
    /// [`Error::PeerUnknown`] when the sender is a process that cannot be named; what the
    /// kernel says. The channel is then over.
    pub fn feed(&mut self) -> Result<Fed> {
        // A whole frame that waits for room must not be read past: the next bytes may be of another sender.
        if !self.wants_read() {
            return Ok(Fed::Nothing);
        }
        let before = self.inbox.sender().map(Arc::clone);
        let welcome = Welcome {
            fds: 0,
            sender: true,
        };
        let before_it = self.inbox.unused();
        let reading = self.reading();
        let filled = match self.inbox.fill(self.socket.as_fd(), welcome, reading) {
            Ok(filled) => filled,
            Err(Errno::EAGAIN) => {
                self.seen_all();
                return Ok(Fed::Nothing);
            }
            Err(Errno::ECONNRESET) => Filled::End,
            Err(errno) => {
                self.over = true;
                return Err(Error::io("recvmsg")(errno));
            }
        };
        if matches!(filled, Filled::End) {
            self.over = true;
            return Ok(Fed::End);
        }
        if self.inbox.sender().is_none() && SENDERS_ARE_NAMED {
            self.over = true;
            return Err(Error::PeerUnknown);
        }
        if let Err(error) = self.settle(before) {
            self.over = true;
            return Err(error);
        }
        if let Filled::Interrupted(_) = filled {
            self.looked(before_it, None);
        }
        if let Filled::Interrupted(Some(peer)) = filled {
            let detail = "bytes of another process came before the end of the frame";
            self.found = Some(self.reject(peer, None, Code::BadRequest, detail));
        }
        Ok(Fed::Bytes)
    }

    /// Has the kernel make pidfds until one process alone is known to use the connection.
    fn settle(&mut self, before: Option<Arc<Peer>>) -> Result<()> {
        let now = self.inbox.sender();
        let is_same = match (&before, now) {
            // One that has a pidfd and lives is kept.
            (Some(before), Some(now)) => now.pidfd.is_some() && Arc::ptr_eq(before, now),
            _ => false,
        };
        if is_same {
            if self.in_a_row < SETTLED {
                self.in_a_row += 1;
                if self.in_a_row == SETTLED {
                    name_by_pidfd(self.socket.as_fd(), false)?;
                }
            }
        } else {
            if self.in_a_row == SETTLED {
                name_by_pidfd(self.socket.as_fd(), true)?;
            }
            self.in_a_row = 0;
        }
        Ok(())
    }

    /// Takes the next thing that came, or `None` when there is nothing whole, or no room.
    pub fn next_request(&mut self) -> Option<Incoming> {
        if let Some(found) = self.found.take() {
            return Some(found);
        }
        while self.wants_read() {
            self.consume();
            if !self.inbox.is_whole() && self.has_unseen() {
                // What is still unread is not told of again.
                match self.feed() {
                    Ok(Fed::Bytes) => {}
                    Ok(Fed::Nothing | Fed::End) | Err(_) => return None,
                }
                if let Some(found) = self.found.take() {
                    return Some(found);
                }
                continue;
            }
            let frame = match self.inbox.take() {
                Ok(frame) => frame?,
                Err(error) => {
                    // Nobody knows where the next frame begins. The answer goes out if it can.
                    self.over = true;
                    let peer = self.inbox.sender().map(Arc::clone)?;
                    return Some(self.reject(peer, None, Code::BadRequest, &error.to_string()));
                }
            };
            let peer = frame.sender.map(Arc::clone)?;
            let length = HEADER + frame.text.len();
            let decoded = if frame.lost.is_some() {
                let detail = "a request carries no descriptors".to_owned();
                Err(Rejected {
                    id: None,
                    code: Code::BadRequest,
                    detail,
                })
            } else {
                SupervisorMessage::decode(frame.text)
            };
            let waits = match &decoded {
                Ok(SupervisorMessage::Open(open)) if self.replay.is_new(peer.pid, open.id) => {
                    Some(open.id)
                }
                _ => None,
            };
            self.looked(length, waits);
            match decoded {
                Err(Rejected { id, code, detail }) => {
                    return Some(self.reject(peer, id, code, &detail));
                }
                Ok(SupervisorMessage::Fd(_)) => {
                    return Some(self.reject(
                        peer,
                        None,
                        Code::Unsupported,
                        "a request of kind `fd`",
                    ));
                }
                Ok(SupervisorMessage::Hello(hello)) => {
                    self.queue(
                        &SupervisorResponse::Welcome(Greeting { id: hello.id }),
                        Vec::new(),
                    );
                }
                Ok(SupervisorMessage::Open(open)) => {
                    if waits.is_none() {
                        let detail = "this id was used before";
                        return Some(self.reject(peer, Some(open.id), Code::Replayed, detail));
                    }
                    self.considered += 1;
                    return Some(Incoming::Open(peer, open));
                }
            }
        }
        None
    }

    /// Answers a request that [`Channel::next_request`] gave out: at once where the socket has room, later
    /// otherwise. The descriptors travel with it, and are closed here.
    ///
    /// A descriptor that the kernel will not carry (too many are under way already, or the program
    /// takes none) becomes a refusal.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the answer speaks of another number of descriptors;
    /// [`Error::Closed`] when the program is gone.
    pub fn answer(&mut self, response: &SupervisorResponse, fds: Vec<OwnedFd>) -> Result<()> {
        if response.fds() != fds.len() {
            let detail = format!(
                "{} descriptors for an answer that speaks of {}",
                fds.len(),
                response.fds()
            );
            return Err(Error::Malformed { detail });
        }
        self.considered = self.considered.saturating_sub(1);
        self.queue(response, fds);
        #[cfg(target_os = "linux")]
        if let Some(durable) = &mut self.durable {
            durable.answered(response.id());
        }
        self.consume();
        if self.over {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    /// Sends what waited, as far as the socket takes it. A program that is gone makes the channel over.
    pub fn flush(&mut self) {
        while let Some(mut unsent) = self.unsent.pop_front() {
            match self.send(&unsent.bytes[unsent.sent..], &unsent.fds) {
                Step::Sent(count) => {
                    unsent.sent += count;
                    unsent.fds.clear();
                    if unsent.sent < unsent.bytes.len() {
                        self.unsent.push_front(unsent);
                    }
                }
                Step::Full => {
                    self.unsent.push_front(unsent);
                    return;
                }
                Step::NotCarried(errno) => {
                    if let Some(bytes) = encoded(&undelivered(unsent.id, errno)) {
                        self.unsent.push_front(Unsent {
                            bytes,
                            sent: 0,
                            fds: Vec::new(),
                            id: unsent.id,
                        });
                    }
                }
                Step::Gone => {
                    self.over = true;
                    self.unsent.clear();
                    return;
                }
            }
        }
    }

    /// Answers what breaks the protocol, and makes the note of it.
    fn reject(&mut self, peer: Arc<Peer>, id: Option<u64>, code: Code, detail: &str) -> Incoming {
        let rejected = Rejected {
            id,
            code,
            detail: detail.to_owned(),
        };
        self.queue(&SupervisorResponse::from(rejected.clone()), Vec::new());
        Incoming::Rejected(peer, rejected)
    }

    /// Sends a frame at once when none waits before it and there is room; else it waits.
    fn queue(&mut self, response: &SupervisorResponse, fds: Vec<OwnedFd>) {
        let id = response.id();
        let mut outgoing = std::mem::take(&mut self.outgoing);
        outgoing.clear();
        if response.encode(&mut outgoing).is_err() {
            // Nothing that we say is that long; if it were, a short refusal is the truth as well.
            outgoing.extend(encoded(&undelivered(id, Errno::EMSGSIZE)).unwrap_or_default());
        }
        let step = match self.unsent.is_empty() {
            true => self.send(&outgoing, &fds),
            false => Step::Full,
        };
        match step {
            Step::Sent(count) if count == outgoing.len() => self.outgoing = outgoing,
            Step::Sent(sent) => self.unsent.push_back(Unsent {
                bytes: outgoing,
                sent,
                fds: Vec::new(),
                id,
            }),
            Step::Full => self.unsent.push_back(Unsent {
                bytes: outgoing,
                sent: 0,
                fds,
                id,
            }),
            Step::NotCarried(errno) => self.queue(&undelivered(id, errno), Vec::new()),
            Step::Gone => self.over = true,
        }
    }

    fn send(&self, bytes: &[u8], fds: &[OwnedFd]) -> Step {
        let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        match send(self.socket.as_fd(), bytes, &borrowed, Wait::No) {
            Ok(count) => Step::Sent(count),
            Err(Errno::EAGAIN) => Step::Full,
            Err(Errno::EPIPE | Errno::ECONNRESET) => Step::Gone,
            Err(errno) if !fds.is_empty() => Step::NotCarried(errno),
            Err(_) => Step::Gone,
        }
    }
}

/// What came of sending once.
enum Step {
    Sent(usize),
    Full,
    NotCarried(Errno),
    Gone,
}

/// What is said instead of a grant that cannot be delivered.
fn undelivered(id: Option<u64>, errno: Errno) -> SupervisorResponse {
    SupervisorResponse::Refused(Refused {
        id,
        code: Code::Failed,
        errno: errno as i32,
        rule: None,
        detail: Some("the file could not be handed over".to_owned()),
    })
}

fn encoded(response: &SupervisorResponse) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    response.encode(&mut bytes).ok().map(|()| bytes)
}

/// Only Linux names the sender of a message.
const SENDERS_ARE_NAMED: bool = cfg!(target_os = "linux");

impl AsFd for Channel {
    /// What is to be polled.
    fn as_fd(&self) -> BorrowedFd<'_> {
        #[cfg(target_os = "linux")]
        if let Some(durable) = &self.durable {
            return durable.edge();
        }
        self.socket.as_fd()
    }
}
