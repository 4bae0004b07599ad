//! The replica of a container, tried: it refuses what a container's does, and a sandbox can still be made below it.

#[path = "../harness/mod.rs"]
mod harness;
mod suites;

use harness::built::{contained, probe};
use harness::run::{Ran, run};
use harness::{feature, require};
use std::process::Command;

fn inside(words: &str) -> Ran {
    run(Command::new(contained())
        .arg(probe())
        .args(words.split(' ')))
}

fn answer(words: &str) -> String {
    inside(words).lines().join("\n")
}

#[test]
fn a_container_may_not_what_takes_a_capability() {
    let own = std::process::id();
    for act in [
        "unshare newuser",
        "unshare newns",
        "unshare 0x400",
        "clone newuser",
        "setns /proc/self/ns/uts 0",
        "mount none /nonexistent tmpfs",
        "fsopen",
        "bpf",
        "perf",
        "userfaultfd 1",
        "add-key",
        "io-uring",
        "syslog",
        "socket vsock stream",
        "personality 0x40000",
        &format!("pidfd-getfd {own} 0"),
        &format!("kcmp {own}"),
        &format!("raw {} -100 0 0", libc::SYS_open_by_handle_at),
        "raw 467 0",
        "raw 100000 0",
    ] {
        assert_eq!(answer(act), "errno EPERM", "{act}");
    }
    assert_eq!(answer("clone3 none"), "errno ENOSYS");
}

#[test]
fn the_root_of_a_container_is_not_root() {
    require!(feature::root());
    let answer = answer("caps");
    assert!(
        answer.starts_with("ok effective=a80425fb permitted=a80425fb "),
        "{answer}"
    );
    assert!(answer.ends_with("no_new_privs=1"), "{answer}");
}

#[test]
fn a_container_runs_programs() {
    for act in [
        "clone none",
        "fork-wait 2",
        "threads 2",
        "socket inet stream",
        "socket unix stream",
        "socketpair unix dgram",
        "personality 0xffffffff",
        "memfd none",
        "handle /etc/passwd",
    ] {
        let answer = answer(act);
        assert!(answer.starts_with("ok"), "{act}: {answer}");
    }
}

#[test]
fn a_sandbox_can_be_made_in_a_container() {
    require!(feature::landlock(1));
    require!(feature::listener());
    assert!(answer("landlock-abi").starts_with("ok"));
    assert_eq!(answer("seccomp-listener"), "ok");
}

#[test]
fn the_command_is_found_or_not_and_its_status_is_kept() {
    run(Command::new(contained()).args(["sh", "-c", "exit 7"])).expect_code(7);
    run(Command::new(contained()).arg("/nonexistent")).expect_code(127);
    run(&mut Command::new(contained())).expect_code(64);
}
