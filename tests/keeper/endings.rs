//! Who ends when somebody ends.

use crate::harness::process::{eventually_gone, parent};
use crate::harness::run::eventually;
use crate::stage::{BASE, Stage};
use nix::sys::signal::Signal;

#[test]
fn a_worker_is_the_keepers_child_and_its_end_is_told_to_whichever_daemon_serves() {
    let stage = Stage::new(
        1,
        "free",
        BASE,
        &[
            "sh",
            "-c",
            "while ! test -e go; do sleep 0.05; done; sleep 100 & exit 7",
        ],
    );
    let worker = stage.pids("started")[0];
    assert_eq!(parent(worker), Some(stage.keeper()));
    let (pid, daemon) = stage.daemon_after(0);
    daemon.send_signal(libc::SIGKILL).expect("it lives");
    stage.daemon_after(pid);
    std::fs::write(stage.work().join("go"), "").expect("a file");
    eventually("its end is told", || {
        stage
            .log()
            .contains(&"ended Ok(Command(Code(7)))".to_owned())
    });
    stage.stop().expect_code(0);
}

#[test]
fn a_worker_that_ends_while_no_daemon_lives_is_told_of_to_the_next() {
    let stage = Stage::new(1, "free", BASE, &["sh", "-c", "sleep 100"]);
    let worker = sys::pidfd::Pidfd::open(stage.pids("started")[0]).expect("it lives");
    let (pid, daemon) = stage.daemon_after(0);
    daemon.send_signal(libc::SIGKILL).expect("it lives");
    worker.send_signal(libc::SIGKILL).expect("it lives");
    stage.daemon_after(pid);
    eventually("its end is told", || {
        stage
            .log()
            .contains(&"ended Ok(Command(Signal(9)))".to_owned())
    });
    stage.stop().expect_code(0);
}

#[test]
fn a_worker_that_is_bound_dies_with_its_daemon() {
    let stage = Stage::new(2, "bound", BASE, &["sh", "-c", "sleep 100 & sleep 100"]);
    let workers = stage.pids("started");
    let (pid, daemon) = stage.daemon_after(0);
    daemon.send_signal(libc::SIGKILL).expect("it lives");
    stage.daemon_after(pid);
    eventually_gone(&workers);
    eventually("both ends are told", || {
        stage
            .log()
            .iter()
            .filter(|line| *line == "ended Ok(Command(Signal(9)))")
            .count()
            == 2
    });
    stage.stop().expect_code(0);
}

#[test]
fn when_the_keeper_is_killed_bound_workers_die_and_the_others_go_on() {
    for (life, dies) in [("bound", true), ("free", false)] {
        let stage = Stage::new(1, life, BASE, &["sleep", "100"]);
        let worker = stage.pids("started")[0];
        let process = sys::pidfd::Pidfd::open(worker).expect("it lives");
        let (daemon, _) = stage.daemon_after(0);
        stage.signal(Signal::SIGKILL);
        stage.wait();
        eventually_gone(&[daemon]);
        if dies {
            eventually_gone(&[worker]);
        } else {
            assert_eq!(process.has_exited(), Ok(false));
            process.send_signal(libc::SIGKILL).expect("it lives");
            eventually_gone(&[worker]);
        }
    }
}

#[test]
fn a_keeper_that_is_asked_to_end_ends_its_workers_in_order() {
    let stage = Stage::new(
        2,
        "free",
        BASE,
        &[
            "sh",
            "-c",
            "trap 'exit 3' TERM; while :; do sleep 0.05; done",
        ],
    );
    let workers = stage.pids("started");
    let log = stage.place.join("log");
    // A worker that has not set its trap yet would be ended by the signal.
    eventually("both wait", || {
        workers.iter().all(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
                .is_ok_and(|text| !text.is_empty())
        })
    });
    let place = stage.place.path();
    assert!(place.exists());
    stage.signal(Signal::SIGTERM);
    eventually("both have ended by their own word", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.matches("ended Ok(Command(Code(3)))").count() == 2
    });
    stage.wait().expect_code(0);
    eventually_gone(&workers);
}
