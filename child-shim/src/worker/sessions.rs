//! The sessions of a worker: the one whose job runs, those that want input, and those that are over. Pure: who asks, what a job
//! came to, and what time it is come in as values; answers go out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::pool::{Occupation, PoolStatus, Ran, SessionState, SessionStatus};
use protocol::{Fault, FaultCode, Value};

use super::{Job, Outcome, Step};

#[cfg(test)]
mod tests;

/// The most sessions that want input; when one more does, the oldest is forgotten.
pub(super) const WAITING: usize = 64;

/// The most sessions that are over and whose results can still be asked for.
pub(super) const OVER: usize = 64;

/// The most that results may take up together, in bytes.
const BYTES: usize = 1024 * 1024;

/// The most requests that wait for one job.
const ASKERS: usize = 16;

/// Who waits for an answer: a connection, and the number of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) caller: u64,
    pub(super) id: u64,
}

/// What a request comes to.
#[derive(Debug)]
pub(super) enum Asked {
    /// A job is to be begun; its answer comes later.
    Begin(Job),
    /// The answer comes later.
    Later,
    /// The answer.
    Now(Result<Ran, Fault>),
}

/// An answer that is due.
pub(super) type Due = (Asker, Result<Ran, Fault>);

#[derive(Debug)]
pub(super) struct Sessions {
    running: Option<Running>,
    waiting: VecDeque<Kept>,
    over: VecDeque<Kept>,
    jobs: u64,
    /// Since when there is nothing to do.
    idle_since: Instant,
}

#[derive(Debug)]
struct Running {
    sid: String,
    since: Instant,
    deadline: Option<Instant>,
    askers: Vec<Asker>,
    cancelled: Arc<AtomicBool>,
    /// Whether its session is over already, and nobody wants to know what it comes to.
    is_given_up: bool,
}

#[derive(Debug)]
struct Kept {
    sid: String,
    since: Instant,
    outcome: Result<Value, Fault>,
    bytes: usize,
}

