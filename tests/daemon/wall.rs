//! A worker's time on the wall, over the ends of those who watch it.

use crate::harness::{feature, require};
use crate::house::House;
use serde_json::{Value, json};
use std::time::Duration;

/// A worker that may live so long, and no longer.
const WALL: u64 = 8_000;

/// It is to have lived so long when its watcher dies.
const BEFORE: u64 = 6_000;

/// So much later than it should it may be ended on a busy machine: less than [`WALL`], so that a time that began anew with the
/// next watcher is seen.
const LATE: u64 = 6_000;

fn house() -> House {
    let house = House::empty(
        "[[worker]]\nname = \"brief\"\ncommand = [\"sleep\", \"1000\"]\npolicy = \"brief.toml\"\nspeaks = \"nothing\"\nrestart = \"never\"\non_supervisor_exit = \"survive\"\n",
    );
    let policy = format!(
        "version = 1\nextends = [\"worker\"]\n[limits]\nwall = \"{}s\"\n",
        WALL / 1000
    );
    house.workspace.write("brief.toml", policy);
    house
}

fn since(worker: &Value) -> u64 {
    worker["since_unix_ms"].as_u64().expect("a time")
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.expect("after 1970").as_millis()).expect("before the year 500,000,000")
}

/// When its process was made, which is before anybody says that it runs.
fn born(house: &House) -> u64 {
    let pid = house.worker("brief-1")["pid"].as_i64().expect("a pid");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    // Behind the name, which is in parentheses, it is the twentieth.
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_whitespace().nth(19).expect("a start time");
    let ticks: u64 = ticks.parse().expect("a number");
    let rate = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK);
    let rate = rate.expect("it is known").expect("it is known") as u64;
    let up = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("a clock");
    let up = u64::try_from(Duration::from(up).as_millis()).expect("a short time");
    now() - (up - ticks * 1000 / rate)
}

/// When it was started, once it has lived nearly as long as it may.
fn nearly_over(house: &House) -> u64 {
    let started = born(house);
    std::thread::sleep(Duration::from_millis(
        (started + BEFORE).saturating_sub(now()),
    ));
    started
}

/// It is ended when its time is over, or by who watches again only then.
fn ends_in_time(house: &House, started: u64) {
    let watched = now() - started;
    let ended = house.until("brief-1", "ended", |worker| worker["pid"].is_null());
    assert_eq!(ended["last_exit"], json!({"timed_out": true}), "{ended}");
    let lived = since(&ended) - started;
    let latest = WALL.max(watched) + LATE;
    assert!(
        (WALL - 100..latest).contains(&lived),
        "{lived} ms, watched again after {watched}"
    );
    let shown = house.ask(&["status"]).expect_code(0).stdout;
    assert!(shown.contains("its time was over"), "{shown}");
    house.has_no_orphan();
}

#[test]
fn a_workers_time_goes_on_when_its_daemon_is_killed() {
    require!(feature::landlock(1));
    let mut house = house();
    house.open();
    let started = nearly_over(&house);
    house.kill_daemon();
    ends_in_time(&house, started);
}

#[test]
fn a_workers_time_goes_on_when_its_keeper_is_killed() {
    require!(feature::landlock(1));
    let mut house = house();
    house.open();
    let pid = house.worker("brief-1")["pid"].as_i64().expect("a pid") as i32;
    crate::harness::process::until_it_waits_in(pid, &[libc::SYS_clock_nanosleep]);
    let started = nearly_over(&house);
    house.lose_keeper();
    house.reopen();
    ends_in_time(&house, started);
}
