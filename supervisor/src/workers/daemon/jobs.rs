//! Jobs on their way: from a client to a worker, and what came of them back.

use super::link::{Answer, Errand};
use super::{Client, Daemon, Hands};
use crate::workers::jobs::new_sid;
use crate::workers::lifecycle::Lifecycle;
use crate::workers::poller::{Ready, Token};
use crate::workers::pool::{For, Refusal, Step, Ticket};
use protocol::control::StopReason;
use protocol::pool::{PoolRequest, PoolStatus, Ran, SessionState, Welcome, is_sid};
use protocol::{Fault, FaultCode};
use serde_json::Value;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A request that is to be done by a worker.
#[derive(Debug)]
pub(super) struct Job {
    /// Who asked, and the request's number.
    asker: (Client, u64),
    sid: String,
    body: Body,
    /// Who was given it.
    worker: Option<String>,
    /// It was sent to the worker, over this connection or one before.
    was_sent: bool,
    /// When it is given up, though the worker says nothing.
    pub until: Option<Instant>,
}

#[derive(Debug)]
enum Body {
    Run {
        job: Value,
        deadline_ms: Option<u64>,
    },
    Continue {
        input: Option<Value>,
        deadline_ms: Option<u64>,
    },
}

/// A worker that minds the deadline itself is waited for so much longer.
const GRACE: Duration = Duration::from_secs(2);

/// The first wait before a worker that was told to stop is asked whether it has; each further one is twice as long.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LONGEST: Duration = Duration::from_secs(2);