impl Sessions {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            running: None,
            waiting: VecDeque::new(),
            over: VecDeque::new(),
            jobs: 0,
            idle_since: now,
        }
    }

    /// Begins a session of that name.
    pub(super) fn run(
        &mut self,
        asker: Asker,
        sid: String,
        job: Value,
        deadline: Option<Duration>,
        now: Instant,
    ) -> Asked {
        let known = self.waiting.iter().chain(&self.over);
        let running = self.running.iter().map(|running| &running.sid);
        if known
            .map(|kept| &kept.sid)
            .chain(running)
            .any(|known| *known == sid)
        {
            let fault = Fault::new(FaultCode::SessionExists, "there is a session of that name");
            return Asked::Now(Err(fault.of_session(sid)));
        }
        self.begin(asker, sid, Step::Run(job), deadline, now)
    }

    /// Gives a session the input that it wants.
    pub(super) fn go_on(
        &mut self,
        asker: Asker,
        sid: String,
        input: Value,
        deadline: Option<Duration>,
        now: Instant,
    ) -> Asked {
        let Some(at) = self.waiting.iter().position(|kept| kept.sid == sid) else {
            let fault = match self.running_session(&sid).is_some() {
                true => Fault::new(FaultCode::Busy, "the session is at work"),
                false if self.over.iter().any(|kept| kept.sid == sid) => {
                    Fault::new(FaultCode::BadRequest, "the session is over")
                }
                false => not_found(),
            };
            return Asked::Now(Err(fault.of_session(sid)));
        };
        let asked = self.begin(asker, sid, Step::Continue(input), deadline, now);
        if matches!(asked, Asked::Begin(_)) {
            self.waiting.remove(at);
        }
        asked
    }

    /// What a session came to or wants, now or when it is known.
    pub(super) fn ask_again(&mut self, asker: Asker, sid: &str) -> Asked {
        if let Some(running) = self.running_session(sid) {
            if running.askers.len() >= ASKERS {
                let fault = Fault::new(FaultCode::Limit, "too many wait for this session");
                return Asked::Now(Err(fault.of_session(sid)));
            }
            running.askers.push(asker);
            return Asked::Later;
        }
        let waiting = self
            .waiting
            .iter()
            .map(|kept| (kept, SessionState::Waiting));
        let over = self.over.iter().map(|kept| (kept, SessionState::Done));
        let found = waiting.chain(over).find(|(kept, _)| kept.sid == sid);
        Asked::Now(match found {
            Some((kept, state)) => kept.answer(state),
            None => Err(not_found().of_session(sid)),
        })
    }

    /// The session of that name, if its job runs and somebody wants to know what it comes to.
    fn running_session(&mut self, sid: &str) -> Option<&mut Running> {
        let running = self.running.as_mut()?;
        (running.sid == sid && !running.is_given_up).then_some(running)
    }

    fn begin(
        &mut self,
        asker: Asker,
        sid: String,
        step: Step,
        deadline: Option<Duration>,
        now: Instant,
    ) -> Asked {
        if let Some(running) = &self.running {
            let what = match running.is_given_up {
                true => "a job was told to stop and has not",
                false => "a job runs",
            };
            return Asked::Now(Err(Fault::new(FaultCode::Busy, what)));
        }
        let cancelled = Arc::new(AtomicBool::new(false));
        self.running = Some(Running {
            sid: sid.clone(),
            since: now,
            // One that nobody lives to see is none.
            deadline: deadline.and_then(|time| now.checked_add(time)),
            askers: vec![asker],
            cancelled: Arc::clone(&cancelled),
            is_given_up: false,
        });
        Asked::Begin(Job {
            sid,
            step,
            cancelled,
        })
    }

    /// The job that ran came to this.
    pub(super) fn ended(&mut self, outcome: Outcome, now: Instant) -> Vec<Due> {
        let Some(running) = self.running.take() else {
            return Vec::new();
        };
        self.jobs += 1;
        if running.is_given_up {
            return Vec::new();
        }
        self.idle_since = now;
        let (state, outcome) = match outcome {
            Outcome::Done(output) => (SessionState::Done, Ok(output)),
            Outcome::Wait(output) => (SessionState::Waiting, Ok(output)),
            Outcome::Failed(why) => (
                SessionState::Failed,
                Err(Fault::new(FaultCode::Failed, why)),
            ),
        };
        self.keep(running, state, outcome, now)
    }

    /// Gives up a job whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Due> {
        match self.deadline() {
            Some(deadline) if deadline <= now => {
                let fault = Fault::new(FaultCode::Deadline, "the time for the job is over");
                self.give_up(fault, now)
            }
            _ => Vec::new(),
        }
    }

    /// Tells a job that runs to stop, and whoever waits for it that it did not come to anything.
    pub(super) fn give_up(&mut self, fault: Fault, now: Instant) -> Vec<Due> {
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        if running.is_given_up {
            return Vec::new();
        }
        running.cancelled.store(true, Ordering::Release);
        running.is_given_up = true;
        self.idle_since = now;
        let given_up = Running {
            sid: running.sid.clone(),
            since: running.since,
            deadline: None,
            askers: std::mem::take(&mut running.askers),
            cancelled: Arc::clone(&running.cancelled),
            is_given_up: true,
        };
        self.keep(given_up, SessionState::Failed, Err(fault), now)
    }

    /// Tells a job that runs to stop; what it comes to is still wanted.
    pub(super) fn cancel(&self) {
        if let Some(running) = &self.running {
            running.cancelled.store(true, Ordering::Release);
        }
    }

    /// Remembers what a session came to, and gives it to those who wait.
    fn keep(
        &mut self,
        running: Running,
        state: SessionState,
        outcome: Result<Value, Fault>,
        now: Instant,
    ) -> Vec<Due> {
        let kept = Kept {
            bytes: outcome.as_ref().map_or(0, weight),
            sid: running.sid,
            since: now,
            outcome,
        };
        let answers = running.askers.iter();
        let due = answers.map(|asker| (*asker, kept.answer(state))).collect();
        let (place, most) = match state {
            SessionState::Waiting => (&mut self.waiting, WAITING),
            _ => (&mut self.over, OVER),
        };
        place.push_back(kept);
        let mut bytes: usize = place.iter().map(|kept| kept.bytes).sum();
        // The newest is kept whatever it weighs: it could not be longer than a line and be answered.
        while place.len() > most || (bytes > BYTES && place.len() > 1) {
            bytes -= place.pop_front().map_or(0, |oldest| oldest.bytes);
        }
        due
    }

    /// A connection is gone: nothing is due to it any more. Its job goes on.
    pub(super) fn forget(&mut self, caller: u64) {
        if let Some(running) = &mut self.running {
            running.askers.retain(|asker| asker.caller != caller);
        }
    }

    /// Whether a connection waits for the job that runs.
    pub(super) fn is_awaited_by(&self, caller: u64) -> bool {
        let mut running = self.running.iter();
        running.any(|running| running.askers.iter().any(|asker| asker.caller == caller))
    }

    /// When the job that runs is to be given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.running
            .as_ref()
            .and_then(|running| running.deadline)
            .filter(|_| !self.is_idle())
    }

    /// Whether a job runs, wanted or not.
    pub(super) fn is_at_work(&self) -> bool {
        self.running.is_some()
    }

    /// Whether nothing runs that anybody wants.
    fn is_idle(&self) -> bool {
        self.running
            .as_ref()
            .is_none_or(|running| running.is_given_up)
    }

    /// Since when there is nothing to do, if so.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.is_idle().then_some(self.idle_since)
    }

    pub(super) fn status(&self, include_history: bool, now: Instant) -> PoolStatus {
        let one = |sid: &String, state, since| SessionStatus {
            sid: sid.clone(),
            state,
            for_ms: milliseconds(now.saturating_duration_since(since)),
        };
        let over = |kept: &Kept| match kept.outcome {
            Ok(_) => SessionState::Done,
            Err(_) => SessionState::Failed,
        };
        PoolStatus {
            state: match &self.running {
                None => Occupation::Idle,
                Some(running) if running.cancelled.load(Ordering::Acquire) => {
                    Occupation::Cancelling
                }
                Some(_) => Occupation::Running,
            },
            running: (self.running.as_ref())
                .map(|running| one(&running.sid, SessionState::Running, running.since)),
            waiting: (self.waiting.iter())
                .map(|kept| one(&kept.sid, SessionState::Waiting, kept.since))
                .collect(),
            jobs: self.jobs,
            idle_ms: self.idle_since().map_or(0, |since| {
                milliseconds(now.saturating_duration_since(since))
            }),
            idle_timeout_ms: 0,
            history: include_history.then(|| {
                let history = self.over.iter();
                history
                    .map(|kept| one(&kept.sid, over(kept), kept.since))
                    .collect()
            }),
        }
    }
}

impl Kept {
    fn answer(&self, state: SessionState) -> Result<Ran, Fault> {
        match &self.outcome {
            Ok(output) => Ok(Ran {
                sid: self.sid.clone(),
                state,
                output: output.clone(),
            }),
            Err(fault) => Err(fault.clone().of_session(&self.sid)),
        }
    }
}

fn not_found() -> Fault {
    Fault::new(FaultCode::SessionNotFound, "there is no such session")
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// About how many bytes a value takes up.
fn weight(value: &Value) -> usize {
    let own = size_of::<Value>();
    own + match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weight).sum(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| size_of::<String>() + name.len() + weight(value))
            .sum(),
        _ => 0,
    }
}
