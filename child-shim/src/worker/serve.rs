//! What a worker does with what comes: it looks at everything at once, and nothing in it waits for anything else.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::unistd::geteuid;
use protocol::pool::{VERSION, Welcome};
use protocol::{Answer, Fault, FaultCode};
use sys::termination::Termination;

use super::caller::{Caller, Gone, Said};
use super::door::{Door, Source};
use super::endpoint::Endpoint;
use super::sessions::Sessions;
use super::{Commission, Ending, Job, Outcome, Worker, WorkerError, turns};
use sids::Sids;

mod answers;
mod sids;

/// The most connections at once. Whoever comes then is told so.
const CALLERS: usize = 64;

/// The most that are let in at a time: of those that are gone again the places are free the next time.
const AT_A_TIME: usize = 16;

/// How long a connection may take to its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long nobody is let in after there was no descriptor for one.
const PAUSE: Duration = Duration::from_millis(100);

/// How long answers are waited to be read when the worker ends.
const LAST_WORDS: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Serving {
    door: Arc<Door>,
    endpoint: Option<Endpoint>,
    accept_again: Option<Instant>,
    callers: BTreeMap<u64, Caller>,
    next_caller: u64,
    sessions: Sessions,
    sids: Sids,
    /// One that is to be begun.
    job: Option<Job>,
    /// When the clock goes off.
    clock: Option<Instant>,
    /// A caller may have said more, in one go, than was taken in.
    is_left: bool,
    /// What a job came to while this went on.
    outcomes: Receiver<Outcome>,
    termination: Termination,
    ending: Option<Ended>,
    commission: Option<Commission>,
    welcome: Welcome,
    idle_timeout: Option<Duration>,
    grace: Duration,
}

/// That it ends, and how long that may take.
#[derive(Debug)]
struct Ended {
    why: Ending,
    job_until: Instant,
    until: Instant,
}

pub(super) fn serve(
    worker: Worker,
    work: impl FnMut(Job) -> Outcome + Send + 'static,
) -> Result<Ending, WorkerError> {
    let termination = Termination::take().map_err(WorkerError::io("sigaction"))?;
    let door = Arc::new(Door::new().map_err(WorkerError::io("epoll_create1"))?);
    let add = |fd, source| {
        let added = door.add(fd, source, EpollFlags::EPOLLIN);
        added.map_err(WorkerError::io("epoll_ctl"))
    };
    add(termination.as_fd(), Source::Termination)?;
    worker.endpoint.listen()?;
    add(worker.endpoint.socket().as_fd(), Source::Endpoint)?;
    let (to_outcomes, outcomes) = channel();
    let serving = Serving {
        door: Arc::clone(&door),
        idle_timeout: worker.ends_when_idle_for(),
        endpoint: Some(worker.endpoint),
        accept_again: None,
        callers: BTreeMap::new(),
        next_caller: 0,
        sessions: Sessions::new(Instant::now()),
        sids: Sids::default(),
        job: None,
        clock: None,
        is_left: false,
        outcomes,
        termination,
        ending: None,
        commission: worker.commission,
        welcome: Welcome {
            version: VERSION,
            service: worker.service,
            service_version: worker.version,
        },
        grace: worker.grace,
    };
    turns::serve(serving, door, to_outcomes, work)
}

impl Serving {
    /// Serves until that is enough, or there is a reason to end.
    pub(super) fn run(
        &mut self,
        is_enough: impl Fn(&Self) -> bool,
    ) -> Result<Option<Ending>, WorkerError> {
        loop {
            let now = Instant::now();
            self.look_at_the_clock(now);
            if let Some(ended) = self
                .ending
                .as_ref()
                .filter(|ended| self.is_done(ended, now))
            {
                return Ok(Some(ended.why));
            }
            if is_enough(self) {
                return Ok(None);
            }
            self.set_clock()?;
            let came = self.door.wait();
            self.attend_to_all(came.map_err(WorkerError::io("epoll_wait"))?);
        }
    }

    /// Does what is to be done without being waited for, and says whether that was anything.
    pub(super) fn look(&mut self) -> Result<bool, WorkerError> {
        let came = self.door.look();
        let came = came.map_err(WorkerError::io("epoll_wait"))?;
        let is_something = came.len() > 0;
        self.attend_to_all(came);
        Ok(is_something)
    }

