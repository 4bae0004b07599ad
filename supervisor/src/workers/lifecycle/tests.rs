//! The states, one by one, and what holds whatever happens.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

fn rules(when: RestartWhen) -> Rules {
    Rules {
        restart: Restart {
            when,
            ..Restart::USUAL
        },
        patience: PATIENCE,
        zero: StopReason::Completed,
    }
}

fn worker(when: RestartWhen) -> Lifecycle {
    Lifecycle::new(rules(when), false, true)
}

fn running(when: RestartWhen) -> Lifecycle {
    let mut worker = worker(when);
    assert_eq!(worker.start(), [Act::Keep, Act::Spawn]);
    assert_eq!(worker.state(), State::Starting);
    assert_eq!(worker.ready(), [Act::Tell(Told::Started)]);
    assert_eq!(worker.state(), State::Running);
    worker
}

fn stopped(reason: StopReason) -> Act {
    Act::Tell(Told::Stopped(reason))
}

#[test]
fn it_is_stopped_only_when_its_process_is_gone() {
    let now = Instant::now();
    let mut worker = running(RestartWhen::Always);
    assert_eq!(
        worker.stop(now, StopReason::User, PATIENCE),
        [Act::Keep, Act::Ask]
    );
    assert_eq!(worker.state(), State::Stopping);
    assert_eq!(worker.tick(now + PATIENCE - SECOND), []);
    assert_eq!(worker.tick(now + PATIENCE), [Act::Kill]);
    assert_eq!(worker.state(), State::Stopping);
    assert_eq!(
        worker.tick(now + PATIENCE + SECOND),
        [Act::Kill],
        "again, until it is gone"
    );
    let exit = Exit::Signal(9);
    assert_eq!(worker.gone(now, exit), [stopped(StopReason::User)]);
    assert_eq!(
        (worker.state(), worker.is_wanted()),
        (State::Stopped, false)
    );
    assert_eq!(worker.gone(now, exit), [], "it is told once");
    assert_eq!(worker.due(), None);
}

#[test]
fn a_worker_whose_time_was_over_or_that_could_not_be_served_comes_back_and_is_not_said_to_be_killed()
 {
    let now = Instant::now();
    for (end, says) in [
        (End::TimedOut, "its time was over"),
        (End::Unserved("no files".to_owned()), "no files"),
        (End::Itself(Exit::Unknown), "nobody saw how"),
    ] {
        let mut worker = running(RestartWhen::OnFailure);
        assert_eq!(worker.gone(now, end), [stopped(StopReason::ProcessExit)]);
        assert_eq!(worker.state(), State::RecoveryPending);
        let cause = worker.cause().unwrap_or_default();
        assert!(cause.contains(says) && !cause.contains("signal"), "{cause}");
    }
}

#[test]
fn a_killed_worker_comes_back_with_longer_and_longer_waits_and_is_given_up_in_the_end() {
    let start = Instant::now();
    let mut now = start;
    let mut worker = running(RestartWhen::OnFailure);
    for (attempt, wait) in [(1, 1), (2, 2), (3, 4)] {
        let acts = worker.gone(now, Exit::Signal(9));
        let wait = wait * SECOND;
        assert_eq!(acts, [stopped(StopReason::ProcessExit)]);
        assert_eq!(worker.state(), State::RecoveryPending);
        assert_eq!(worker.tick(now + wait - SECOND / 2), []);
        now += wait;
        assert_eq!(worker.tick(now), [Act::Spawn]);
        assert_eq!(worker.state(), State::Recovering);
        assert_eq!(worker.restart_attempt(), attempt);
        assert_eq!(worker.ready(), [Act::Tell(Told::Started)]);
    }
    let acts = worker.gone(now, Exit::Code(3));
    let [_, Act::Tell(Told::Failed(why))] = &acts[..] else {
        panic!("{acts:?}");
    };
    assert_eq!(
        why,
        "given up after 3 restarts in 30s; the last time: it exited with status 3"
    );
    assert_eq!(
        (worker.state(), worker.cause()),
        (State::Error, Some(&**why))
    );
    assert!(
        worker.is_wanted(),
        "it failed; nobody said that it is not wanted"
    );
    assert_eq!(worker.start(), [Act::Spawn]);
    assert_eq!(worker.restart_attempt(), 0);
}

