//! The loop of a worker: it waits for everything at once, and nothing in it waits for anything else.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::geteuid;
use protocol::pool::{VERSION, Welcome};
use protocol::{Answer, Fault, FaultCode};
use sys::termination::Termination;

use super::caller::{Caller, Gone, Said};
use super::endpoint::Endpoint;
use super::jobs::Jobs;
use super::sessions::Sessions;
use super::{Commission, Ending, Job, Outcome, Worker, WorkerError};

mod answers;

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

struct Serving {
    endpoint: Option<Endpoint>,
    accept_again: Option<Instant>,
    callers: BTreeMap<u64, Caller>,
    next_caller: u64,
    sessions: Sessions,
    jobs: Jobs,
    termination: Termination,
    ending: Option<Ended>,
    commission: Option<Commission>,
    welcome: Welcome,
    idle_timeout: Option<Duration>,
    grace: Duration,
}

/// That it ends, and how long that may take.
struct Ended {
    why: Ending,
    job_until: Instant,
    until: Instant,
}

/// What was waited for.
#[derive(Clone, Copy)]
enum Source {
    Termination,
    Jobs,
    Endpoint,
    Caller(u64),
}

pub(super) fn serve(
    worker: Worker,
    work: impl FnMut(Job) -> Outcome + Send + 'static,
) -> Result<Ending, WorkerError> {
    let termination = Termination::take().map_err(WorkerError::io("sigaction"))?;
    let jobs = Jobs::start(work)?;
    worker.endpoint.listen()?;
    let serving = Serving {
        idle_timeout: worker.ends_when_idle_for(),
        endpoint: Some(worker.endpoint),
        accept_again: None,
        callers: BTreeMap::new(),
        next_caller: 0,
        sessions: Sessions::new(Instant::now()),
        jobs,
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
    serving.run()
}

impl Serving {
    fn run(mut self) -> Result<Ending, WorkerError> {
        loop {
            let now = Instant::now();
            self.look_at_the_clock(now);
            if let Some(ended) = self
                .ending
                .as_ref()
                .filter(|ended| self.is_done(ended, now))
            {
                return Ok(ended.why);
            }
            for (source, ready) in self.wait(now)? {
                self.attend(source, ready, Instant::now());
            }
        }
    }

    /// Waits until there is something to do, and says what.
    fn wait(&self, now: Instant) -> Result<Vec<(Source, PollFlags)>, WorkerError> {
        let timeout = self.next_time().map_or(PollTimeout::NONE, |time| {
            // Rounded up: a moment too early is a turn for nothing.
            let rest = time.saturating_duration_since(now) + Duration::from_micros(999);
            PollTimeout::try_from(rest.as_millis()).unwrap_or(PollTimeout::MAX)
        });
        let mut sources = vec![Source::Jobs];
        let mut fds = vec![PollFd::new(self.jobs.as_fd(), PollFlags::POLLIN)];
        // What came stays readable, and is looked at once.
        if self.ending.is_none() {
            sources.push(Source::Termination);
            fds.push(PollFd::new(self.termination.as_fd(), PollFlags::POLLIN));
        }
        if let (Some(endpoint), None) = (&self.endpoint, self.accept_again) {
            sources.push(Source::Endpoint);
            fds.push(PollFd::new(endpoint.socket().as_fd(), PollFlags::POLLIN));
        }
        for (number, caller) in &self.callers {
            let mut events = PollFlags::empty();
            events.set(PollFlags::POLLIN, caller.wants_read());
            events.set(PollFlags::POLLOUT, caller.wants_write());
            sources.push(Source::Caller(*number));
            fds.push(PollFd::new(caller.as_fd(), events));
        }
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(WorkerError::io("poll")(errno)),
        }
        let ready = fds
            .iter()
            .map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        let ready = sources.into_iter().zip(ready);
        Ok(ready.filter(|(_, ready)| !ready.is_empty()).collect())
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
        }
        let silent = |caller: &Caller| !caller.is_greeted() && caller.since + HANDSHAKE <= now;
        self.callers.retain(|_, caller| !silent(caller));
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
            endpoint.close();
        }
        self.sessions.cancel();
        let job_until = now + self.grace;
        self.ending.get_or_insert(Ended {
            why,
            job_until,
            until: job_until + LAST_WORDS,
        });
    }

    fn attend(&mut self, source: Source, ready: PollFlags, now: Instant) {
        match source {
            Source::Termination => self.end(Ending::Terminated, now),
            Source::Jobs => {
                if let Some(outcome) = self.jobs.ended() {
                    let due = self.sessions.ended(outcome, now);
                    self.give(due);
                }
            }
            Source::Endpoint => self.let_in(now),
            Source::Caller(number) => self.hear(number, ready, now),
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
                        _ => self.accept_again = Some(now + PAUSE),
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
            self.callers.insert(self.next_caller, caller);
            self.next_caller += 1;
        }
    }

    /// Reads what a caller says, and answers.
    fn hear(&mut self, number: u64, ready: PollFlags, now: Instant) {
        let Some(mut caller) = self.callers.remove(&number) else {
            return;
        };
        let is_gone = self.converse(number, &mut caller, ready, now).is_err();
        let is_awaiting = self.sessions.is_awaited_by(number);
        if is_gone || (caller.is_over() && !caller.wants_write() && !is_awaiting) {
            self.sessions.forget(number);
        } else {
            self.callers.insert(number, caller);
        }
    }

    fn converse(
        &mut self,
        number: u64,
        caller: &mut Caller,
        ready: PollFlags,
        now: Instant,
    ) -> Result<(), Gone> {
        if ready.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL) {
            return Err(Gone);
        }
        caller.flush()?;
        if caller.wants_read() {
            caller.read()?;
        } else if ready.contains(PollFlags::POLLHUP) {
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
