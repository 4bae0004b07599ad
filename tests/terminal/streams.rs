//! What stands where: pipes stay pipes, terminals become the command's own; output is whole; statuses are the command's.

use super::harness::built::supervise;
use super::harness::run::{eventually, run};
use super::harness::{feature, require};
use super::{Scene, is_raw, modes, usual};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::process::Command;

const WHAT: &str = "for fd in 0 1 2; do if [ -t $fd ]; then printf t; else printf -- -; fi; done";

#[test]
fn only_what_is_a_terminal_is_replaced() {
    let scene = Scene::new();
    for (around, expected) in [
        ("\"$S\" --pty -- sh -c \"$W >&2\"", "ttt"),
        // Who reads a pipe has the keyboard.
        ("\"$S\" --pty -- sh -c \"$W\" | cat", "--t"),
        ("\"$S\" --pty -- sh -c \"$W >&2\" | cat", "-tt"),
        (": | \"$S\" --pty -- sh -c \"$W\"", "-tt"),
        ("\"$S\" --pty -- sh -c \"$W\" 2>/dev/null", "tt-"),
        (
            "\"$S\" --pty -- sh -c \"$W >/dev/tty\" </dev/null >out 2>&1",
            "-t-",
        ),
    ] {
        let mut desk = scene.script(&format!("W='{WHAT}'; printf wh''at=; {around}; echo ."));
        let seen = desk.sees("what=");
        assert!(
            seen.starts_with(&format!("{expected}.")),
            "{around}: {seen}"
        );
    }
}

#[test]
fn a_pager_behind_it_has_the_keyboard_and_the_terminal() {
    let scene = Scene::new();
    // It reads from the terminal, as pagers do, and the command's input is at its end.
    let mut desk = scene.script(
        "\"$S\" --pty -- sh -c 'echo from=inside; cat; echo e\"\"nd=.' | { cat; echo re''ady=.; read -r key </dev/tty; echo ke''y=$key.; }",
    );
    let before = usual();
    desk.sees("from=inside");
    desk.sees("end=");
    desk.sees("ready=");
    assert_eq!(modes(&desk), before);
    desk.types("q\n");
    assert!(desk.sees("key=").starts_with("q."), "{}", desk.screen);
}

#[test]
fn without_a_terminal_nothing_changes() {
    let scene = Scene::new();
    let mut without = Command::new("setsid");
    require!(feature::program("setsid"));
    without.arg("--wait").arg(supervise());
    without.args(["--pty", "--", "sh", "-c", "printf '\\033]0;x\\007'; exit 5"]);
    let ran = run(scene.at_home(&mut without)).expect_code(5);
    assert_eq!(ran.stdout, "\x1b]0;x\x07");
}

#[test]
fn all_that_is_written_before_the_end_is_shown() {
    let scene = Scene::new();
    let mut desk = scene.script("\"$S\" --pty -- seq 1 20000; echo stat''us=$?.");
    assert!(desk.sees("status=").starts_with("0."), "{}", desk.screen);
    let lines: Vec<&str> = desk.screen.split("\r\n").collect();
    for (at, line) in lines[..20000].iter().enumerate() {
        assert_eq!(*line, (at + 1).to_string());
    }
}

#[test]
fn what_is_typed_reaches_the_command_whole() {
    let scene = Scene::new();
    let mut desk = scene.script(
        "\"$S\" --pty -- sh -c 'stty raw -echo; echo rea\"\"dy=.; head -c 30000 >typed'; echo stat''us=$?.",
    );
    desk.sees("ready=");
    eventually("the terminal is raw", || is_raw(&desk));
    // More than fits anywhere on the way; the keyboard is told to wait meanwhile.
    let typed: Vec<u8> = (0..30000u32).map(|at| b'a' + (at % 23) as u8).collect();
    let mut rest = &typed[..];
    while !rest.is_empty() {
        match nix::unistd::write(&desk.keyboard, rest) {
            Ok(count) => rest = &rest[count..],
            Err(Errno::EAGAIN) => {
                let mut room = [PollFd::new(desk.keyboard.as_fd(), PollFlags::POLLOUT)];
                let _ready = poll(&mut room, PollTimeout::from(100u8));
            }
            Err(errno) => panic!("{errno}"),
        }
    }
    assert!(desk.sees("status=").starts_with("0."), "{}", desk.screen);
    let read = std::fs::read(scene.workspace.join("typed")).expect("it was written");
    assert!(read == typed, "{} bytes", read.len());
}
