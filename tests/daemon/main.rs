//! The daemon, its keeper and its workers, as their operator meets them.

mod above;
mod clients;
mod clocks;
mod commands;
#[path = "../harness/terminal.rs"]
mod controlling;
mod full;
mod grants;
mod guest;
#[path = "../harness/mod.rs"]
mod harness;
mod house;
mod law;
mod left;
mod lives;
mod load;
mod misbehaving;
mod opens;
mod others;
mod programs;
mod questions;
mod reasons;
mod screen;
mod seen;
mod storms;
#[path = "../harness/screen.rs"]
mod tty;
mod wall;
mod writers;
mod written;

use guest::Guest;
use harness::process::{is_alive, marked};
use harness::run::{eventually, start};
use harness::{feature, require};
use house::{House, IDLE, POOL};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use sys::process::{Limit, resource, set_limit_of};

#[test]
fn workers_go_on_when_their_daemon_is_killed_and_the_next_one_finds_them() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    let before = house.worker("idle-1");
    for _ in 0..5 {
        house.kill_daemon();
        let after = house.worker("idle-1");
        assert_eq!(after["pid"], before["pid"]);
        assert_eq!(after["instance"], before["instance"]);
        assert_eq!(after["reattached"], true);
        assert!(
            after["verified"]
                .as_str()
                .expect("a word")
                .starts_with("process by")
        );
    }
    let text = house.ask(&["status"]).expect_code(0).stdout;
    assert!(
        text.contains("re-attached") && text.contains("does not speak"),
        "{text}"
    );
}

#[test]
fn a_job_that_runs_when_the_daemon_is_killed_is_done_once_and_its_result_can_be_had() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(POOL);
    let mut guest = Guest::new(&house);
    let ran = guest.asks(json!({"run": {"job": {"x": 1}}}));
    assert_eq!(ran["data"]["output"], json!({"x": 1}), "{ran}");
    let (sid, worker) = (ran["data"]["sid"].clone(), ran["data"]["worker"].clone());
    let asked = guest.asks(json!({"run": {"job": "ask"}}));
    assert_eq!(asked["data"]["state"], "waiting", "{asked}");
    let pids = ["py-1", "py-2"].map(|id| house.worker(id)["pid"].clone());
    house.kill_daemon();
    let mut guest = Guest::new(&house);
    let again = guest.asks(json!({"continue": {"sid": sid}}));
    assert_eq!(again["data"]["output"], json!({"x": 1}), "{again}");
    assert_eq!(again["data"]["worker"], worker);
    // One that waits for input gets it from the next daemon, where it waits.
    let sid = &asked["data"]["sid"];
    let told = guest.asks(json!({"continue": {"sid": sid, "input": "Ada"}}));
    assert_eq!(told["data"]["output"], "Ada", "{told}");
    assert_eq!(told["data"]["worker"], asked["data"]["worker"]);
    assert_eq!(
        ["py-1", "py-2"].map(|id| house.worker(id)["pid"].clone()),
        pids
    );
    let nobody = guest.asks(json!({"continue": {"sid": "0".repeat(32)}}));
    assert_eq!(nobody["error"]["code"], "session_not_found");
}

#[test]
fn an_upgrade_keeps_the_workers() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    let (before, daemon) = (house.worker("idle-1"), house.pid());
    house.ask(&["daemon", "--upgrade"]).expect_code(0);
    assert_ne!(house.pid(), daemon);
    assert_eq!(house.worker("idle-1")["pid"], before["pid"]);
    house.ask(&["stop"]).expect_code(0);
    house.ask(&["daemon", "--upgrade"]).expect_code(0);
    let stopped = house.worker("idle-1");
    assert_eq!(stopped["desired"], false, "{stopped}");
    assert_eq!(stopped["pid"], json!(null), "{stopped}");
}

#[test]
fn a_killed_worker_comes_back_and_one_that_was_stopped_does_not_whoever_dies() {
    require!(feature::landlock(1));
    let mut house = House::new(IDLE);
    let first = house.worker("idle-1")["pid"].as_i64().expect("a pid") as i32;
    kill(Pid::from_raw(first), Signal::SIGKILL).expect("it runs");
    house.until("idle-1", "came back", |worker| {
        worker["state"] == "running" && worker["pid"] != first
    });
    house.ask(&["stop", "idle"]).expect_code(0);
    let stopped = house.worker("idle-1");
    assert_eq!(
        (&stopped["state"], &stopped["desired"]),
        (&json!("stopped"), &json!(false))
    );
    let mark = house.mark();
    assert_eq!(marked(&mark), [0; 0], "none is left");
    house.kill_daemon();
    assert_eq!(house.worker("idle-1")["desired"], false);
    // And over an orderly end of everything.
    assert_eq!(house.close().code(), 0);
    house.reopen();
    assert_eq!(house.worker("idle-1")["state"], "idle");
    house.ask(&["start"]).expect_code(0);
    assert_eq!(house.worker("idle-1")["state"], "running");
}

#[test]
fn what_a_worker_writes_is_kept_apart_and_can_be_followed() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    eventually("it was written", || {
        let ran = house.ask(&["logs", "idle-1"]);
        ran.stdout == "i am idle-1\n" && ran.stderr == "and angry\n"
    });
    let mut follower = start(&mut house.command(&["logs", "-f", "-n", "1", "idle-1"]));
    follower.until_it_says("i am idle-1\n");
    let pid = house.worker("idle-1")["pid"].as_i64().expect("a pid") as i32;
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it runs");
    follower.until_it_says("i am idle-1\ni am idle-1\n");
    follower.signal(Signal::SIGTERM);
    drop(follower.wait());
    let wrong = house.ask(&["logs", "other"]).expect_code(125);
    assert!(wrong.stderr.contains("there is no worker"), "{wrong}");
}

