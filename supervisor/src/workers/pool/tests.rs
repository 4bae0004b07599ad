//! Who gets what, case by case; and that no job is lost or given twice, whatever happens.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const NOTHING: Treatment = Treatment {
    recycle: Recycle {
        jobs: None,
        bytes: None,
    },
    idle_timeout: None,
};

fn pool(treatment: Treatment, workers: &[&str]) -> Pool {
    let mut pool = Pool::new();
    for id in workers {
        pool.add(id, id.split('-').next().unwrap(), treatment);
        pool.coming(id);
        assert_eq!(
            pool.up(Instant::now(), id, None, Vec::new(), Vec::new()),
            []
        );
    }
    pool
}

fn give(ticket: Ticket, worker: &str) -> Step {
    let worker = worker.to_owned();
    Step::Give { ticket, worker }
}

fn refuse(ticket: Ticket, why: Refusal) -> Step {
    Step::Refuse { ticket, why }
}

fn sid(number: u64) -> String {
    format!("{number:032x}")
}

#[test]
fn a_job_goes_to_a_free_worker_and_is_refused_at_once_where_none_is() {
    let now = Instant::now();
    let mut pool = pool(NOTHING, &["a-1", "a-2"]);
    assert_eq!(pool.run(now, 1, For::Any, sid(1), None), [give(1, "a-1")]);
    assert_eq!(pool.run(now, 2, For::Any, sid(2), None), [give(2, "a-2")]);
    assert_eq!(
        pool.run(now, 3, For::Any, sid(3), None),
        [refuse(3, Refusal::Busy)]
    );
    assert_eq!(pool.working_on("a-1"), Some(&*sid(1)));
    assert_eq!(
        pool.answered(now, "a-1", &sid(1), SessionState::Done, 10),
        []
    );
    assert_eq!(pool.run(now, 4, For::Any, sid(4), None), [give(4, "a-1")]);
}

#[test]
fn a_job_can_wait_and_is_refused_when_its_time_is_over() {
    let now = Instant::now();
    let wait = Some(Duration::from_secs(5));
    let mut pool = pool(NOTHING, &["a-1"]);
    pool.run(now, 1, For::Any, sid(1), None);
    assert_eq!(pool.run(now, 2, For::Any, sid(2), wait), []);
    assert_eq!(
        pool.run(now, 3, For::Any, sid(3), Some(Duration::from_secs(9))),
        []
    );
    assert_eq!(pool.queued(), 2);
    let later = now + Duration::from_secs(5);
    assert_eq!(pool.due(), Some(later));
    assert_eq!(pool.tick(later), [refuse(2, Refusal::Busy)]);
    assert_eq!(
        pool.answered(later, "a-1", &sid(1), SessionState::Done, 0),
        [give(3, "a-1")]
    );
    assert_eq!(pool.queued(), 0);
}

#[test]
fn a_session_is_gone_on_with_where_it_is() {
    let now = Instant::now();
    let mut pool = pool(NOTHING, &["a-1", "b-1"]);
    let b = For::Kind("b".to_owned());
    assert_eq!(pool.run(now, 1, b.clone(), sid(1), None), [give(1, "b-1")]);
    assert_eq!(pool.go_on(2, &sid(1), true), [refuse(2, Refusal::Busy)]);
    assert_eq!(pool.go_on(3, &sid(1), false), [give(3, "b-1")], "only asks");
    pool.answered(now, "b-1", &sid(1), SessionState::Waiting, 0);
    assert_eq!(
        pool.run(now, 4, b, sid(4), None),
        [give(4, "b-1")],
        "it waits, and others work"
    );
    pool.answered(now, "b-1", &sid(1), SessionState::Waiting, 0);
    assert_eq!(pool.working_on("b-1"), Some(&*sid(4)), "it works on");
    pool.answered(now, "b-1", &sid(4), SessionState::Done, 0);
    assert_eq!(pool.go_on(5, &sid(1), true), [give(5, "b-1")]);
    assert_eq!(
        pool.go_on(6, &sid(9), true),
        [refuse(6, Refusal::SessionNotFound)]
    );
    let again = pool.run(now, 7, For::Any, sid(1), None);
    assert_eq!(again, [refuse(7, Refusal::SessionExists)]);
    let nobody = pool.run(now, 8, For::Worker("c-1".to_owned()), sid(8), None);
    assert_eq!(nobody, [refuse(8, Refusal::UnknownWorker)]);
}

#[test]
fn what_a_worker_was_at_work_on_is_gone_with_it() {
    let now = Instant::now();
    let mut pool = pool(NOTHING, &["a-1"]);
    pool.run(now, 1, For::Any, sid(1), None);
    assert_eq!(pool.down("a-1", false), [refuse(1, Refusal::WorkerGone)]);
    assert_eq!(
        pool.go_on(2, &sid(1), false),
        [refuse(2, Refusal::SessionNotFound)]
    );
    assert_eq!(pool.down("a-1", false), [], "said once");
}

