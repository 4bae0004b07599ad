//! The disk is full where the daemon writes: what cannot be written down is not done, and said so; all goes on when there is room.

use crate::guest::Guest;
use crate::harness::process::NOBODY;
use crate::harness::run::eventually;
use crate::harness::{feature, require};
use crate::house::{House, IDLE, POOL};
use crate::load::{NOTES, done};
use crate::seen::kill_now;
use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use supervisor::audit::{Ending, verify};

/// Does it on a thread whose mounts are its own, and those of what it starts: they are gone with it.
fn with_own_mounts(test: impl FnOnce() + Send) {
    let run = || {
        unshare(CloneFlags::CLONE_NEWNS).expect("root may have mounts of its own");
        mount(&["--make-rprivate", "/"]);
        test();
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(run);
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn mount(arguments: &[&str]) {
    let mounted = Command::new("mount").args(arguments).status();
    assert!(mounted.expect("mount runs").success(), "{arguments:?}");
}

/// A daemon of an ordinary user, whose directory of that name is a small file system of its own. Of root too few things are refused.
fn with_little_room(pool: &str, name: &str) -> House {
    let mut house = House::empty(pool);
    house.give_to(NOBODY, &[]);
    let path = house.workspace.join(name);
    let path = path.to_str().expect("a name of ours");
    let options = format!("size=1m,mode=700,uid={NOBODY},gid={NOBODY}");
    mount(&["-t", "tmpfs", "-o", &options, "none", path]);
    house
}

/// Whether it is said which file found no room.
fn says(why: &str, file: &Path) -> bool {
    why.contains(&file.display().to_string()) && why.contains("No space left on device")
}

/// A file that takes all the room that is left.
struct Filler(PathBuf);

impl Filler {
    fn new(directory: &Path) -> Self {
        let path = directory.join("filler");
        let mut file = File::create(&path).expect("an empty file has room");
        for size in [4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("it is ours");
    }
}

#[test]
fn a_job_that_cannot_be_written_down_is_refused_and_not_done() {
    require!(feature::root());
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    with_own_mounts(|| {
        let mut house = with_little_room(POOL, "run");
        house.have_the_worker_do(NOTES);
        house.open();
        let daemon = house.pid();
        let mut guest = Guest::new(&house);
        let mut give = |number: u32| {
            let sid = format!("{number:032x}");
            let answer = guest.asks(json!({"run": {"job": sid, "sid": sid, "queue_ms": 60_000}}));
            (sid, answer)
        };
        let (mut numbers, mut answered) = (0.., Vec::new());
        let filler = Filler::new(&house.workspace.join("run"));
        let mut refused = Vec::new();
        // What is left of the ledger's last page is room.
        while refused.len() < 20 {
            assert!(answered.len() < 2000, "all of them were written down");
            let (sid, answer) = give(numbers.next().expect("numbers do not end"));
            match &answer["error"]["code"] {
                code if code == "unavailable" => {
                    let why = answer["error"]["message"].as_str().expect("why");
                    assert!(
                        says(why, &house.workspace.join("run/supervise/daemon/jobs")),
                        "{why}"
                    );
                    refused.push(sid);
                }
                _ if answer["data"]["output"] == sid.as_str() => answered.push(sid),
                _ => panic!("{answer}"),
            }
        }
        assert_eq!(house.pid(), daemon, "the same daemon");
        // The next daemon has to read what there is.
        house.kill_daemon();
        drop(filler);
        let mut guest = Guest::new(&house);
        for sid in &refused {
            let answer = guest.asks(json!({"run": {"job": sid, "sid": sid, "queue_ms": 60_000}}));
            assert_eq!(answer["data"]["output"], sid.as_str(), "{answer}");
        }
        let done = done(&house);
        assert!(
            answered
                .iter()
                .chain(&refused)
                .all(|sid| done.get(sid) == Some(&1)),
            "{done:?}"
        );
        assert_eq!(done.len(), answered.len() + refused.len());
        house.has_no_orphan();
    });
}

#[test]
fn a_worker_whose_manifest_cannot_be_written_is_not_started_until_it_can() {
    require!(feature::root());
    require!(feature::landlock(1));
    with_own_mounts(|| {
        let often = "restart_burst = 10000\nbackoff_max = \"100ms\"\nspeaks";
        let mut house = with_little_room(&IDLE.replace("speaks", often), "run");
        house.open();
        let daemon = house.pid();
        let first = house.worker("idle-1")["pid"].as_i64().expect("a pid") as i32;
        let filler = Filler::new(&house.workspace.join("run"));
        kill_now(first);
        house.until(
            "idle-1",
            "could not be started for want of room",
            |worker| {
                let why = worker["detail"].as_str().unwrap_or_default();
                worker["pid"].is_null()
                    && says(why, &house.workspace.join("run/supervise/daemon/registry"))
            },
        );
        eventually("nothing of it is left", || house.tagged().is_empty());
        assert_eq!(house.pid(), daemon, "the same daemon");
        // Nor does the next daemon find half of a record.
        house.kill_daemon();
        drop(filler);
        house.until("idle-1", "came back", |worker| worker["state"] == "running");
        house.has_no_orphan();
    });
}

#[test]
fn what_is_wanted_and_cannot_be_kept_is_said_and_kept_later() {
    require!(feature::root());
    require!(feature::landlock(1));
    with_own_mounts(|| {
        let mut house = with_little_room(IDLE, "state");
        house.open();
        let filler = Filler::new(&house.workspace.join("state"));
        let ran = house.ask(&["stop", "idle"]);
        assert_ne!(ran.code(), 0, "{ran}");
        assert!(ran.stderr.contains("would be forgotten"), "{ran}");
        let desired = house.workspace.join("state/supervise/daemon/desired.json");
        assert!(says(&ran.stderr, &desired), "{ran}");
        assert_eq!(
            house.worker("idle-1")["state"],
            "stopped",
            "it is done all the same"
        );
        // Its start is to be on record.
        let ran = house.ask(&["start", "--timeout", "2s", "idle"]);
        assert_ne!(ran.code(), 0, "{ran}");
        assert!(
            house.tagged().is_empty(),
            "what cannot be recorded does not run"
        );
        house.ask(&["stop", "idle"]);
        drop(filler);
        let file = house.workspace.join("state/supervise/daemon/desired.json");
        eventually("it was kept", || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            text.contains(r#""running":false"#) || text.contains(r#""running": false"#)
        });
        house.kill_daemon();
        assert_eq!(house.worker("idle-1")["desired"], false);
        house.ask(&["start", "--timeout", "60s"]).expect_code(0);
        house.has_no_orphan();
    });
}

/// Reads what is counted, over and over, and says what came of it the last time.
const COUNTED: &str = r#"import os, sys, time
said = os.environ["SUPERVISE_WORKER_DIR"] + "/said"
while True:
    try:
        with open(sys.argv[1]) as file:
            word = file.read()
    except OSError as error:
        word = error.strerror
    with open(said + ".new", "w") as file:
        file.write(word)
    os.rename(said + ".new", said)
    time.sleep(0.001)
"#;

#[test]
fn what_cannot_be_recorded_is_not_granted_and_the_record_is_whole_for_the_next_daemon() {
    require!(feature::root());
    require!(feature::listener());
    require!(feature::program("python3"));
    with_own_mounts(|| {
        let mut house = with_little_room("", "state");
        let file = house.workspace.write("counted/file", "content");
        let file = file.to_str().expect("a name of ours");
        let command = serde_json::to_string(&["python3", "-c", COUNTED, file]).expect("text");
        house.workspace.write(
            "workers.toml",
            format!("version = 1\n[[worker]]\nname = \"counts\"\ncommand = {command}\npolicy = \"counted.toml\"\nspeaks = \"nothing\"\non_supervisor_exit = \"survive\"\n"),
        );
        house.workspace.write(
            "counted.toml",
            format!("version = 1\nextends = [\"build\"]\n[[request]]\npath = \"{file}\"\naccess = [\"read\"]\ndecision = \"allow\"\nbudget = 1000000\n"),
        );
        house.give_to(NOBODY, &[]);
        house.open();
        let (daemon, worker) = (house.pid(), house.pids());
        let said = house.workspace.join("data/supervise/workers/counts-1/said");
        let until_it_says = |what: &str| {
            eventually(&format!("the worker said {what}"), || {
                std::fs::read_to_string(&said).is_ok_and(|said| said == what)
            });
        };
        let record = house
            .workspace
            .join("state/supervise/daemon/audit/counts-1.jsonl");
        let is_whole = || {
            let report = verify(File::open(&record).expect("it is there")).expect("it is read");
            assert_eq!((report.fault, report.ending), (None, Ending::Open));
        };
        until_it_says("content");
        for _ in 0..2 {
            let mut guest = Guest::new(&house);
            let filler = Filler::new(&house.workspace.join("state"));
            until_it_says("Permission denied");
            // Whoever watches is told why, once.
            guest.says(json!({"subscribe": {"after": 0}}));
            let why = loop {
                let line = guest.hears();
                if let Some(why) = line["event"]["error"]["message"].as_str() {
                    break why.to_owned();
                }
            };
            assert!(says(&why, &record), "{why}");
            is_whole();
            assert_eq!(house.pid(), daemon, "the same daemon");
            drop(filler);
            until_it_says("content");
            is_whole();
        }
        // Over the death of a daemon that found no room.
        let filler = Filler::new(&house.workspace.join("state"));
        until_it_says("Permission denied");
        house.kill_daemon();
        until_it_says("Permission denied");
        drop(filler);
        until_it_says("content");
        is_whole();
        assert_eq!(house.pids(), worker, "the same worker");
        house.has_no_orphan();
    });
}

#[test]
fn a_daemon_begins_and_goes_on_where_there_is_no_room_and_workers_do_when_there_is() {
    require!(feature::root());
    require!(feature::landlock(1));
    with_own_mounts(|| {
        let often = "restart_burst = 10000\nbackoff_max = \"100ms\"\nspeaks";
        let mut house = with_little_room(&IDLE.replace("speaks", often), "run");
        let filler = Filler::new(&house.workspace.join("run"));
        house.reopen();
        house.until("idle-1", "could not be started", |worker| {
            let why = worker["detail"].as_str().unwrap_or_default();
            worker["pid"].is_null()
                && says(why, &house.workspace.join("run/supervise/daemon/registry"))
        });
        drop(filler);
        house.until("idle-1", "ran", |worker| worker["state"] == "running");
        let before = house.pids();
        let filler = Filler::new(&house.workspace.join("run"));
        for _ in 0..2 {
            house.kill_daemon();
            assert_eq!(house.pids(), before, "they need no room");
        }
        drop(filler);
        house.kill_daemon();
        assert_eq!(house.pids(), before);
        house.has_no_orphan();
    });
}
