//! Claim → outcome: what the child may have beyond what the kernel lets it have anyway.
//!
//! In come claims and the kernel's word on who makes them. Out goes an [`Outcome`] for each: an open file, or a refusal.
//! On the way: [`locate`](self) the object once, decide on what was located, open *that*, record it, answer. No path is
//! resolved twice, so whatever is renamed or replaced meanwhile, the file that was decided on is the file that is granted,
//! also after an hour in which the operator thought about it.
//!
//! Nothing waits here. What may wait (a file server, a lease, a name that is not in memory) is done aside by a few threads;
//! what the approver is asked stays aside with its object held open. Both come back through [`Broker::wake_fd`].
//! Every failure is a no: a full queue, an approver that dies, no descriptors left, a deadline, a record that cannot be
//! written.
//!
//! **A budget** is counted here, and survives us in the log: who goes on with a session counts the grants that were recorded in
//! it ([`Broker::resume`]), the one that was under way maybe twice.
//!
//! **What expires.** A rule's `ttl` is how long a claim like the one granted is granted again without asking. A file that
//! was handed over stays open for as long as the child keeps it; the kernel has no call that takes it back. What an operator takes
//! back is that claims are granted without asking.

mod announcer;
mod approver;
mod board;
mod claim;
mod course;
mod descent;
mod grant;
mod ledger;
mod locate;
mod outcome;
mod peer;
pub(crate) mod pool;
mod question;
mod record;
mod refusals;
mod remembered;
pub(crate) mod umask;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use protocol::{Code, Scope};
use sys::errand::Errand;
use sys::openat2::Lookup;

use crate::audit::{Answerer, Log};
use crate::policy::{Allowed, BrokerRules, Origin, Question as Asks, Ruleset, Verdict};

use approver::Desk;
use ledger::{Pages, Slip};
use locate::Lost;
use peer::Asker;
use pool::Pool;
use record::conclude;
use refusals::Refusals;
use remembered::Remembered;

pub use announcer::Announcer;
pub use approver::{Clerk, Proposal, Wanted};
pub use board::{Board, Hold, Say, Seat};
pub use claim::Claim;
pub(crate) use grant::{Patience, is_ours_alone};
pub use ledger::Which;
pub use locate::Located;
pub(crate) use locate::id_of;
pub use outcome::{Grant, Outcome, Refusal};
pub use peer::Peer;

/// At most so many threads for what may wait. A file server that never answers holds one of them; when all are held, what is
/// slow waits for its deadline, and what is not slow never comes here.
const THREADS: usize = 4;

/// At most so many jobs that no thread has begun.
const QUEUE: usize = 64;

/// Claims that may wait at a time, for whatever it is.
const WAITING: usize = 128;

/// Of which so many may wait for the other ends of FIFOs: each is a process, and may wait for ever.
const FIFOS: usize = 32;

/// A claim that a file server does not answer for so long is refused.
const SLOW: Duration = Duration::from_secs(60);

/// How often a file that others make and remove at the same time is looked for again.
const ATTEMPTS: usize = 4;

/// What became of a claim so far.
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// It is answered.
    Done(Outcome),
    /// It will be, by [`Broker::completed`].
    Pending(Ticket),
}

/// A claim that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Answers claims, for one session.
pub struct Broker {
    ruleset: Arc<Ruleset>,
    /// How many grants each rule gave, by this broker.
    spent: HashMap<Origin, u32>,
    /// What they gave before this broker was there.
    before: Before,
    remembered: Remembered,
    refusals: Refusals,
    /// Rules ask: then it matters who it is that asks, also later.
    identifies: bool,
    /// Where operators see what was agreed to.
    pages: Option<Pages>,
    desk: Desk,
    slow: Pool<(Ticket, Found)>,
    waiting: HashMap<Ticket, Waiting>,
    next: u64,
    timer: TimerFd,
    alarm: Option<Instant>,
    poll: Epoll,
}

/// What the rules of a session granted before this supervisor came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// So much each, by where it stands.
    Counted(BTreeMap<String, u32>),
    /// Nobody can tell: rules that grant so often and no more grant nothing.
    Unknown,
}

impl Before {
    fn of(&self, rule: &Origin) -> u32 {
        match self {
            Self::Nothing => 0,
            // Rules that stand at the same place each pay for all of them.
            Self::Counted(counted) => counted.get(&rule.to_string()).copied().unwrap_or(0),
            Self::Unknown => u32::MAX,
        }
    }
}

