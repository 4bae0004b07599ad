//! What is left when the keeper is killed, and when what was written down about a worker is damaged.

use crate::guest::Guest;
use crate::harness::process::{eventually_gone, inherit, is_alive, stop, until_it_waits_in};
use crate::harness::run::{eventually, start};
use crate::harness::{feature, require};
use crate::house::{House, IDLE, POOL};
use crate::seen::kill_now;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::os::fd::AsFd;
use supervisor::workers::registry::Registry;

#[test]
fn when_the_keeper_is_killed_bound_workers_end_and_the_next_daemon_finds_the_others_again() {
    require!(feature::landlock(1));
    let bound = IDLE
        .replace("\"idle\"", "\"bound\"")
        .replace("\"survive\"", "\"kill\"");
    // One that asks nobody for anything, says nothing, and is the program that was started.
    let free = "[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"1000\"]\npolicy = \"worker\"\nspeaks = \"nothing\"\nrestart = \"always\"\nbackoff = \"20ms\"\non_supervisor_exit = \"survive\"\n";
    let mut house = House::new(&format!("{bound}{free}"));
    let before = house.pids();
    let [(_, bound), (_, free)] = before[..] else {
        panic!("{before:?}");
    };
    // One that has not come to its rest is refused what it needs for that.
    until_it_waits_in(free, &[libc::SYS_clock_nanosleep]);
    house.lose_keeper();
    eventually_gone(&[bound]);
    assert!(is_alive(free), "it was to go on");
    house.open();
    // Each further daemon finds it like this one did.
    for _ in 0..3 {
        let after = house.worker("idle-1");
        assert_eq!(after["pid"], free, "{after}");
        assert_eq!(after["state"], "running");
        assert_eq!(after["reattached"], true);
        let lost = after["degraded"].as_str().unwrap_or_default();
        assert!(lost.contains("its keeper was killed"), "{after}");
        assert_eq!(house.worker("bound-1")["degraded"], json!(null));
        house.has_no_orphan();
        house.kill_daemon();
    }
    // Its end is seen, though it is nobody's child here, and its successor has lost nothing.
    kill_now(free);
    let next = house.until("idle-1", "came back", |worker| {
        worker["state"] == "running" && worker["pid"] != free
    });
    assert_eq!(next["degraded"], json!(null));
    let is_told = next["last_exit"] == json!({"signal": 9});
    let cannot_be = next["last_exit"] == json!({}) && !strangers_are_told();
    assert!(is_told || cannot_be, "what is known, and only that: {next}");
    house.has_no_orphan();
}

/// Whether the kernel says how a process ended that somebody else has collected (Linux 6.15).
fn strangers_are_told() -> bool {
    let mut child = std::process::Command::new("true")
        .spawn()
        .expect("it is everywhere");
    let pidfd = sys::pidfd::Pidfd::open(child.id() as i32).expect("our own child");
    child.wait().expect("our own child");
    sys::pidfs::ended(pidfd.as_fd()).is_ok_and(|ended| ended.is_some())
}

#[test]
fn a_worker_that_lost_its_keeper_does_jobs_and_can_be_restarted() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let mut house = House::new(POOL);
    let mut guest = Guest::new(&house);
    let ran = guest.asks(json!({"run": {"job": 1, "sid": "0".repeat(32)}}));
    assert_eq!(ran["data"]["output"], 1, "{ran}");
    let before = house.pids();
    house.lose_keeper();
    house.open();
    assert_eq!(house.pids(), before);
    let mut guest = Guest::new(&house);
    let again = guest.asks(json!({"continue": {"sid": "0".repeat(32)}}));
    assert_eq!(again["data"]["output"], 1, "{again}");
    house.ask(&["restart"]).expect_code(0);
    eventually_gone(&before.iter().map(|(_, pid)| *pid).collect::<Vec<_>>());
    let status = house.status();
    let workers = status["workers"].as_array().expect("workers");
    assert!(
        workers.iter().all(|worker| worker["degraded"].is_null()),
        "{status}"
    );
    house.has_no_orphan();
}