#[test]
fn restarts_that_lie_far_apart_are_not_counted_together() {
    let mut now = Instant::now();
    let mut worker = running(RestartWhen::Always);
    for _ in 0..20 {
        assert_eq!(
            worker.gone(now, Exit::Code(0)),
            [stopped(StopReason::ProcessExit)]
        );
        now += SECOND;
        assert_eq!(worker.tick(now), [Act::Spawn]);
        worker.ready();
        now += Restart::USUAL.window;
        worker.tick(now);
        assert_eq!(worker.restart_attempt(), 0);
    }
}

#[test]
fn who_stops_it_and_why_decides_whether_it_is_still_wanted() {
    use StopReason::{App, DaemonTerminated, Error, Idle, OsRestart, ProcessExit, Upgrade, User};
    let now = Instant::now();
    for (reason, wanted) in [
        (User, false),
        (App, false),
        (Idle, true),
        (Error, true),
        (ProcessExit, true),
        (OsRestart, true),
        (DaemonTerminated, true),
        (Upgrade, true),
    ] {
        let mut worker = running(RestartWhen::Always);
        worker.stop(now, reason, PATIENCE);
        let acts = worker.gone(now, Exit::Code(0));
        assert_eq!(acts, [stopped(reason)]);
        assert_eq!(worker.is_wanted(), wanted, "{reason:?}");
        assert_eq!(worker.reason(), Some(reason));
    }
    for (when, exit, reason, wanted) in [
        (RestartWhen::OnFailure, 0, StopReason::Completed, false),
        (RestartWhen::Never, 0, StopReason::Completed, false),
        (RestartWhen::Never, 1, ProcessExit, true),
    ] {
        let mut worker = running(when);
        let acts = worker.gone(now, Exit::Code(exit));
        assert_eq!(acts.first(), Some(&stopped(reason)), "{when:?} {exit}");
        assert_eq!(
            (worker.state(), worker.is_wanted()),
            (State::Stopped, wanted)
        );
    }
}

#[test]
fn what_somebody_said_stands_against_what_happens_to_the_daemon() {
    let now = Instant::now();
    let mut worker = running(RestartWhen::Always);
    worker.stop(now, StopReason::User, PATIENCE);
    worker.stop(now, StopReason::DaemonTerminated, PATIENCE);
    assert_eq!(
        worker.gone(now, Exit::Code(0))[0],
        stopped(StopReason::User)
    );
    let mut worker = running(RestartWhen::Always);
    worker.stop(now, StopReason::DaemonTerminated, PATIENCE);
    assert_eq!(worker.stop(now, StopReason::User, PATIENCE), [Act::Keep]);
    assert_eq!(
        worker.gone(now, Exit::Code(0))[0],
        stopped(StopReason::User)
    );
}

#[test]
fn a_restart_waits_for_the_end_of_the_process_before() {
    let now = Instant::now();
    let mut worker = running(RestartWhen::OnFailure);
    assert_eq!(worker.restart(now, StopReason::User, PATIENCE), [Act::Ask]);
    let exit = Exit::Code(0);
    assert_eq!(
        worker.gone(now, exit),
        [stopped(StopReason::User), Act::Spawn]
    );
    assert_eq!(
        (worker.state(), worker.restart_attempt()),
        (State::Starting, 0)
    );
    worker.stop(now, StopReason::User, PATIENCE);
    assert_eq!(
        worker.restart(now, StopReason::User, PATIENCE),
        [Act::Keep],
        "it is being ended already"
    );
    assert_eq!(worker.gone(now, exit)[1], Act::Spawn);
    let mut idle = self::worker(RestartWhen::Never);
    assert_eq!(
        idle.restart(now, StopReason::User, PATIENCE),
        [Act::Keep, Act::Spawn]
    );
}

