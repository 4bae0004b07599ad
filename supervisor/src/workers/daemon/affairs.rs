//! The lives of workers: what is decided about them is done.

use super::link::Link;
use super::member::{Member, Process};
use super::{Born, Daemon, Former, Hands, Happened, Order, unix_ms};
use crate::launch::Exit;
use crate::workers::config::{Kind, PoolFile};
use crate::workers::desired::Desired;
use crate::workers::lifecycle::{Act, End, Told};
use crate::workers::logs::Source;
use crate::workers::poller::{Interest, Token};
use protocol::control::{Ended, Event, LifecycleState, StopReason};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsFd;
use std::time::Duration;

/// The first wait before a worker is tried to be reached again; each further one is twice as long.
const REACH_FIRST: Duration = Duration::from_millis(20);
const REACH_LONGEST: Duration = Duration::from_secs(2);

impl<H: Hands> Daemon<H> {
    /// Makes the workers that the pool file names, of which the daemon before may have had some.
    pub(super) fn populate(&mut self, file: &PoolFile, mut former: BTreeMap<String, Former>) {
        for kind in &file.kinds {
            for id in kind.ids() {
                let desired = self.desired.get(&id).cloned().unwrap_or(Desired::UNSAID);
                let member = Member::new(kind.clone(), &desired);
                self.join(&id, member);
                match former.remove(&id) {
                    Some(Former::Here(born)) => self.take_over(&id, born),
                    Some(Former::Missing(reason)) => self.begin_again(&id, reason),
                    None => self.begin_first(&id),
                }
            }
        }
        // Nobody asks any more what was wanted of the others, nor for the secrets that they were started with.
        let said = self.desired.len();
        let members = &self.members;
        self.desired.retain(|id, _| members.contains_key(id));
        if self.desired.len() != said {
            self.unkept = Some((self.now, None));
        }
        // What is no longer in the file is ended.
        for (id, former) in former {
            let Former::Here(born) = former else {
                continue;
            };
            let name = id
                .rsplit_once('-')
                .map_or(&*id, |(name, _)| name)
                .to_owned();
            let kind = file.kind(&name).cloned();
            let kind = kind.unwrap_or_else(|| Kind::unnamed(name));
            let unwanted = Desired {
                running: false,
                auto_restart: false,
                ..Desired::UNSAID
            };
            let mut member = Member::new(kind, &unwanted);
            member.is_leaving = true;
            self.join(&id, member);
            self.take_over(&id, born);
        }
    }

    /// There is such a worker from now on.
    pub(super) fn join(&mut self, id: &str, member: Member) {
        if member.speaks() {
            self.pool.add(id, &member.kind.name, member.treatment());
        }
        self.members.insert(id.to_owned(), member);
    }

    /// Starts a worker of which nothing is known but that it is wanted.
    pub(super) fn begin_first(&mut self, id: &str) {
        let unknown = self.unknown.clone();
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let acts = match unknown {
            Some(why) => member.life.block(why),
            None if member.life.is_wanted() => member.life.start(),
            None => Vec::new(),
        };
        self.perform(id, acts);
    }

    fn begin_again(&mut self, id: &str, reason: StopReason) {
        if self.unknown.is_some() {
            return self.begin_first(id);
        }
        if let Some(member) = self.members.get_mut(id) {
            let acts = member.life.missed(self.now, reason);
            self.perform(id, acts);
        }
    }

    fn take_over(&mut self, id: &str, born: Born) {
        let is_known = self.unknown.is_none();
        let now = self.now;
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let pid = born.pid;
        let is_ready = !member.speaks();
        member.life.found(is_ready);
        self.has_process(id, born);
        if is_ready {
            let worker = id.to_owned();
            self.tell(Event::Started {
                worker,
                pid,
                reattached: true,
            });
        }
        let mut acts = Vec::new();
        if let Some(member) = self.members.get_mut(id)
            && (member.is_leaving || (is_known && !member.life.is_wanted()))
        {
            let patience = member.life.rules().patience;
            acts = member.life.stop(now, StopReason::User, patience);
        }
        self.perform(id, acts);
    }

