//! The explicit door: connections of the session's own programs, and the broker that answers them.
//!
//! Who may ask is who belongs to the session: every sender carries its tag, whatever descriptor its words came through.

use crate::audit::{Answer, Decision, Door, Event, Log, Who};
use crate::broker::{Broker, Claim, Outcome, Peer, Progress, Refusal, Ticket};
use crate::policy::Mechanism;
use crate::sandbox::Tag;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use protocol::{Code, OpenRequest, Rejected};
use socket::{Channel, Incoming};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A fresh connection: our end, which already names senders, and the end to hand down.
///
/// # Errors
/// The errno of `socketpair(2)`, or what keeps senders from being named.
pub fn pair() -> Result<(Channel, OwnedFd), socket::Error> {
    let (outer, inner) = ends()?;
    Ok((Channel::new(outer)?, inner))
}

/// The same for a session that outlives whoever serves it: its requests stay in the socket until they are answered.
///
/// # Errors
/// As for [`pair`].
pub fn durable_pair() -> Result<(Channel, OwnedFd), socket::Error> {
    let (outer, inner) = ends()?;
    Ok((Channel::durable(outer)?, inner))
}

fn ends() -> Result<(OwnedFd, OwnedFd), socket::Error> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let made = socketpair(AddressFamily::Unix, SockType::Stream, None, flags);
    made.map_err(|errno| socket::Error::Io {
        operation: "socketpair",
        source: errno,
    })
}

/// Who keeps connections for a later supervisor.
pub trait Hold: std::fmt::Debug + Send {
    /// Keeps one, under a label.
    fn hold(&self, label: u32, connection: BorrowedFd<'_>);
    /// It is over.
    fn release(&self, label: u32);
}

/// How many connections a session may have. A further one is closed at once.
const MOST: usize = 256;

/// All connections of a session.
pub(super) struct Channels {
    broker: Broker,
    /// `None` inside another session, whose tag every process carries: then the pair that was handed down is what tells.
    tag: Option<Tag>,
    open: BTreeMap<u64, Connection>,
    /// Which request on which connection a pending claim answers.
    waiting: HashMap<Ticket, (u64, u64)>,
    next: u64,
    hold: Option<Box<dyn Hold>>,
    next_label: u32,
    /// The one connection that there is, where no other can be made.
    only: Option<u64>,
}

struct Connection {
    channel: Channel,
    /// The last sender that was found to belong to the session.
    member: Option<Arc<socket::Peer>>,
    /// Under which it is kept; 0: that is not ours to say.
    label: u32,
}

impl Channels {
    pub(super) fn new(broker: Broker, tag: Option<Tag>, hold: Option<Box<dyn Hold>>) -> Self {
        Self {
            broker,
            tag,
            open: BTreeMap::new(),
            waiting: HashMap::new(),
            next: 0,
            hold,
            next_label: 1,
            only: None,
        }
    }

    /// Takes the connection that all programs inherit. `is_only`: none of them can make another.
    pub(super) fn add_inherited(&mut self, channel: Channel, is_only: bool) {
        self.only = is_only.then_some(self.next);
        self.add(channel);
    }

    /// Takes a connection.
    fn add(&mut self, channel: Channel) {
        self.admit(channel, 0);
    }

    fn admit(&mut self, channel: Channel, label: u32) {
        if self.open.len() < MOST {
            self.open.insert(
                self.next,
                Connection {
                    channel,
                    member: None,
                    label,
                },
            );
            self.next += 1;
        } else if let Some(hold) = self.hold.as_ref().filter(|_| label != 0) {
            hold.release(label);
        }
    }

    /// Takes our end of a connection that the transparent door made. One that cannot be served is closed, which is what the
    /// program at the other end then finds.
    pub(super) fn accept(&mut self, end: OwnedFd) {
        let Some(hold) = &self.hold else {
            if let Ok(channel) = Channel::new(end) {
                self.add(channel);
            }
            return;
        };
        if let Ok(channel) = Channel::durable(end) {
            let label = self.next_label;
            self.next_label += 1;
            hold.hold(label, channel.socket());
            self.admit(channel, label);
        }
    }

    /// Takes our end of a connection that an earlier supervisor had.
    pub(super) fn inherit(&mut self, label: u32, end: OwnedFd) {
        self.next_label = self.next_label.max(label.saturating_add(1));
        if let Ok(channel) = Channel::durable(end) {
            self.admit(channel, label);
        }
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// What to poll each connection for.
    pub(super) fn interests(
        &self,
    ) -> impl Iterator<Item = (u64, BorrowedFd<'_>, PollFlags)> + Clone {
        self.open.iter().map(|(key, connection)| {
            (
                *key,
                connection.channel.as_fd(),
                connection.channel.interest(),
            )
        })
    }

    /// Readable when a claim that waited is answered: [`Channels::on_answers`].
    pub(super) fn answers(&self) -> BorrowedFd<'_> {
        self.broker.wake_fd()
    }

    /// Serves what a connection is ready for.
    pub(super) fn on_ready(&mut self, key: u64, what: PollFlags, log: &mut Log) {
        let Some(connection) = self.open.get_mut(&key) else {
            return;
        };
        // A connection that fails ends itself, and nothing but itself.
        let alive = connection.channel.ready(what).is_ok();
        if alive {
            self.take_requests(key, log);
        }
        self.close_if_over(key, !alive, log);
    }

