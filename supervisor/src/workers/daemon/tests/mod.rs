//! The loop, with real processes.

mod house;
mod questions;

use super::*;
use crate::workers::lifecycle::Failure;
use house::House;
use serde_json::json;

/// One worker that does nothing until it is told to end.
const IDLE: &str = "[[worker]]\nname = \"a\"\ncommand = [\"sleep\", \"1000\"]\nspeaks = \"nothing\"\nrestart = \"always\"\nbackoff = \"10ms\"\n";

/// Two that take jobs.
const POOL: &str =
    "[[worker]]\nname = \"p\"\ncommand = [\"sleep\", \"1000\"]\ncount = 2\nbackoff = \"10ms\"\n";

#[test]
fn a_worker_is_started_stopped_and_started_again_and_everybody_is_told() {
    let mut house = House::new(IDLE);
    let mut guest = house.guest();
    guest
        .asks(&mut house, json!({"subscribe": {"after": 0}}))
        .unwrap();
    let first = house.until_state("a-1", "running");
    let pid = first["pid"].as_u64().unwrap();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    let stopped = guest
        .asks(&mut house, json!({"stop": {"worker": "a"}}))
        .unwrap();
    assert_eq!(stopped["workers"][0]["state"], "stopped");
    assert_eq!(stopped["workers"][0]["desired"], false);
    assert_eq!(stopped["workers"][0]["stop_reason"], "user");
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "it is gone"
    );
    let started = guest.asks(&mut house, json!({"start": {}})).unwrap();
    assert_eq!(started["workers"][0]["state"], "running");
    let restarted = guest
        .asks(&mut house, json!({"restart": {"worker": "a-1"}}))
        .unwrap();
    assert_eq!(restarted["workers"][0]["state"], "running");
    assert_ne!(restarted["workers"][0]["pid"], started["workers"][0]["pid"]);
    guest.listen();
    let words: Vec<String> = guest
        .events
        .iter()
        .map(|one| match &one.event {
            Event::Started { .. } => "started".to_owned(),
            Event::Stopped { reason, .. } => format!("stopped {reason:?}"),
            Event::State { state, .. } => format!("{state:?}"),
            Event::WorkerExited { .. } => "exited".to_owned(),
            other => format!("{other:?}"),
        })
        .collect();
    let once = ["Stopping", "exited", "stopped User"];
    let mut expected = vec!["Starting", "started", "Running"];
    expected.extend(once);
    expected.extend(["Stopped", "Starting", "started", "Running"]);
    expected.extend(once);
    expected.extend(["Starting", "started", "Running"]);
    assert_eq!(words, expected);
}

#[test]
fn a_killed_worker_comes_back_and_one_that_dies_again_and_again_is_given_up() {
    let mut house = House::new(IDLE);
    for attempt in 1..=3 {
        let before = house.until_state("a-1", "running")["pid"].clone();
        house.world.kill("a-1");
        house.until("it came back", |house| {
            let mut guest = house.guest();
            let status = guest.asks(house, json!({"status": {}})).unwrap();
            let worker = &status["workers"][0];
            worker["state"] == "running" && worker["pid"] != before
        });
        let worker = house.until_state("a-1", "running");
        assert_eq!(worker["restart_attempt"], attempt);
        assert_eq!(worker["last_exit"]["signal"], 9);
    }
    house.world.kill("a-1");
    let worker = house.until_state("a-1", "error");
    let detail = worker["detail"].as_str().unwrap();
    assert!(
        detail.contains("given up after 3 restarts in 30s"),
        "{detail}"
    );
    assert_eq!(worker["desired"], true);
    let mut guest = house.guest();
    let status = guest
        .asks(&mut house, json!({"get_lifecycle_status": {}}))
        .unwrap();
    assert_eq!(
        (&status["state"], &status["desired"]),
        (&json!("error"), &json!(true))
    );
}

