//! Who is asked at the terminal, what can be answered there, and what cannot be made believe.

use crate::harness::run::start;
use crate::rig::*;
use crate::terminal::controlled_by;
use nix::errno::Errno;
use protocol::{Code, OpenRequest};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use supervisor::broker::{Clerk, Outcome, Proposal, Wanted};
use supervisor::policy::Approver;

fn asks() -> String {
    rule("$P/ask", "\"read\", \"write\"", "decision = \"ask\"")
}

fn filled() -> Rig {
    Rig::new(&asks(), Approver::Terminal, |place| {
        place.write("ask/a", "inside");
        place.write("ask/b", "other");
    })
}

/// This test in a process whose terminal is another, and what is seen and typed there.
fn at_a_terminal(test: &str, scene: impl FnOnce(&mut Screen)) {
    let pty = nix::pty::openpty(None, None).expect("a terminal");
    let slave: OwnedFd = pty.slave;
    let mut command = inner(test);
    let mut child = controlled_by(&mut command, slave)
        .spawn()
        .expect("it starts");
    // The command holds the other end.
    drop(command);
    let mut screen = Screen {
        master: fs::File::from(pty.master),
        seen: String::new(),
    };
    scene(&mut screen);
    screen.until("test result: ok. 1 passed");
    assert!(child.wait().unwrap().success());
}

struct Screen {
    master: fs::File,
    seen: String,
}

impl Screen {
    /// Waits until `text` has been shown since the last time.
    #[track_caller]
    fn until(&mut self, text: &str) -> String {
        let deadline = Instant::now() + crate::harness::run::DEADLINE;
        let mut bytes = [0; 4096];
        while !self.seen.contains(text) {
            use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
            use std::os::fd::AsFd;
            assert!(
                Instant::now() < deadline,
                "{text:?} never came: {}",
                self.seen
            );
            let mut fds = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(100u8)).unwrap();
            if fds[0].any() == Some(true) {
                let count = self
                    .master
                    .read(&mut bytes)
                    .unwrap_or_else(|error| panic!("{error}: {}", self.seen));
                self.seen += &String::from_utf8_lossy(&bytes[..count]);
            }
        }
        let end = self.seen.find(text).unwrap() + text.len();
        self.seen.drain(..end).collect()
    }

    fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }
}

const PROMPT: &str = "anything else refuses, and so do 30 s: ";

#[test]
fn only_y_and_enter_typed_after_the_question_allow() {
    const NAME: &str = "at_the_terminal::only_y_and_enter_typed_after_the_question_allow";
    if !is_inner() {
        at_a_terminal(NAME, |screen| {
            for (typed, _) in TYPED {
                screen.until("now type ahead");
                screen.type_in("y\ry\r");
                screen.until("typed ahead");
                let question = screen.until(PROMPT);
                assert!(question.contains("asks to read"), "{question}");
                assert!(question.contains("/ask/a\\x1b[2J\r"), "{question}");
                assert!(
                    question.contains("it says: \"\\u{202e}because\\n\""),
                    "{question}"
                );
                assert!(!question.contains("\u{1b}[2J"), "{question}");
                screen.type_in(typed);
            }
        });
        return;
    }
    let mut rig = filled();
    let path = rig.place.write("ask/a\u{1b}[2J", "x");
    for (typed, is_yes) in TYPED {
        println!("now type ahead");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        println!("typed ahead");
        let request = OpenRequest {
            why: Some("\u{202e}because\n".to_owned()),
            ..read(&path)
        };
        match rig.ask(request) {
            Outcome::Granted(_) => assert!(is_yes, "{typed:?}"),
            Outcome::Refused(refusal) => {
                assert!(!is_yes, "{typed:?}");
                assert_eq!(refusal.code, Code::AskRefused);
            }
        }
    }
}

/// What is typed, and whether it allows. A terminal makes Enter of a carriage return.
const TYPED: [(&str, bool); 7] = [
    ("y\r", true),
    ("n\r", false),
    ("\r", false),
    ("yes\r", false),
    ("Y\r", false),
    (" y\r", false),
    ("y\r", true),
];

#[test]
fn one_question_stands_on_the_terminal_at_a_time() {
    const NAME: &str = "at_the_terminal::one_question_stands_on_the_terminal_at_a_time";
    if !is_inner() {
        at_a_terminal(NAME, |screen| {
            assert!(screen.until(PROMPT).contains("/ask/a\r"));
            screen.type_in("n\r");
            assert!(screen.until(PROMPT).contains("/ask/b\r"));
            screen.type_in("y\r");
        });
        return;
    }
    let mut rig = filled();
    for name in ["ask/a", "ask/b"] {
        fs::metadata(rig.place.join(name)).unwrap();
    }
    let first = rig.pend_asked(read(rig.place.join("ask/a")));
    let second = rig.pend_asked(read(rig.place.join("ask/b")));
    let answered = rig.wait_for(2);
    assert_eq!(answered[0].0, first);
    assert_eq!(answered[1].0, second);
    let [(_, a), (_, b)] = <[_; 2]>::try_from(answered).unwrap();
    assert_eq!(refused(a).code, Code::AskRefused);
    drop(granted(b));
}