    fn has_process(&mut self, id: &str, born: Born) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        for (stream, pipe) in born.output {
            let worker = id.to_owned();
            let source = Source { worker, stream };
            // Who cannot be heard is kept all the same, and its logs say that they are missing.
            let _unheard = self.logs.take(source, member.kind.log, pipe);
        }
        member.process = Some(Process {
            pid: born.pid,
            instance: born.instance,
            endpoint: born.endpoint,
            is_reattached: born.is_reattached,
            verified: born.verified,
            degraded: born.degraded,
        });
        (member.reach_at, member.reach_wait) = (None, Duration::ZERO);
        if member.speaks() {
            self.pool.coming(id);
            self.hands.reach(id);
        }
    }

    /// Does what was decided about a worker.
    pub(super) fn perform(&mut self, id: &str, acts: Vec<Act>) {
        let mut left = VecDeque::from(acts);
        while let Some(act) = left.pop_front() {
            let more = self.do_one(id, act);
            for act in more.into_iter().rev() {
                left.push_front(act);
            }
        }
        self.tell_state(id);
        let is_gone = self
            .members
            .get(id)
            .is_some_and(|member| member.is_leaving && !member.life.has_process());
        if is_gone {
            self.members.remove(id);
            self.desired.remove(id);
            self.unkept = Some((self.now, None));
            let steps = self.pool.remove(id);
            self.take_steps(steps);
        }
    }

    fn do_one(&mut self, id: &str, act: Act) -> Vec<Act> {
        match act {
            Act::Spawn => return self.spawn(id),
            Act::Ask => {
                self.pool.leaving(id);
                // One that cannot be asked is killed when its time is over.
                let _unasked = self.hands.ask(id);
            }
            Act::Kill => self.hands.kill(id),
            Act::Keep => {
                let member = self.members.get(id);
                let reason = member.and_then(|member| member.life.unwanted());
                self.want(id, reason);
            }
            Act::Tell(Told::Started) => {
                let process = self.members.get(id).and_then(|m| m.process.as_ref());
                if let Some(process) = process {
                    let (pid, reattached) = (process.pid, process.is_reattached);
                    let worker = id.to_owned();
                    self.tell(Event::Started {
                        worker,
                        pid,
                        reattached,
                    });
                }
            }
            Act::Tell(Told::Stopped(reason)) => {
                let worker = id.to_owned();
                self.tell(Event::Stopped { worker, reason });
            }
            Act::Tell(Told::Failed(message)) => self.tell_error(Some(id), message),
        }
        Vec::new()
    }

    fn spawn(&mut self, id: &str) -> Vec<Act> {
        // Everybody is told of each state, also of those that do not last.
        self.tell_state(id);
        let now = self.now;
        let Some(member) = self.members.get_mut(id) else {
            return Vec::new();
        };
        let order = Order {
            id,
            kind: &member.kind,
            env: &member.env,
        };
        match self.hands.start(&order) {
            Ok(born) => {
                self.has_process(id, born);
                match self.members.get_mut(id) {
                    Some(member) if !member.speaks() => member.life.ready(),
                    _ => Vec::new(),
                }
            }
            Err(unborn) => member.life.failed(now, unborn.how, unborn.cause),
        }
    }

    /// Tells everybody if a worker's state is another one.
    fn tell_state(&mut self, id: &str) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let state = member.life.state();
        if member.told == state {
            return;
        }
        (member.told, member.since_unix_ms) = (state, unix_ms());
        let restart_attempt = member.life.restart_attempt();
        let worker = id.to_owned();
        self.tell(Event::State {
            worker,
            state,
            restart_attempt,
        });
    }

    pub(super) fn on_happened(&mut self, happened: Happened) {
        match happened {
            Happened::Gone { worker, end } => self.on_gone(&worker, end),
            Happened::Reached {
                worker,
                instance,
                stream,
                verified,
            } => {
                let Some(member) = self.of_instance(&worker, &instance) else {
                    return;
                };
                if let Some(process) = &mut member.process {
                    process.verified = Some(verified);
                }
                (member.unreached, member.reach_wait) = (None, Duration::ZERO);
                self.connected(&worker, Link::new(stream));
            }
            Happened::Unreached {
                worker,
                instance,
                why,
            } => {
                let now = self.now;
                if let Some(member) = self.of_instance(&worker, &instance) {
                    let wait = (member.reach_wait * 2).clamp(REACH_FIRST, REACH_LONGEST);
                    (member.reach_wait, member.reach_at) = (wait, Some(now + wait));
                    member.unreached = Some(why);
                }
            }
            Happened::Event(event) => self.tell(event),
            Happened::Stop => self.begin_end(super::Ending::Left),
        }
    }

    fn of_instance(&mut self, worker: &str, instance: &str) -> Option<&mut Member> {
        let member = self.members.get_mut(worker)?;
        let is_that = member.process.as_ref()?.instance == instance;
        is_that.then_some(member)
    }

    fn connected(&mut self, id: &str, link: Link) {
        let key = self.next_link;
        self.next_link += 1;
        let added = self.poller.add(link.as_fd(), Token(key), Interest::READ);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if added.is_err() {
            member.reach_at = Some(self.now + REACH_LONGEST);
            return;
        }
        member.link = Some((key, link));
        self.links.insert(key, id.to_owned());
        self.greet(id);
    }

    /// The connection to a worker is of no further use.
    pub(super) fn disconnect(&mut self, id: &str) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        // Once it is reached again it says first of all what it does.
        (member.look_at, member.look_wait) = (None, Duration::ZERO);
        if let Some((key, link)) = member.link.take() {
            self.poller.remove(link.as_fd());
            self.links.remove(&key);
        }
        // Whoever is ending need not be reached again.
        if matches!(
            member.life.state(),
            LifecycleState::Starting | LifecycleState::Running | LifecycleState::Recovering
        ) {
            self.pool.coming(id);
            let wait = (member.reach_wait * 2).clamp(REACH_FIRST, REACH_LONGEST);
            (member.reach_wait, member.reach_at) = (wait, Some(self.now + wait));
        }
    }

    pub(super) fn reach_again(&mut self, id: &str) {
        let now = self.now;
        if let Some(member) = self.members.get_mut(id)
            && member.reach_at.is_some_and(|at| at <= now)
        {
            member.reach_at = None;
            if member.life.has_process() {
                self.hands.reach(id);
            }
        }
    }

    fn on_gone(&mut self, id: &str, end: End) {
        self.disconnect(id);
        let now = self.now;
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.reach_at = None;
        let ended = told(&end);
        member.last_exit = Some(ended);
        let process = member.process.take();
        let acts = member.life.gone(now, end);
        let rests = member.life.reason() == Some(StopReason::Idle) && member.life.is_wanted();
        if let Some(process) = process {
            let worker = id.to_owned();
            let pid = process.pid;
            self.tell(Event::WorkerExited { worker, pid, ended });
            if let Err(error) = self.ledger.gone(&process.instance) {
                self.tell_error(Some(id), error.to_string());
            }
        }
        // Before its next process is there, which knows nothing of them.
        let steps = self.pool.down(id, rests);
        self.lose_jobs(id);
        self.take_steps(steps);
        self.perform(id, acts);
    }

    /// Everything is to end, or another daemon to take over.
    pub(super) fn begin_end(&mut self, ending: super::Ending) {
        use super::Ending;
        let now = self.now;
        self.ending = Some(ending);
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            let (stays, reason) = match ending {
                Ending::Upgrade => (member.survives(), StopReason::Upgrade),
                Ending::Left => (member.survives(), StopReason::DaemonTerminated),
                Ending::Shutdown => (false, StopReason::DaemonTerminated),
            };
            if !stays {
                let patience = member.life.rules().patience;
                let acts = member.life.stop(now, reason, patience);
                self.perform(&id, acts);
            }
        }
    }
}

/// How a process ended, as everybody is told.
fn told(end: &End) -> Ended {
    let (code, signal) = match end {
        End::Itself(Exit::Code(code)) => (Some(*code), None),
        End::Itself(Exit::Signal(signal)) => (None, Some(*signal)),
        End::Itself(Exit::Unknown) | End::TimedOut | End::Unserved(_) => (None, None),
    };
    Ended {
        code,
        signal,
        timed_out: *end == End::TimedOut,
    }
}
