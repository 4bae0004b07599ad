//! Which worker gets a job, who has which session, and when a worker has done enough.
//!
//! Nothing is done here: each input yields steps for the daemon's loop. A clock comes in as a value, and so does everything that
//! happens to a worker.

#[cfg(test)]
mod tests;

use super::config::Recycle;
use protocol::pool::SessionState;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Names a request for the daemon's loop. Never used twice.
pub type Ticket = u64;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send the request of this ticket to the worker.
    Give {
        /// The request.
        ticket: Ticket,
        /// Who gets it.
        worker: String,
    },
    /// Answer the request of this ticket with a no.
    Refuse {
        /// The request.
        ticket: Ticket,
        /// Why.
        why: Refusal,
    },
    /// Start a worker that stopped because it had nothing to do.
    Wake(String),
    /// Put a new worker in the place of this one.
    Replace(String),
    /// End a worker that has had nothing to do for long.
    Rest(String),
}

/// Why a request is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No worker is free, or none became free in time.
    Busy,
    /// More wait than may.
    Limit,
    /// Nobody has that session.
    SessionNotFound,
    /// Somebody has it already.
    SessionExists,
    /// Who was at work on it is gone.
    WorkerGone,
    /// There is no such worker, or it takes no jobs.
    UnknownWorker,
}

/// For whom a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum For {
    /// Any worker.
    Any,
    /// A worker of this kind.
    Kind(String),
    /// This one.
    Worker(String),
}

/// How workers of a kind are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// When one has done enough.
    pub recycle: Recycle,
    /// How long one may have nothing to do.
    pub idle_timeout: Option<Duration>,
}

/// The most requests that wait.
const MOST_QUEUED: usize = 4096;

/// The most sessions of one worker that are known by name. It remembers no more itself.
const MOST_SESSIONS: usize = 1024;

/// How long a job waits for a worker that is only just being started.
const WAKING: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    /// It takes jobs.
    Up,
    /// It will, soon.
    Coming,
    /// It would, if it were started.
    Resting,
    /// It does not.
    Away,
}

#[derive(Debug)]
struct Slot {
    kind: String,
    treatment: Treatment,
    presence: Presence,
    /// What it is at work on: the request, and the session.
    work: Option<(Option<Ticket>, String)>,
    /// Its sessions, the oldest first.
    sessions: VecDeque<String>,
    /// Sessions that want input: it is not replaced under them.
    waiting: Vec<String>,
    jobs: u64,
    bytes: u64,
    free_since: Option<Instant>,
}

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    wanted: For,
    sid: String,
    until: Instant,
}

/// All workers that take jobs, and the jobs that wait for one.
#[derive(Debug, Default)]
pub struct Pool {
    slots: BTreeMap<String, Slot>,
    sessions: HashMap<String, String>,
    queue: VecDeque<Waiting>,
    forgotten: Vec<String>,
}

type Steps = Vec<Step>;

impl Pool {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// There is such a worker. One that is known is treated so from now on.
    pub fn add(&mut self, id: &str, kind: &str, treatment: Treatment) {
        let slot = self.slots.entry(id.to_owned()).or_insert_with(|| Slot {
            kind: kind.to_owned(),
            treatment,
            presence: Presence::Away,
            work: None,
            sessions: VecDeque::new(),
            waiting: Vec::new(),
            jobs: 0,
            bytes: 0,
            free_since: None,
        });
        slot.treatment = treatment;
    }

    /// There is no such worker any more.
    pub fn remove(&mut self, id: &str) -> Steps {
        let steps = self.down(id, false);
        self.slots.remove(id);
        steps
    }

    /// How many requests wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The session that a worker is at work on.
    #[must_use]
    pub fn working_on(&self, id: &str) -> Option<&str> {
        let slot = self.slots.get(id)?;
        slot.work.as_ref().map(|(_, sid)| sid.as_str())
    }

    /// How many jobs the process of this worker was given.
    #[must_use]
    pub fn jobs(&self, id: &str) -> u64 {
        self.slots.get(id).map_or(0, |slot| slot.jobs)
    }

