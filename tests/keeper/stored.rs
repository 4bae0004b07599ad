//! The keeper itself is killed, and the next one goes on with what the service manager stored.

use crate::harness::process::{eventually_gone, is_alive, waits};
use crate::harness::run::eventually;
use crate::harness::{Workspace, built, feature, require};
use crate::manager::Manager;
use crate::stage::{BASE, Stage, words};
use std::fs;
use std::time::Duration;
use sys::pidfd::Pidfd;

/// A place, with the directory that workers start in.
fn place() -> Workspace {
    let place = Workspace::new();
    place.make_dir("work");
    place
}

/// What the log says of ends.
fn ends(stage: &Stage) -> Vec<String> {
    let log = stage.log().into_iter();
    log.filter(|line| line.starts_with("ended") || line.starts_with("not started"))
        .collect()
}

#[test]
fn a_worker_that_reads_through_the_broker_goes_on_over_the_killing_of_its_keeper() {
    require!(feature::listener());
    let probe = built::probe();
    let probe = probe.to_str().expect("a name of ours");
    let directory = probe.rsplit_once('/').expect("it lies in a directory").0;
    let text = format!("{BASE}write = [\"$PWD\"]\ndeny = [\"$PWD/**/*.secret\"]\n")
        .replace("exec = [", &format!("exec = [\"{directory}\", "));
    let place = place();
    let work = place.join("work");
    fs::write(work.join("data.txt"), "content").expect("a file");
    fs::write(work.join("data.secret"), "secret").expect("a file");
    let mut manager = Manager::new(&place);
    let command = [probe, "steady-opens", "stop", "data.txt", "data.secret"];
    let keeper = words(&place, 2, "free", &text, &command);
    let mut stage = manager.start(place, &keeper);
    manager.hear_until("both are stored", |manager| {
        manager.times("READY=1") == 1 && manager.workers() == 2
    });
    let started = stage.pids("started");
    assert_eq!(started.len(), 2, "{:?}", stage.log());
    let mut daemon = 0;
    for round in 1..=12u64 {
        // Some are killed while the daemon still takes over, some while it serves.
        if round % 3 != 0 {
            (daemon, _) = stage.daemon_after(daemon);
        }
        std::thread::sleep(Duration::from_millis(round * 7 % 40));
        let place = stage.kill();
        manager.hear();
        assert_eq!(manager.workers(), 2, "in round {round}");
        stage = manager.start(place, &keeper);
    }
    stage.daemon_after(daemon);
    assert!(started.iter().all(|pid| is_alive(*pid)), "the same live");
    // For each open they wait once: on a busy machine few were made so far.
    eventually("they go on", || started.iter().all(|pid| waits(*pid) > 500));
    fs::write(work.join("stop"), "").expect("a file");
    eventually("both are told of", || {
        assert_eq!(stage.pids("started").len(), 2, "{:?}", stage.log());
        ends(&stage).len() == 2
    });
    // How they ended is the kernel's to tell, and told by those since Linux 6.15.
    for end in ends(&stage) {
        let told = ["Code(0)", "Unknown"].map(|how| format!("ended Ok(Command({how}))"));
        assert!(told.contains(&end), "{end}: {}", stage.said());
    }
    let said = stage.said();
    let done = said.lines().filter_map(|line| line.strip_prefix("ok "));
    let done: Vec<u64> = done.map(|times| times.parse().expect("a number")).collect();
    assert!(
        done.len() == 2 && done.iter().all(|times| *times > 100),
        "{said}"
    );
    println!("steady-opens: {done:?} times under 12 kills of the keeper");
    manager.hear_until("nothing is stored", |manager| manager.stored.is_empty());
    stage.stop().expect_code(0);
    manager.hear();
    assert_eq!(manager.times("STOPPING=1"), 1, "{:?}", manager.said);
}

