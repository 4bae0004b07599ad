//! The screen on which everything is seen and answered, on a terminal.

use super::Scene;
use super::harness::built::supervise;
use super::harness::process::state;
use super::harness::run::{Running, eventually, run, start};
use super::harness::{feature, require};
use super::tty::Screen;
use nix::sys::signal::Signal;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

const CONTROL_C: &str = "\x03";
const CONTROL_Z: &str = "\x1a";

/// A run that asks for this file, in which its name stands.
fn asks(scene: &Scene, name: &str) -> Running {
    let file = scene.kept.write(format!("data/{name}"), name);
    let policy = scene.kept.write(
        "policy.toml",
        format!(
            "version = 1\nextends = [\"read-only\"]\n[fs]\nask_read = [\"{}\"]\n[broker]\napprover = \"control\"\ntimeout = \"10m\"\n",
            scene.kept.join("data").display()
        ),
    );
    let flags = ["-q", "-p", policy.to_str().expect("text")];
    start(&mut scene.script(&flags, &format!("cat {}", file.display())))
}

/// Presses that key until the run has ended: a key is for what was seen for a moment.
#[track_caller]
fn until_it_ends(screen: &mut Screen, run: &mut Running, key: &str) {
    eventually("it was answered", || {
        screen.types(key);
        screen.look();
        run.child.try_wait().expect("our own child").is_some()
    });
}

#[test]
fn what_a_run_asks_for_is_seen_and_answered_by_a_key() {
    require!(feature::listener());
    let scene = Scene::new();
    let mut command = scene.supervise(&["approve", "--tui"]);
    let mut screen = Screen::start(command.env_remove("NO_COLOR"), 80, 24);
    screen.until_it_shows("none: no daemon is running");
    for (key, code, printed) in [("a", 0, "one"), ("n", 1, "")] {
        let mut asks = asks(&scene, "one");
        screen.until_it_shows("asks to read");
        screen.until_it_shows("/data/one");
        screen.until_it_shows("a yes, this once");
        until_it_ends(&mut screen, &mut asks, key);
        let ran = asks.wait().expect_code(code);
        assert_eq!(ran.stdout, printed, "{ran}");
        screen.until_it_shows("0 sessions");
    }
    assert!(!screen.is_given_back() && screen.colours() > 0);
    screen.types("q");
    assert_eq!(screen.ended().code(), Some(0));
    assert!(screen.is_given_back());
    let record = std::fs::read_to_string(scene.log()).expect("a record");
    assert_eq!(record.matches("\"answered_by\":").count(), 2, "{record}");
}

#[test]
fn what_is_sensitive_is_allowed_by_its_name_alone() {
    require!(feature::listener());
    let scene = Scene::new();
    let asks = asks(&scene, "id_rsa");
    let mut screen = Screen::start(&mut scene.supervise(&["approve", "--tui"]), 100, 30);
    screen.until_it_shows("/data/id_rsa");
    eventually("it wants a name", || {
        screen.types("a");
        screen.look().text().contains("It is a place of keys")
    });
    // Whatever was typed until then was no name.
    screen.types("\r");
    screen.until_it_shows("a yes, this once");
    screen.types("a");
    screen.until_it_shows("type the last part of its name, id_rsa, and Enter");
    screen.types("id_rsa\r");
    let ran = asks.wait().expect_code(0);
    assert_eq!(ran.stdout, "id_rsa");
}

#[test]
fn where_things_are_only_looked_at_nothing_is_answered() {
    require!(feature::listener());
    let scene = Scene::new();
    let mut asks = asks(&scene, "one");
    let mut screen = Screen::start(&mut scene.supervise(&["top"]), 80, 24);
    screen.until_it_shows("/data/one");
    screen.types("anN");
    screen.until_it_shows("nothing is answered here: use `supervise approve --tui`");
    assert!(asks.child.try_wait().expect("our own child").is_none());
    screen.resize(59, 24);
    screen.until_it_shows("The terminal is too small: 60 by 10 is the least.");
    screen.resize(100, 30);
    screen.until("it is as large as the terminal", |shown| {
        shown.lines[0].ends_with("q quit") && shown.lines[0].len() > 90
    });
}

#[test]
fn the_terminal_is_given_back_whatever_ends_it() {
    let scene = Scene::new();
    let top = || {
        let mut command = Command::new("env");
        // What the caller of the tests ignores it would, too.
        let command = command.args(["--default-signal", "--"]);
        let command = scene.at_home(command.arg(supervise()).arg("top"));
        let mut screen = Screen::start(command, 80, 24);
        screen.until_it_shows("supervise top");
        assert!(!screen.is_given_back());
        screen
    };
    for keys in ["q", CONTROL_C] {
        let mut screen = top();
        screen.types(keys);
        assert_eq!(screen.ended().code(), Some(0), "{keys:?}");
        assert!(screen.is_given_back(), "{keys:?}");
    }
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut screen = top();
        screen.signal(signal);
        assert_eq!(screen.ended().signal(), Some(signal as i32));
        assert!(screen.is_given_back(), "{signal}");
    }
    // And while the shell has its turn.
    let mut screen = top();
    for stop in [None, Some(Signal::SIGTSTP)] {
        match stop {
            None => screen.types(CONTROL_Z),
            Some(signal) => screen.signal(signal),
        }
        let pid = screen.pid().as_raw();
        eventually("it was stopped", || state(pid) == Some('T'));
        assert!(screen.is_given_back());
        screen.signal(Signal::SIGCONT);
        screen.until_it_shows("supervise top");
        assert!(!screen.is_given_back());
    }
}

#[test]
fn without_a_screen_it_says_what_to_use_instead() {
    let scene = Scene::new();
    for arguments in [&["top"][..], &["approve", "--tui"]] {
        let ran = run(&mut scene.supervise(arguments)).expect_code(125);
        for instead in [
            "supervise questions",
            "supervise status",
            "supervise events",
        ] {
            assert!(ran.stderr.contains(instead), "{ran}");
        }
        assert_eq!(ran.stdout, "");
    }
    let both = run(&mut scene.supervise(&["approve", "--tui", "123456789"]));
    assert!(both.stderr.contains("cannot be used with"), "{both}");
    let none = run(&mut scene.supervise(&["approve"]));
    assert!(none.stderr.contains("required"), "{none}");
}