#[test]
fn a_damaged_manifest_costs_its_own_worker_and_no_other() {
    require!(feature::landlock(1));
    let house = House::new(&IDLE.replace("speaks", "count = 3\nspeaks"));
    let before = house.pids();
    let registry = house.workspace.join("run/supervise/daemon/registry");
    let entry = std::fs::read_dir(&registry)
        .expect("manifests")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.to_string_lossy().contains("idle-2"))
        .expect("it has one");
    let text = std::fs::read(&entry).expect("it is ours");
    std::fs::write(&entry, &text[..text.len() / 2]).expect("it is ours");
    house.kill_daemon();
    house.until("idle-2", "ran", |worker| worker["state"] == "running");
    let after = house.pids();
    assert_eq!(after[0], before[0]);
    assert_eq!(after[2], before[2]);
    assert_ne!(after[1], before[1], "nobody could say who it was");
    eventually_gone(&[before[1].1]);
    house.has_no_orphan();
}

#[test]
fn a_worker_of_which_nobody_wrote_down_that_it_runs_is_ended_and_started_anew() {
    require!(feature::landlock(1));
    require!(feature::program("python3"));
    let house = House::new(POOL);
    let before = house.pids();
    let daemon = Pid::from_raw(house.pid());
    stop(daemon.as_raw());
    // As it is where the daemon dies between the worker's start and writing that down.
    let registry = house.workspace.join("run/supervise/daemon/registry");
    let registry = Registry::open(&registry).expect("ours");
    let manifest = registry.read("py-1").expect("it can be read");
    let mut manifest = manifest.expect("it has one");
    manifest.process = None;
    registry.write(&manifest).expect("it is ours");
    kill(daemon, Signal::SIGKILL).expect("it runs");
    let next = house.until("py-1", "was there again", |worker| {
        worker["speaks"] == true && worker["pid"] != before[0].1
    });
    assert_eq!(next["reattached"], false, "{next}");
    eventually_gone(&[before[0].1]);
    assert_eq!(house.pids()[1], before[1]);
    house.has_no_orphan();
}

#[test]
fn workers_that_are_no_longer_in_the_pool_file_are_ended_by_the_next_daemon() {
    require!(feature::landlock(1));
    let house = House::new(&IDLE.replace("speaks", "count = 4\nspeaks"));
    let before = house.pids();
    let pool = house.workspace.join("workers.toml");
    let text = std::fs::read_to_string(&pool).expect("it is ours");
    std::fs::write(&pool, text.replace("count = 4", "count = 1")).expect("it is ours");
    house.kill_daemon();
    eventually("they were ended", || house.pids() == before[..1]);
    let ended: Vec<i32> = before[1..].iter().map(|(_, pid)| *pid).collect();
    eventually_gone(&ended);
    house.has_no_orphan();
}

#[test]
fn a_time_that_is_far_away_changes_nothing() {
    require!(feature::landlock(1));
    // What a clock leaves that is set back by years: all that was written is from the future.
    let mut house = House::new(IDLE);
    house.ask(&["stop", "idle"]).expect_code(0);
    let path = house.workspace.join("state/supervise/daemon/desired.json");
    let later = |path: &std::path::Path| {
        let text = std::fs::read_to_string(path).expect("it is ours");
        let mut value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        value["workers"]["idle-1"]["since_unix_ms"] = json!(4_102_444_800_000_u64);
        std::fs::write(path, value.to_string()).expect("it is ours");
    };
    later(&path);
    house.kill_daemon();
    assert_eq!(
        house.worker("idle-1")["desired"],
        false,
        "a user's stop is never undone"
    );
    house.ask(&["start", "--timeout", "60s"]).expect_code(0);
    let pid = house.worker("idle-1")["pid"].clone();
    later(&path);
    house.kill_daemon();
    assert_eq!(house.worker("idle-1")["pid"], pid);
    assert_eq!(house.close().code(), 0);
}

#[test]
fn twenty_that_start_at_once_while_the_keeper_is_killed_become_one() {
    require!(feature::landlock(1));
    let mut house = House::new(IDLE);
    house.lose_keeper();
    let mut racers: Vec<_> = (0..20).map(|_| start(&mut house.daemon())).collect();
    eventually("one answered", || house.ask(&["status"]).code() == 0);
    eventually("the others gave up", || {
        racers.retain_mut(|racer| racer.child.try_wait().expect("our own").is_none());
        racers.len() == 1
    });
    house.ask(&["start", "--timeout", "60s"]).expect_code(0);
    house.has_no_orphan();
    house.ask(&["stop"]).expect_code(0);
    let keeper = racers.pop().expect("one");
    keeper.signal(Signal::SIGTERM);
    assert_eq!(keeper.wait().code(), 0);
    let left = house.tagged();
    left.iter().for_each(|(pid, _)| kill_now(*pid));
    assert!(left.is_empty(), "{left:?} were left");
}

