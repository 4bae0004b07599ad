//! The daemon's loop: what is asked over the control socket, what happens to processes, what workers answer, what is due.
//!
//! In: a pool file that was read, the places where things are kept, and [`Hands`]. Out: workers that are as they are wanted.
//! Everything is decided in rooms of its own ([`super::lifecycle`], [`super::pool`]); here it is done.
//!
//! What never happens here: a wait for anybody but all of them at once.

mod affairs;
mod hands;
mod jobs;
mod link;
mod member;
mod questions;
mod reload;
mod report;
#[cfg(test)]
mod tests;
mod verbs;

pub use hands::{Born, Former, Hands, Happened, Order, Unborn};
pub(crate) use questions::{hold, holding, refusal, say, take_back, waiting, which};

use super::config::PoolFile;
use super::control::{Asked, Client, Control};
use super::desired::{Desired, DesiredFile, DesiredOf};
use super::jobs::Ledger;
use super::logs::Logs;
use super::poller::{Interest, Poller, Ready, Token};
use super::pool::{Pool, Ticket};
use crate::broker::Board;
use jobs::Job;
use member::Member;
use nix::errno::Errno;
use protocol::Fault;
use protocol::control::{Event, StopReason};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use verbs::Waiter;

/// What the daemon begins with.
#[derive(Debug)]
pub struct Setup<H> {
    /// The pool file.
    pub file: PoolFile,
    /// Where it lies, for people to read.
    pub config: Option<PathBuf>,
    /// Another one for each daemon.
    pub daemon: String,
    /// What is waited for.
    pub poller: Poller,
    /// The control socket.
    pub control: Control,
    /// Where what is wanted is kept.
    pub desired: DesiredFile,
    /// Which session is where.
    pub ledger: Ledger,
    /// What workers write.
    pub logs: Logs,
    /// The processes.
    pub hands: H,
    /// Where their questions wait.
    pub board: Arc<Board>,
    /// What became of the workers of the daemon before.
    pub former: BTreeMap<String, Former>,
}

/// How the daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All is to end.
    Shutdown,
    /// All is to end but the workers that survive.
    Left,
    /// Another daemon is to take over: all is to end but the workers that survive.
    Upgrade,
}

/// Why it could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A system call of our own failed.
    #[error("daemon: cannot {action}: {errno}")]
    Call {
        /// What was to be done.
        action: &'static str,
        /// The kernel's reason.
        errno: Errno,
    },
    /// Nothing can be done any more.
    #[error("daemon: {0}")]
    Hands(String),
}

fn failed(action: &'static str) -> impl Fn(Errno) -> DaemonError {
    move |errno| DaemonError::Call { action, errno }
}

/// What is wanted could not be kept: it is tried again after this.
const KEEP_AGAIN: Duration = Duration::from_secs(5);

/// The tokens of links to workers begin here; below are those of the hands.
const LINKS: u64 = 1 << 32;
/// The token of what is told of questions.
const QUESTIONS: Token = Token(LINKS - 1);

/// The daemon.
#[derive(Debug)]
pub struct Daemon<H> {
    file: PoolFile,
    config: Option<PathBuf>,
    name: String,
    since_unix_ms: u64,
    poller: Poller,
    control: Control,
    desired_file: DesiredFile,
    /// What is on the disk.
    desired: DesiredOf,
    /// Why what is wanted is not known: then nobody is started or stopped.
    unknown: Option<String>,
    /// What is wanted is to be written; at that time, where that failed before.
    unkept: Option<(Instant, Option<String>)>,
    ledger: Ledger,
    logs: Logs,
    hands: H,
    board: Arc<Board>,
    members: BTreeMap<String, Member>,
    pool: Pool,
    jobs: BTreeMap<Ticket, Job>,
    next_ticket: Ticket,
    links: BTreeMap<u64, String>,
    next_link: u64,
    waiters: Vec<Waiter>,
    /// What was asked while something else was being answered.
    asked: Vec<Asked>,
    ending: Option<Ending>,
    now: Instant,
}

impl<H: Hands> Daemon<H> {
    /// Takes over what is there, and starts what is wanted.
    ///
    /// # Errors
    /// [`DaemonError`]
    pub fn begin(setup: Setup<H>) -> Result<Self, DaemonError> {
        let Setup {
            file,
            config,
            daemon,
            poller,
            control,
            desired,
            ledger,
            logs,
            hands,
            board,
            former,
        } = setup;
        poller
            .add(board.events(), QUESTIONS, Interest::READ)
            .map_err(failed("watch questions"))?;
        for (at, source) in hands.sources().into_iter().enumerate() {
            poller
                .add(source, Token(at as u64), Interest::READ)
                .map_err(failed("watch processes"))?;
        }
        let (wanted, unknown) = match desired.read() {
            Ok(wanted) => (wanted, None),
            Err(error) => (DesiredOf::new(), Some(error.to_string())),
        };
        let mut daemon = Self {
            file: file.clone(),
            config,
            name: daemon,
            since_unix_ms: unix_ms(),
            poller,
            control,
            desired_file: desired,
            desired: wanted,
            unknown,
            unkept: None,
            ledger,
            logs,
            hands,
            board,
            members: BTreeMap::new(),
            pool: Pool::new(),
            jobs: BTreeMap::new(),
            next_ticket: 1,
            links: BTreeMap::new(),
            next_link: LINKS,
            waiters: Vec::new(),
            asked: Vec::new(),
            ending: None,
            now: Instant::now(),
        };
        daemon.populate(&file, former);
        if let Some(why) = daemon.unknown.clone() {
            daemon.tell_error(None, why);
        }
        daemon.settle()?;
        Ok(daemon)
    }