#[test]
fn what_is_wanted_outlives_the_daemon_and_so_do_the_workers() {
    let two = IDLE.to_owned() + "count = 2\n";
    let mut house = House::new(&two);
    let kept = house.until_state("a-2", "running");
    let mut guest = house.guest();
    guest
        .asks(&mut house, json!({"stop": {"worker": "a-1"}}))
        .unwrap();
    guest
        .asks(
            &mut house,
            json!({"disable_auto_restart": {"worker": "a-2"}}),
        )
        .unwrap();
    let mut house = house.next(&two);
    let mut guest = house.guest();
    let status = guest.asks(&mut house, json!({"status": {}})).unwrap();
    let [first, second] = [0, 1].map(|at| status["workers"][at].clone());
    assert_eq!(
        (&first["state"], &first["desired"]),
        (&json!("idle"), &json!(false))
    );
    assert_eq!(
        (&second["state"], &second["pid"]),
        (&json!("running"), &kept["pid"])
    );
    assert_eq!(
        (&second["reattached"], &second["auto_restart"]),
        (&json!(true), &json!(false))
    );
    let desired = guest
        .asks(&mut house, json!({"get_desired_state": {}}))
        .unwrap();
    assert_eq!(desired["workers"][0]["reason"], "user");
    house.world.kill("a-2");
    let ended = house.until_state("a-2", "stopped");
    assert_eq!(
        (&ended["stop_reason"], &ended["desired"]),
        (&json!("process_exit"), &json!(true))
    );
}

#[test]
fn where_what_is_wanted_is_not_known_nobody_is_started_and_nothing_is_overwritten() {
    let mut house = House::new(IDLE);
    house.until_state("a-1", "running");
    let mut guest = house.guest();
    guest.asks(&mut house, json!({"stop": {}})).unwrap();
    let path = house.directory.path().join("desired.json");
    std::fs::write(&path, "{\"version\":1,\"wor").unwrap();
    let mut house = house.next(IDLE);
    let worker = house.until_state("a-1", "blocked");
    assert!(
        worker["detail"].as_str().unwrap().contains("is damaged"),
        "{worker}"
    );
    let mut guest = house.guest();
    assert_eq!(
        guest.asks(&mut house, json!({"start": {}})),
        Err("blocked".to_owned())
    );
    assert_eq!(
        guest.asks(&mut house, json!({"get_desired_state": {}})),
        Err("failed".to_owned())
    );
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "{\"version\":1,\"wor"
    );
}

#[test]
fn what_cannot_be_started_says_why_and_is_tried_again_only_where_that_may_help() {
    let mut house = House::new(IDLE);
    house.until_state("a-1", "running");
    *house.world.refusal.lock().unwrap() = Some((Failure::Lasting, "no such policy".to_owned()));
    let mut guest = house.guest();
    let answer = guest.asks(&mut house, json!({"restart": {}})).unwrap();
    assert_eq!(answer["workers"][0]["state"], "blocked");
    assert_eq!(answer["workers"][0]["detail"], "no such policy");
    *house.world.refusal.lock().unwrap() = Some((Failure::Passing, "no processes".to_owned()));
    let id = guest.begins(json!({"start": {}}));
    house.until_state("a-1", "recovery_pending");
    *house.world.refusal.lock().unwrap() = None;
    assert_eq!(
        guest.hears(&mut house, id).unwrap()["workers"][0]["state"],
        "running"
    );
}

#[test]
fn a_job_goes_to_a_free_worker_and_its_session_is_gone_on_with_there() {
    let mut house = House::new(POOL);
    for id in ["p-1", "p-2"] {
        assert_eq!(house.until_state(id, "running")["speaks"], true);
    }
    let mut guest = house.guest();
    let ran = guest
        .asks(&mut house, json!({"run": {"job": {"x": 1}}}))
        .unwrap();
    assert_eq!(
        (&ran["state"], &ran["output"]),
        (&json!("done"), &json!({"x": 1}))
    );
    let ran = guest
        .asks(&mut house, json!({"run": {"job": {"ask": 1}}}))
        .unwrap();
    assert_eq!(ran["state"], "waiting");
    let (sid, worker) = (ran["sid"].clone(), ran["worker"].clone());
    let gone_on = json!({"continue": {"sid": sid, "input": "yes"}});
    let ran = guest.asks(&mut house, gone_on).unwrap();
    assert_eq!(
        (&ran["state"], &ran["output"]),
        (&json!("done"), &json!("yes"))
    );
    assert_eq!(ran["worker"], worker);
    let held: Vec<u64> = (0..2)
        .map(|_| guest.begins(json!({"run": {"job": {"hold": true}}})))
        .collect();
    house.until("both are at work", |house| {
        let minds = ["p-1", "p-2"].map(|id| house.world.mind(id));
        minds
            .iter()
            .all(|mind| mind.lock().unwrap().sessions.values().any(Option::is_none))
    });
    let busy = guest.asks(&mut house, json!({"run": {"job": {}}}));
    assert_eq!(busy, Err("busy".to_owned()));
    let queued = guest.begins(json!({"run": {"job": {"q": 1}, "queue_ms": 60_000}}));
    assert_eq!(guest.heard(&mut house, queued), None);
    let status = guest.asks(&mut house, json!({"status": {}})).unwrap();
    assert_eq!(status["daemon"]["queued"], 1);
    let sid = status["workers"][1]["sid"].as_str().unwrap().to_owned();
    house
        .world
        .mind("p-2")
        .lock()
        .unwrap()
        .release(&sid, json!("late"));
    assert_eq!(guest.hears(&mut house, queued).unwrap()["worker"], "p-2");
    house.world.kill("p-1");
    let outcomes = held.into_iter().map(|id| guest.hears(&mut house, id));
    let mut outcomes: Vec<_> = outcomes
        .map(|outcome| outcome.map(|ran| ran["output"].clone()))
        .collect();
    outcomes.sort_by_key(Result::is_err);
    assert_eq!(outcomes, [Ok(json!("late")), Err("worker_gone".to_owned())]);
}

