//! The other suites, in the replica. Which of them by default, and how the rest is run, stands in README of the supervisor.

use crate::harness::built::{contained, tree};
use crate::harness::process::{NOBODY, as_uid};
use crate::harness::run::{Ran, run_within};
use crate::harness::{feature, require};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// What is run when nothing else is said: what a user of `supervise` sees first.
const BY_DEFAULT: [&str; 6] = ["cli", "filter", "launch", "policy", "real", "request"];

/// What of that is run in each of the other circumstances.
const ALWAYS: [&str; 3] = ["cli", "launch", "real"];

/// What there is beside it, for `SUPERVISE_CONTAINED=all`.
const REST: [&str; 8] = [
    "asking",
    "async",
    "broker",
    "escape",
    "identity",
    "preload",
    "probe_itself",
    "transparent",
];

/// Nothing of it waits for longer.
const LONGEST: Duration = Duration::from_secs(600);

/// Whose directories the suites work in, and as whom they run.
struct Circumstances {
    by_default: &'static [&'static str],
    user: Option<u32>,
    owner: Option<u32>,
}

/// Of these, or of all where everything is to be run, where cargo put them.
fn suites(by_default: &[&'static str]) -> Vec<(String, PathBuf)> {
    let everything = std::env::var("SUPERVISE_CONTAINED").is_ok_and(|what| what == "all");
    let names = match everything {
        true => [BY_DEFAULT.as_slice(), &REST].concat(),
        false => by_default.to_owned(),
    };
    if everything {
        crate::harness::built::preload();
        crate::harness::built::kept();
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--quiet", "--package", "supervise", "--no-run"]);
    cargo.arg("--message-format=json");
    for name in &names {
        cargo.args(["--test", name]);
    }
    let built = crate::harness::built::like_this_test(&mut cargo)
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "{said}");
    let text = String::from_utf8(built.stdout).expect("JSON is UTF-8");
    let artifacts = text.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_test = line["profile"]["test"].as_bool()?;
        let program = line["executable"].as_str()?;
        let name = line["target"]["name"].as_str()?;
        is_test.then(|| (name.to_owned(), PathBuf::from(program)))
    });
    let found: Vec<_> = artifacts.collect();
    assert_eq!(found.len(), names.len(), "{text}\n{said}");
    found
}

/// Runs each in a container. Says how many of its tests passed, past the test runner, which would swallow it.
fn all_hold(circumstances: &Circumstances) {
    let mut failed = Vec::new();
    for (name, program) in suites(circumstances.by_default) {
        let mut command = Command::new(contained());
        // Where threads can have no umask of their own, the door of one test would change another's.
        let threads = if name == "transparent" { 1 } else { 2 };
        command
            .arg(&program)
            .arg(format!("--test-threads={threads}"));
        // All of it is built, and cargo may be out of reach.
        command.env("SUPERVISE_TEST_BUILT", "1");
        // What cannot work there is expected, and said.
        command
            .current_dir(tree())
            .env_remove("SUPERVISE_MUST_WORK");
        if let Some(owner) = circumstances.owner {
            command.env("SUPERVISE_TEST_OWNER", owner.to_string());
        }
        if let Some(user) = circumstances.user {
            as_uid(&mut command, user);
        }
        let ran: Ran = run_within(&mut command, LONGEST);
        let result = ran
            .stdout
            .lines()
            .rfind(|line| line.starts_with("test result"));
        let counts = result.unwrap_or("test result: none").to_owned();
        eprint_past_the_runner(&format!("CONTAINED {name}: {counts}\n"));
        // What it skipped it said itself; its words are in `ran`.
        for line in ran.stderr.lines().filter(|line| line.starts_with("SKIP ")) {
            eprint_past_the_runner(&format!("{line}\n"));
        }
        if ran.code() != 0 {
            failed.push(format!("{name}: {ran}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn eprint_past_the_runner(line: &str) {
    use std::io::Write;
    let said = std::io::stderr().lock().write_all(line.as_bytes());
    said.expect("standard error takes a line");
}

fn needs() -> Result<(), String> {
    feature::landlock(6)?;
    feature::listener()
}

#[test]
fn every_suite_holds_in_a_container() {
    require!(needs());
    all_hold(&Circumstances {
        by_default: &BY_DEFAULT,
        user: None,
        owner: None,
    });
}

#[test]
fn every_suite_holds_in_a_container_for_root_over_anothers_directories() {
    require!(needs());
    require!(feature::root());
    all_hold(&Circumstances {
        by_default: &ALWAYS,
        user: None,
        owner: Some(NOBODY),
    });
}

#[test]
fn every_suite_holds_in_a_container_for_an_ordinary_user() {
    require!(needs());
    require!(feature::root());
    all_hold(&Circumstances {
        by_default: &ALWAYS,
        user: Some(NOBODY),
        owner: None,
    });
}