#[test]
fn a_terminal_that_says_nothing_is_a_no() {
    const NAME: &str = "at_the_terminal::a_terminal_that_says_nothing_is_a_no";
    if !is_inner() {
        at_a_terminal(NAME, |screen| {
            screen.until("and so do 1 s: ");
            screen.type_in("y");
            screen.until("no answer in time, refused");
        });
        return;
    }
    let timeout = Duration::from_secs(1);
    let mut rig = Rig::with_timeout(&asks(), Approver::Terminal, timeout, |place| {
        place.write("ask/a", "");
    });
    assert_eq!(
        rig.refused(read(rig.place.join("ask/a"))).code,
        Code::AskTimeout
    );
}

#[test]
fn in_the_background_of_its_terminal_nobody_is_asked() {
    const NAME: &str = "at_the_terminal::in_the_background_of_its_terminal_nobody_is_asked";
    if !is_inner() {
        at_a_terminal(NAME, |_| {});
        return;
    }
    let mut rig = filled();
    let mut other = Command::new("sleep");
    let other = start(std::os::unix::process::CommandExt::process_group(
        other.arg("60"),
        0,
    ));
    let group = nix::unistd::Pid::from_raw(other.pid());
    let terminal = std::io::stdin();
    sys::terminal::set_foreground(std::os::fd::AsFd::as_fd(&terminal), group).unwrap();
    let refusal = rig.refused(read(rig.place.join("ask/a")));
    let own = nix::unistd::getpgrp();
    sys::terminal::set_foreground(std::os::fd::AsFd::as_fd(&terminal), own).unwrap();
    assert_eq!(refusal.code, Code::AskRefused);
}

#[test]
fn a_yes_for_the_run_and_a_no_for_the_run_are_asked_for_once() {
    const NAME: &str = "at_the_terminal::a_yes_for_the_run_and_a_no_for_the_run_are_asked_for_once";
    if !is_inner() {
        at_a_terminal(NAME, |screen| {
            let question = screen.until(PROMPT);
            assert!(
                question.contains("y: this once, r: for all of this run; d: never in this run"),
                "{question}"
            );
            screen.type_in("r\r");
            assert!(
                screen
                    .until("allowed, for all of this run: read ")
                    .contains("supervise: ")
            );
            assert!(screen.until(PROMPT).contains("/ask/b\r"));
            screen.type_in("d\r");
            assert!(screen.until(PROMPT).contains("asks to write"));
            screen.type_in("n\r");
        });
        return;
    }
    let mut rig = filled();
    let [a, b] = ["ask/a", "ask/b"].map(|name| rig.place.join(name));
    for path in [&a, &b] {
        fs::metadata(path).unwrap();
    }
    // Both stand in line when the first is answered.
    let tickets = [rig.pend_asked(read(&a)), rig.pend_asked(read(&a))];
    for (ticket, outcome) in rig.wait_for(2) {
        assert!(tickets.contains(&ticket));
        drop(granted(outcome));
    }
    drop(rig.granted(read(&a)));
    let tickets = [rig.pend_asked(read(&b)), rig.pend_asked(read(&b))];
    for (ticket, outcome) in rig.wait_for(2) {
        assert!(tickets.contains(&ticket));
        assert_eq!(refused(outcome).code, Code::AskRefused);
    }
    let moved = b.with_file_name("moved");
    fs::rename(&b, &moved).unwrap();
    for path in [&b, &moved] {
        fs::write(&b, "another").unwrap();
        let refusal = rig.refused(read(path));
        assert_eq!(
            (refusal.code, refusal.errno),
            (Code::AskRefused, Errno::EACCES)
        );
    }
    // Less was refused than what is asked for now.
    assert_eq!(rig.refused(write(&b)).code, Code::AskRefused);
    let records = rig.records();
    let details: Vec<_> = records
        .iter()
        .filter_map(|record| record["detail"].as_str())
        .collect();
    let count = |text: &str| {
        details
            .iter()
            .filter(|detail| detail.contains(text))
            .count()
    };
    let lasting = records.iter().filter(|record| record["scope"] == "session");
    assert_eq!(lasting.count(), 3, "{records:?}");
    assert_eq!(
        count("refused it for the rest of the session"),
        4,
        "{details:?}"
    );
    assert_eq!(
        records
            .iter()
            .filter(|record| record["answer"] == "asked")
            .count(),
        5
    );
}