    /// Sends the answers of claims that waited, and returns those of claims that came from elsewhere.
    pub(super) fn on_answers(&mut self, log: &mut Log) -> Vec<(Ticket, Outcome)> {
        let mut others = Vec::new();
        for (ticket, outcome) in self.broker.completed(log) {
            let Some((key, id)) = self.waiting.remove(&ticket) else {
                others.push((ticket, outcome));
                continue;
            };
            self.reply(key, id, outcome);
            // There is room for another request now.
            self.take_requests(key, log);
            self.close_if_over(key, false, log);
        }
        others
    }

    /// Whether a question stands on the caller's terminal.
    pub(super) fn is_on_terminal(&self) -> bool {
        self.broker.is_on_terminal()
    }

    /// Who considers claims, for the other door.
    pub(super) fn broker(&mut self) -> &mut Broker {
        &mut self.broker
    }

    fn take_requests(&mut self, key: u64, log: &mut Log) {
        while let Some(incoming) = self
            .open
            .get_mut(&key)
            .and_then(|connection| connection.channel.next_request())
        {
            match incoming {
                Incoming::Rejected(peer, rejected) => note_rejected(&peer, &rejected, log),
                Incoming::Open(peer, request) => self.consider(key, &peer, request, log),
            }
        }
    }

    fn consider(
        &mut self,
        key: u64,
        peer: &Arc<socket::Peer>,
        request: OpenRequest,
        log: &mut Log,
    ) {
        let id = request.id;
        if !self.is_member(key, peer) {
            let refusal = Refusal::usual(Code::Denied);
            note_refused(
                peer,
                id,
                &refusal,
                "the sender does not belong to this session",
                log,
            );
            return self.reply(key, id, Outcome::Refused(refusal));
        }
        let claim = match Claim::new(request) {
            Ok(claim) if self.only == Some(key) => claim.alone(),
            Ok(claim) => claim,
            Err(refusal) => {
                let detail = refusal.detail.clone().unwrap_or_default();
                note_refused(peer, id, &refusal, &detail, log);
                return self.reply(key, id, Outcome::Refused(refusal));
            }
        };
        let asker = Peer {
            pid: peer.pid.as_raw(),
            uid: peer.uid.as_raw(),
            pidfd: peer.pidfd.as_ref().map(AsFd::as_fd),
        };
        match self.broker.claim(log, &asker, claim) {
            Progress::Done(outcome) => self.reply(key, id, outcome),
            Progress::Pending(ticket) => {
                self.waiting.insert(ticket, (key, id));
            }
        }
    }

    /// Whether the sender belongs to the session. Looked up once for each sender in a row.
    fn is_member(&mut self, key: u64, peer: &Arc<socket::Peer>) -> bool {
        let Some(connection) = self.open.get_mut(&key) else {
            return false;
        };
        if connection
            .member
            .as_ref()
            .is_some_and(|member| Arc::ptr_eq(member, peer))
        {
            return true;
        }
        let belongs = match self.tag {
            Some(tag) => tag.is_on(peer.pid.as_raw()),
            None => peer.uid == nix::unistd::geteuid(),
        };
        if belongs {
            connection.member = Some(peer.clone());
        }
        belongs
    }

    fn reply(&mut self, key: u64, id: u64, outcome: Outcome) {
        let Some(connection) = self.open.get_mut(&key) else {
            return;
        };
        let (response, fds) = outcome.into_response(id);
        match connection.channel.answer(&response, fds) {
            // Whoever does not take its answer loses its connection, which then says that it is over.
            Ok(()) | Err(_) => {}
        }
    }

    fn close_if_over(&mut self, key: u64, failed: bool, log: &mut Log) {
        if !failed
            && !self
                .open
                .get(&key)
                .is_some_and(|connection| connection.channel.is_over())
        {
            return;
        }
        let label = self.open.remove(&key).map_or(0, |over| over.label);
        if let Some(hold) = self.hold.as_ref().filter(|_| label != 0) {
            hold.release(label);
        }
        let gone: Vec<Ticket> = self
            .waiting
            .iter()
            .filter(|(_, (other, _))| *other == key)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in gone {
            self.waiting.remove(&ticket);
            self.broker.cancel(log, ticket);
        }
    }
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels")
            .field("open", &self.open.len())
            .field("waiting", &self.waiting.len())
            .finish()
    }
}

fn who(peer: &socket::Peer) -> Who<'static> {
    Who {
        pid: peer.pid.as_raw(),
        uid: peer.uid.as_raw(),
        exe: None,
    }
}

fn note_rejected(peer: &socket::Peer, rejected: &Rejected, log: &mut Log) {
    let refusal = Refusal::usual(rejected.code);
    note(
        peer,
        rejected.id,
        refusal.code,
        refusal.errno,
        &rejected.detail,
        log,
    );
}

fn note_refused(peer: &socket::Peer, id: u64, refusal: &Refusal, detail: &str, log: &mut Log) {
    note(peer, Some(id), refusal.code, refusal.errno, detail, log);
}

/// Records a refusal that the broker has not seen. It stands, recorded or not.
fn note(
    peer: &socket::Peer,
    id: Option<u64>,
    code: Code,
    errno: Errno,
    detail: &str,
    log: &mut Log,
) {
    let decision = Decision {
        id,
        code: Some(code.as_str()),
        errno: Some(errno),
        mechanism: Some(Mechanism::Broker),
        detail: Some(detail),
        ..Decision::new(Door::Socket, "open", who(peer), Answer::Refused)
    };
    let _unrecorded = log.record(&Event::Decision(decision));
}