#[test]
fn the_end_of_a_worker_that_has_another_parent_is_told_as_far_as_the_kernel_tells() {
    let place = place();
    let mut manager = Manager::new(&place);
    let command = [
        "sh",
        "-c",
        "while ! test -e go; do sleep 0.05; done; exit 7",
    ];
    let keeper = words(&place, 1, "free", BASE, &command);
    let stage = manager.start(place, &keeper);
    manager.hear_until("it is stored", |manager| {
        manager.times("READY=1") == 1 && manager.workers() == 1
    });
    let place = stage.kill();
    // It ends while nobody looks.
    fs::write(place.join("work/go"), "").expect("a file");
    manager.hear();
    let stage = manager.start(place, &keeper);
    eventually("its end is told", || ends(&stage).len() == 1);
    let end = &ends(&stage)[0];
    let known = end == "ended Ok(Command(Code(7)))";
    assert!(known || end == "ended Ok(Command(Unknown))", "{end}");
    assert_eq!(stage.pids("adopted").len(), 1);
    stage.stop().expect_code(0);
}

#[test]
fn what_comes_back_in_part_is_not_taken_back_and_strange_things_are_closed() {
    let place = place();
    let mut manager = Manager::new(&place);
    let keeper = words(&place, 2, "free", BASE, &["sleep", "100"]);
    let stage = manager.start(place, &keeper);
    manager.hear_until("both are stored", |manager| {
        manager.times("READY=1") == 1 && manager.workers() == 2
    });
    let started = stage.pids("started");
    let place = stage.kill();
    manager.hear();
    // The manager has lost the process of one of them.
    let of = |pid: i32| format!("-{pid}-");
    let is_lost = |name: &str| name.contains(&of(started[0])) && name.ends_with("-0-1-0");
    manager.stored.retain(|(name, _)| !is_lost(name));
    let strange = fs::File::open("/dev/null").expect("a file");
    manager
        .stored
        .insert(0, ("stored".to_owned(), strange.into()));
    let stage = manager.start(place, &keeper);
    eventually("one is taken back", || stage.pids("adopted").len() == 1);
    assert_eq!(stage.pids("adopted"), [started[1]]);
    manager.hear_until("the rest of the other is stored no longer", |manager| {
        !manager
            .stored
            .iter()
            .any(|(name, _)| name.contains(&of(started[0])))
    });
    assert_eq!(manager.workers(), 1 + 1, "that and the strange one");
    // It was recorded: it is left to go on.
    assert!(is_alive(started[0]));
    let fds = fs::read_dir(format!("/proc/{}/fd", stage.keeper())).expect("its descriptors");
    let links = fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok());
    let open: Vec<_> = links.filter(|link| link.ends_with("null")).collect();
    assert!(open.len() <= 1, "standard input alone: {open:?}");
    for pid in started {
        Pidfd::open(pid)
            .and_then(|process| process.send_signal(libc::SIGKILL))
            .expect("it lives");
    }
    stage.stop().expect_code(0);
}

#[test]
fn a_store_that_is_too_small_is_said_to_be_and_never_holds_a_part() {
    let place = place();
    let mut manager = Manager::new(&place);
    manager.room = 7;
    let keeper = words(&place, 2, "free", BASE, &["sleep", "100"]);
    let stage = manager.start(place, &keeper);
    manager.hear_until("it is said", |manager| {
        let said = manager.said.iter();
        let mut of = said.filter(|text| text.contains("1 worker would be cut off"));
        of.any(|text| text.contains("FileDescriptorStoreMax="))
    });
    assert_eq!(manager.workers(), 1);
    let started = stage.pids("started");
    stage.stop().expect_code(0);
    eventually_gone(&started);
}

#[test]
fn the_service_manager_is_told_of_the_daemon_and_only_for_one_that_serves() {
    let place = place();
    let mut manager = Manager::new(&place);
    manager
        .variables
        .push(("WATCHDOG_USEC", "400000".to_owned()));
    let keeper = words(&place, 1, "bound", BASE, &["sleep", "100"]);
    let stage = manager.start(place, &keeper);
    manager.hear_until("it lives", |manager| manager.times("WATCHDOG=1") >= 3);
    assert_eq!(manager.times("READY=1"), 1);
    assert_eq!(manager.stored.len(), 0, "it dies with its keeper");
    assert!(manager.times("STATUS=1 worker") > 0, "{:?}", manager.said);
    let (_, daemon) = stage.daemon_after(0);
    daemon.send_signal(libc::SIGSTOP).expect("it lives");
    // What it had answered already is said.
    let mut last = 0;
    let mut since = std::time::Instant::now();
    eventually("nobody speaks for it", || {
        manager.hear();
        if manager.times("WATCHDOG=1") != last {
            last = manager.times("WATCHDOG=1");
            since = std::time::Instant::now();
        }
        since.elapsed() > Duration::from_millis(800)
    });
    daemon.send_signal(libc::SIGCONT).expect("it lives");
    manager.hear_until("it lives again", |manager| {
        manager.times("WATCHDOG=1") > last + 2
    });
    stage.stop().expect_code(0);
    manager.hear();
    assert_eq!(manager.times("STOPPING=1"), 1, "{:?}", manager.said);
}

