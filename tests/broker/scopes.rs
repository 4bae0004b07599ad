//! For whom a yes speaks.

use crate::harness::{Workspace, set_mode};
use crate::rig::*;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use supervisor::broker::{Outcome, Peer, Progress};
use supervisor::policy::Approver;
use sys::pidfd::Pidfd;

/// A shell and what it started, which both sleep.
struct Family {
    above: Child,
    below: i32,
}

impl Family {
    fn new() -> Self {
        let mut above = Command::new("sh")
            .args(["-c", "sleep 1000 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let output = above.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut line).expect("a line");
        let below = line.trim().parse().expect("a number");
        Self { above, below }
    }

    fn above(&self) -> i32 {
        self.above.id() as i32
    }

    fn end_above(&mut self) {
        self.above.kill().expect("it was there");
        self.above.wait().expect("it is ours");
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.below);
        // It is gone, or ours.
        let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        let _gone = self.above.kill();
        let _gone = self.above.wait();
    }
}

/// A broker whose approver says this of every question, and how often it was asked.
struct Scene {
    rig: Rig,
    count: PathBuf,
    _tools: Workspace,
}

impl Scene {
    fn new(more: &str, says: &str) -> Self {
        let tools = Workspace::new();
        let count = tools.join("count");
        let text = format!("#!/bin/sh\necho x >> {}\n{says}\n", count.display());
        let program = tools.write("approver", text);
        set_mode(&program, 0o755);
        let approver = Approver::Command(vec![program.into_os_string().into_string().unwrap()]);
        let policy = rule("$P/ask", "\"read\"", &format!("decision = \"ask\"\n{more}"));
        let rig = Rig::new(&policy, approver, |place| {
            place.write("ask/a", "inside");
        });
        Self {
            rig,
            count,
            _tools: tools,
        }
    }

    fn asked(&self) -> usize {
        let text = fs::read_to_string(&self.count).unwrap_or_default();
        text.lines().count()
    }

    /// Whether this process gets the file, and whether anybody was asked.
    fn opens(&mut self, pid: i32) -> (bool, bool) {
        let before = self.asked();
        let process = Pidfd::open(pid).expect("it lives");
        let peer = Peer {
            pid,
            uid: nix::unistd::geteuid().as_raw(),
            pidfd: Some(process.as_fd()),
        };
        let path = self.rig.place.join("ask/a");
        let outcome = match self.rig.claim_of(&peer, read(&path)) {
            Progress::Done(outcome) => outcome,
            Progress::Pending(ticket) => self.rig.wait(ticket),
        };
        let is_granted = matches!(outcome, Outcome::Granted(_));
        (is_granted, self.asked() > before)
    }
}

const ASKED: (bool, bool) = (true, true);
const REMEMBERED: (bool, bool) = (true, false);

#[test]
fn a_yes_speaks_for_whom_the_rule_says() {
    for (scope, [same, child, parent, another]) in [
        ("once", [ASKED, ASKED, ASKED, ASKED]),
        ("process", [REMEMBERED, ASKED, ASKED, ASKED]),
        ("subtree", [REMEMBERED, REMEMBERED, ASKED, ASKED]),
        ("session", [REMEMBERED, REMEMBERED, REMEMBERED, REMEMBERED]),
    ] {
        let own = std::process::id() as i32;
        let other = Family::new();
        let family = Family::new();
        for (whom, expected) in [
            (family.above(), same),
            (family.below, child),
            (own, parent),
            (other.above(), another),
            (other.below, another),
        ] {
            let mut scene = Scene::new(&format!("scope = \"{scope}\""), "");
            assert_eq!(scene.opens(family.above()), ASKED, "{scope}");
            assert_eq!(scene.opens(whom), expected, "{scope} {whom}");
        }
    }
}

#[test]
fn a_yes_for_a_process_ends_with_it() {
    for scope in ["process", "subtree"] {
        let mut family = Family::new();
        let mut scene = Scene::new(&format!("scope = \"{scope}\"\nttl = \"1h\""), "");
        assert_eq!(scene.opens(family.above()), ASKED);
        assert_eq!(scene.opens(family.above()), REMEMBERED);
        family.end_above();
        assert_eq!(scene.opens(family.below), ASKED, "{scope}");
    }
}

#[test]
fn who_asks_without_being_known_is_asked_about_each_time() {
    // Before 6.5 the kernel tells a number alone.
    let mut scene = Scene::new("scope = \"process\"", "");
    let peer = Peer {
        pid: std::process::id() as i32,
        uid: nix::unistd::geteuid().as_raw(),
        pidfd: None,
    };
    let path = scene.rig.place.join("ask/a");
    for count in 1..4 {
        let Progress::Pending(ticket) = scene.rig.claim_of(&peer, read(&path)) else {
            panic!("it is to be asked about");
        };
        drop(granted(scene.rig.wait(ticket)));
        assert_eq!(scene.asked(), count);
    }
}

#[test]
fn a_program_that_answers_says_for_whom_and_gets_no_more_than_the_rule() {
    let own = std::process::id() as i32;
    let family = Family::new();
    for (more, says, [same, child]) in [
        ("", "", [ASKED, ASKED]),
        ("", "echo once", [ASKED, ASKED]),
        ("", "echo process", [REMEMBERED, ASKED]),
        ("", "echo subtree", [REMEMBERED, REMEMBERED]),
        ("ttl = \"1h\"", "", [REMEMBERED, REMEMBERED]),
        ("ttl = \"1h\"", "echo once", [ASKED, ASKED]),
        ("scope = \"process\"", "echo session", [REMEMBERED, ASKED]),
        ("scope = \"once\"", "echo session", [ASKED, ASKED]),
    ] {
        let mut scene = Scene::new(more, says);
        assert_eq!(scene.opens(own), ASKED, "{more} {says}");
        assert_eq!(scene.opens(own), same, "{more} {says}");
        assert_eq!(scene.opens(family.above()), child, "{more} {says}");
    }
}

#[test]
fn a_yes_that_nobody_understands_is_a_no() {
    let own = std::process::id() as i32;
    for says in [
        "echo onec",
        "echo yes",
        "echo process session",
        "echo Process",
        "printf 'process\\nsession\\n'",
        "head -c 200 /dev/zero",
        "printf '\\377'",
        "echo session; exit 1",
    ] {
        let mut scene = Scene::new("", says);
        assert_eq!(scene.opens(own), (false, true), "{says}");
    }
    // Nobody waits for what it left running, and holds its output.
    let left = "while [ -e \"$0\" ]; do sleep 0.05; done & echo process";
    let mut scene = Scene::new("", left);
    assert_eq!(scene.opens(own), ASKED);
    assert_eq!(scene.opens(own), REMEMBERED);
}

#[test]
fn the_approver_is_told_for_whom_a_yes_speaks() {
    let own = std::process::id() as i32;
    for (more, scope, ttl) in [
        ("", "once", None),
        ("ttl = \"1h\"", "session", Some(3_600_000)),
        ("scope = \"subtree\"", "subtree", None),
    ] {
        let mut scene = Scene::new(more, "cat > \"${0%/*}/heard\"");
        assert_eq!(scene.opens(own), ASKED);
        let heard: &Path = &scene.count.with_file_name("heard");
        let heard = fs::read_to_string(heard).expect("it was told");
        let heard: serde_json::Value = serde_json::from_str(&heard).expect("JSON");
        assert_eq!(heard["scope"], scope);
        assert_eq!(heard["ttl_ms"].as_u64(), ttl, "{more}");
    }
}
