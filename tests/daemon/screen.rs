//! The screen on which the daemon's workers are seen, over daemons that come and go.

use crate::harness::process::stop;
use crate::harness::run::eventually;
use crate::harness::{feature, require};
use crate::questions::Asking;
use crate::tty::Screen;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::process::ExitStatusExt;

/// Says what it reads.
const READS: &str = "cat \"$0\"; echo; exec sleep 1000";

const RULES: &str = "ask_read = [\"FILE\"]\n[broker]\napprover = \"control\"\ntimeout = \"10m\"\n";

#[test]
fn what_a_worker_asks_is_answered_also_by_the_next_daemon() {
    require!(feature::listener());
    let asking = Asking::new(&[("reads", &["/bin/sh", "-c", READS, "FILE"])], RULES);
    let first = asking.questions(1)[0]["question"].to_string();
    let house = &asking.house;
    let mut command = house.command(&["approve", "--tui"]);
    let mut screen = Screen::start(command.env("NO_COLOR", "1"), 100, 30);
    screen.until_it_shows(&format!("daemon {}", house.pid()));
    screen.until_it_shows(&format!("QUESTION {first}"));
    screen.until_it_shows("/asked/file");
    house.kill_daemon();
    // It is asked again, under another number.
    let second = asking.questions(1)[0]["question"].to_string();
    screen.until_it_shows(&format!("daemon {}", house.pid()));
    screen.until_it_shows(&format!("QUESTION {second}"));
    eventually("it was answered", || {
        screen.types("a");
        screen.look().text().contains("reads-1 was granted read")
    });
    asking.until_said("reads-1", "content");
    // What is not asked is not shown.
    screen.until("nothing waits", |shown| !shown.text().contains("QUESTION"));
    assert_eq!(
        asking.answers("reads-1").last().map(String::as_str),
        Some("granted")
    );
    // One that does not answer is said not to, and keys are heard meanwhile.
    let daemon = house.pid();
    stop(daemon);
    screen.until_it_shows("NO WORD FOR ");
    screen.resize(120, 40);
    screen.types("?");
    screen.until("it is larger", |shown| {
        shown.lines[0].len() > 110 && shown.lines[39] == "any key goes back"
    });
    kill(Pid::from_raw(daemon), Signal::SIGCONT).expect("it runs");
    assert_eq!(screen.colours(), 0, "somebody wants none");
    screen.signal(Signal::SIGTERM);
    assert_eq!(screen.ended().signal(), Some(Signal::SIGTERM as i32));
    assert!(screen.is_given_back());
}
