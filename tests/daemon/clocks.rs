//! Clocks that jump: what is waited for is waited for by a clock that does not, and who a worker is hangs on none that others can set.

use crate::guest::Guest;
use crate::harness::process::{eventually_gone, until_it_waits_in};
use crate::harness::run::{Running, eventually_reads, run, start};
use crate::harness::{feature, require};
use crate::house::{House, IDLE, POOL};
use crate::seen::kill_now;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Sets the time of day forth or back by years at each look.
const JUMPS: &str = r#"#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    static unsigned looks;
    long result = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME)
        time->tv_sec += (looks++ % 2 ? 1 : -1) * 10L * 365 * 86400;
    return (int)result;
}
"#;

fn pid(worker: &Value) -> i32 {
    worker["pid"].as_i64().expect("a pid") as i32
}

#[test]
fn a_time_of_day_that_jumps_by_years_at_each_look_changes_nothing() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    require!(feature::program("cc"));
    let pool = POOL.replace("count = 2", "idle_timeout = \"1h\"\ncount = 2");
    let mut house = House::empty(&format!("{IDLE}restart_window = \"1h\"\n{pool}"));
    let source = house.workspace.write("jumps.c", JUMPS);
    let library = house.workspace.join("jumps.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]);
    run(compiler.arg(&library).arg(source)).expect_code(0);
    house.started(house.daemon().env("LD_PRELOAD", &library));
    house.ask(&["start", "--timeout", "60s"]).expect_code(0);
    let mut years = Vec::new();
    for round in 1..=3 {
        // One after the other: it comes back as soon as it should, and is not given up, nor forgotten to have been started again.
        let worker = house.worker("idle-1");
        kill_now(pid(&worker));
        let next = house.until("idle-1", "came back", |now| {
            now["state"] == "running" && now["pid"] != worker["pid"]
        });
        assert_eq!(next["restart_attempt"], round, "{next}");
        let since = next["since_unix_ms"].as_u64().expect("a time") / 1000;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        years.push(since.abs_diff(now.as_secs()) / (365 * 86400));
    }
    assert!(
        years.iter().all(|years| (9..=10).contains(years)),
        "{years:?}"
    );
    let mut guest = Guest::new(&house);
    let run = json!({"run": {"job": 7, "deadline_ms": 60_000, "queue_ms": 60_000}});
    let ran = guest.asks(run.clone());
    assert_eq!(ran["data"]["output"], 7, "{ran}");
    // A deadline is one, all the same.
    let never = house.workspace.join("data/never");
    let wait = json!({"run": {"job": format!("wait {}", never.display()), "deadline_ms": 50}});
    let late = guest.asks(wait);
    assert_eq!(late["error"]["code"], "deadline", "{late}");
    let before = house.pids();
    assert_eq!(before.len(), 3);
    for _ in 0..3 {
        house.kill_daemon();
        assert_eq!(house.pids(), before);
    }
    let ran = Guest::new(&house).asks(run);
    assert_eq!(ran["data"]["output"], 7, "{ran}");
    house.ask(&["stop", "idle"]).expect_code(0);
    house.kill_daemon();
    assert_eq!(house.worker("idle-1")["desired"], false);
    house.ask(&["stop"]).expect_code(0);
    house.has_no_orphan();
}

#[test]
fn a_keeper_that_counts_from_another_boot_finds_the_workers_of_the_one_before() {
    require!(feature::root());
    require!(feature::landlock(1));
    require!(own_time());
    // One that asks nobody for anything.
    let sleeps = "[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"1000\"]\npolicy = \"worker\"\nspeaks = \"nothing\"\nrestart = \"always\"\nbackoff = \"20ms\"\non_supervisor_exit = \"survive\"\n";
    let mut house = House::new(sleeps);
    let worker = house.worker("idle-1");
    until_it_waits_in(pid(&worker), &[libc::SYS_clock_nanosleep]);
    // Forth and back: to each of them another time passed since the machine was started, and its clocks stand otherwise.
    for offset in ["1000000", "-60"] {
        house.lose_keeper();
        let clock = Clock::new(offset);
        let usual = house.daemon();
        let mut other = Command::new("nsenter");
        other.arg(format!("--time={}", clock.0)).arg("--");
        other.arg(usual.get_program()).args(usual.get_args());
        other.current_dir(house.workspace.path());
        for (name, value) in usual.get_envs() {
            match value {
                Some(value) => other.env(name, value),
                None => other.env_remove(name),
            };
        }
        house.started(&mut other);
        let now = house.worker("idle-1");
        assert_eq!(now["pid"], worker["pid"], "{offset}: {now}");
        assert_eq!(
            (&now["reattached"], &now["state"]),
            (&json!(true), &json!("running"))
        );
        assert!(now["verified"].is_string(), "{now}");
        house.kill_daemon();
        assert_eq!(house.worker("idle-1")["pid"], worker["pid"]);
    }
    let mortal = pid(&worker);
    kill_now(mortal);
    eventually_gone(&[mortal]);
    let next = house.until("idle-1", "came back", |now| {
        now["state"] == "running" && now["pid"] != mortal
    });
    assert_eq!(next["degraded"], json!(null));
    house.ask(&["stop"]).expect_code(0);
}

/// A time namespace, and the process that keeps it there.
struct Clock(String, Running);

impl Clock {
    fn new(offset: &str) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--time", "--fork", "--kill-child"]);
        unshare.args(["--boottime", offset, "--monotonic", offset]);
        let keeper = start(unshare.args(["sleep", "1000"]));
        let children = format!("/proc/{0}/task/{0}/children", keeper.pid());
        let child = eventually_reads(std::path::Path::new(&children));
        Self(format!("/proc/{}/ns/time", child.trim()), keeper)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.1.signal(Signal::SIGKILL);
    }
}

/// Processes can have clocks of their own.
fn own_time() -> Result<(), String> {
    feature::program("nsenter")?;
    let mut unshare = Command::new("unshare");
    let ran = unshare.args(["--time", "--boottime", "5", "true"]).output();
    match ran {
        Ok(ran) if ran.status.success() => Ok(()),
        other => Err(format!("there are no time namespaces here: {other:?}")),
    }
}