#[test]
fn who_started_it_gets_its_descriptors_back() {
    require!(feature::landlock(1));
    let mut house = House::new(IDLE);
    assert_eq!(house.close().code(), 0);
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
    let mut daemon = house.daemon();
    inherit(&mut daemon, vec![(writer, 9)]);
    house.started(&mut daemon);
    // What holds the writing end in this process.
    drop(daemon);
    let mut ends = [PollFd::new(reader.as_fd(), PollFlags::empty())];
    poll(&mut ends, PollTimeout::from(60_000_u16)).expect("it can be waited for");
    let heard = ends[0].revents();
    assert_eq!(heard, Some(PollFlags::POLLHUP), "nobody can write any more");
    // The one that survived the daemon before, or, as that one has lost what it writes to, the next.
    house.until("idle-1", "ran", |worker| worker["state"] == "running");
}

/// When it is told to, opens what only its supervisor can give, notes what came of it in a file that it has open, and says so.
const TALKS: &str = r#"import os, sys, time
place = os.environ["SUPERVISE_WORKER_DIR"]
noted = open(place + "/noted", "a")
def note(word):
    noted.write(word + "\n")
    noted.flush()
note("ready")
told = 0
while True:
    for number in range(told + 1, 9):
        if os.path.exists(f"{place}/say{number}"):
            told = number
            try:
                with open(sys.argv[1]) as given:
                    note(f"{number} {given.read()}")
            except OSError as error:
                note(f"{number} {error.strerror}")
            print("it says", number, flush=True)
            note(f"{number} was said")
    time.sleep(0.02)
"#;

#[test]
fn what_a_worker_loses_with_its_keeper_is_said_and_what_comes_of_it_is_seen() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let mut house = House::empty("");
    let given = house.workspace.write("given", "content");
    let given = given.to_str().expect("a name of ours");
    let command = ["python3", "-c", TALKS, given];
    let command = serde_json::to_string(&command).expect("text");
    house.workspace.write(
        "workers.toml",
        format!("version = 1\n[[worker]]\nname = \"talks\"\ncommand = {command}\npolicy = \"talks.toml\"\nspeaks = \"nothing\"\nrestart = \"always\"\nbackoff = \"20ms\"\non_supervisor_exit = \"survive\"\n"),
    );
    house.workspace.write(
        "talks.toml",
        format!("version = 1\nextends = [\"build\"]\n[[request]]\npath = \"{given}\"\naccess = [\"read\"]\ndecision = \"allow\"\nbudget = 9\n"),
    );
    house.open();
    let place = house.workspace.join("data/supervise/workers/talks-1");
    let noted = || std::fs::read_to_string(place.join("noted")).unwrap_or_default();
    let tell = |number: u32| {
        std::fs::write(place.join(format!("say{number}")), "").expect("its directory is there");
    };
    let heard = |house: &House, what: &str| house.ask(&["logs", "talks-1"]).stdout.contains(what);
    tell(1);
    eventually("it was heard", || heard(&house, "it says 1"));
    eventually("it came to rest", || {
        noted() == "ready\n1 content\n1 was said\n"
    });
    let before = house.pids();
    house.lose_keeper();
    house.open();
    let now = house.worker("talks-1");
    assert_eq!(now["pid"], before[0].1, "{now}");
    let lost = now["degraded"].as_str().expect("it lost something");
    for part in ["what the kernel does not give it is refused", "SIGPIPE"] {
        assert!(lost.contains(part), "{now}");
    }
    // Nobody answers its calls, and nobody hears it: the pipe that it writes to has no other end. Python ignores the signal, and ends.
    tell(2);
    let next = house.until("talks-1", "came back", |worker| {
        worker["state"] == "running" && worker["pid"] != before[0].1
    });
    assert_eq!(next["degraded"], json!(null), "{next}");
    assert_eq!(next["reattached"], false, "{next}");
    // Its successor is heard and answered.
    eventually("the next one is heard", || heard(&house, "it says 2"));
    let refused = "1 was said\n2 Function not implemented\nready\n1 content\n";
    let noted = noted();
    assert!(
        noted.contains(refused) && noted.contains("2 content\n"),
        "{noted}"
    );
    house.has_no_orphan();
}
