//! What an operator says on the command line, and what comes of it.

use crate::harness::process::{is_alive, until_it_waits_in};
use crate::harness::run::{Ran, eventually, eventually_reads, start};
use crate::harness::{feature, require};
use crate::house::{House, IDLE, POOL};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

fn read(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

#[test]
fn a_job_is_given_and_gone_on_with_from_the_command_line() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(POOL);
    let job = |words: &[&str]| house.ask(&[&["job"], words].concat());
    let done = job(&["run", "py", "--input", r#"{"x": [1, "ä"]}"#]).expect_code(0);
    assert_eq!(read(&done), json!({"x": [1, "ä"]}));
    let told = read(&job(&["run", "py-2", "--json"]).expect_code(0));
    assert_eq!(
        (&told["worker"], &told["state"], &told["output"]),
        (&json!("py-2"), &json!("done"), &json!(null))
    );
    let sid = told["sid"].as_str().expect("a session");
    let again = job(&["continue", sid, "--json"]).expect_code(0);
    assert_eq!(read(&again), told, "its result, again");

    let asked = job(&["run", "--input", r#""ask""#]).expect_code(2);
    assert_eq!(read(&asked), "name?");
    let sid = asked
        .stderr
        .split_whitespace()
        .rfind(|word| word.len() == 32);
    let sid = sid.expect("it says the session").to_owned();
    let mut go_on = house.command(&["job", "continue", &sid, "--input", "-"]);
    let mut go_on = start(go_on.stdin(Stdio::piped()));
    let mut stdin = go_on.child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, br#""Ada""#).expect("it reads");
    drop(stdin);
    assert_eq!(read(&go_on.wait().expect_code(0)), "Ada");

    let failed = job(&["run", "--input", r#""fail""#, "--json"]).expect_code(1);
    assert_eq!(read(&failed)["error"]["code"], "failed", "{failed}");
    let nobody = job(&["continue", &"0".repeat(32)]).expect_code(1);
    assert!(nobody.stderr.contains("session_not_found"), "{nobody}");
    for wrong in [
        &["run", "other"][..],
        &["run", "--input", "no json"],
        &["run", "--session", "short"],
    ] {
        job(wrong).expect_code(125);
    }
    let large = format!("\"{}\"", "x".repeat(100_000));
    let large = job(&["run", "--input", &large]).expect_code(125);
    assert!(!large.stderr.contains("gone"), "{large}");
}

#[test]
fn a_job_that_takes_too_long_or_finds_nobody_free_is_said_to_be_so() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(&POOL.replace("count = 2", "count = 2\nstop_timeout = \"1s\""));
    let never = house.workspace.join("data/never");
    let wait = format!("\"wait {}\"", never.display());
    let late = house.ask(&[
        "job",
        "run",
        "py-1",
        "--input",
        &wait,
        "--deadline",
        "100ms",
    ]);
    let late = late.expect_code(1);
    assert!(late.stderr.contains("supervise job continue"), "{late}");
    let mut busy = start(&mut house.command(&["job", "run", "py-2", "--input", &wait]));
    eventually("it is at work", || house.worker("py-2")["sid"].is_string());
    let refused = house.ask(&["job", "run", "py-2", "--json"]).expect_code(1);
    assert_eq!(read(&refused)["error"]["code"], "busy", "{refused}");
    std::fs::write(never, "").expect("ours");
    assert!(busy.child.wait().expect("ours").success());
    let queued = house.ask(&["job", "run", "py-2", "--queue", "60s", "--input", "1"]);
    assert_eq!(queued.expect_code(0).stdout, "1\n");
}

#[test]
fn a_worker_whose_job_does_not_stop_when_its_time_is_over_gets_no_other_until_it_has() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::empty(POOL);
    let stop = house.workspace.join("data/stop");
    house.have_the_worker_do(&format!(
        "    while text == 'stuck' and not os.path.exists('{}'):\n        time.sleep(0.01)\n",
        stop.display()
    ));
    let mut house = house;
    house.open();
    let stuck = ["job", "run", "py-1", "--input", "\"stuck\"", "--deadline"];
    let late = house.ask(&[&stuck[..], &["100ms"]].concat()).expect_code(1);
    assert!(late.stderr.contains("deadline"), "{late}");
    let is_at_work = |house: &House| house.worker("py-1")["sid"].is_string();
    assert!(is_at_work(&house), "it has not stopped");
    let busy = house.ask(&["job", "run", "py-1", "--json"]).expect_code(1);
    assert_eq!(
        read(&busy)["error"]["message"],
        "no worker is free",
        "{busy}"
    );
    let next = ["job", "run", "py-1", "--input", "7", "--queue", "60s"];
    let next = start(&mut house.command(&next));
    eventually("it waits", || house.status()["daemon"]["queued"] == 1);
    // Nobody else waits for that.
    let other = house.ask(&["job", "run", "py-2", "--input", "8"]);
    assert_eq!(other.expect_code(0).stdout, "8\n");
    std::fs::write(stop, "").expect("ours");
    assert_eq!(next.wait().expect_code(0).stdout, "7\n");
    eventually("it is free", || !is_at_work(&house));
}

#[test]
fn a_job_from_the_command_line_outlives_the_daemon() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(POOL);
    let there = house.workspace.join("data/there");
    let wait = format!("\"wait {}\"", there.display());
    let running = start(&mut house.command(&["job", "run", "py-1", "--input", &wait]));
    eventually("it is at work", || house.worker("py-1")["sid"].is_string());
    for _ in 0..3 {
        house.kill_daemon();
    }
    std::fs::write(there, "").expect("ours");
    assert_eq!(running.wait().expect_code(0).stdout, "\"it is there\"\n");
}

#[test]
fn a_pool_file_is_read_again_and_one_that_is_wrong_changes_nothing() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    let before = house.pids();
    let file = house.workspace.join("workers.toml");
    let text = std::fs::read_to_string(&file).expect("ours");
    std::fs::write(&file, "version = 1\n[[worker]]\nname = 5\n").expect("ours");
    let wrong = house.ask(&["reload"]).expect_code(125);
    assert!(wrong.stderr.contains("workers.toml:3"), "{wrong}");
    assert_eq!(house.pids(), before);
    std::fs::write(&file, text.replace("speaks", "count = 3\nspeaks")).expect("ours");
    assert_eq!(
        house.ask(&["reload", "--json"]).expect_code(0).stdout,
        "{}\n"
    );
    assert_eq!(house.pids().len(), 3);
    assert_eq!(house.pids()[0], before[0]);
    let found = read(&house.ask(&["validate", "--json"]));
    assert_eq!(found["schema"], 1, "{found}");
    assert!(found["findings"].is_array(), "{found}");
}

#[test]
fn the_status_for_programs_is_as_its_schema_says_whatever_becomes_of_a_worker() {
    require!(feature::landlock(1));
    let house = House::new(IDLE);
    // `status` holds what it is told against the schema.
    let running = house.status();
    assert_eq!(running["schema"], 1, "{running}");
    let pid = running["workers"][0]["pid"].as_i64().expect("a pid") as i32;
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
    let again = house.until("idle-1", "it is started again", |worker| {
        worker["state"] == "running" && worker["pid"] != pid
    });
    assert_eq!(again["last_exit"]["signal"], 9, "{again}");
    house.kill_daemon();
    assert_eq!(house.worker("idle-1")["reattached"], true);
    house.ask(&["stop", "idle-1"]).expect_code(0);
    let stopped = house.worker("idle-1");
    assert_eq!(stopped["stop_reason"], "user", "{stopped}");
}

#[test]
fn a_shutdown_is_over_when_it_says_so() {
    require!(feature::landlock(1));
    // One that asks nobody for anything, and says nothing.
    let alone = "command = [\"sleep\", \"1000\"]\n#";
    let mut house = House::new(&IDLE.replace("command =", alone));
    let before = house.worker("idle-1")["pid"].as_i64().expect("a pid") as i32;
    until_it_waits_in(before, &[libc::SYS_clock_nanosleep]);
    house.ask(&["shutdown", "--keep-workers"]).expect_code(0);
    let none = house.ask(&["status"]).expect_code(125);
    assert!(none.stderr.contains("no daemon is running"), "{none}");
    assert_eq!(house.close().code(), 0);
    house.reopen();
    assert_eq!(house.worker("idle-1")["pid"], before);
    house.ask(&["shutdown"]).expect_code(0);
    assert!(!is_alive(before), "all are gone");
    assert_eq!(house.close().code(), 0);
    house.reopen();
    house.until("idle-1", "ran: it was wanted still", |worker| {
        worker["state"] == "running"
    });
}

/// A worker that writes down what it has in its environment.
const TELLER: &str = r#"
[[worker]]
name = "idle"
command = ["sh", "-c", "echo ${SECRET-none} >new; mv new said; while :; do sleep 0.2; done", "MARK"]
policy = ["teller.toml"]
speaks = "nothing"
restart = "always"
backoff = "20ms"
on_supervisor_exit = "survive"
"#;

#[test]
fn what_was_said_about_restarts_and_environment_outlives_the_daemon_and_its_secrets_are_not_told() {
    require!(feature::landlock(1));
    let mut house = House::empty(TELLER);
    let policy = "version = 1\nextends = [\"worker\"]\n[env]\npass = [\"SECRET\"]\n";
    house.workspace.write("teller.toml", policy);
    house.open();
    let said = house.workspace.join("data/supervise/workers/idle-1/said");
    let says = |what: &str| eventually(what, || eventually_reads(&said).trim() == what);
    says("none");
    house.ask(&["stop"]).expect_code(0);
    let mut start = house.command(&["start", "idle", "--env", "SECRET"]);
    crate::harness::run::run(start.env("SECRET", "s3cr3t")).expect_code(0);
    says("s3cr3t");
    let rule = ["--burst", "7", "--within", "1m", "--longest-delay", "10ms"];
    let rule = [&["auto-restart", "enable", "idle-1"], &rule[..]].concat();
    house.ask(&rule).expect_code(0);
    let desired = |house: &House| {
        let ran = house.ask(&["desired", "idle", "--json"]).expect_code(0);
        assert!(!ran.stdout.contains("s3cr3t"), "{ran}");
        read(&ran)["workers"][0].clone()
    };
    let expected = json!({"burst": 7, "within_ms": 60_000, "longest_delay_ms": 10});
    let is_kept = |house: &House| {
        let kept = desired(house);
        assert_eq!(
            (&kept["restart"], &kept["env"], &kept["auto_restart"]),
            (&expected, &json!(["SECRET"]), &json!(true)),
            "{kept}"
        );
    };
    is_kept(&house);
    house.kill_daemon();
    is_kept(&house);
    std::fs::remove_file(&said).expect("it said something");
    house.ask(&["restart"]).expect_code(0);
    says("s3cr3t");
    // Five times: the pool file's word is three.
    for _ in 0..5 {
        let pid = house.worker("idle-1")["pid"].as_i64().expect("a pid") as i32;
        crate::seen::kill_now(pid);
        house.until("idle-1", "came back", |worker| {
            worker["state"] == "running" && worker["pid"] != pid
        });
    }
    // Over an end of everything.
    assert_eq!(house.close().code(), 0);
    std::fs::remove_file(&said).expect("it said something");
    house.open();
    is_kept(&house);
    house.ask(&["restart"]).expect_code(0);
    says("s3cr3t");
    let file = house.workspace.join("state/supervise/daemon/desired.json");
    let mode = |file: &std::path::Path| {
        let status = std::fs::metadata(file).expect("it is there");
        status.permissions().mode() & 0o777
    };
    assert_eq!(mode(&file), 0o600);
    let shown = house.ask(&["desired"]).expect_code(0).stdout;
    assert!(
        shown.contains("at most 7 restarts") && !shown.contains("s3cr3t"),
        "{shown}"
    );
    let status = house.ask(&["status", "--json"]).expect_code(0).stdout;
    assert!(!status.contains("s3cr3t"), "{status}");
    // And are forgotten when that is wanted.
    house.ask(&["start", "--forget-env"]).expect_code(0);
    house.ask(&["auto-restart", "enable"]).expect_code(0);
    house.ask(&["auto-restart", "disable"]).expect_code(0);
    let kept = desired(&house);
    assert_eq!(
        (&kept["restart"], &kept["env"], &kept["auto_restart"]),
        (&json!(null), &json!(null), &json!(false)),
        "{kept}"
    );
    let text = std::fs::read_to_string(&file).expect("it is ours");
    assert!(!text.contains("s3cr3t"), "{text}");
    house.ask(&["restart"]).expect_code(0);
    says("none");
}