    /// When [`Pool::tick`] has something to do.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let rests = self.slots.values().filter_map(Slot::rests_at);
        rests.chain(self.queue.iter().map(|job| job.until)).min()
    }

    /// A process of the worker was started. It is not ready yet.
    pub fn coming(&mut self, id: &str) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.presence = Presence::Coming;
        }
    }

    /// The worker is ready. `running`, `waiting` and `over` are the sessions that it has, if an earlier daemon gave it some.
    pub fn up(
        &mut self,
        now: Instant,
        id: &str,
        running: Option<String>,
        waiting: Vec<String>,
        over: Vec<String>,
    ) -> Steps {
        let Some(slot) = self.slots.get_mut(id) else {
            return Steps::new();
        };
        slot.presence = Presence::Up;
        slot.waiting.clone_from(&waiting);
        let before = slot.work.take();
        slot.work = running.clone().map(|sid| {
            // Whoever asked for it is answered still.
            let ticket = before.filter(|(_, work)| *work == sid);
            (ticket.and_then(|(ticket, _)| ticket), sid)
        });
        slot.free_since = slot.work.is_none().then_some(now);
        for sid in over.into_iter().chain(waiting).chain(running) {
            self.remember(id, sid);
        }
        self.settle(now)
    }

    /// The worker is to take no more jobs. What it is at work on it finishes.
    pub fn leaving(&mut self, id: &str) {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.presence = Presence::Away;
        }
    }

    /// The sessions that are no longer known by name since this was last asked.
    pub fn take_forgotten(&mut self) -> Vec<String> {
        std::mem::take(&mut self.forgotten)
    }

    /// The process of the worker is gone, and with it what it was at work on. `rests` when the next job is to start it again.
    pub fn down(&mut self, id: &str, rests: bool) -> Steps {
        let Some(slot) = self.slots.get_mut(id) else {
            return Steps::new();
        };
        slot.presence = match rests {
            true => Presence::Resting,
            false => Presence::Away,
        };
        (slot.jobs, slot.bytes, slot.free_since) = (0, 0, None);
        slot.waiting.clear();
        for sid in slot.sessions.drain(..) {
            self.sessions.remove(&sid);
        }
        let lost = slot.work.take().and_then(|(ticket, _)| ticket);
        let why = Refusal::WorkerGone;
        lost.map(|ticket| Step::Refuse { ticket, why })
            .into_iter()
            .collect()
    }

    /// Somebody has a job. `sid` is the name of its session; `patience` is how long it may wait, where it may.
    pub fn run(
        &mut self,
        now: Instant,
        ticket: Ticket,
        wanted: For,
        sid: String,
        patience: Option<Duration>,
    ) -> Steps {
        let refuse = |why| vec![Step::Refuse { ticket, why }];
        let is_waiting = self.queue.iter().any(|job| job.sid == sid);
        if is_waiting || self.sessions.contains_key(&sid) {
            return refuse(Refusal::SessionExists);
        }
        if !self.slots.iter().any(|(id, slot)| slot.is_for(id, &wanted)) {
            return refuse(Refusal::UnknownWorker);
        }
        if let Some(id) = self.free(&wanted) {
            return vec![self.give(&id, ticket, sid)];
        }
        let woken = self.resting(&wanted);
        let is_soon = woken.is_some() || self.coming_to(&wanted) > self.queue.len();
        let patience = match (patience, is_soon) {
            (Some(patience), true) => patience.max(WAKING),
            (Some(patience), false) if !patience.is_zero() => patience,
            (None, true) => WAKING,
            _ => return refuse(Refusal::Busy),
        };
        if self.queue.len() >= MOST_QUEUED {
            return refuse(Refusal::Limit);
        }
        self.queue.push_back(Waiting {
            ticket,
            wanted,
            sid,
            until: now + patience,
        });
        match woken {
            Some(id) => {
                self.coming(&id);
                vec![Step::Wake(id)]
            }
            None => Steps::new(),
        }
    }

    /// Somebody goes on with a session. Without input it only waits for what the worker does already.
    pub fn go_on(&mut self, ticket: Ticket, sid: &str, has_input: bool) -> Steps {
        let refuse = |why| vec![Step::Refuse { ticket, why }];
        if self.queue.iter().any(|job| job.sid == sid) {
            return refuse(Refusal::Busy);
        }
        let Some(id) = self.sessions.get(sid).cloned() else {
            return refuse(Refusal::SessionNotFound);
        };
        let Some(slot) = self.slots.get_mut(&id) else {
            return refuse(Refusal::SessionNotFound);
        };
        if has_input {
            if slot.work.is_some() || slot.presence != Presence::Up {
                return refuse(Refusal::Busy);
            }
            slot.waiting.retain(|waiting| waiting != sid);
            slot.begin(ticket, sid.to_owned());
        }
        vec![Step::Give { ticket, worker: id }]
    }

    /// Whoever asked is gone: what waits need not, and what is under way goes on for whoever asks for it later.
    pub fn forget(&mut self, ticket: Ticket) {
        self.queue.retain(|job| job.ticket != ticket);
        for slot in self.slots.values_mut() {
            if let Some((asker, _)) = &mut slot.work
                && *asker == Some(ticket)
            {
                *asker = None;
            }
        }
    }

    /// A session of the worker is now so; `bytes` were exchanged about it. Only what it says about what it is at work on makes it
    /// free.
    pub fn answered(
        &mut self,
        now: Instant,
        id: &str,
        sid: &str,
        state: SessionState,
        bytes: u64,
    ) -> Steps {
        let Some(slot) = self.slots.get_mut(id) else {
            return Steps::new();
        };
        slot.bytes = slot.bytes.saturating_add(bytes);
        slot.waiting.retain(|waiting| waiting != sid);
        if state == SessionState::Waiting {
            slot.waiting.push(sid.to_owned());
        }
        let is_at_work = slot.work.as_ref().is_some_and(|(_, work)| work == sid);
        if is_at_work && state != SessionState::Running {
            slot.work = None;
            slot.free_since = Some(now);
        }
        self.settle(now)
    }

    /// What is due is done.
    pub fn tick(&mut self, now: Instant) -> Steps {
        let mut steps = Steps::new();
        self.queue.retain(|job| {
            let is_over = job.until <= now;
            if is_over {
                let (ticket, why) = (job.ticket, Refusal::Busy);
                steps.push(Step::Refuse { ticket, why });
            }
            !is_over
        });
        for (id, slot) in &mut self.slots {
            if slot.rests_at().is_some_and(|at| at <= now) {
                slot.presence = Presence::Away;
                steps.push(Step::Rest(id.clone()));
            }
        }
        steps
    }

    /// Replaces whoever has done enough, and gives waiting jobs to whoever is free.
    fn settle(&mut self, now: Instant) -> Steps {
        let mut steps = Steps::new();
        for (id, slot) in &mut self.slots {
            if slot.is_free() && slot.waiting.is_empty() && slot.has_done_enough() {
                slot.presence = Presence::Away;
                steps.push(Step::Replace(id.clone()));
            }
        }
        let mut left = VecDeque::with_capacity(self.queue.len());
        while let Some(job) = self.queue.pop_front() {
            match self.free(&job.wanted) {
                Some(id) if job.until > now => steps.push(self.give(&id, job.ticket, job.sid)),
                _ => left.push_back(job),
            }
        }
        self.queue = left;
        steps
    }

    fn give(&mut self, id: &str, ticket: Ticket, sid: String) -> Step {
        if let Some(slot) = self.slots.get_mut(id) {
            slot.begin(ticket, sid.clone());
            slot.jobs += 1;
        }
        self.remember(id, sid);
        let worker = id.to_owned();
        Step::Give { ticket, worker }
    }

    /// Whoever is free for that: the one that has been so for longest, so that all get their turn.
    fn free(&self, wanted: &For) -> Option<String> {
        let free = self.slots.iter().filter(|(id, slot)| {
            slot.is_for(id, wanted) && slot.is_free() && !slot.has_done_enough()
        });
        let longest = free.min_by_key(|(_, slot)| slot.free_since);
        longest.map(|(id, _)| id.clone())
    }

    fn resting(&self, wanted: &For) -> Option<String> {
        let mut slots = self.slots.iter();
        let found =
            slots.find(|(id, slot)| slot.is_for(id, wanted) && slot.presence == Presence::Resting);
        found.map(|(id, _)| id.clone())
    }

    /// How many will be free for that as soon as they are ready.
    fn coming_to(&self, wanted: &For) -> usize {
        let coming = self.slots.iter().filter(|(id, slot)| {
            slot.is_for(id, wanted) && slot.presence == Presence::Coming && slot.work.is_none()
        });
        coming.count()
    }

    fn remember(&mut self, id: &str, sid: String) {
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        if self.sessions.insert(sid.clone(), id.to_owned()).is_none() {
            slot.sessions.push_back(sid);
        }
        if slot.sessions.len() > MOST_SESSIONS
            && let Some(oldest) = slot.sessions.pop_front()
        {
            self.sessions.remove(&oldest);
            self.forgotten.push(oldest);
        }
    }
}

impl Slot {
    fn is_for(&self, id: &str, wanted: &For) -> bool {
        match wanted {
            For::Any => true,
            For::Kind(kind) => *kind == self.kind,
            For::Worker(worker) => worker == id,
        }
    }

    fn is_free(&self) -> bool {
        self.presence == Presence::Up && self.work.is_none()
    }

    fn begin(&mut self, ticket: Ticket, sid: String) {
        self.work = Some((Some(ticket), sid));
        self.free_since = None;
    }

    fn has_done_enough(&self) -> bool {
        let enough = |most: Option<u64>, so_far| most.is_some_and(|most| so_far >= most);
        let recycle = self.treatment.recycle;
        enough(recycle.jobs, self.jobs) || enough(recycle.bytes, self.bytes)
    }

    /// When it is to rest, if nothing comes.
    fn rests_at(&self) -> Option<Instant> {
        let is_idle = self.is_free() && self.waiting.is_empty();
        let since = self.free_since.filter(|_| is_idle)?;
        since.checked_add(self.treatment.idle_timeout?)
    }
}
