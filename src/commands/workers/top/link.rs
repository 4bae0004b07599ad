//! Those who are spoken with: each on a thread of its own, so that one who does not answer holds up nobody.

use super::super::client::{Asked, Client, Missed, Which, reach};
use super::super::{understood, whole};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use protocol::FaultCode;
use protocol::control::{ControlRequest, Event, Questions, Status};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is asked how everything is, beside what is told by itself.
const BEAT: Duration = Duration::from_secs(1);

/// What is heard and not taken yet. Who is not listened to for longer is told later that events were left out.
const ROOM: usize = 1024;

/// Whom. The daemon comes first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its control socket.
    pub socket: Arc<Path>,
    /// It is the daemon, or the one that was named; the others are runs.
    pub is_daemon: bool,
}

impl Ord for Peer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let order = |peer: &Self| (!peer.is_daemon, peer.socket.clone());
        order(self).cmp(&order(other))
    }
}

impl PartialOrd for Peer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What is heard of somebody.
#[derive(Debug)]
pub struct News {
    /// Of whom.
    pub peer: Peer,
    /// What.
    pub told: Told,
}

/// What was said.
#[derive(Debug)]
pub enum Told {
    /// It is there.
    Here,
    /// How it is, with all its workers.
    Status(Status),
    /// All that waits.
    Questions(Questions),
    /// Something happened.
    Event(Event),
    /// It is gone, or was never there; and why it cannot be spoken with, where it is there.
    Gone(Option<String>),
    /// What came of the answer to that question.
    Answered(u64, Result<(), String>),
}

/// All of them.
#[derive(Debug)]
pub struct Links {
    which: Which,
    known: Vec<Peer>,
    heard: Arc<Heard>,
}

/// What was heard and not taken yet.
#[derive(Debug)]
struct Heard {
    news: Mutex<VecDeque<News>>,
    /// Something was taken.
    taken: Condvar,
    bell: EventFd,
}

impl Heard {
    /// Tells, as soon as there is room, and rings.
    fn tell(&self, peer: &Peer, told: Told) {
        let peer = peer.clone();
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.taken.wait_while(news, |news| news.len() >= ROOM);
        let mut news = room.unwrap_or_else(PoisonError::into_inner);
        news.push_back(News { peer, told });
        // A counter that is full is set already.
        let _rung = self.bell.write(1);
    }
}

impl Links {
    /// With nobody, yet.
    ///
    /// # Errors
    /// The errno of `eventfd(2)`.
    pub fn new(which: Which) -> Result<Self, Errno> {
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let heard = Heard {
            news: Mutex::default(),
            taken: Condvar::new(),
            bell,
        };
        Ok(Self {
            which,
            known: Vec::new(),
            heard: Arc::new(heard),
        })
    }

    /// Speaks with whoever is there and is not spoken with.
    ///
    /// # Errors
    /// It cannot be known where they would be.
    pub fn seek(&mut self) -> Result<(), String> {
        for (at, socket) in self.which.sockets()?.into_iter().enumerate() {
            let peer = Peer {
                socket: socket.into(),
                is_daemon: at == 0,
            };
            if self.known.contains(&peer) {
                continue;
            }
            let heard = self.heard.clone();
            let known = peer.clone();
            // Without a thread for it: later.
            if aside(move || speak(&peer, &heard)) {
                self.known.push(known);
            }
        }
        Ok(())
    }

    /// What was heard, if anything.
    pub fn next(&mut self) -> Option<News> {
        // EAGAIN: it did not ring.
        let _rung = self.heard.bell.read();
        let news = self.heard.news.lock();
        let news = news.unwrap_or_else(PoisonError::into_inner).pop_front()?;
        self.heard.taken.notify_one();
        if matches!(news.told, Told::Gone(_)) {
            self.known.retain(|peer| *peer != news.peer);
        }
        Some(news)
    }

    /// Answers a question; what comes of it is heard. `false`: it cannot be.
    pub fn answer(&self, peer: Peer, number: u64, request: ControlRequest) -> bool {
        let heard = self.heard.clone();
        aside(move || {
            let outcome = answered(&peer.socket, request);
            heard.tell(&peer, Told::Answered(number, outcome));
        })
    }
}

impl AsFd for Links {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.heard.bell.as_fd()
    }
}

fn aside(act: impl FnOnce() + Send + 'static) -> bool {
    let thread = std::thread::Builder::new().name("link".to_owned());
    thread.spawn(act).is_ok()
}

fn answered(socket: &Path, request: ControlRequest) -> Result<(), String> {
    let mut client = reach(socket).map_err(|missed| missed.to_string())?;
    match client.ask_quietly(request) {
        Ok(_) => Ok(()),
        Err(Asked::Refused(fault)) if fault.code == FaultCode::UnknownQuestion => {
            Err("it waits no more".to_owned())
        }
        Err(why) => Err(why.to_string()),
    }
}

/// Speaks with one of them until it is gone.
fn speak(peer: &Peer, heard: &Heard) {
    let met = reach(&peer.socket).map_err(|missed| match missed {
        Missed::Nobody(_) => End::Over,
        // A run that has just ended, or is somebody else's.
        Missed::Closed(_) if !peer.is_daemon => End::Over,
        Missed::Closed(why) => End::Closed(why),
    });
    let Err(end) = met.and_then(|mut client| converse(&mut client, peer, heard));
    let trouble = match end {
        End::Over => None,
        End::Closed(why) => Some(why),
    };
    heard.tell(peer, Told::Gone(trouble));
}

/// Why nothing more is heard.
enum End {
    /// It is gone.
    Over,
    /// It is there, and does not want to speak.
    Closed(String),
}

impl From<Asked> for End {
    fn from(why: Asked) -> Self {
        match why {
            Asked::Lost(_) => Self::Over,
            refused @ Asked::Refused(_) => Self::Closed(refused.to_string()),
        }
    }
}

/// Until there is nothing more to hear.
fn converse(client: &mut Client, peer: &Peer, heard: &Heard) -> Result<Infallible, End> {
    heard.tell(peer, Told::Here);
    client.ask_quietly(ControlRequest::Subscribe { after: None })?;
    loop {
        let (status, questions) = (status(client)?, questions(client)?);
        // What happened meanwhile is older than the answers.
        while let Some(event) = client.known_event() {
            heard.tell(peer, Told::Event(event.event));
        }
        heard.tell(peer, status);
        heard.tell(peer, questions);
        let until = Instant::now() + BEAT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match client.event_within(left).map_err(|_| End::Over)? {
                Some(event) => heard.tell(peer, Told::Event(event.event)),
                None => break,
            }
        }
    }
}

fn status(client: &mut Client) -> Result<Told, Asked> {
    let ask = |request| understood(client.ask_quietly(request)?).map_err(Asked::Lost);
    whole(None, ask).map(Told::Status)
}

fn questions(client: &mut Client) -> Result<Told, Asked> {
    let answer = client.ask_quietly(ControlRequest::Questions {})?;
    understood(answer).map(Told::Questions).map_err(Asked::Lost)
}

/// A peer of a test.
#[cfg(test)]
pub fn peer(socket: &str, is_daemon: bool) -> Peer {
    Peer {
        socket: Path::new(socket).into(),
        is_daemon,
    }
}