#[test]
fn an_end_that_takes_long_is_given_time_as_long_as_the_daemon_is_at_it() {
    let place = place();
    let mut manager = Manager::new(&place);
    let command = [
        "sh",
        "-c",
        "trap '' TERM; while ! test -e go; do sleep 0.05; done",
    ];
    let keeper = words(&place, 1, "bound", BASE, &command);
    let stage = manager.start(place, &keeper);
    manager.hear_until("it serves", |manager| manager.times("READY=1") == 1);
    let worker = stage.pids("started")[0];
    eventually("it has set its trap", || {
        fs::read_to_string(format!("/proc/{worker}/task/{worker}/children"))
            .is_ok_and(|text| !text.is_empty())
    });
    assert_eq!(manager.times("EXTEND_TIMEOUT_USEC=20000000"), 0);
    stage.signal(nix::sys::signal::Signal::SIGTERM);
    manager.hear_until("it is given time", |manager| {
        manager.times("EXTEND_TIMEOUT_USEC=20000000") > 0
    });
    assert_eq!(manager.times("WATCHDOG=1"), 0, "nobody asked for that");
    fs::write(stage.work().join("go"), "").expect("a file");
    stage.wait().expect_code(0);
}

#[test]
fn what_a_bound_worker_left_behind_is_ended_by_the_next_keeper() {
    // What it starts is no child of the keeper, and does not die with it by itself.
    let command = ["sh", "-c", "sleep 100 & wait"];
    let stage = Stage::new(1, "bound", BASE, &command);
    let worker = stage.pids("started")[0];
    let mut left = 0;
    eventually("it has a child", || {
        let path = format!("/proc/{worker}/task/{worker}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        left = children.trim().parse().unwrap_or(0);
        left > 0
    });
    let keeper = words(&stage.place, 1, "bound", BASE, &["true"]);
    let place = stage.kill();
    eventually_gone(&[worker]);
    assert!(is_alive(left), "its child is left");
    let starter = std::process::Command::new("env");
    let stage = Stage::started_by(starter, place, &keeper);
    eventually_gone(&[left]);
    stage.stop().expect_code(0);
}

#[test]
fn a_worker_that_nobody_recorded_is_ended_by_the_next_keeper_and_one_that_is_goes_on() {
    for (life, goes_on) in [("unrecorded", false), ("free", true)] {
        let stage = Stage::new(1, life, BASE, &["sleep", "1438"]);
        let worker = stage.pids("started")[0];
        let (daemon, _) = stage.daemon_after(0);
        let keeper = words(&stage.place, 1, life, BASE, &["true"]);
        let place = stage.kill();
        eventually_gone(&[daemon]);
        assert!(is_alive(worker), "it is not bound");
        let stage = Stage::started_by(std::process::Command::new("env"), place, &keeper);
        let (_, _) = stage.daemon_after(daemon);
        assert_eq!(is_alive(worker), goes_on, "{life}");
        if goes_on {
            Pidfd::open(worker)
                .and_then(|process| process.send_signal(libc::SIGKILL))
                .expect("it lives");
        }
        stage.stop().expect_code(0);
    }
}

#[test]
fn a_second_keeper_does_not_begin_while_the_first_or_its_daemon_lives() {
    let stage = Stage::new(1, "bound", BASE, &["sleep", "100"]);
    let words = words(&stage.place, 1, "bound", BASE, &["sleep", "100"]);
    let mut second = std::process::Command::new(built::keeping());
    let ran = crate::harness::run::run(second.args(words));
    assert_ne!(ran.code(), 0);
    assert!(ran.stderr.contains("Taken"), "{}", ran.stderr);
    assert_eq!(stage.pids("started").len(), 1);
    stage.stop().expect_code(0);
}