#[test]
fn a_job_is_done_once_whatever_becomes_of_the_connection() {
    let mut house = House::new(POOL);
    house.until_state("p-1", "running");
    let mut guest = house.guest();
    let id = guest.begins(json!({"run": {"worker": "p-1", "job": {"hold": true}}}));
    let mind = house.world.mind("p-1");
    house.until("it is at work", |_| {
        !mind.lock().unwrap().sessions.is_empty()
    });
    let sid = mind.lock().unwrap().sessions.keys().next().unwrap().clone();
    for _ in 0..5 {
        mind.lock().unwrap().cut();
        house.until("it is reached again", |_| {
            !mind.lock().unwrap().connections.is_empty()
        });
        for _ in 0..5 {
            house.turn();
        }
    }
    mind.lock().unwrap().release(&sid, json!("once"));
    assert_eq!(guest.hears(&mut house, id).unwrap()["output"], "once");
    assert_eq!(mind.lock().unwrap().begun, 1);
}

#[test]
fn the_next_daemon_gives_out_what_was_done_for_the_one_before() {
    let mut house = House::new(POOL);
    house.until_state("p-1", "running");
    let mut guest = house.guest();
    guest.begins(json!({"run": {"worker": "p-1", "job": {"hold": true}}}));
    let mind = house.world.mind("p-1");
    house.until("it is at work", |_| {
        !mind.lock().unwrap().sessions.is_empty()
    });
    let sid = mind.lock().unwrap().sessions.keys().next().unwrap().clone();
    let mut house = house.next(POOL);
    let mut guest = house.guest();
    // Asked for at once, before the worker has said what it has.
    let id = guest.begins(json!({"continue": {"sid": sid}}));
    house.until_state("p-1", "running");
    let busy = guest.asks(&mut house, json!({"run": {"worker": "p-1", "job": {}}}));
    assert_eq!(busy, Err("busy".to_owned()));
    mind.lock().unwrap().release(&sid, json!("kept"));
    assert_eq!(guest.hears(&mut house, id).unwrap()["output"], "kept");
    let again = guest
        .asks(&mut house, json!({"continue": {"sid": sid}}))
        .unwrap();
    assert_eq!(again["output"], "kept");
    house.until("the worker is free", |house| {
        let mut guest = house.guest();
        guest
            .asks(house, json!({"run": {"worker": "p-1", "job": {}}}))
            .is_ok()
    });
    assert_eq!(mind.lock().unwrap().begun, 2);
}

#[test]
fn a_new_pool_file_changes_only_what_it_changes() {
    let both = IDLE.to_owned() + POOL;
    let mut house = House::new(&both);
    house.until_state("a-1", "running");
    let kept = house.until_state("p-1", "running");
    let mut guest = house.guest();
    let failed = guest.asks(&mut house, json!({"reload": {}}));
    assert_eq!(failed, Err("failed".to_owned()));
    let new = IDLE.replace("name = \"a\"", "name = \"n\"");
    let more = POOL.to_owned() + &new;
    *house.world.next_file.lock().unwrap() = Some(more);
    guest.asks(&mut house, json!({"reload": {}})).unwrap();
    house.until_state("n-1", "running");
    house.until("what is no longer in it is gone", |house| {
        let mut guest = house.guest();
        guest
            .asks(house, json!({"status": {"worker": "a"}}))
            .is_err()
    });
    let status = guest.asks(&mut house, json!({"status": {}})).unwrap();
    let ids: Vec<&str> = status["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| worker["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["n-1", "p-1", "p-2"]);
    assert_eq!(status["workers"][1]["pid"], kept["pid"]);
}