#[test]
fn a_question_that_cannot_be_seen_whole_is_not_asked() {
    const NAME: &str = "at_the_terminal::a_question_that_cannot_be_seen_whole_is_not_asked";
    if !is_inner() {
        at_a_terminal(NAME, |_| {});
        return;
    }
    let mut rig = filled();
    let mut path = rig.place.join("ask");
    for _ in 0..8 {
        path.push("x".repeat(250));
    }
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    let refusal = rig.refused(read(&path));
    assert_eq!(refusal.code, Code::AskRefused);
    let detail = refusal.detail.unwrap_or_default();
    assert!(detail.contains("longer than the terminal"), "{detail}");
}

/// Takes what is called a secret for one, and notes what it would write.
#[derive(Debug, Default)]
struct Notes {
    proposed: AtomicU32,
    written: AtomicU32,
}

impl Clerk for Notes {
    fn sensitive(&self, path: &Path) -> Option<String> {
        let is_secret = path.ends_with("b");
        is_secret.then(|| "keys".to_owned())
    }

    fn propose(&self, wanted: &Wanted) -> Result<Proposal, String> {
        self.proposed.fetch_add(1, Ordering::SeqCst);
        if wanted.access.contains(supervisor::policy::Access::WRITE) {
            return Err("not\u{1b}[2J today".to_owned());
        }
        Ok(Proposal {
            file: "/policy.toml".into(),
            shown: format!(
                "+read = [{:?}]\u{1b}[2J\n",
                wanted.path.file_name().unwrap()
            ),
            change: Box::new(()),
        })
    }

    fn write(&self, _: &Proposal) -> Result<(), String> {
        self.written.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn the_policy_says_more_only_after_the_change_was_shown_and_agreed_to() {
    const NAME: &str =
        "at_the_terminal::the_policy_says_more_only_after_the_change_was_shown_and_agreed_to";
    const WRITE: &str = "Write it, and allow? y; anything else refuses, and so do 30 s: ";
    if !is_inner() {
        at_a_terminal(NAME, |screen| {
            for answer in ["n", "y"] {
                assert!(screen.until(PROMPT).contains("p: also in the policy"));
                screen.type_in("p\r");
                let shown = screen.until(WRITE);
                assert!(shown.contains("    +read = [\"a\"]\\x1b[2J\r"), "{shown}");
                screen.type_in(&format!("{answer}\r"));
            }
            screen.until("allowed, also in the policy: read ");
            screen.until(PROMPT);
            screen.type_in("p\r");
            let again = screen.until(PROMPT);
            assert!(
                again.contains("not added to the policy: not\\x1b[2J today"),
                "{again}"
            );
            assert!(!again.contains("p: "), "{again}");
            screen.type_in("y\r");
            screen.until("allowed, as asked: write ");
        });
        return;
    }
    let mut rig = filled();
    let notes = Arc::new(Notes::default());
    rig.broker.consult(notes.clone());
    let a = rig.place.join("ask/a");
    assert_eq!(rig.refused(read(&a)).code, Code::AskRefused);
    assert_eq!(notes.written.load(Ordering::SeqCst), 0);
    drop(rig.granted(read(&a)));
    // As it is for the rest of the run.
    drop(rig.granted(read(&a)));
    assert_eq!(notes.written.load(Ordering::SeqCst), 1);
    drop(rig.granted(write(&a)));
    assert_eq!(notes.proposed.load(Ordering::SeqCst), 3);
    let records = rig.records();
    let added = |record: &&serde_json::Value| {
        let detail = record["detail"].as_str().unwrap_or_default();
        detail.ends_with("added it to the policy")
    };
    assert_eq!(records.iter().filter(added).count(), 1);
}

#[test]
fn what_is_sensitive_is_allowed_by_its_name_alone() {
    const NAME: &str = "at_the_terminal::what_is_sensitive_is_allowed_by_its_name_alone";
    const NAMED: &str =
        "type the last part of its name, b; anything else refuses, and so do 30 s: ";
    if !is_inner() {
        at_a_terminal(NAME, |screen| {
            for (answers, name) in [
                ("y", "y"),
                ("r", "README"),
                ("y", "b"),
                ("p y", "y"),
                ("p y", "b"),
            ] {
                for answer in answers.split(' ') {
                    screen.until("anything else refuses, and so do 30 s: ");
                    screen.type_in(&format!("{answer}\r"));
                }
                assert!(screen.until(NAMED).contains("it is a place of keys"));
                screen.type_in(&format!("{name}\r"));
            }
        });
        return;
    }
    let mut rig = filled();
    let notes = Arc::new(Notes::default());
    rig.broker.consult(notes.clone());
    let b = rig.place.join("ask/b");
    let mut is_granted = || matches!(rig.ask(read(&b)), Outcome::Granted(_));
    assert_eq!(
        [(); 5].map(|()| is_granted()),
        [false, false, true, false, true]
    );
    assert_eq!(notes.written.load(Ordering::SeqCst), 1);
}