impl<H: Hands> Daemon<H> {
    /// Somebody has a job for a worker.
    #[allow(
        clippy::too_many_arguments,
        reason = "they are the fields of the request"
    )]
    pub(super) fn run(
        &mut self,
        asker: (Client, u64),
        wanted: For,
        job: Value,
        deadline_ms: Option<u64>,
        queue_ms: Option<u64>,
        sid: Option<String>,
    ) {
        let (client, id) = asker;
        let sid = match sid {
            Some(sid) if is_sid(&sid) => sid,
            Some(sid) => {
                let fault = Fault::new(
                    FaultCode::BadRequest,
                    format!("`{sid}` is no session's name: 32 hex digits"),
                );
                return self.answer(client, id, Err(fault));
            }
            None => match new_sid() {
                Ok(sid) => sid,
                Err(error) => {
                    let why = format!("no random numbers: {error}");
                    let fault = Fault::new(FaultCode::Unavailable, why);
                    return self.answer(client, id, Err(fault));
                }
            },
        };
        let body = Body::Run { job, deadline_ms };
        let ticket = self.take_in(asker, &sid, body, deadline_ms);
        let patience = queue_ms.map(Duration::from_millis);
        let steps = self.pool.run(self.now, ticket, wanted, sid, patience);
        self.take_steps(steps);
    }

    /// Somebody goes on with a session.
    pub(super) fn go_on(
        &mut self,
        asker: (Client, u64),
        sid: &str,
        input: Option<Value>,
        deadline_ms: Option<u64>,
    ) {
        let has_input = input.is_some();
        let body = Body::Continue { input, deadline_ms };
        let ticket = self.take_in(asker, sid, body, deadline_ms);
        let mut steps = self.pool.go_on(ticket, sid, has_input);
        if let [Step::Refuse { why, .. }] = &steps[..]
            && *why == Refusal::SessionNotFound
            && let Some(worker) = self.is_still_unheard(sid)
        {
            // The daemon before gave it, and its worker has not said yet what it has: it is asked as soon as it can be.
            steps = vec![Step::Give { ticket, worker }];
        }
        self.take_steps(steps);
    }

    /// The worker that has a session by the ledger's word alone.
    fn is_still_unheard(&self, sid: &str) -> Option<String> {
        let entry = self.ledger.entries().get(sid)?;
        let member = self.members.get(&entry.worker)?;
        let is_that = member.process.as_ref()?.instance == entry.instance;
        let is_up = member.link.as_ref().is_some_and(|(_, link)| link.is_up);
        (is_that && !is_up).then(|| entry.worker.clone())
    }

    fn take_in(
        &mut self,
        asker: (Client, u64),
        sid: &str,
        body: Body,
        deadline_ms: Option<u64>,
    ) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let job = Job {
            asker,
            sid: sid.to_owned(),
            body,
            worker: None,
            was_sent: false,
            until: deadline_ms.and_then(|time| {
                let time = Duration::from_millis(time) + GRACE;
                self.now.checked_add(time)
            }),
        };
        self.jobs.insert(ticket, job);
        ticket
    }

    /// Does what the pool decided.
    pub(super) fn take_steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Give { ticket, worker } => self.give(ticket, &worker),
                Step::Refuse { ticket, why } => self.conclude(ticket, Err(fault(why))),
                Step::Wake(id) => self.with_life(&id, |life, _| life.demand()),
                Step::Replace(id) => self.with_life(&id, |life, now| {
                    life.replace(now, StopReason::Recycled, life.rules().patience)
                }),
                Step::Rest(id) => self.with_life(&id, |life, now| {
                    life.stop(now, StopReason::Idle, life.rules().patience)
                }),
            }
        }
        for sid in self.pool.take_forgotten() {
            // It is told to those who watch; nothing else hangs on it.
            let _told = self.write_ledger(|ledger| ledger.forgotten(&sid));
        }
    }

    fn with_life(
        &mut self,
        id: &str,
        act: impl FnOnce(&mut Lifecycle, Instant) -> Vec<crate::workers::lifecycle::Act>,
    ) {
        let now = self.now;
        if let Some(member) = self.members.get_mut(id) {
            let acts = act(&mut member.life, now);
            self.perform(id, acts);
        }
    }

    fn write_ledger(
        &mut self,
        write: impl FnOnce(
            &mut crate::workers::jobs::Ledger,
        ) -> Result<(), crate::workers::jobs::LedgerError>,
    ) -> Result<(), String> {
        write(&mut self.ledger).map_err(|error| {
            let why = error.to_string();
            self.tell_error(None, why.clone());
            why
        })
    }

    /// A request goes to a worker. What cannot be written down is not given.
    fn give(&mut self, ticket: Ticket, id: &str) {
        let Some(job) = self.jobs.get_mut(&ticket) else {
            return;
        };
        job.worker = Some(id.to_owned());
        let sid = job.sid.clone();
        let is_question = matches!(job.body, Body::Continue { input: None, .. });
        let process = self
            .members
            .get(id)
            .and_then(|member| member.process.as_ref());
        let instance = process.map(|process| process.instance.clone());
        let instance = instance.unwrap_or_default();
        let written = match is_question {
            true => Ok(()),
            false => self.write_ledger(|ledger| ledger.given(&sid, id, &instance)),
        };
        if let Err(why) = written {
            let why = format!("the job cannot be written down: {why}");
            let fault = Fault::new(FaultCode::Unavailable, why);
            self.conclude(ticket, Err(fault));
            self.answered(id, &sid, SessionState::Failed, 0);
            return;
        }
        let is_up = self
            .members
            .get(id)
            .and_then(|member| member.link.as_ref())
            .is_some_and(|(_, link)| link.is_up);
        if is_up {
            self.send(ticket, id);
        }
    }

    /// Sends a request to the worker that has it. One that may have been sent before is sent so that it cannot be done twice.
    fn send(&mut self, ticket: Ticket, id: &str) {
        let Some(job) = self.jobs.get_mut(&ticket) else {
            return;
        };
        let sid = job.sid.clone();
        let is_again = std::mem::replace(&mut job.was_sent, true);
        let request = match &job.body {
            // A worker that has the session refuses to begin it again.
            Body::Run { job, deadline_ms } => PoolRequest::Run {
                job: job.clone(),
                deadline_ms: *deadline_ms,
                queue_ms: None,
                sid: Some(sid.clone()),
            },
            // Input is given once: if it arrived, this asks what came of it.
            Body::Continue { input, deadline_ms } => PoolRequest::Continue {
                sid: sid.clone(),
                input: input.clone().filter(|_| !is_again),
                deadline_ms: *deadline_ms,
            },
        };
        let errand = Errand::Job { ticket, is_again };
        match self.ask(id, errand, request) {
            Some(Ok(bytes)) => self.count(id, &sid, bytes),
            Some(Err(fault)) => {
                self.conclude(ticket, Err(fault));
                self.answered(id, &sid, SessionState::Failed, 0);
            }
            // It is sent when the worker is reached again.
            None => {}
        }
    }

    /// Asks a worker something, if it is connected.
    fn ask(
        &mut self,
        id: &str,
        errand: Errand,
        request: PoolRequest,
    ) -> Option<Result<u64, Fault>> {
        let member = self.members.get_mut(id)?;
        let (key, link) = member.link.as_mut()?;
        let asked = link.ask(errand, request);
        let is_of_use = link.flush();
        let wanted = link.wanted();
        if is_of_use && wanted != link.interest {
            link.interest = wanted;
            // What cannot be waited for is found out when the worker is next heard.
            let _unheard = self.poller.change(link.as_fd(), Token(*key), wanted);
        }
        if !is_of_use {
            self.disconnect(id);
            return None;
        }
        Some(asked.map_err(|error| Fault::new(FaultCode::TooLarge, error.to_string())))
    }

    /// A worker was connected: first of all the versions.
    pub(super) fn greet(&mut self, id: &str) {
        let version = protocol::pool::VERSION;
        let request = PoolRequest::Handshake { version };
        let _asked = self.ask(id, Errand::Handshake, request);
    }

    /// Something can be read from a worker, or written to it.
    pub(super) fn on_link(&mut self, ready: Ready) {
        let Some(id) = self.links.get(&ready.token.0).cloned() else {
            return;
        };
        let mut answers = Vec::new();
        let Some((key, link)) = self.members.get_mut(&id).and_then(|m| m.link.as_mut()) else {
            return;
        };
        let is_of_use = link.on_ready(ready, &mut answers);
        let wanted = link.wanted();
        if is_of_use && wanted != link.interest {
            link.interest = wanted;
            let _unheard = self.poller.change(link.as_fd(), Token(*key), wanted);
        }
        for answer in answers {
            self.on_answer(&id, answer);
        }
        if !is_of_use {
            self.disconnect(&id);
        }
    }

    fn on_answer(&mut self, id: &str, answer: Answer) {
        let Answer {
            errand,
            response,
            bytes,
        } = answer;
        match (errand, response.outcome) {
            (Errand::Handshake, Ok(data)) => {
                let welcome = serde_json::from_value::<Welcome>(data);
                let is_ours = welcome.is_ok_and(|w| w.version == protocol::pool::VERSION);
                if !is_ours {
                    return self
                        .misunderstood(id, "it speaks another version of the pool protocol");
                }
                let include_history = true;
                let _asked = self.ask(id, Errand::Status, PoolRequest::Status { include_history });
            }
            (Errand::Status, Ok(data)) => match serde_json::from_value::<PoolStatus>(data) {
                Ok(status) => self.is_up(id, status),
                Err(error) => self.misunderstood(id, &format!("its status: {error}")),
            },
            (Errand::Handshake | Errand::Status, Err(fault)) => {
                self.misunderstood(id, &fault.to_string());
            }
            (Errand::Watch(sid), outcome) => {
                let ran = outcome
                    .ok()
                    .and_then(|data| serde_json::from_value::<Ran>(data).ok());
                match ran {
                    Some(ran) => self.answered(id, &sid, ran.state, bytes),
                    // That its time is over, for one, does not mean that it has stopped.
                    None => self.look_soon(id),
                }
            }
            (Errand::Look, Ok(data)) => match serde_json::from_value::<PoolStatus>(data) {
                Ok(status) if status.running.is_some() => self.look_soon(id),
                Ok(_) => self.is_at_rest(id),
                Err(error) => self.misunderstood(id, &format!("its status: {error}")),
            },
            (Errand::Look, Err(fault)) => self.misunderstood(id, &fault.to_string()),
            (Errand::Job { ticket, is_again }, outcome) => {
                self.on_job(id, ticket, is_again, outcome, bytes);
            }
        }
    }

    fn on_job(
        &mut self,
        id: &str,
        ticket: Ticket,
        is_again: bool,
        outcome: Result<Value, Fault>,
        bytes: u64,
    ) {
        let Some(job) = self.jobs.get_mut(&ticket) else {
            // Whoever asked has given up; the worker is free again all the same.
            if let Ok(data) = outcome
                && let Ok(ran) = serde_json::from_value::<Ran>(data)
            {
                self.answered(id, &ran.sid, ran.state, bytes);
            }
            return;
        };
        let sid = job.sid.clone();
        match outcome {
            Ok(data) => match serde_json::from_value::<Ran>(data.clone()) {
                Ok(ran) => {
                    let state = ran.state;
                    let mut data = data;
                    data["worker"] = Value::from(id);
                    self.conclude(ticket, Ok(data));
                    self.answered(id, &sid, state, bytes);
                }
                Err(error) => {
                    let fault = Fault::new(FaultCode::Failed, format!("its answer: {error}"));
                    self.conclude(ticket, Err(fault.of_session(&sid)));
                    self.answered(id, &sid, SessionState::Failed, bytes);
                }
            },
            // It was begun over the connection before.
            Err(fault) if is_again && fault.code == FaultCode::SessionExists => {
                job.body = Body::Continue {
                    input: None,
                    deadline_ms: None,
                };
                self.send(ticket, id);
            }
            Err(fault) => {
                match fault.code {
                    // One that is past its deadline works on until it stops: then it is free.
                    FaultCode::Deadline => {
                        self.pool.forget(ticket);
                        self.watch(id, &sid);
                    }
                    // It works on something that nobody here knows of.
                    FaultCode::Busy if self.pool.working_on(id) == Some(&sid) => {
                        self.pool.forget(ticket);
                        self.look_soon(id);
                    }
                    _ => self.answered(id, &sid, SessionState::Failed, bytes),
                }
                self.conclude(ticket, Err(fault.of_session(sid)));
            }
        }
    }

    fn watch(&mut self, id: &str, sid: &str) {
        let request = PoolRequest::Continue {
            sid: sid.to_owned(),
            input: None,
            deadline_ms: None,
        };
        let _asked = self.ask(id, Errand::Watch(sid.to_owned()), request);
    }

    /// Has a worker asked whether it is still at work, with longer and longer waits.
    fn look_soon(&mut self, id: &str) {
        let now = self.now;
        if let Some(member) = self.members.get_mut(id) {
            let wait = (member.look_wait * 2).clamp(LOOK_FIRST, LOOK_LONGEST);
            (member.look_at, member.look_wait) = (Some(now + wait), wait);
        }
    }

    /// Asks, if it is time.
    pub(super) fn look_again(&mut self, id: &str) {
        let now = self.now;
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.look_at.is_some_and(|at| at <= now) {
            // As long as it says nothing it is not free.
            member.look_at = None;
            let include_history = false;
            let _asked = self.ask(id, Errand::Look, PoolRequest::Status { include_history });
        }
    }

    /// A worker that was told to stop has.
    fn is_at_rest(&mut self, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            (member.look_at, member.look_wait) = (None, Duration::ZERO);
        }
        if let Some(sid) = self.pool.working_on(id).map(str::to_owned) {
            self.answered(id, &sid, SessionState::Failed, 0);
        }
    }

    fn misunderstood(&mut self, id: &str, why: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.unreached = Some(why.to_owned());
        }
        self.disconnect(id);
    }

    /// A worker said what it has: it takes jobs from now on, and those that it was given over a connection before are asked for.
    fn is_up(&mut self, id: &str, status: PoolStatus) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if let Some((_, link)) = &mut member.link {
            link.is_up = true;
        }
        member.unreached = None;
        let acts = member.life.ready();
        let names = |sessions: Vec<protocol::pool::SessionStatus>| {
            sessions.into_iter().map(|session| session.sid).collect()
        };
        let running = status.running.map(|session| session.sid);
        let over = names(status.history.unwrap_or_default());
        let waiting = names(status.waiting);
        let steps = self.pool.up(self.now, id, running.clone(), waiting, over);
        let given = |job: &Job| job.worker.as_deref() == Some(id);
        let open: Vec<Ticket> = self
            .jobs
            .iter()
            .filter(|(_, job)| given(job))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in open {
            self.send(ticket, id);
        }
        if let Some(sid) = running {
            self.watch(id, &sid);
        }
        self.take_steps(steps);
        self.perform(id, acts);
    }

    /// A session of the worker is now so.
    fn answered(&mut self, id: &str, sid: &str, state: SessionState, bytes: u64) {
        let _told = self.write_ledger(|ledger| ledger.answered(sid));
        let steps = self.pool.answered(self.now, id, sid, state, bytes);
        self.take_steps(steps);
    }

    fn count(&mut self, id: &str, sid: &str, bytes: u64) {
        let state = SessionState::Running;
        let steps = self.pool.answered(self.now, id, sid, state, bytes);
        self.take_steps(steps);
    }

    /// Answers whoever asked.
    pub(super) fn conclude(&mut self, ticket: Ticket, outcome: Result<Value, Fault>) {
        if let Some(job) = self.jobs.remove(&ticket) {
            let (client, id) = job.asker;
            self.answer(client, id, outcome);
        }
    }

    /// What was given to a worker is gone with it.
    pub(super) fn lose_jobs(&mut self, id: &str) {
        let lost = self.jobs.iter();
        let lost = lost.filter(|(_, job)| job.worker.as_deref() == Some(id));
        let lost: Vec<(Ticket, String)> = lost
            .map(|(ticket, job)| (*ticket, job.sid.clone()))
            .collect();
        for (ticket, sid) in lost {
            let fault = fault(Refusal::WorkerGone).of_session(sid);
            self.conclude(ticket, Err(fault));
        }
    }

    /// Gives up what takes longer than it may, of workers that do not say so themselves.
    pub(super) fn expire_jobs(&mut self) {
        let now = self.now;
        let late = |job: &Job| job.until.is_some_and(|until| until <= now);
        let late: Vec<(Ticket, String)> = self
            .jobs
            .iter()
            .filter(|(_, job)| late(job))
            .map(|(ticket, job)| (*ticket, job.sid.clone()))
            .collect();
        for (ticket, sid) in late {
            self.pool.forget(ticket);
            let fault = Fault::new(FaultCode::Deadline, "the time for it is over");
            self.conclude(ticket, Err(fault.of_session(sid)));
        }
    }

    /// Whoever asked is gone: what waits is forgotten, what is under way goes on.
    pub(super) fn forget_client(&mut self, client: Client) {
        let theirs = self.jobs.iter().filter(|(_, job)| job.asker.0 == client);
        let theirs: Vec<Ticket> = theirs.map(|(ticket, _)| *ticket).collect();
        for ticket in theirs {
            self.pool.forget(ticket);
            self.jobs.remove(&ticket);
        }
        self.waiters.retain(|waiter| waiter.client != client);
    }
}

fn fault(why: Refusal) -> Fault {
    let (code, message) = match why {
        Refusal::Busy => (FaultCode::Busy, "no worker is free"),
        Refusal::Limit => (FaultCode::Limit, "too many jobs wait already"),
        Refusal::SessionNotFound => (FaultCode::SessionNotFound, "nobody has that session"),
        Refusal::SessionExists => (FaultCode::SessionExists, "there is a session of that name"),
        Refusal::WorkerGone => (
            FaultCode::WorkerGone,
            "the worker ended while it was at work on it",
        ),
        Refusal::UnknownWorker => (
            FaultCode::UnknownWorker,
            "there is no such worker, or it takes no jobs",
        ),
    };
    Fault::new(code, message)
}
