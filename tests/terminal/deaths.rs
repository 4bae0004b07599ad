//! Whoever dies, the caller has a terminal again: with echo, with lines, with keys that signal.

use super::harness::process::{eventually_gone, is_alive, parent};
use super::harness::run::eventually;
use super::harness::{feature, require};
use super::{Desk, Scene, is_raw, modes, supervisor_of};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcsetattr};
use nix::unistd::Pid;

/// A reader of passwords that waits for one. Its pids: command and supervisor.
fn reader(desk: &mut Desk) -> (i32, i32) {
    let command: i32 = desk.sees("pid=").parse().expect("a pid");
    desk.sees("waits=");
    eventually("the terminal is raw", || is_raw(desk));
    (command, supervisor_of(command))
}

const READER: &str = "\"$S\" --pty -- sh -c 'echo p\"\"id=$$; stty -echo; echo w\"\"aits=.; read -r word; echo got=$word; stty echo'; \
     echo stat''us=$?.; read -r line; echo re''ad=$line.";

fn begun(scene: &Scene) -> (Desk, Termios) {
    let desk = scene.script(READER);
    let before = super::usual();
    assert!(before.local_flags.contains(LocalFlags::ECHO));
    (desk, before)
}

/// The terminal is as it was, the shell reads, and what is typed to it is echoed.
#[track_caller]
fn is_usable(desk: &mut Desk, before: &Termios) {
    eventually("the terminal is as it was", || modes(desk) == *before);
    desk.types("hello\n");
    desk.sees("hello");
    assert!(desk.sees("read=").starts_with("hello."), "{}", desk.screen);
}

#[test]
fn a_password_is_not_shown_and_the_terminal_is_as_before() {
    let scene = Scene::new();
    let (mut desk, before) = begun(&scene);
    reader(&mut desk);
    desk.types("secret\n");
    desk.sees("got=secret");
    let shown = desk.screen.matches("secret").count();
    assert_eq!(shown, 1, "{}", desk.screen);
    assert!(desk.sees("status=").starts_with("0."), "{}", desk.screen);
    is_usable(&mut desk, &before);
}

#[test]
fn a_reader_of_passwords_that_is_killed_leaves_the_echo_as_it_was() {
    let scene = Scene::new();
    let (mut desk, before) = begun(&scene);
    let (command, _) = reader(&mut desk);
    kill(Pid::from_raw(command), Signal::SIGKILL).expect("it lives");
    assert!(desk.sees("status=").starts_with("137."), "{}", desk.screen);
    assert_eq!(modes(&desk), before);
    is_usable(&mut desk, &before);
}

#[test]
fn getpass_that_is_killed_leaves_the_echo_as_it_was() {
    require!(feature::program("python3"));
    let scene = Scene::new();
    // Whichever python3 that is, it has to be one that the policy lets run.
    let python = ["/usr/bin/python3", "/usr/local/bin/python3"];
    let python = python
        .iter()
        .find(|path| std::path::Path::new(path).is_file());
    let Some(python) = python else {
        require!(Err::<(), _>("no python3 of the system's".to_owned()));
        return;
    };
    let mut desk = scene.script(&format!(
        "\"$S\" --pty -- {python} -c 'import os, getpass; print(\"pid=%d\" % os.getpid(), flush=True); getpass.getpass(\"waits=\\n\")'; \
         echo stat''us=$?.; read -r line; echo re''ad=$line."
    ));
    let before = super::usual();
    let (command, _) = reader(&mut desk);
    desk.types("half a sec");
    kill(Pid::from_raw(command), Signal::SIGKILL).expect("it lives");
    assert!(desk.sees("status=").starts_with("137."), "{}", desk.screen);
    is_usable(&mut desk, &before);
    assert!(!desk.screen.contains("half a sec"), "{}", desk.screen);
}