/// One claim and who made it.
#[derive(Clone, Debug)]
struct Case {
    ticket: Ticket,
    asker: Asker,
    claim: Arc<Claim>,
    /// The located object's name, for the record.
    path: Option<std::path::PathBuf>,
    /// Who agreed or refused, where that was a person whom the kernel named.
    answered_by: Option<Answerer>,
    /// For whom they agreed.
    scope: Option<Scope>,
    /// What they agreed to, where that can be taken back.
    approval: Option<Arc<Slip>>,
    /// What more is to be recorded of a grant.
    note: Option<&'static str>,
}

/// A claim that cannot go on now.
struct Waiting {
    case: Case,
    stage: Stage,
}

enum Stage {
    /// It is looked for.
    Locating { deadline: Instant },
    /// The approver was asked; the object is held open.
    Asking { located: Located, asks: Asks },
    /// It waits for the other end of a FIFO.
    Meeting { errand: Errand, allowed: Allowed },
    /// It is being opened.
    Opening {
        deadline: Instant,
        allowed: Allowed,
        attempt: usize,
    },
}

/// What slow work yields.
enum Found {
    Located(Result<Located, Lost>),
    Opened(Result<OwnedFd, Errno>, Located),
}

/// How a case goes on. `None`: it waits.
type Step = Option<(Case, Outcome)>;

impl Broker {
    /// A broker for one session, with the approver that `rules` name. A program that answers is started with the capabilities that
    /// the calling thread has now. `seat` is where questions are put when operators of a daemon answer them; without one, they
    /// then are answered with no.
    ///
    /// # Errors
    /// The errno of what makes the descriptors it needs.
    pub fn new(
        ruleset: Arc<Ruleset>,
        rules: &BrokerRules,
        seat: Option<Seat>,
    ) -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let slow = Pool::new(THREADS, QUEUE)?;
        let poll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // Of one bell: of answers, and of what is taken back.
        let pages = seat.as_ref().map(Seat::pages);
        let desk = Desk::new(rules, seat)?;
        // Which one it is does not matter: all of them are looked at.
        poll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        poll.add(slow.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        if let Some(pages) = &pages {
            poll.add(pages, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        }
        let identifies = ruleset.asks();
        Ok(Self {
            ruleset,
            spent: HashMap::new(),
            before: Before::Nothing,
            remembered: Remembered::default(),
            refusals: Refusals::default(),
            identifies,
            pages,
            desk,
            slow,
            waiting: HashMap::new(),
            next: 1,
            timer,
            alarm: None,
            poll,
        })
    }

    /// From here on a person at the terminal may have the policy say more.
    pub fn consult(&mut self, clerk: Arc<dyn Clerk>) {
        self.desk.consult(clerk);
    }

    /// Goes on with a session that somebody else began, and whose rules have granted so much by then.
    pub fn resume(&mut self, before: Before) {
        self.before = before;
    }

    /// Considers a claim. What cannot be recorded is not granted.
    pub fn claim(&mut self, log: &mut Log, peer: &Peer<'_>, claim: Claim) -> Progress {
        let mut case = self.case(peer, claim);
        let found = locate::locate(&case.claim, &case.asker, Lookup::Cached);
        if found.as_ref().map_or(true, Located::is_fifo) {
            case.asker.watch(peer);
        }
        self.begin(log, case, found)
    }

    /// The same for what was located already, as the asker sees it.
    pub fn claim_located(
        &mut self,
        log: &mut Log,
        peer: &Peer<'_>,
        claim: Claim,
        located: Located,
    ) -> Progress {
        let case = self.case(peer, claim);
        self.begin(log, case, Ok(located))
    }

    /// The same for what was decided already, by more than what stands at one name. A yes is one for this once.
    pub fn claim_decided(
        &mut self,
        log: &mut Log,
        peer: &Peer<'_>,
        claim: Claim,
        located: Located,
        verdict: Verdict,
    ) -> Progress {
        let is_once = true;
        let mut case = self.case(peer, Claim { is_once, ..claim });
        case.path = Some(located.path().to_owned());
        let ticket = case.ticket;
        let access = case.claim.access;
        let step = self.follow(log, case, located, (access, verdict), 0);
        self.progress(log, ticket, step)
    }

    fn case(&mut self, peer: &Peer<'_>, claim: Claim) -> Case {
        let ticket = Ticket(self.next);
        self.next += 1;
        let mut asker = Asker::of(peer, &claim);
        if self.identifies {
            asker.identify(peer);
        }
        Case {
            ticket,
            asker,
            claim: Arc::new(claim),
            path: None,
            answered_by: None,
            scope: None,
            approval: None,
            note: None,
        }
    }

    fn begin(&mut self, log: &mut Log, case: Case, found: Result<Located, Lost>) -> Progress {
        let ticket = case.ticket;
        let step = self.judge(log, case, found, 0);
        self.progress(log, ticket, step)
    }

    fn progress(&mut self, log: &mut Log, ticket: Ticket, step: Step) -> Progress {
        self.set_alarm();
        match step {
            Some((case, outcome)) => Progress::Done(conclude(log, &case, outcome)),
            None => Progress::Pending(ticket),
        }
    }

    /// Whether a question stands on the caller's terminal, where nobody else is to write or to read meanwhile.
    pub fn is_on_terminal(&self) -> bool {
        self.desk.is_on_terminal()
    }

    /// Readable when [`Broker::completed`] has something to do.
    #[must_use]
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.poll.0.as_fd()
    }

