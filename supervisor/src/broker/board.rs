//! Where the questions of many sessions wait for an operator who is somewhere else.
//!
//! In: questions, each through the [`Seat`] of the session that asks, and what operators say to them. Out: answers, to that session
//! alone, and news for whoever watches. Nothing waits here, and the lock is held for a look-up.
//!
//! A session has room for a few questions, and for one also when the board is full: none takes another's place. A question is known
//! by a random number, so that one of an earlier daemon, or a slip of the hand, means nothing. It is answered once, before its
//! deadline, or not at all: then the session that asks refuses.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use protocol::Scope;
use protocol::control::{self, Event};

use super::Ticket;
use super::announcer::Announcer;
use super::approver::Answer;
use super::ledger::{Ledger, Pages, Revocation, Which};
use super::question::Question;
use crate::audit::Answerer;

/// Questions on a board, before a session can have no more than one there.
const MOST: usize = 512;

/// Questions of one session.
const MOST_OF_ONE: usize = 32;

/// For how long what the operator agreed to needs no new question, if the rule does not say less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// For as long as the rule says; if it says nothing, this once.
    AsRuled,
    /// For so long. Of nothing: this once.
    For(Duration),
    /// As long as the session lasts.
    Session,
}

/// What an operator says to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Yes: for how long, and for whom, if that is said.
    Yes(Hold, Option<Scope>),
    /// No.
    No,
    /// No, and not to be asked the same again in this session.
    Never,
}

/// The questions that wait, of all sessions.
#[derive(Debug)]
pub struct Board {
    posted: Mutex<Posted>,
    /// What was agreed to and still holds.
    ledger: Ledger,
    news: EventFd,
}

#[derive(Debug, Default)]
struct Posted {
    open: BTreeMap<u64, Entry>,
    /// Those of which somebody was told that they wait, and nobody that they do no more.
    settled: Vec<(u64, bool)>,
    /// What else there is to tell. Whoever tells sees to it that it is not much.
    told: Vec<Event>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    /// The older, the less.
    age: u64,
    worker: Arc<str>,
    question: Question,
    deadline: Instant,
    /// Until the session takes it.
    answer: Option<Answer>,
    bell: Arc<EventFd>,
    is_told: bool,
}

impl Board {
    /// An empty one.
    ///
    /// # Errors
    /// The errno of `eventfd(2)`.
    pub fn new() -> Result<Arc<Self>, Errno> {
        Ok(Arc::new(Self {
            posted: Mutex::default(),
            ledger: Ledger::default(),
            news: bell()?,
        }))
    }

    /// Who tells what is decided about one session, which is shown under this name.
    #[must_use]
    pub fn announcer(self: &Arc<Self>, worker: &str) -> Announcer {
        Announcer::new(self.clone(), worker)
    }

    /// Something is to be told to whoever watches.
    pub(super) fn tell(&self, event: Event) {
        self.posted().told.push(event);
        ring(&self.news);
    }

    /// A place for one session, which is shown under this name.
    ///
    /// # Errors
    /// The errno of `eventfd(2)`.
    pub fn seat(self: &Arc<Self>, worker: &str) -> Result<Seat, Errno> {
        Ok(Seat {
            board: self.clone(),
            worker: worker.into(),
            bell: Arc::new(bell()?),
            open: Vec::new(),
        })
    }

    /// What was agreed to and still holds, the oldest first, as far as it is meant.
    #[must_use]
    pub fn grants(&self, which: &Which) -> Vec<control::Grant> {
        self.ledger.living(which)
    }

