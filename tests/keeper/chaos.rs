//! The daemon is killed at any moment, again and again for as long as `SUPERVISE_CHAOS_SECONDS` says, and no call is lost, answered
//! wrongly or done twice.

use crate::harness::run::eventually;
use crate::harness::{built, feature, require};
use crate::stage::{BASE, Stage};
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

/// How long each is run.
fn time() -> Duration {
    let given = std::env::var("SUPERVISE_CHAOS_SECONDS").ok();
    let seconds = given.map_or(4, |text| {
        text.parse().expect("SUPERVISE_CHAOS_SECONDS is a number")
    });
    Duration::from_secs(seconds)
}

/// Each process is seeded anew by the standard library.
fn random_below(most: u64) -> u64 {
    RandomState::new().build_hasher().finish() % most
}

/// Four workers do one act of the probe while daemons are killed. What they did, all together, and how many daemons died.
fn killed_while(act: &[&str], rules: &str) -> (u64, u64) {
    killed_where(&[], act, rules)
}

/// The same with these variables in the environment of keeper and daemons.
fn killed_where(env: &[&str], act: &[&str], rules: &str) -> (u64, u64) {
    let probe = built::probe();
    let probe = probe.to_str().expect("a name of ours");
    let directory = probe.rsplit_once('/').expect("it lies in a directory").0;
    let text = format!("{BASE}{rules}").replace("exec = [", &format!("exec = [\"{directory}\", "));
    let mut command = vec![probe];
    command.extend(act);
    let place = crate::harness::Workspace::new();
    let work = place.make_dir("work");
    fs::write(work.join("data.txt"), "content").expect("a file");
    fs::write(work.join("data.secret"), "secret").expect("a file");
    let mut starter = std::process::Command::new("env");
    starter.args(env);
    let words = crate::stage::words(&place, 4, "free", &text, &command);
    let stage = Stage::started_by(starter, place, &words);
    stage.daemon();
    assert_eq!(stage.pids("started").len(), 4, "{:?}", stage.log());
    let end = Instant::now() + time();
    let (mut before, mut kills) = (0, 0);
    while Instant::now() < end {
        let (pid, daemon) = stage.daemon_after(before);
        std::thread::sleep(Duration::from_micros(random_below(20_000)));
        daemon.send_signal(libc::SIGKILL).expect("it lives");
        (before, kills) = (pid, kills + 1);
    }
    stage.daemon_after(before);
    fs::write(work.join("stop"), "").expect("a file");
    let ended = "ended Ok(Command(Code(0)))";
    eventually("all end as they should", || {
        let log = stage.log();
        let strange = log.iter().find(|line| {
            line.starts_with("not started") || line.starts_with("ended") && *line != ended
        });
        assert_eq!(strange, None, "{}", stage.said());
        log.iter().filter(|line| *line == ended).count() == 4
    });
    let said = stage.said();
    stage.stop().expect_code(0);
    let done = said.lines().map(|line| {
        let times = line
            .strip_prefix("ok ")
            .and_then(|times| times.parse::<u64>().ok());
        times.unwrap_or_else(|| panic!("{said}"))
    });
    let done: Vec<u64> = done.collect();
    assert_eq!(done.len(), 4, "{said}");
    let done = done.iter().sum();
    println!("{}: {done} times under {kills} kills", act[0]);
    (done, kills)
}

#[test]
fn opens_are_neither_lost_nor_wrong_whenever_the_daemon_is_killed() {
    require!(feature::listener());
    let rules = "deny = [\"$PWD/**/*.secret\"]\n";
    let text = rules.to_owned();
    let (done, kills) = killed_while(
        &["steady-opens", "stop", "data.txt", "data.secret"],
        &format!("{text}write = [\"$PWD\"]\n"),
    );
    assert!(done > 0 && kills > 0);
}

#[test]
fn names_are_changed_once_whenever_the_daemon_is_killed() {
    require!(feature::listener());
    let rules = "write = [\"$PWD\"]\ndeny = [\"$PWD/**/*.secret\"]\n";
    let (done, kills) = killed_while(&["steady-names", "stop"], rules);
    assert!(done > 0 && kills > 0);
}

#[test]
fn sockets_are_bound_and_connected_once_whenever_the_daemon_is_killed() {
    require!(feature::pidfd_getfd());
    let (done, kills) = killed_while(&["steady-sockets", "stop"], "write = [\"$PWD\"]\n");
    assert!(done > 0 && kills > 0);
}

#[test]
fn requests_over_the_socket_are_answered_whenever_the_daemon_is_killed() {
    let rules =
        "[[request]]\npath = \"$PWD/data.txt\"\naccess = [\"read\"]\ndecision = \"allow\"\n";
    let (done, kills) = killed_while(&["steady-asks", "stop", "data.txt"], rules);
    assert!(done > 0 && kills > 0);
}

#[test]
fn where_the_kernel_leaves_looking_to_ancestors_the_keeper_does_it_for_whichever_daemon_serves() {
    require!(feature::pidfd_getfd());
    let env = ["KEEPING_LOOKS_AT_NOBODY=1"];
    let tree = "write = [\"$PWD\"]\n";
    let closed = format!("{tree}deny = [\"$PWD/**/*.secret\"]\n");
    let opens: &[&str] = &["steady-opens", "stop", "data.txt", "data.secret"];
    for (act, rules) in [
        (opens, &*closed),
        (&["steady-names", "stop"], &closed),
        (&["steady-sockets", "stop"], tree),
    ] {
        let (done, kills) = killed_where(&env, act, rules);
        assert!(done > 0 && kills > 0, "{act:?}");
    }
}
