//! A terminal that is shared with the caller: the child may talk on it, and may not act for the user or take it away.

use crate::harness::built::probe;
use crate::harness::process::{is_alive, lead_terminal};
use crate::harness::require;
use crate::harness::run::{Ran, Running, eventually, start};
use crate::scene::Scene;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::Command;

fn terminal() -> OpenptyResult {
    let terminal = openpty(None, None).expect("a terminal");
    let mut modes = tcgetattr(&terminal.slave).expect("a terminal has modes");
    // Each character can be read as it comes.
    cfmakeraw(&mut modes);
    tcsetattr(&terminal.slave, SetArg::TCSANOW, &modes).expect("modes can be set");
    terminal
}

/// A shell that leads a session of its own with this terminal, runs `command` in its foreground, then `after`.
fn on(terminal: &OpenptyResult, command: &Command, after: &str) -> Running {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("\"$@\"; {after}"), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.map_or(OsString::new(), OsString::from));
    }
    shell.current_dir(command.get_current_dir().expect("it runs in a scene"));
    shell.stdin(terminal.slave.try_clone().expect("a descriptor"));
    lead_terminal(&mut shell);
    start(&mut shell)
}

fn is_readable(fd: impl AsFd) -> bool {
    let mut ends = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut ends, PollTimeout::ZERO).expect("a terminal can be polled") > 0
}

/// What came of acts on a terminal, whether somebody outside could then read there what nobody typed, and what stood on the
/// screen.
fn acted(command: &Command) -> (Ran, bool, bool) {
    let terminal = terminal();
    let ran = on(&terminal, command, "true").wait();
    (
        ran,
        is_readable(&terminal.slave),
        is_readable(&terminal.master),
    )
}

const TYPING: &str = "ioctl 0 TIOCSTI -- ioctl 0 TIOCSTI 1 -- ioctl 0 TIOCSTI 0x80000000 -- ioctl 0 TIOCLINUX -- ioctl 0 TIOCLINUX 5";

/// What is refused inside must be possible outside, or the test has shown nothing.
fn outside(works: bool, ran: &Ran) -> Result<(), String> {
    let lack = || format!("without a sandbox it cannot be done either: {ran}");
    works.then_some(()).ok_or_else(lack)
}

/// Nothing is typed by acts on a terminal inside, nor shown, though something is outside.
fn nothing_is_typed(acts: &str, answers: &[&str]) -> Result<(), String> {
    let scene = Scene::new();
    let (ran, typed, shown) = acted(&scene.inside(acts));
    assert_eq!(ran.lines(), answers, "{ran}");
    assert!(!typed && !shown);
    let (ran, typed, _) = acted(&scene.unconfined(acts));
    outside(typed, &ran)
}

#[test]
fn nothing_is_typed_for_the_user() {
    require!(nothing_is_typed(TYPING, &["errno EPERM"; 5]));
}

#[test]
fn nothing_is_typed_through_another_descriptor_of_the_terminal() {
    let acts = "hold-as 40 /dev/tty rw -- ioctl 40 TIOCSTI";
    require!(nothing_is_typed(acts, &["ok", "errno EPERM"]));
}

#[test]
fn the_terminal_is_not_given_other_properties() {
    let scene = Scene::new();
    let acts = "ioctl 0 TIOCSETD -- ioctl 0 TIOCCONS -- ioctl 0 0x540c -- ioctl 0 0x5437";
    let (ran, ..) = acted(&scene.inside(acts));
    assert_eq!(ran.lines(), ["errno EPERM"; 4], "{ran}");
}

/// The request to make a terminal one's own, by force.
fn steal() -> String {
    format!(
        "setsid -- raw {} 0 0x540e 1 -- open /dev/tty rw",
        libc::SYS_ioctl
    )
}

#[test]
fn the_terminal_is_not_taken_from_its_session() {
    let scene = Scene::new();
    let terminal = terminal();
    let after = "(: </dev/tty) 2>/dev/null && echo ours || echo lost";
    let ran = on(&terminal, &scene.inside(&steal()), after).wait();
    assert_eq!(
        ran.lines(),
        ["ok", "errno EPERM", "errno ENXIO", "ours"],
        "{ran}"
    );
    let free = self::terminal();
    let ran = on(&free, &scene.unconfined(&steal()), after).wait();
    require!(outside(ran.stdout.contains("lost"), &ran));
}

#[test]
fn the_caller_reads_on_after_the_child_took_the_foreground_and_left() {
    let scene = Scene::new();
    let acts = "ignore 22 -- foreground 0";
    let after = "read -r line; echo \"got $line\"";
    let hear = |command: &Command| {
        let terminal = openpty(None, None).expect("a terminal");
        let running = on(&terminal, command, after);
        let mut keys = std::fs::File::from(terminal.master.try_clone().expect("a descriptor"));
        keys.write_all(b"hello\n").expect("somebody types");
        running.wait()
    };
    let ran = hear(&scene.inside(acts));
    assert_eq!(ran.lines(), ["ok", "ok", "got hello"], "{ran}");
    let ran = hear(&scene.unconfined(acts));
    require!(if ran.stdout.contains("got hello") {
        Err("the caller could read without a sandbox, too".to_owned())
    } else {
        Ok(())
    });
}

#[test]
fn input_that_arrives_signals_nobody_outside() {
    for way in ["own", "own-ex", "ioctl"] {
        let victim = || {
            let mut victim = start(Command::new(probe()).args(["pid", "--", "linger"]));
            victim.until_it_says("ok ");
            victim
        };
        let scene = Scene::new();
        let reached = victim();
        let acts = |pid: i32| format!("sigio {pid} {way}");
        crate::harness::run::run(&mut scene.unconfined(&acts(reached.pid())));
        eventually("it works where nothing confines it", || {
            !is_alive(reached.pid())
        });
        let safe = victim();
        let performed = scene.perform(&acts(safe.pid()));
        assert_eq!(performed.ran.code(), 0, "{}", performed.ran);
        // The signal was sent, or not, before the call returned.
        assert!(is_alive(safe.pid()), "{way}: {}", performed.ran);
    }
}