#[test]
fn of_many_daemons_that_start_at_once_one_serves() {
    require!(feature::landlock(1));
    let house = House::empty(IDLE);
    let mut racers: Vec<_> = (0..20).map(|_| start(&mut house.daemon())).collect();
    eventually("one answered", || house.ask(&["status"]).code() == 0);
    let mut losers = 0;
    eventually("all others had given up", || {
        racers.retain_mut(|racer| {
            let ended = racer.child.try_wait().expect("our own child").is_some();
            losers += i32::from(ended);
            !ended
        });
        losers == 19
    });
    let last = house.ask(&["daemon"]).expect_code(125);
    assert!(
        last.stderr.contains("a daemon is running already"),
        "{last}"
    );
    house.ask(&["stop"]).expect_code(0);
    let keeper = racers.pop().expect("one is left");
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.wait().code(), 0);
    let none = house.ask(&["status"]).expect_code(125);
    assert!(none.stderr.contains("no daemon is running"), "{none}");
}

#[test]
fn whoever_carries_a_sessions_tag_is_not_let_in() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    let own = harness::built::supervise();
    let shell = house.command(&[]);
    let mut tagged = std::process::Command::new("sh");
    tagged
        .args(["-c", "read go; exec \"$0\" status"])
        .arg(own)
        .envs(
            shell
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::piped());
    let mut tagged = start(&mut tagged);
    let tag = 1 << 61;
    let limit = Limit {
        soft: tag,
        hard: tag,
    };
    set_limit_of(tagged.pid(), resource::RTTIME, limit).expect("our own");
    let mut go = tagged.child.stdin.take().expect("a pipe was asked for");
    go.write_all(b"go\n").expect("it reads");
    let ran = tagged.wait().expect_code(125);
    assert!(ran.stderr.contains("nobody from a sandbox"), "{ran}");
    house.ask(&["status"]).expect_code(0);
}

#[test]
fn out_of_descriptors_those_who_are_in_are_answered_and_others_later() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    let mut guest = Guest::new(&house);
    let pid = house.pid();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("ours")
        .count() as u64;
    let (soft, hard) = (open + 8, 4096);
    set_limit_of(pid, resource::NOFILE, Limit { soft, hard }).expect("our own");
    let flood: Vec<UnixStream> = (0..64)
        .filter_map(|_| UnixStream::connect(house.socket()).ok())
        .collect();
    eventually("it ran out", || {
        let now = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("ours")
            .count() as u64;
        now + 2 >= soft
    });
    for _ in 0..10 {
        assert_eq!(guest.asks(json!({"status": {}}))["ok"], true);
    }
    drop(flood);
    assert_eq!(Guest::new(&house).asks(json!({"status": {}}))["ok"], true);
    assert!(is_alive(pid), "the same daemon");
}

#[test]
fn a_unit_is_printed_validated_and_its_service_says_when_it_is_ready() {
    require!(feature::landlock(1));
    let mut house = House::empty(IDLE);
    let unit = house.ask(&["daemon", "--print-unit", "--config", "workers.toml"]);
    let unit = unit.expect_code(0).stdout;
    assert!(unit.contains("KillMode=process"), "{unit}");
    house.workspace.write("good.service", &unit);
    house.workspace.write(
        "bad.service",
        unit.replace("KillMode=process", "KillMode=mixed"),
    );
    let validate = |name| house.ask(&["daemon", "--json", "--validate-unit", name]);
    let good = validate("good.service").expect_code(0);
    assert_eq!(good.stdout.trim(), r#"{"findings":[],"schema":1}"#);
    let bad: Value =
        serde_json::from_str(&validate("bad.service").expect_code(125).stdout).expect("JSON");
    assert_eq!(bad["findings"][0]["code"], "unit-kill-mode");
    let path = house.workspace.join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
    manager
        .set_read_timeout(Some(harness::run::DEADLINE))
        .expect("a socket has a timeout");
    let told = |what: &str| {
        // Between these stands what is said for people, and what is to be stored.
        let states = ["READY=1", "RELOADING=1", "STOPPING=1"];
        let next = loop {
            let mut buffer = [0; 400];
            let length = manager.recv(&mut buffer).expect("something is said");
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let state = said.lines().find(|line| states.contains(line));
            if let Some(state) = state {
                break state.to_owned();
            }
        };
        assert_eq!(next, what);
    };
    house.open_for(&path);
    told("READY=1");
    house.ask(&["daemon", "--upgrade"]).expect_code(0);
    told("RELOADING=1");
    told("READY=1");
    house.ask(&["stop"]).expect_code(0);
    assert_eq!(house.close().code(), 0);
    told("STOPPING=1");
}

#[test]
fn doctor_says_what_workers_need() {
    let house = House::empty(IDLE);
    let ran = house.ask(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(report["schema"], 1);
    assert!(report["workers"].is_array(), "{report}");
    let long = house.workspace.make_dir("x".repeat(90));
    let mut doctor = house.command(&["doctor"]);
    let ran = harness::run::run(doctor.env("XDG_RUNTIME_DIR", long));
    assert!(ran.stdout.contains("socket-path"), "{ran}");
}
