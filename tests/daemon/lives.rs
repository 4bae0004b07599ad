//! From the start of a worker to its end, and what is said about both.

use crate::guest::Guest;
use crate::harness::process::{eventually_gone, state};
use crate::harness::run::eventually;
use crate::harness::{feature, require};
use crate::house::{House, IDLE, POOL};
use crate::seen::{descriptors, kill_now};
use serde_json::{Value, json};
use std::time::Duration;
use sys::process::{Limit, limit_of, resource, set_limit_of};

fn pid(worker: &Value) -> i32 {
    worker["pid"].as_i64().expect("a pid") as i32
}

/// A worker is started again as often as it ends.
const OFTEN: &str =
    "restart = \"always\"\nrestart_burst = 10000\nbackoff = \"10ms\"\nbackoff_max = \"50ms\"\n";

#[test]
fn when_descriptors_are_short_a_worker_waits_for_its_start_and_comes_back() {
    require!(feature::landlock(1));
    let house = House::new(&IDLE.replace("restart = \"always\"\nbackoff = \"20ms\"\n", OFTEN));
    let daemon = house.pid();
    let whole = limit_of(daemon, resource::NOFILE).expect("our own");
    // Each number of descriptors that may be too few.
    for spare in 0..20 {
        // One that was begun in want of descriptors may have been ended for it.
        let first = house.until("idle-1", "ran", |worker| worker["state"] == "running");
        let first = pid(&first);
        let soft = descriptors(daemon) as u64 - 4 + spare;
        set_limit_of(daemon, resource::NOFILE, Limit { soft, ..whole }).expect("our own");
        kill_now(first);
        eventually_gone(&[first]);
        // It is tried, in vain or not.
        std::thread::sleep(Duration::from_millis(100));
        set_limit_of(daemon, resource::NOFILE, whole).expect("our own");
        house.until("idle-1", &format!("came back ({spare})"), |worker| {
            worker["state"] == "running" && worker["pid"] != first
        });
        assert_eq!(house.pid(), daemon, "the same daemon");
    }
    house.has_no_orphan();
}

#[test]
fn a_worker_that_is_started_again_and_again_leaves_no_process_and_no_descriptor() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(&POOL.replace("count = 2", &format!("{OFTEN}count = 2")));
    let turn = || {
        let before = pid(&house.worker("py-1"));
        kill_now(before);
        house.until("py-1", "came back", |worker| {
            worker["speaks"] == true && worker["pid"] != before
        });
        let daemon = house.daemon_now().expect("it runs");
        let mut least = (usize::MAX, usize::MAX);
        for _ in 0..50 {
            least.0 = least.0.min(descriptors(house.keeper()));
            least.1 = least.1.min(descriptors(daemon));
            std::thread::sleep(Duration::from_millis(2));
        }
        least
    };
    turn();
    let before = turn();
    for _ in 0..10 {
        turn();
    }
    assert_eq!(turn(), before);
    let keeper = house.keeper();
    let children = format!("/proc/{keeper}/task/{keeper}/children");
    let children = std::fs::read_to_string(children).expect("it runs");
    let zombies = children.split_whitespace().filter(|pid| {
        let pid = pid.parse().expect("a pid");
        state(pid) == Some('Z')
    });
    assert_eq!(zombies.count(), 0, "{children}");
    house.has_no_orphan();
}

#[test]
fn a_program_that_cannot_be_executed_is_said_to_be_so_and_not_tried_again() {
    require!(feature::landlock(1));
    let mut house = House::empty(
        "[[worker]]\nname = \"none\"\ncommand = [\"/nowhere/at-all\"]\nspeaks = \"nothing\"\nrestart = \"always\"\n[[worker]]\nname = \"text\"\ncommand = [\"/etc/passwd\"]\nspeaks = \"nothing\"\nrestart = \"always\"\n",
    );
    house.reopen();
    let none = house.until("none-1", "was given up", |worker| {
        worker["state"] == "blocked"
    });
    assert!(
        none["detail"]
            .as_str()
            .is_some_and(|why| why.contains("/nowhere/at-all")),
        "{none}"
    );
    let text = house.until("text-1", "was given up", |worker| {
        worker["state"] == "blocked"
    });
    assert!(
        text["detail"]
            .as_str()
            .is_some_and(|why| why.contains("/etc/passwd")),
        "{text}"
    );
    assert_eq!(house.ask(&["start", "--timeout", "5s", "none"]).code(), 1);
    assert_eq!(house.pids(), []);
    house.has_no_orphan();
}

#[test]
fn stop_and_start_are_the_same_twice_and_what_was_left_in_the_file_system_is_gone() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(POOL);
    let running = house.pids();
    house.ask(&["start"]).expect_code(0);
    assert_eq!(house.pids(), running, "it ran already");
    let daemon = house.workspace.join("run/supervise/daemon");
    let entries = || {
        std::fs::read_dir(daemon.join("registry"))
            .expect("there")
            .count()
    };
    let endpoints = || ["py-1", "py-2"].map(|id| daemon.join(id).join("jobs").exists());
    assert_eq!((entries(), endpoints()), (2, [true, true]));
    for _ in 0..2 {
        house.ask(&["stop"]).expect_code(0);
        assert_eq!(house.pids(), []);
        assert_eq!(entries(), 0, "no manifest is left");
    }
    assert_eq!(endpoints(), [false, false], "no socket is left");
    for _ in 0..2 {
        house.ask(&["start", "--timeout", "60s"]).expect_code(0);
    }
    assert_eq!((entries(), endpoints()), (2, [true, true]));
    house.has_no_orphan();
}