#[test]
fn what_fails_each_time_is_not_tried_again_by_itself() {
    let now = Instant::now();
    let mut worker = worker(RestartWhen::Always);
    worker.start();
    assert_eq!(
        worker.failed(now, Failure::Lasting, "no such program"),
        [Act::Tell(Told::Failed("no such program".to_owned()))]
    );
    assert_eq!((worker.state(), worker.due()), (State::Blocked, None));
    assert_eq!(worker.start(), [Act::Spawn]);
    assert_eq!(worker.failed(now, Failure::Passing, "no descriptors"), []);
    assert_eq!(worker.state(), State::RecoveryPending);
    assert_eq!(worker.cause(), Some("no descriptors"));
}

#[test]
fn switching_restarts_off_ends_the_wait_for_one_and_switching_them_on_begins_it() {
    let now = Instant::now();
    let mut worker = running(RestartWhen::Always);
    worker.gone(now, Exit::Code(1));
    assert_eq!(worker.set_auto_restart(now, false), [Act::Keep]);
    assert_eq!((worker.state(), worker.due()), (State::Stopped, None));
    assert_eq!(worker.set_auto_restart(now, true), [Act::Keep]);
    assert_eq!(worker.state(), State::RecoveryPending);
    worker.stop(now, StopReason::User, PATIENCE);
    assert_eq!((worker.state(), worker.due()), (State::Stopped, None));
    worker.set_auto_restart(now, false);
    worker.set_auto_restart(now, true);
    assert_eq!(worker.state(), State::Stopped, "a user's stop stands");
}

#[test]
fn one_that_had_nothing_to_do_is_started_by_the_next_job() {
    let now = Instant::now();
    let mut worker = running(RestartWhen::OnFailure);
    worker.stop(now, StopReason::Idle, PATIENCE);
    assert_eq!(worker.demand(), [], "it is still ending");
    worker.gone(now, Exit::Code(0));
    assert_eq!(worker.demand(), [Act::Spawn]);
    worker.stop(now, StopReason::User, PATIENCE);
    worker.gone(now, Exit::Code(0));
    assert_eq!(worker.demand(), []);
}

#[test]
fn what_is_wanted_and_not_found_is_started_again() {
    let now = Instant::now();
    let mut worker = Lifecycle::new(rules(RestartWhen::OnFailure), true, true);
    let acts = worker.missed(now, StopReason::OsRestart);
    assert_eq!(acts, [stopped(StopReason::OsRestart)]);
    assert_eq!(worker.state(), State::RecoveryPending);
    assert_eq!(worker.reason(), Some(StopReason::OsRestart));
    assert_eq!(worker.tick(now), [Act::Spawn]);
    let mut unwanted = Lifecycle::new(rules(RestartWhen::OnFailure), false, true);
    let acts = unwanted.missed(now, StopReason::OsRestart);
    assert_eq!(acts, [stopped(StopReason::OsRestart)]);
    assert_eq!(unwanted.state(), State::Idle);
}

/// What can happen to a worker.
#[derive(Clone, Copy, Debug)]
enum Input {
    Start,
    Stop(StopReason),
    Restart,
    Replace,
    Demand,
    AutoRestart(bool),
    Ready,
    Exit(i32),
    Fail(Failure),
    Wait(u32),
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    use StopReason::{App, DaemonTerminated, Idle, Upgrade, User};
    let reason = prop::sample::select(vec![User, App, Idle, DaemonTerminated, Upgrade]);
    let input = prop_oneof![
        2 => Just(Input::Start),
        2 => reason.prop_map(Input::Stop),
        1 => Just(Input::Restart),
        1 => Just(Input::Replace),
        1 => Just(Input::Demand),
        1 => any::<bool>().prop_map(Input::AutoRestart),
        4 => Just(Input::Ready),
        4 => (0..3i32).prop_map(Input::Exit),
        1 => prop::sample::select(vec![Failure::Passing, Failure::Lasting]).prop_map(Input::Fail),
        6 => (1..20_000u32).prop_map(Input::Wait),
    ];
    prop::collection::vec(input, 0..200)
}

/// The world around a worker: the process, what is on disk, what was told.
#[derive(Debug)]
struct World {
    now: Instant,
    worker: Lifecycle,
    alive: bool,
    asked: Option<Instant>,
    on_disk: (bool, bool),
    /// Of the last process it was told that it is gone.
    ended: bool,
    user_stopped: bool,
    automatic: Vec<Instant>,
}

