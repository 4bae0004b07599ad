//! One worker's states, and what each thing that happens makes of them.
//!
//! Nothing is done here: each input yields what is to be done, in order. A clock comes in as a value.
//!
//! ```text
//!            start                ready                 stop                gone
//!   Idle ─────────────▶ Starting ────────▶ Running ───────────▶ Stopping ────────▶ Stopped
//!                          │ gone             │ gone                ▲                 (or Starting: a restart)
//!                          ▼                  ▼                     │ stop
//!                     RecoveryPending ──wait──▶ Recovering ─────────┘
//!                          │ too often               ready ▶ Running
//!                          ▼
//!                        Error            Blocked: it cannot be started until somebody changes something
//! ```
//!
//! A process exists in `Starting`, `Running`, `Recovering` and `Stopping`, and in no other state.

#[cfg(test)]
mod tests;

use super::config::{Restart, RestartWhen};
use crate::launch::Exit;
use protocol::control::{LifecycleState as State, StopReason};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Start its process, and say [`Lifecycle::ready`] or [`Lifecycle::failed`].
    Spawn,
    /// Ask its process to end.
    Ask,
    /// Kill its process and all that descends from it.
    Kill,
    /// Write down what is wanted.
    Keep,
    /// Tell those who listen.
    Tell(Told),
}

/// What those who listen are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Its process is ready.
    Started,
    /// Its process is gone, for this reason. Told once of each process.
    Stopped(StopReason),
    /// It was given up, or cannot be started.
    Failed(String),
}

/// How a worker is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// When it is started again by itself.
    pub restart: Restart,
    /// How long one that was asked to end may take.
    pub patience: Duration,
    /// What it means when it exits with 0 unasked: [`StopReason::Completed`], or [`StopReason::Idle`] of one that takes jobs.
    pub zero: StopReason,
}

/// Why a process could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work the next time.
    Passing,
    /// It fails each time, until somebody changes something.
    Lasting,
}

/// How a process came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// So, and nobody here had a part in it but by asking.
    Itself(Exit),
    /// The time that its policy gives it on the wall was over.
    TimedOut,
    /// It could not be served any more, for this reason.
    Unserved(String),
}

impl From<Exit> for End {
    fn from(exit: Exit) -> Self {
        Self::Itself(exit)
    }
}

/// What follows when the process is gone that was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stop(StopReason),
    Start(StopReason),
}

/// One worker.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    rules: Rules,
    state: State,
    wanted: bool,
    auto_restart: bool,
    then: Then,
    /// When something is due: a kill, or a start.
    due: Option<Instant>,
    /// When it was started by itself, in the window of the rules.
    restarts: VecDeque<Instant>,
    reason: Option<StopReason>,
    /// What changed last what is wanted, where that was a stop.
    unwanted: Option<StopReason>,
    cause: Option<String>,
}

type Acts = Vec<Act>;