#[test]
fn a_worker_ends_when_it_is_idle_though_clients_are_connected_and_the_next_job_starts_it() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let pool = POOL.replace("count = 2", "idle_timeout = \"1s\"\ncount = 2");
    let mut house = House::empty(&pool);
    house.reopen();
    let mut guest = Guest::new(&house);
    eventually("both are at rest", || house.pids().is_empty());
    let worker = house.worker("py-1");
    assert_eq!(
        (&worker["stop_reason"], &worker["desired"]),
        (&json!("idle"), &json!(true))
    );
    let registry = house.workspace.join("run/supervise/daemon/registry");
    assert_eq!(std::fs::read_dir(registry).expect("there").count(), 0);
    let ran = guest.asks(json!({"run": {"job": 7, "queue_ms": 60_000}}));
    assert_eq!(ran["data"]["output"], 7, "{ran}");
    eventually("it is at rest again", || house.pids().is_empty());
    house.has_no_orphan();
}

#[test]
fn a_worker_that_is_asked_to_end_while_a_job_runs_ends_and_the_job_is_said_to_be_lost() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(POOL);
    let mut guest = Guest::new(&house);
    let never = house.workspace.join("data/never");
    guest.says(json!({"run": {"job": format!("wait {}", never.display())}}));
    eventually("it runs", || {
        let status = house.status();
        let mut workers = status["workers"].as_array().expect("workers").iter();
        workers.any(|worker| worker["sid"].is_string())
    });
    house.ask(&["stop"]).expect_code(0);
    let answer = guest.hears();
    assert_eq!(answer["ok"], false, "{answer}");
    assert_eq!(house.pids(), []);
    let daemon = house.workspace.join("run/supervise/daemon");
    let entries = std::fs::read_dir(daemon.join("registry")).expect("there");
    assert_eq!(entries.count(), 0, "no manifest is left");
    for id in ["py-1", "py-2"] {
        assert!(!daemon.join(id).join("jobs").exists(), "no socket is left");
    }
    house.has_no_orphan();
}

#[test]
fn the_end_of_a_worker_is_told_once_and_truly_also_by_the_daemon_that_took_it_over() {
    require!(feature::landlock(1));
    let ends = r#"
[[worker]]
name = "brief"
command = ["sh", "-c", "while ! test -e $WORKER_DIR/go; do sleep 0.05; done; exit 7"]
policy = "worker"
speaks = "nothing"
restart = "never"
on_supervisor_exit = "survive"
"#;
    let house = House::new(ends);
    house.kill_daemon();
    let mut guest = Guest::new(&house);
    let first = guest.asks(json!({"subscribe": {}}));
    assert_eq!(first["ok"], true, "{first}");
    let go = house.workspace.join("data/supervise/workers/brief-1/go");
    std::fs::write(go, "").expect("a file");
    let worker = house.until("brief-1", "ended", |worker| worker["pid"].is_null());
    assert_eq!(worker["last_exit"], json!({"code": 7}), "{worker}");
    let mut told = Vec::new();
    while told.last().is_none_or(|event: &Value| {
        event["event"]["stopped"].is_null() && event["event"]["state"]["state"] != "error"
    }) {
        told.push(guest.hears());
    }
    let exits: Vec<_> = told
        .iter()
        .filter(|event| !event["event"]["worker_exited"].is_null())
        .collect();
    assert_eq!(exits.len(), 1, "{told:?}");
    assert_eq!(exits[0]["event"]["worker_exited"]["code"], 7, "{told:?}");
}

#[test]
fn a_daemon_has_files_open_for_many_workers_and_each_of_them_as_many_as_it_would_have() {
    let mut house = House::empty(IDLE);
    let pool = house.workspace.join("workers.toml");
    let text = std::fs::read_to_string(&pool).expect("a pool file");
    // The policy of that name says nothing of open files.
    let text = text.replace("speaks = ", "count = 20\nspeaks = ");
    let text = text.replace("\"worker\"", "\"policy.toml\"");
    std::fs::write(&pool, text).expect("a pool file");
    // As on most desktops, but fewer: twenty workers take more than that.
    let mut daemon = std::process::Command::new("sh");
    let usual = house.daemon();
    daemon.args(["-c", "ulimit -Sn 100; exec \"$@\"", "sh"]);
    daemon.arg(usual.get_program()).args(usual.get_args());
    daemon.current_dir(house.workspace.path());
    for (name, value) in usual.get_envs() {
        match value {
            Some(value) => daemon.env(name, value),
            None => daemon.env_remove(name),
        };
    }
    house.started(&mut daemon);
    house.ask(&["start", "--timeout", "60s"]).expect_code(0);
    let soft = |pid: i32| limit_of(pid, resource::NOFILE).expect("it runs").soft;
    let pid = house.worker("idle-20")["pid"].as_i64().expect("a pid") as i32;
    assert_eq!(soft(pid), 100);
    assert_ne!(soft(house.pid()), 100);
}