    /// Serves until everything is to end.
    ///
    /// # Errors
    /// [`DaemonError`]; workers go on.
    pub fn serve(&mut self) -> Result<Ending, DaemonError> {
        let mut ready = Vec::new();
        loop {
            if let Some(ending) = self.is_over() {
                self.part()?;
                return Ok(ending);
            }
            self.turn(&mut ready)?;
        }
    }

    /// Waits for something to happen, and does what comes of it.
    fn turn(&mut self, ready: &mut Vec<Ready>) -> Result<(), DaemonError> {
        self.poller
            .wait(self.due(), ready)
            .map_err(failed("wait"))?;
        self.now = Instant::now();
        for one in ready.drain(..) {
            if Control::is_ours(one.token) {
                self.control
                    .on_ready(&self.poller, one, self.now, &mut self.asked)
                    .map_err(failed("serve a client"))?;
            } else if one.token.0 >= LINKS {
                self.on_link(one);
            } else if one.token == QUESTIONS {
                for event in self.board.news() {
                    self.tell(event);
                }
            }
        }
        // These are few, and asking costs less than telling which of them it was.
        while let Some(happened) = self.hands.next().map_err(DaemonError::Hands)? {
            self.on_happened(happened);
        }
        self.settle()
    }

    /// Does all that follows from what happened, until nothing follows any more.
    fn settle(&mut self) -> Result<(), DaemonError> {
        self.tick();
        loop {
            let asked = std::mem::take(&mut self.asked);
            if asked.is_empty() {
                break;
            }
            for one in asked {
                self.on_asked(one)?;
            }
        }
        for client in self.control.take_gone() {
            self.forget_client(client);
        }
        self.keep();
        self.answer_waiters();
        Ok(())
    }

    fn tick(&mut self) {
        let now = self.now;
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let members = self.members.iter();
        let due = members.filter(|(_, m)| m.dues().into_iter().any(is_due));
        let ids: Vec<String> = due.map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(member) = self.members.get_mut(&id) {
                let acts = member.life.tick(now);
                self.perform(&id, acts);
            }
            self.reach_again(&id);
            self.look_again(&id);
        }
        let steps = self.pool.tick(now);
        self.take_steps(steps);
        self.expire_jobs();
        // A client that is let in later is let in later.
        let _later = self.control.tick(&self.poller, now);
    }

    /// When something is due.
    fn due(&self) -> Option<Instant> {
        let members = self.members.values().flat_map(Member::dues);
        let jobs = self.jobs.values().map(|job| job.until);
        let waiters = self.waiters.iter().map(|waiter| waiter.until);
        let unkept = self.unkept.as_ref().map(|(when, _)| *when);
        members
            .chain(jobs)
            .chain(waiters)
            .chain([self.pool.due(), self.control.due(), unkept])
            .flatten()
            .min()
    }

    /// Writes down what is wanted, if that changed.
    fn keep(&mut self) {
        let Some((when, _)) = &self.unkept else {
            return;
        };
        if *when > self.now || self.unknown.is_some() {
            return;
        }
        match self.desired_file.write(&self.desired) {
            Ok(()) => self.unkept = None,
            Err(error) => {
                let why = error.to_string();
                self.unkept = Some((self.now + KEEP_AGAIN, Some(why.clone())));
                self.tell_error(None, why);
            }
        }
    }

    /// Notes what is wanted of a worker now.
    fn want(&mut self, id: &str, reason: Option<StopReason>) {
        let Some(member) = self.members.get(id) else {
            return;
        };
        let desired = Desired {
            running: member.life.is_wanted(),
            auto_restart: member.life.restarts_itself(),
            restart: member.restart,
            env: member.env.clone(),
            reason,
            since_unix_ms: unix_ms(),
        };
        self.desired.insert(id.to_owned(), desired);
        self.unkept = Some((self.now, None));
    }

    fn tell(&mut self, event: Event) {
        // What cannot be waited for now is told when something else happens to that client.
        let _later = self.control.tell(&self.poller, event);
    }

    fn tell_error(&mut self, worker: Option<&str>, message: String) {
        let worker = worker.map(str::to_owned);
        self.tell(Event::Error { worker, message });
    }

    fn answer(&mut self, client: Client, id: u64, outcome: Result<Value, Fault>) {
        let id = Some(id);
        let response = protocol::control::ControlResponse { id, outcome };
        // As with events.
        let _later = self
            .control
            .answer(&self.poller, client, response, &mut self.asked);
    }

    /// Whether everything is over, and how.
    fn is_over(&self) -> Option<Ending> {
        let ending = self.ending?;
        let is_left = |member: &Member| match ending {
            Ending::Upgrade | Ending::Left => member.survives() || !member.life.has_process(),
            Ending::Shutdown => !member.life.has_process(),
        };
        self.members.values().all(is_left).then_some(ending)
    }

    /// Tells those who are connected what they are still to be told, as long as that takes no time.
    fn part(&mut self) -> Result<(), DaemonError> {
        self.now = Instant::now();
        self.settle()?;
        self.logs.flush();
        let until = Instant::now() + Duration::from_millis(200);
        let mut ready = Vec::new();
        while self.control.end(&self.poller).map_err(failed("end"))? && Instant::now() < until {
            self.poller
                .wait(Some(until), &mut ready)
                .map_err(failed("wait"))?;
            for one in ready.drain(..).filter(|one| Control::is_ours(one.token)) {
                self.control
                    .on_ready(&self.poller, one, Instant::now(), &mut Vec::new())
                    .map_err(failed("serve a client"))?;
            }
        }
        Ok(())
    }

    /// The processes.
    pub fn hands(&self) -> &H {
        &self.hands
    }
}

/// Now, in milliseconds of Unix time.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}