impl World {
    fn new(when: RestartWhen) -> Self {
        Self {
            now: Instant::now(),
            worker: worker(when),
            alive: false,
            asked: None,
            on_disk: (false, true),
            ended: true,
            user_stopped: true,
            automatic: Vec::new(),
        }
    }

    fn feed(&mut self, input: Input) -> Result<(), TestCaseError> {
        let before = self.worker.state();
        let acts = match input {
            Input::Start => {
                self.user_stopped = false;
                self.automatic.clear();
                self.worker.start()
            }
            Input::Restart => {
                self.user_stopped = false;
                self.automatic.clear();
                self.worker.restart(self.now, StopReason::User, PATIENCE)
            }
            Input::Stop(reason) => {
                self.user_stopped |= reason.clears_desired_state();
                self.worker.stop(self.now, reason, PATIENCE)
            }
            Input::Replace => self
                .worker
                .replace(self.now, StopReason::Recycled, PATIENCE),
            Input::Demand => self.worker.demand(),
            Input::AutoRestart(is_on) => self.worker.set_auto_restart(self.now, is_on),
            Input::Ready if self.alive => self.worker.ready(),
            Input::Exit(code) if self.alive => {
                self.alive = false;
                self.worker.gone(self.now, Exit::Code(code))
            }
            Input::Fail(how) if self.alive && before != State::Running => {
                (self.alive, self.ended) = (false, true);
                self.worker.failed(self.now, how, "cause")
            }
            Input::Wait(milliseconds) => {
                self.now += Duration::from_millis(milliseconds.into());
                self.worker.tick(self.now)
            }
            _ => Acts::new(),
        };
        for act in acts {
            self.do_it(act)?;
        }
        prop_assert_eq!(self.worker.has_process(), self.alive);
        prop_assert!(self.alive || self.ended, "each end is told");
        prop_assert_eq!(
            self.on_disk,
            (self.worker.is_wanted(), self.worker.restarts_itself())
        );
        if self.user_stopped {
            prop_assert!(!self.worker.is_wanted());
        }
        Ok(())
    }

    fn do_it(&mut self, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Spawn => {
                prop_assert!(!self.alive, "one at a time");
                prop_assert!(!self.user_stopped, "a user's stop is never undone");
                if self.worker.state() == State::Recovering {
                    self.automatic.push(self.now);
                    let window = Restart::USUAL.window;
                    let recent = |at: &&Instant| self.now - **at < window;
                    let restarts = self.automatic.iter().filter(recent).count();
                    prop_assert!(restarts <= Restart::USUAL.burst as usize);
                }
                (self.alive, self.ended, self.asked) = (true, false, None);
            }
            Act::Ask => {
                prop_assert!(self.alive && self.asked.is_none());
                self.asked = Some(self.now);
            }
            Act::Kill => {
                let asked = self.asked.expect("nobody is killed unasked");
                prop_assert!(self.alive && self.now - asked >= PATIENCE);
            }
            Act::Keep => {
                self.on_disk = (self.worker.is_wanted(), self.worker.restarts_itself());
            }
            Act::Tell(Told::Stopped(_)) => {
                prop_assert!(
                    !self.ended && !self.alive,
                    "once of each process that is gone"
                );
                self.ended = true;
            }
            Act::Tell(Told::Failed(_)) => prop_assert!(!self.alive),
            Act::Tell(Told::Started) => prop_assert!(self.alive),
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_the_state_is_what_the_process_is(
        when in prop::sample::select(vec![RestartWhen::Always, RestartWhen::OnFailure, RestartWhen::Never]),
        inputs in inputs(),
    ) {
        let mut world = World::new(when);
        for input in inputs {
            world.feed(input)?;
        }
        // Whoever is asked to end and does not is gone in the end.
        world.feed(Input::Stop(StopReason::User))?;
        world.feed(Input::Wait(10_000))?;
        world.feed(Input::Exit(1))?;
        prop_assert!(!world.alive);
        prop_assert_eq!(world.worker.due().filter(|_| world.worker.restart_attempt() == 0), None);
    }
}