    /// Goes on with what waits, as far as it can, and returns what is answered by now.
    pub fn completed(&mut self, log: &mut Log) -> Vec<(Ticket, Outcome)> {
        // Only to have seen them: all of it is looked at. The timer is set anew below.
        let mut events = [EpollEvent::empty(); 16];
        let _seen = self.poll.wait(&mut events, EpollTimeout::ZERO);
        if let Some(pages) = &self.pages {
            pages.reset();
        }
        self.take_back(log);
        let mut steps = Vec::new();
        for (ticket, found) in self.slow.results() {
            steps.extend(self.found(log, ticket, found));
        }
        for (ticket, answer) in self.desk.answers(&self.poll) {
            steps.extend(self.answered(log, ticket, answer));
        }
        steps.extend(self.answered_too(log));
        self.desk.advance(&self.poll);
        steps.extend(self.met(log));
        steps.extend(self.late());
        self.alarm = None;
        self.set_alarm();
        let conclude =
            |(case, outcome): (Case, Outcome)| (case.ticket, conclude(log, &case, outcome));
        steps.into_iter().map(conclude).collect()
    }

    /// Forgets a claim whose peer is gone, and closes what was held for it.
    pub fn cancel(&mut self, log: &mut Log, ticket: Ticket) {
        let Some(waiting) = self.waiting.remove(&ticket) else {
            return;
        };
        let why = "the program that asked is gone";
        self.desk.cancel(ticket, &self.poll, why);
        self.desk.advance(&self.poll);
        self.watch_no_more(&waiting.case);
        // A refusal that cannot be recorded stays one.
        drop(conclude(
            log,
            &waiting.case,
            Outcome::Refused(course::gone()),
        ));
        self.set_alarm();
    }

    /// How many claims wait.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.waiting.len()
    }

    /// What was to be found out aside and was not, in all that time. A thread may still be at it; what it brings then is
    /// closed.
    fn late(&mut self) -> Vec<(Case, Outcome)> {
        let now = Instant::now();
        let is_late = |_: &Ticket, waiting: &mut Waiting| {
            waiting.deadline().is_some_and(|deadline| deadline <= now)
        };
        let late = self.waiting.extract_if(is_late);
        late.map(|(_, waiting)| {
            let refusal = Refusal::new(Code::Limit, Errno::ETIMEDOUT);
            let refusal = refusal.explained("the file system did not answer in time");
            (waiting.case, Outcome::Refused(refusal))
        })
        .collect()
    }

    /// Sets the timer to the first deadline.
    fn set_alarm(&mut self) {
        let slow = self.waiting.values().filter_map(Waiting::deadline).min();
        let first = slow.into_iter().chain(self.desk.deadline()).min();
        if first == self.alarm {
            return;
        }
        let set = match first {
            // A timer of zero would be none.
            Some(first) => {
                let left = first.saturating_duration_since(Instant::now());
                let left = left.max(Duration::from_micros(1));
                let once = Expiration::OneShot(left.into());
                self.timer.set(once, TimerSetTimeFlags::empty())
            }
            None => self.timer.unset(),
        };
        debug_assert!(set.is_ok(), "timerfd_settime: {set:?}");
        self.alarm = first;
    }
}

impl Waiting {
    /// When it is late; the approver's desk keeps its own time.
    fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Locating { deadline } | Stage::Opening { deadline, .. } => Some(deadline),
            Stage::Asking { .. } | Stage::Meeting { .. } => None,
        }
    }

    /// Whether it waits for the other end of a FIFO.
    fn meets(&self) -> bool {
        matches!(self.stage, Stage::Meeting { .. })
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("desk", &self.desk)
            .field("pending", &self.waiting.len())
            .finish_non_exhaustive()
    }
}