impl Lifecycle {
    /// A worker that is not running. `wanted` and `auto_restart` are what was wanted last.
    #[must_use]
    pub fn new(rules: Rules, wanted: bool, auto_restart: bool) -> Self {
        Self {
            rules,
            state: State::Idle,
            wanted,
            auto_restart,
            then: Then::Start(StopReason::User),
            due: None,
            restarts: VecDeque::new(),
            reason: None,
            unwanted: None,
            cause: None,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it is to run.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether it is started again by itself.
    #[must_use]
    pub fn restarts_itself(&self) -> bool {
        self.auto_restart
    }

    /// Why it stopped last.
    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.reason
    }

    /// Why it is not wanted, if it is not.
    #[must_use]
    pub fn unwanted(&self) -> Option<StopReason> {
        self.unwanted.filter(|_| !self.wanted)
    }

    /// What is wrong, where something is.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// How often it was started by itself lately.
    #[must_use]
    pub fn restart_attempt(&self) -> u32 {
        u32::try_from(self.restarts.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is a process.
    #[must_use]
    pub fn has_process(&self) -> bool {
        matches!(
            self.state,
            State::Starting | State::Running | State::Recovering | State::Stopping
        )
    }

    /// When [`Lifecycle::tick`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let forgotten = self
            .restarts
            .front()
            .map(|first| *first + self.rules.restart.window);
        [self.due, forgotten].into_iter().flatten().min()
    }

    /// The rules were read anew.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// How it is kept.
    #[must_use]
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// Somebody wants it to run. What was counted against it is forgotten.
    pub fn start(&mut self) -> Acts {
        let mut acts = self.want(true);
        self.restarts.clear();
        match self.state {
            State::Starting | State::Running | State::Recovering => {}
            State::Stopping => {
                let (Then::Stop(reason) | Then::Start(reason)) = self.then;
                self.then = Then::Start(reason);
            }
            _ => acts.extend(self.spawn(State::Starting)),
        }
        acts
    }

    /// A job waits for it: one that stopped because it had none is started.
    pub fn demand(&mut self) -> Acts {
        match (self.state, self.reason) {
            (State::Stopped, Some(StopReason::Idle)) if self.wanted => self.spawn(State::Starting),
            _ => Acts::new(),
        }
    }

    /// Ends it. `patience` is how long it may take.
    pub fn stop(&mut self, now: Instant, reason: StopReason, patience: Duration) -> Acts {
        let mut acts = match reason.clears_desired_state() {
            true => self.unwant(reason),
            false => Acts::new(),
        };
        match self.state {
            State::Starting | State::Running | State::Recovering => {
                acts.extend(self.ask(now, Then::Stop(reason), patience));
            }
            State::Stopping => {
                // What somebody said stands against what only happens to the daemon.
                let stands = matches!(self.then, Then::Stop(said) if said.clears_desired_state());
                if !stands || reason.clears_desired_state() {
                    self.then = Then::Stop(reason);
                }
            }
            State::RecoveryPending => self.rest(State::Stopped, reason),
            _ => {}
        }
        acts
    }

    /// Ends it and starts it again.
    pub fn restart(&mut self, now: Instant, reason: StopReason, patience: Duration) -> Acts {
        let mut acts = self.start();
        if !acts.contains(&Act::Spawn) {
            acts.extend(self.replace(now, reason, patience));
        }
        acts
    }

    /// Ends it and starts a new process in its place. What is wanted stays as it is.
    pub fn replace(&mut self, now: Instant, reason: StopReason, patience: Duration) -> Acts {
        match self.state {
            State::Starting | State::Running | State::Recovering => {
                self.ask(now, Then::Start(reason), patience)
            }
            _ => Acts::new(),
        }
    }

    /// Whether it is to be started again by itself from now on.
    pub fn set_auto_restart(&mut self, now: Instant, is_on: bool) -> Acts {
        let mut acts = Acts::new();
        if self.auto_restart != is_on {
            self.auto_restart = is_on;
            acts.push(Act::Keep);
        }
        let ended = (self.state, self.reason) == (State::Stopped, Some(StopReason::ProcessExit));
        match (is_on, self.state) {
            (false, State::RecoveryPending) => self.rest(State::Stopped, StopReason::ProcessExit),
            (true, _) if ended && self.wanted => acts.extend(self.recover(now)),
            _ => {}
        }
        acts
    }

    /// Its process is ready.
    pub fn ready(&mut self) -> Acts {
        match self.state {
            State::Starting | State::Recovering => {
                self.state = State::Running;
                (self.reason, self.cause) = (None, None);
                vec![Act::Tell(Told::Started)]
            }
            _ => Acts::new(),
        }
    }

    /// Its process could not be started.
    pub fn failed(&mut self, now: Instant, how: Failure, cause: impl Into<String>) -> Acts {
        if !self.has_process() {
            return Acts::new();
        }
        let cause = cause.into();
        if let (State::Stopping, Then::Stop(reason)) = (self.state, self.then) {
            self.rest(State::Stopped, reason);
            return Acts::new();
        }
        match how {
            Failure::Lasting => self.give_up(State::Blocked, cause),
            Failure::Passing => {
                self.cause = Some(cause);
                self.recover(now)
            }
        }
    }

    /// Its process is gone, and all that descended from it.
    pub fn gone(&mut self, now: Instant, end: impl Into<End>) -> Acts {
        if !self.has_process() {
            return Acts::new();
        }
        let end = end.into();
        let unasked = |worker: &mut Self| {
            worker.cause = Some(describe(&end));
            worker.end(StopReason::ProcessExit)
        };
        match (self.state, self.then) {
            (State::Stopping, Then::Stop(reason)) => self.end(reason),
            (State::Stopping, Then::Start(reason)) => {
                let mut acts = self.end(reason);
                acts.extend(self.spawn(State::Starting));
                acts
            }
            _ if end == End::Itself(Exit::Code(0))
                && self.rules.restart.when != RestartWhen::Always =>
            {
                let mut acts = self.end(self.rules.zero);
                if self.rules.zero.clears_desired_state() {
                    acts.extend(self.unwant(self.rules.zero));
                }
                acts
            }
            _ if self.rules.restart.when == RestartWhen::Never || !self.auto_restart => {
                unasked(self)
            }
            _ => {
                let mut acts = unasked(self);
                acts.extend(self.recover(now));
                acts
            }
        }
    }

    /// What is due is done.
    pub fn tick(&mut self, now: Instant) -> Acts {
        self.forget(now);
        if self.due.is_none_or(|due| due > now) {
            return Acts::new();
        }
        self.due = None;
        match self.state {
            State::Stopping => {
                // Until it is seen to be gone.
                self.due = Some(now + KILL_AGAIN);
                vec![Act::Kill]
            }
            State::RecoveryPending => {
                self.restarts.push_back(now);
                self.spawn(State::Recovering)
            }
            _ => Acts::new(),
        }
    }

    /// A process of it was found that a daemon before this one started.
    pub fn found(&mut self, is_ready: bool) {
        self.state = match is_ready {
            true => State::Running,
            false => State::Starting,
        };
    }

    /// No process of it was found though it was running. Where it is wanted it is started again; `reason` is why it was not there.
    pub fn missed(&mut self, now: Instant, reason: StopReason) -> Acts {
        if self.has_process() {
            return Acts::new();
        }
        // Whoever saw it run was told of no end.
        let acts = vec![Act::Tell(Told::Stopped(reason))];
        if self.wanted {
            self.rest(State::RecoveryPending, reason);
            self.due = Some(now);
        }
        acts
    }

    /// It cannot be started, and not even be tried.
    pub fn block(&mut self, cause: impl Into<String>) -> Acts {
        match self.has_process() {
            true => Acts::new(),
            false => self.give_up(State::Blocked, cause.into()),
        }
    }

    fn unwant(&mut self, reason: StopReason) -> Acts {
        self.unwanted = Some(reason);
        self.want(false)
    }

    fn want(&mut self, wanted: bool) -> Acts {
        if self.wanted == wanted {
            return Acts::new();
        }
        self.wanted = wanted;
        vec![Act::Keep]
    }

    fn spawn(&mut self, state: State) -> Acts {
        self.state = state;
        self.due = None;
        vec![Act::Spawn]
    }

    fn ask(&mut self, now: Instant, then: Then, patience: Duration) -> Acts {
        (self.state, self.then) = (State::Stopping, then);
        self.due = Some(now + patience);
        vec![Act::Ask]
    }

    fn end(&mut self, reason: StopReason) -> Acts {
        self.rest(State::Stopped, reason);
        vec![Act::Tell(Told::Stopped(reason))]
    }

    /// There is no process.
    fn rest(&mut self, state: State, reason: StopReason) {
        (self.state, self.due) = (state, None);
        self.reason = Some(reason);
    }

    fn give_up(&mut self, state: State, cause: String) -> Acts {
        self.rest(state, StopReason::Error);
        self.cause = Some(cause.clone());
        vec![Act::Tell(Told::Failed(cause))]
    }

    /// Starts it again after a wait, unless that was done too often.
    fn recover(&mut self, now: Instant) -> Acts {
        self.forget(now);
        let so_far = self.restart_attempt();
        if so_far >= self.rules.restart.burst {
            let cause = self.cause.take().unwrap_or_default();
            let window = self.rules.restart.window;
            return self.give_up(
                State::Error,
                format!("given up after {so_far} restarts in {window:?}; the last time: {cause}"),
            );
        }
        self.rest(State::RecoveryPending, StopReason::ProcessExit);
        self.due = Some(now + self.rules.restart.wait(so_far + 1));
        Acts::new()
    }

    fn forget(&mut self, now: Instant) {
        let window = self.rules.restart.window;
        while self
            .restarts
            .front()
            .is_some_and(|first| now.saturating_duration_since(*first) >= window)
        {
            self.restarts.pop_front();
        }
    }
}

/// How long one that was killed may take to be gone before it is killed again: something may have been born meanwhile.
const KILL_AGAIN: Duration = Duration::from_secs(1);

/// How a process ended, for people.
#[must_use]
pub fn describe(end: &End) -> String {
    match end {
        End::Itself(Exit::Code(code)) => format!("it exited with status {code}"),
        End::Itself(Exit::Signal(signal)) => format!("it was killed by signal {signal}"),
        End::Itself(Exit::Unknown) => "it ended, and nobody saw how".to_owned(),
        End::TimedOut => "its time was over (`wall` of its policy)".to_owned(),
        End::Unserved(why) => format!("it could not be served any more: {why}"),
    }
}