#[test]
fn a_worker_is_replaced_when_it_has_done_enough_and_nobody_waits_in_it() {
    let now = Instant::now();
    let recycle = Recycle {
        jobs: Some(2),
        bytes: Some(100),
    };
    let mut pool = pool(Treatment { recycle, ..NOTHING }, &["a-1"]);
    pool.run(now, 1, For::Any, sid(1), None);
    assert_eq!(
        pool.answered(now, "a-1", &sid(1), SessionState::Waiting, 10),
        []
    );
    pool.run(now, 2, For::Any, sid(2), None);
    assert_eq!(pool.run(now, 3, For::Any, sid(3), Some(WAKING)), []);
    assert_eq!(
        pool.answered(now, "a-1", &sid(2), SessionState::Done, 10),
        [],
        "a session waits in it, and it takes no further job"
    );
    assert_eq!(pool.go_on(4, &sid(1), true), [give(4, "a-1")]);
    assert_eq!(
        pool.answered(now, "a-1", &sid(1), SessionState::Done, 10),
        [Step::Replace("a-1".to_owned())]
    );
    assert_eq!(pool.down("a-1", false), []);
    pool.coming("a-1");
    assert_eq!(
        pool.up(now, "a-1", None, Vec::new(), Vec::new()),
        [give(3, "a-1")],
        "what waited is done by the new one"
    );
    assert_eq!(
        pool.answered(now, "a-1", &sid(3), SessionState::Done, 100),
        [Step::Replace("a-1".to_owned())]
    );
}

#[test]
fn a_worker_without_jobs_rests_and_the_next_job_wakes_it() {
    let now = Instant::now();
    let minute = Duration::from_secs(60);
    let idle_timeout = Some(minute);
    let mut pool = pool(
        Treatment {
            idle_timeout,
            ..NOTHING
        },
        &["a-1"],
    );
    pool.run(now, 1, For::Any, sid(1), None);
    assert_eq!(pool.due(), None, "while it works it does not rest");
    pool.answered(now, "a-1", &sid(1), SessionState::Done, 0);
    assert_eq!(pool.due(), Some(now + minute));
    assert_eq!(pool.tick(now + minute), [Step::Rest("a-1".to_owned())]);
    let late = pool.run(now, 2, For::Any, sid(2), None);
    assert_eq!(late, [refuse(2, Refusal::Busy)], "it is ending");
    pool.down("a-1", true);
    let woken = pool.run(now, 3, For::Any, sid(3), None);
    assert_eq!(woken, [Step::Wake("a-1".to_owned())]);
    assert_eq!(
        pool.up(now, "a-1", None, Vec::new(), Vec::new()),
        [give(3, "a-1")]
    );
}

#[test]
fn a_job_waits_for_a_worker_that_is_only_just_being_reached() {
    let now = Instant::now();
    let mut pool = Pool::new();
    pool.add("a-1", "a", NOTHING);
    let away = pool.run(now, 1, For::Any, sid(1), None);
    assert_eq!(away, [refuse(1, Refusal::Busy)]);
    pool.coming("a-1");
    assert_eq!(pool.run(now, 2, For::Any, sid(2), None), []);
    let second = pool.run(now, 3, For::Any, sid(3), None);
    assert_eq!(second, [refuse(3, Refusal::Busy)], "one worker, one job");
    assert_eq!(
        pool.up(now, "a-1", None, Vec::new(), Vec::new()),
        [give(2, "a-1")]
    );
}

#[test]
fn what_an_earlier_daemon_gave_is_known_to_the_next() {
    let now = Instant::now();
    let mut pool = Pool::new();
    pool.add("a-1", "a", NOTHING);
    pool.up(now, "a-1", Some(sid(1)), vec![sid(2)], vec![sid(3)]);
    assert_eq!(
        pool.run(now, 1, For::Any, sid(4), None),
        [refuse(1, Refusal::Busy)]
    );
    assert_eq!(pool.go_on(2, &sid(1), false), [give(2, "a-1")]);
    assert_eq!(pool.go_on(3, &sid(3), false), [give(3, "a-1")]);
    pool.answered(now, "a-1", &sid(1), SessionState::Done, 0);
    assert_eq!(pool.go_on(4, &sid(2), true), [give(4, "a-1")]);
}

#[test]
fn whoever_asked_and_is_gone_is_not_answered_and_the_worker_goes_on() {
    let now = Instant::now();
    let mut pool = pool(NOTHING, &["a-1"]);
    pool.run(now, 1, For::Any, sid(1), None);
    pool.run(now, 2, For::Any, sid(2), Some(WAKING));
    pool.forget(1);
    pool.forget(2);
    assert_eq!(pool.queued(), 0);
    assert_eq!(
        pool.run(now, 3, For::Any, sid(3), None),
        [refuse(3, Refusal::Busy)]
    );
    assert_eq!(pool.down("a-1", false), []);
}