    /// Takes back what was agreed to: nothing more is given under it from now on. Whoever asks again is refused as long as the session
    /// is served by this board, or is asked about again. What is said of it is how it was.
    #[must_use]
    pub fn revoke(&self, which: &Which, by: Answerer, refuses: bool) -> Vec<control::Grant> {
        self.ledger.revoke(which, Revocation { by, refuses })
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What waits, the oldest first.
    #[must_use]
    pub fn questions(&self) -> Vec<control::Question> {
        let (posted, now) = (self.posted(), Instant::now());
        let waiting = posted.open.iter().filter(|(_, entry)| entry.waits(now));
        let mut waiting: Vec<_> = waiting.collect();
        waiting.sort_by_key(|(_, entry)| entry.age);
        let shown = waiting.iter().map(|(number, entry)| entry.shown(**number));
        shown.collect()
    }

    /// Answers a question. `false`: it does not wait, any more or at all.
    pub fn answer(&self, question: u64, say: Say, by: Answerer) -> bool {
        let mut posted = self.posted();
        let Some(entry) = posted.open.get_mut(&question) else {
            return false;
        };
        if !entry.waits(Instant::now()) {
            return false;
        }
        entry.answer = Some(match say {
            Say::Yes(hold, scope) => Answer::Yes {
                hold,
                scope,
                by: Some(by),
                note: None,
            },
            Say::No => Answer::No {
                why: "the operator refused",
                by: Some(by),
                is_final: false,
            },
            Say::Never => Answer::never(Some(by)),
        });
        ring(&entry.bell);
        if entry.is_told {
            let is_yes = matches!(say, Say::Yes(..));
            posted.settled.push((question, is_yes));
            ring(&self.news);
        }
        true
    }

    /// Readable when [`Board::news`] has something.
    #[must_use]
    pub fn events(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }

    /// What happened since this was last asked. Of a question that came and went meanwhile there is nothing to tell, so there are
    /// never more of them than there is room on the board; and of decisions there are few for each session.
    #[must_use]
    pub fn news(&self) -> Vec<Event> {
        // EAGAIN: it was not set.
        let _reset = self.news.read();
        let mut posted = self.posted();
        let settled = std::mem::take(&mut posted.settled).into_iter();
        let settled = settled.map(|(question, granted)| Event::Settled { question, granted });
        let mut news: Vec<Event> = settled.collect();
        news.append(&mut posted.told);
        let now = Instant::now();
        let untold = posted.open.iter_mut();
        let mut untold: Vec<_> = untold
            .filter(|(_, entry)| !entry.is_told && entry.waits(now))
            .collect();
        untold.sort_by_key(|(_, entry)| entry.age);
        news.extend(untold.into_iter().map(|(number, entry)| {
            entry.is_told = true;
            Event::WaitingForApproval(entry.shown(*number))
        }));
        news
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove(&self, question: u64) {
        let mut posted = self.posted();
        if let Some(entry) = posted.open.remove(&question)
            && entry.is_told
            && entry.answer.is_none()
        {
            posted.settled.push((question, false));
            ring(&self.news);
        }
    }
}

impl Entry {
    fn waits(&self, now: Instant) -> bool {
        self.answer.is_none() && self.deadline > now
    }

    fn shown(&self, number: u64) -> control::Question {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.question.for_operator(number, &self.worker, left)
    }
}

/// A session's place at a board. What it asked is forgotten when this is dropped.
#[derive(Debug)]
pub struct Seat {
    board: Arc<Board>,
    worker: Arc<str>,
    bell: Arc<EventFd>,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    question: u64,
    ticket: Ticket,
    deadline: Instant,
}

impl Seat {
    /// Puts a question there. `false`: there is no room for it.
    pub(super) fn post(&mut self, ticket: Ticket, question: Question, timeout: Duration) -> bool {
        let own = self.open.len();
        let mut posted = self.board.posted();
        if own >= MOST_OF_ONE || (own > 0 && posted.open.len() >= MOST) {
            return false;
        }
        let free = |number: &u64| !posted.open.contains_key(number);
        let Some(number) = (0..8).filter_map(|_| random_number()).find(free) else {
            return false;
        };
        let Some(deadline) = Instant::now().checked_add(timeout) else {
            return false;
        };
        let entry = Entry {
            age: posted.next,
            worker: self.worker.clone(),
            question,
            deadline,
            answer: None,
            bell: self.bell.clone(),
            is_told: false,
        };
        posted.next += 1;
        posted.open.insert(number, entry);
        drop(posted);
        self.open.push(Open {
            question: number,
            ticket,
            deadline,
        });
        ring(&self.board.news);
        true
    }

    /// Where the same session enters what was agreed to.
    pub(super) fn pages(&self) -> Pages {
        Pages {
            board: self.board.clone(),
            worker: self.worker.clone(),
            bell: self.bell.clone(),
        }
    }

    /// What was answered by now, or not in time.
    pub(super) fn answers(&mut self) -> Vec<(Ticket, Answer)> {
        // EAGAIN: it was not set.
        let _reset = self.bell.read();
        let (board, now) = (&self.board, Instant::now());
        let mut answered = Vec::new();
        self.open.retain(|open| {
            let answer = board
                .posted()
                .open
                .get_mut(&open.question)
                .and_then(|entry| entry.answer.clone());
            let answer = match answer {
                Some(answer) => answer,
                None if open.deadline <= now => Answer::Late,
                None => return true,
            };
            board.remove(open.question);
            answered.push((open.ticket, answer));
            false
        });
        answered
    }

    /// Takes a question back.
    pub(super) fn withdraw(&mut self, ticket: Ticket) {
        if let Some(at) = self.open.iter().position(|open| open.ticket == ticket) {
            self.board.remove(self.open.swap_remove(at).question);
        }
    }

    /// When the first of its questions is late.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.iter().map(|open| open.deadline).min()
    }
}

impl AsFd for Seat {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        for open in self.open.drain(..) {
            self.board.remove(open.question);
        }
    }
}

/// Nine digits, which a person can copy. `None`: the kernel has no random numbers.
pub(super) fn random_number() -> Option<u64> {
    const LEAST: u64 = 100_000_000;
    getrandom::u64()
        .ok()
        .map(|random| LEAST + random % (9 * LEAST))
}

fn bell() -> Result<EventFd, Errno> {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
}

pub(super) fn ring(bell: &EventFd) {
    // A counter that is full is set already.
    let _set = bell.write(1);
}