    fn attend_to_all(&mut self, came: impl Iterator<Item = (Source, EpollFlags)>) {
        self.is_left = false;
        for (source, ready) in came {
            self.attend(source, ready, Instant::now());
        }
    }

    /// Has the clock go off when there is something to do though nothing came. A time that turns out to be too early is looked at then:
    /// to put the clock off for each job would take longer than most of what is done for it.
    pub(super) fn set_clock(&mut self) -> Result<(), WorkerError> {
        let next = self.next_time();
        let earlier = next.filter(|next| self.clock.is_none_or(|set| *next < set));
        if let Some(time) = earlier {
            let set = self.door.set_clock(time);
            set.map_err(WorkerError::io("timerfd_settime"))?;
            self.clock = earlier;
        }
        Ok(())
    }

    /// Whether something that came may not have been taken in.
    pub(super) fn may_have_left_something(&self) -> bool {
        self.is_left
    }

    /// Whether a job is to be begun.
    pub(super) fn has_job(&self) -> bool {
        self.job.is_some()
    }

    /// The job that is to be begun.
    pub(super) fn take_job(&mut self) -> Option<Job> {
        self.job.take()
    }

    /// Whether a job runs or is to be begun, wanted or not.
    pub(super) fn is_at_work(&self) -> bool {
        self.sessions.is_at_work()
    }

    /// The job that ran came to this.
    pub(super) fn ended(&mut self, outcome: Outcome) {
        let due = self.sessions.ended(outcome, Instant::now());
        self.give(due);
    }

