//! The disk is full where the daemon writes: what cannot be written down is not done, and said so; all goes on when there is room.

use crate::guest::Guest;
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

/// A small file system of its own in the place of a directory.
fn make_small(path: &Path) {
    let path = path.to_str().expect("a name of ours");
    mount(&["-t", "tmpfs", "-o", "size=1m,mode=700", "none", path]);
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
        let mut house = House::empty(POOL);
        make_small(&house.workspace.join("run"));
        house.have_the_worker_do(NOTES);
        house.open();
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
                code if code == "unavailable" => refused.push(sid),
                _ if answer["data"]["output"] == sid.as_str() => answered.push(sid),
                _ => panic!("{answer}"),
            }
        }
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
        let mut house = House::empty(&IDLE.replace("speaks", often));
        make_small(&house.workspace.join("run"));
        house.open();
        let first = house.worker("idle-1")["pid"].as_i64().expect("a pid") as i32;
        let filler = Filler::new(&house.workspace.join("run"));
        kill_now(first);
        house.until(
            "idle-1",
            "could not be started for want of room",
            |worker| {
                let why = worker["detail"].as_str().unwrap_or_default();
                worker["pid"].is_null() && why.contains("No space left")
            },
        );
        eventually("nothing of it is left", || house.tagged().is_empty());
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
        let mut house = House::empty(IDLE);
        make_small(&house.workspace.join("state"));
        house.open();
        let filler = Filler::new(&house.workspace.join("state"));
        let ran = house.ask(&["stop", "idle"]);
        assert_ne!(ran.code(), 0, "{ran}");
        assert!(ran.stderr.contains("would be forgotten"), "{ran}");
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