#[test]
fn signals_that_end_the_supervisor_end_the_command_and_restore_the_terminal() {
    for (signal, status) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
        (Signal::SIGINT, 130),
    ] {
        let scene = Scene::new();
        let (mut desk, before) = begun(&scene);
        let (command, supervisor) = reader(&mut desk);
        kill(Pid::from_raw(supervisor), signal).expect("it lives");
        let said = desk.sees("status=");
        assert!(said.starts_with(&format!("{status}.")), "{}", desk.screen);
        assert_eq!(modes(&desk), before);
        eventually_gone(&[command]);
        is_usable(&mut desk, &before);
    }
}

#[test]
fn a_supervisor_that_is_killed_or_aborts_leaves_the_terminal_as_it_was() {
    for signal in [Signal::SIGKILL, Signal::SIGABRT] {
        let scene = Scene::new();
        let (mut desk, before) = begun(&scene);
        let (command, supervisor) = reader(&mut desk);
        kill(Pid::from_raw(supervisor), signal).expect("it lives");
        desk.sees("status=");
        eventually_gone(&[command]);
        is_usable(&mut desk, &before);
    }
}

#[test]
fn a_guardian_that_is_killed_leaves_the_terminal_as_it_was() {
    let scene = Scene::new();
    let (mut desk, before) = begun(&scene);
    let (command, _) = reader(&mut desk);
    let guardian = parent(command).expect("it lives");
    kill(Pid::from_raw(guardian), Signal::SIGKILL).expect("it lives");
    assert!(desk.sees("status=").starts_with("125."), "{}", desk.screen);
    assert_eq!(modes(&desk), before);
    is_usable(&mut desk, &before);
}

#[test]
fn time_that_is_over_is_said_on_a_line_of_its_own() {
    let scene = Scene::new();
    let mut desk = scene.script("\"$S\" --timeout 300ms --pty -- sleep 1000; echo stat''us=$?.; read -r line; echo re''ad=$line.");
    let before = super::usual();
    desk.sees("the time is over");
    assert!(desk.screen.contains("is ended\r\n"), "{:?}", desk.screen);
    assert!(desk.sees("status=").starts_with("124."), "{}", desk.screen);
    is_usable(&mut desk, &before);
}

#[test]
fn modes_that_a_killed_program_left_are_put_right() {
    let scene = Scene::new();
    let mut desk = scene.script(
        "\"$S\" --pty -- sh -c 'printf \"\\033[?1003;1006h\\033[?1004h\\033[?25lpid=$$\\n\"; kill -9 $$'; echo stat''us=$?.",
    );
    assert!(desk.sees("status=").starts_with("137."), "{}", desk.screen);
    let (during, after) = desk.screen.split_once("pid=").expect("it was there");
    assert!(during.contains("\x1b[?1003;1006h"), "{:?}", desk.screen);
    for undone in ["\x1b[?1003l", "\x1b[?1006l", "\x1b[?1004l", "\x1b[?25h"] {
        assert!(after.contains(undone), "{:?}", desk.screen);
    }
}

#[test]
fn a_terminal_that_somebody_gave_lines_again_is_raw_again_and_nothing_has_ended() {
    let scene = Scene::new();
    let (mut desk, before) = begun(&scene);
    reader(&mut desk);
    let usual = SetArg::TCSANOW;
    tcsetattr(&desk.keyboard, usual, &before).expect("a terminal has modes");
    // The end of a line with nothing in it: nothing is read.
    desk.types("\x04");
    eventually("the terminal is raw", || is_raw(&desk));
    desk.types("secret\n");
    assert!(desk.sees("got=").starts_with("secret"), "{}", desk.screen);
    assert!(desk.sees("status=").starts_with("0."), "{}", desk.screen);
    is_usable(&mut desk, &before);
}

#[test]
fn a_terminal_that_goes_away_takes_the_command_with_it() {
    let scene = Scene::new();
    let (mut desk, _) = begun(&scene);
    let (command, supervisor) = reader(&mut desk);
    let Desk {
        shell, keyboard, ..
    } = &mut desk;
    let null = std::fs::File::open("/dev/null").expect("it is there");
    drop(std::mem::replace(keyboard, null));
    eventually("all are gone", || {
        !is_alive(command) && !is_alive(supervisor)
    });
    let _ended = shell.wait();
}