    /// When there is something to do though nothing came.
    fn next_time(&self) -> Option<Instant> {
        let handshakes = self.callers.values().filter(|caller| !caller.is_greeted());
        let handshake = handshakes.map(|caller| caller.since + HANDSHAKE).min();
        let ending = self
            .ending
            .as_ref()
            .map(|ended| match self.sessions.is_at_work() {
                true => ended.job_until.min(ended.until),
                false => ended.until,
            });
        let idle = self.idle_end().filter(|_| self.ending.is_none());
        [
            handshake,
            ending,
            idle,
            self.sessions.deadline(),
            self.accept_again,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn idle_end(&self) -> Option<Instant> {
        self.sessions.idle_since()?.checked_add(self.idle_timeout?)
    }

    fn look_at_the_clock(&mut self, now: Instant) {
        let due = self.sessions.expire(now);
        self.give(due);
        if self.accept_again.is_some_and(|time| time <= now) {
            self.accept_again = None;
            self.listen_to_the_door(EpollFlags::EPOLLIN);
        }
        let silent = |caller: &Caller| !caller.is_greeted() && caller.since + HANDSHAKE <= now;
        let door = &self.door;
        self.callers.retain(|_, caller| {
            let is_silent = silent(caller);
            if is_silent {
                door.remove(&*caller);
            }
            !is_silent
        });
        if self.ending.is_none() && self.idle_end().is_some_and(|time| time <= now) {
            self.end(Ending::Idle, now);
        }
        let overdue = |ended: &Ended| ended.job_until <= now;
        if self.ending.as_ref().is_some_and(overdue) {
            let fault = Fault::new(FaultCode::Unavailable, "the worker ended");
            let due = self.sessions.give_up(fault, now);
            self.give(due);
        }
    }

    /// Whether nothing is left to be waited for.
    fn is_done(&self, ended: &Ended, now: Instant) -> bool {
        let job_is_over = !self.sessions.is_at_work() || ended.job_until <= now;
        let all_is_said = !self.callers.values().any(Caller::wants_write);
        job_is_over && (all_is_said || ended.until <= now)
    }

    /// Takes no more jobs and no more connections, and tells the one that runs to stop.
    fn end(&mut self, why: Ending, now: Instant) {
        if let Some(endpoint) = self.endpoint.take() {
            self.door.remove(endpoint.socket());
            endpoint.close();
        }
        // What came stays readable, and was looked at.
        self.door.remove(self.termination.as_fd());
        self.sessions.cancel();
        let job_until = now + self.grace;
        self.ending.get_or_insert(Ended {
            why,
            job_until,
            until: job_until + LAST_WORDS,
        });
    }

    fn attend(&mut self, source: Source, ready: EpollFlags, now: Instant) {
        match source {
            Source::Termination => self.end(Ending::Terminated, now),
            Source::Bell => {
                self.door.silence();
                if let Ok(outcome) = self.outcomes.try_recv() {
                    self.ended(outcome);
                }
            }
            Source::Clock => {
                self.door.silence_clock();
                self.clock = None;
            }
            Source::Endpoint => self.let_in(now),
            Source::Caller(number) => self.hear(number, ready, now),
        }
    }

    /// Waits for those at the door, or does not.
    fn listen_to_the_door(&self, events: EpollFlags) {
        if let Some(endpoint) = &self.endpoint {
            // It fails for what is not there.
            let _changed = self
                .door
                .change(endpoint.socket(), Source::Endpoint, events);
        }
    }

    /// Lets those in who wait at the door.
    fn let_in(&mut self, now: Instant) {
        for _ in 0..AT_A_TIME {
            let Some(endpoint) = &self.endpoint else {
                return;
            };
            let stream = match endpoint.socket().accept() {
                Ok((stream, _)) => stream,
                Err(error) => {
                    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                    match errno {
                        Errno::EINTR | Errno::ECONNABORTED => continue,
                        Errno::EAGAIN => {}
                        // Out of descriptors or of memory: whoever waits goes on waiting, and those inside are served.
                        _ => {
                            self.accept_again = Some(now + PAUSE);
                            self.listen_to_the_door(EpollFlags::empty());
                        }
                    }
                    return;
                }
            };
            let peer = sys::peers::credentials(stream.as_fd());
            // The directory of the endpoint keeps others out; and if it does not, this does.
            let ours = |uid: u32| uid == geteuid().as_raw() || uid == 0;
            let is_ours = peer.is_ok_and(|peer| ours(peer.uid.as_raw()));
            if !is_ours || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let mut caller = Caller::new(stream, now);
            if self.callers.len() >= CALLERS {
                let fault = Fault::new(FaultCode::Limit, "too many connections");
                caller.answer(Answer::refused(None, fault));
                // As far as it takes it at once.
                let _told = caller.flush();
                continue;
            }
            let source = Source::Caller(self.next_caller);
            if self.door.add(&caller, source, caller.wants()).is_ok() {
                self.callers.insert(self.next_caller, caller);
                self.next_caller += 1;
            }
        }
    }

    /// Reads what a caller says, and answers.
    fn hear(&mut self, number: u64, ready: EpollFlags, now: Instant) {
        let Some(mut caller) = self.callers.remove(&number) else {
            return;
        };
        let is_gone = self.converse(number, &mut caller, ready, now).is_err();
        self.keep(number, caller, is_gone);
    }

    /// Goes on with a caller as long as there is something to be said or heard.
    fn keep(&mut self, number: u64, mut caller: Caller, is_gone: bool) {
        let is_awaiting = self.sessions.is_awaited_by(number);
        let is_gone = is_gone || (caller.is_over() && !caller.wants_write() && !is_awaiting);
        let changed = caller.wants_other_than_before();
        let is_kept = !is_gone
            && changed.is_none_or(|events| {
                let source = Source::Caller(number);
                self.door.change(&caller, source, events).is_ok()
            });
        if is_kept {
            self.callers.insert(number, caller);
        } else {
            self.door.remove(&caller);
            self.sessions.forget(number);
        }
    }

    fn converse(
        &mut self,
        number: u64,
        caller: &mut Caller,
        ready: EpollFlags,
        now: Instant,
    ) -> Result<(), Gone> {
        if ready.contains(EpollFlags::EPOLLERR) {
            return Err(Gone);
        }
        caller.flush()?;
        if caller.wants_read() {
            self.is_left |= caller.read()?;
        } else if ready.contains(EpollFlags::EPOLLHUP) {
            return Err(Gone);
        }
        loop {
            while let Some(said) = caller.next(self.commission.as_ref()) {
                if let Said::Request(request) = said {
                    self.answer(number, caller, request, now);
                }
            }
            let was_full = caller.wants_write();
            caller.flush()?;
            // What was not looked at because the caller had much to read is looked at when it has read it.
            if !was_full || caller.wants_write() {
                return Ok(());
            }
        }
    }
}