#[test]
fn what_is_only_kept_in_another_way_runs_on_and_what_starts_in_another_way_is_replaced() {
    let mut house = House::new(IDLE);
    let before = house.until_state("a-1", "running")["pid"].clone();
    let mut guest = house.guest();
    let mut reload = |house: &mut House, file: String| {
        *house.world.next_file.lock().unwrap() = Some(file);
        guest.asks(house, json!({"reload": {}})).unwrap();
    };
    let kept = IDLE.to_owned() + "count = 2\nstop_timeout = \"3s\"\nrestart_burst = 1\n";
    reload(&mut house, kept.clone());
    house.until_state("a-2", "running");
    assert_eq!(house.until_state("a-1", "running")["pid"], before);
    // The new rules are in force.
    house.world.kill("a-1");
    house.until("it came back", |house| {
        house.world.alive.lock().unwrap().get("a-1").is_some()
    });
    house.until_state("a-1", "running");
    house.world.kill("a-1");
    house.until_state("a-1", "error");
    // What was given up is tried again, and what starts otherwise is replaced.
    let before = house.until_state("a-2", "running")["pid"].clone();
    reload(&mut house, kept + "env = { A = \"1\" }\n");
    house.until_state("a-1", "running");
    house.until("it was replaced", |house| {
        let alive = house.world.alive.lock().unwrap();
        alive.get("a-2").is_some_and(|one| before != one.pid)
    });
}

#[test]
fn a_worker_that_is_put_back_into_the_file_before_it_has_ended_is_started_again() {
    let slow = "[[worker]]\nname = \"a\"\ncommand = [\"sh\", \"-c\", \"trap '' TERM; while :; do sleep 0.05; done\"]\nspeaks = \"nothing\"\nstop_timeout = \"2s\"\n";
    let mut house = House::new(slow);
    let before = house.until_state("a-1", "running")["pid"].clone();
    let mut guest = house.guest();
    for file in ["", slow] {
        *house.world.next_file.lock().unwrap() = Some(file.to_owned());
        guest.asks(&mut house, json!({"reload": {}})).unwrap();
    }
    house.until("there is another process", |house| {
        let alive = house.world.alive.lock().unwrap();
        alive.get("a-1").is_some_and(|one| before != one.pid)
    });
    let worker = house.until_state("a-1", "running");
    assert_eq!(worker["desired"], true, "{worker}");
    let again = house.next(slow).until_state("a-1", "running");
    assert_eq!(
        (&again["pid"], &again["desired"]),
        (&worker["pid"], &json!(true))
    );
}

#[test]
fn at_the_end_all_are_gone_but_those_that_survive() {
    let survives = IDLE.replace(
        "name = \"a\"",
        "name = \"s\"\non_supervisor_exit = \"survive\"",
    );
    let both = IDLE.to_owned() + &survives;
    let mut house = House::new(&both);
    house.until_state("a-1", "running");
    let kept = house.until_state("s-1", "running")["pid"].clone();
    let mut guest = house.guest();
    guest
        .asks(&mut house, json!({"shutdown": {"keep_workers": true}}))
        .unwrap();
    let refused = guest.asks(&mut house, json!({"start": {}}));
    assert_eq!(refused, Err("unavailable".to_owned()));
    assert_eq!(house.daemon.serve().unwrap(), Ending::Left);
    assert_eq!(
        house.world.alive.lock().unwrap().keys().collect::<Vec<_>>(),
        ["s-1"]
    );
    let mut house = house.next(&both);
    assert_eq!(house.until_state("s-1", "running")["pid"], kept);
    house.until_state("a-1", "running");
    let mut guest = house.guest();
    guest.asks(&mut house, json!({"shutdown": {}})).unwrap();
    assert_eq!(house.daemon.serve().unwrap(), Ending::Shutdown);
    assert!(house.world.alive.lock().unwrap().is_empty());
}

#[test]
fn what_a_worker_writes_can_be_asked_for() {
    let says = IDLE.replace(
        "\"sleep\", \"1000\"",
        "\"sh\", \"-c\", \"echo one; echo two; exec sleep 1000\"",
    );
    let mut house = House::new(&says);
    house.until_state("a-1", "running");
    let mut guest = house.guest();
    house.until("it was heard", |house| {
        let log = guest
            .asks(house, json!({"logs": {"worker": "a-1", "lines": 1}}))
            .unwrap();
        log["text"] == "two\n" && log["next"] == 8
    });
    let other = guest.asks(&mut house, json!({"logs": {"worker": "b-1"}}));
    assert_eq!(other, Err("unknown_worker".to_owned()));
}