#[derive(Clone, Debug)]
enum Input {
    Run(u8, bool),
    Answer(u8, bool),
    GoOn(usize, bool),
    Down(u8, bool),
    Up(u8),
    Forget(usize),
    Wait(u64),
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let input = prop_oneof![
        4 => (0..4u8, any::<bool>()).prop_map(|(who, waits)| Input::Run(who, waits)),
        4 => (0..3u8, any::<bool>()).prop_map(|(who, waits)| Input::Answer(who, waits)),
        2 => (0..50usize, any::<bool>()).prop_map(|(which, input)| Input::GoOn(which, input)),
        1 => (0..3u8, any::<bool>()).prop_map(|(who, rests)| Input::Down(who, rests)),
        2 => (0..3u8).prop_map(Input::Up),
        1 => (0..50usize).prop_map(Input::Forget),
        1 => (0..20u64).prop_map(Input::Wait),
    ];
    prop::collection::vec(input, 0..150)
}

const NAMES: [&str; 3] = ["a-1", "a-2", "b-1"];

proptest! {
    #[test]
    fn no_job_is_lost_or_given_twice_and_nobody_has_two(inputs in inputs()) {
        let mut now = Instant::now();
        let recycle = Recycle { jobs: Some(3), bytes: None };
        let idle_timeout = Some(Duration::from_secs(15));
        let mut pool = pool(Treatment { recycle, idle_timeout }, &NAMES);
        let mut next: Ticket = 0;
        // Requests that were neither answered nor given up; what each worker is at work on.
        let mut open: BTreeSet<Ticket> = BTreeSet::new();
        let mut runs: BTreeSet<Ticket> = BTreeSet::new();
        let mut sids: Vec<String> = Vec::new();
        let mut ends: BTreeMap<Ticket, String> = BTreeMap::new();
        let mut at_work: BTreeMap<String, Ticket> = BTreeMap::new();
        for input in inputs {
            let steps = match input {
                Input::Run(who, waits) => {
                    next += 1;
                    open.insert(next);
                    runs.insert(next);
                    sids.push(sid(next));
                    ends.insert(next, sid(next));
                    let wanted = match who {
                        3 => For::Any,
                        who => For::Worker(NAMES[usize::from(who)].to_owned()),
                    };
                    pool.run(now, next, wanted, sid(next), waits.then_some(Duration::from_secs(10)))
                }
                Input::Answer(who, waits) => {
                    let id = NAMES[usize::from(who)];
                    let Some(ticket) = at_work.remove(id) else { continue };
                    open.remove(&ticket);
                    let state = if waits { SessionState::Waiting } else { SessionState::Done };
                    pool.answered(now, id, &ends[&ticket], state, 1)
                }
                Input::GoOn(which, has_input) => {
                    let Some(sid) = sids.get(which).cloned() else { continue };
                    next += 1;
                    let steps = pool.go_on(next, &sid, has_input);
                    if has_input {
                        open.insert(next);
                        runs.insert(next);
                        ends.insert(next, sid);
                        steps
                    } else {
                        prop_assert_eq!(steps.len(), 1);
                        continue;
                    }
                }
                Input::Down(who, rests) => {
                    let id = NAMES[usize::from(who)];
                    at_work.remove(id);
                    pool.down(id, rests)
                }
                Input::Up(who) => {
                    let id = NAMES[usize::from(who)];
                    if at_work.contains_key(id) { continue }
                    pool.up(now, id, None, Vec::new(), Vec::new())
                }
                Input::Forget(which) => {
                    let ticket = which as Ticket;
                    pool.forget(ticket);
                    open.remove(&ticket);
                    continue;
                }
                Input::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    pool.tick(now)
                }
            };
            for step in steps {
                match step {
                    Step::Give { ticket, worker } => {
                        prop_assert!(open.contains(&ticket) && runs.remove(&ticket), "given once");
                        prop_assert_eq!(at_work.insert(worker, ticket), None, "one at a time");
                    }
                    Step::Refuse { ticket, .. } => {
                        prop_assert!(open.remove(&ticket), "answered once");
                    }
                    Step::Rest(id) | Step::Replace(id) => {
                        prop_assert!(!at_work.contains_key(&id), "it finishes first");
                    }
                    Step::Wake(_) => {}
                }
            }
            // Every request is at work somewhere, or waits, or is over.
            let working = at_work.values().filter(|ticket| open.contains(ticket)).count();
            prop_assert_eq!(open.len(), working + pool.queued());
        }
    }
}
