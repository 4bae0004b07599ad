//! Who is asked, and what becomes of the object meanwhile.

use crate::harness::process::is_alive;
use crate::harness::run::{eventually, start};
use crate::harness::{Workspace, feature, require, set_mode};
use crate::rig::*;
use nix::errno::Errno;
use protocol::{Code, Create, OpenRequest};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use supervisor::broker::{Outcome, Progress};
use supervisor::policy::Approver;

fn asks() -> String {
    rule("$P/ask", "\"read\", \"write\"", "decision = \"ask\"")
}

/// A shell script as the approver.
fn script(place: &Workspace, text: &str) -> Approver {
    let path = place.write("approver", format!("#!/bin/sh\n{text}\n"));
    set_mode(&path, 0o755);
    Approver::Command(vec![path.into_os_string().into_string().unwrap()])
}

/// An approver that says yes once `go` is there.
fn patient(place: &Workspace) -> (Approver, PathBuf) {
    let go = place.join("go");
    let text = format!("while ! [ -e {} ]; do sleep 0.01; done", go.display());
    (script(place, &text), go)
}

fn filled(text: &str, approver: Approver) -> Rig {
    Rig::new(text, approver, |place| {
        place.write("ask/a", "inside");
        place.write("ask/b", "other");
        place.write("secret", "secret");
    })
}

#[test]
fn the_answer_is_the_approvers() {
    for (approver, is_yes) in [(Approver::Allow, true), (Approver::Deny, false)] {
        let mut rig = filled(&asks(), approver);
        match rig.ask(read(rig.place.join("ask/a"))) {
            Outcome::Granted(grant) => assert!(is_yes && content(grant) == "inside"),
            Outcome::Refused(refusal) => {
                assert!(!is_yes);
                assert_eq!(
                    (refusal.code, refusal.errno),
                    (Code::AskRefused, Errno::EACCES)
                );
                assert!(refusal.rule.is_some());
            }
        }
        let records = rig.records();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0]["answer"], "asked");
        assert_eq!(
            records[1]["answer"],
            if is_yes { "granted" } else { "refused" }
        );
        assert_eq!(records[1]["rule"], "policy.toml:5");
    }
}

#[test]
fn a_program_is_told_what_was_located_and_answers_by_its_status() {
    let tools = Workspace::new();
    let heard = tools.join("heard");
    let approver = script(
        &tools,
        &format!("cat > {0}; env > {0}.env; pwd > {0}.pwd", heard.display()),
    );
    let mut rig = filled(&asks(), approver);
    symlink(rig.place.join("ask/a"), rig.place.join("link")).unwrap();
    let request = OpenRequest {
        why: Some("to \u{1b}[2Jread".to_owned()),
        ..read(rig.place.join("link"))
    };
    assert_eq!(content(rig.granted(request)), "inside");
    let question: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&heard).unwrap()).unwrap();
    assert_eq!(question["path"], rig.place.join("ask/a").to_str().unwrap());
    assert_eq!(question["access"][0], "read");
    assert_eq!(question["pid"], std::process::id());
    assert_eq!(
        question["exe"],
        std::env::current_exe().unwrap().to_str().unwrap()
    );
    assert_eq!(question["why"], "to \u{1b}[2Jread");
    assert_eq!(question["rule"], "policy.toml:5");
    let environment = fs::read_to_string(heard.with_extension("env")).unwrap();
    for line in environment.lines() {
        let name = line.split('=').next().unwrap();
        // The last three are the shell's own.
        let known = ["PATH", "LC_ALL", "PWD", "_", "SHLVL", "OLDPWD"];
        assert!(known.contains(&name), "{line}");
    }
    assert_eq!(
        fs::read_to_string(heard.with_extension("pwd")).unwrap(),
        "/\n"
    );
}

#[test]
fn every_other_end_of_a_program_is_a_no() {
    for text in [
        "exit 1",
        "exit 126",
        "kill -9 $$",
        "kill -SEGV $$",
        "echo yes; echo y; exit 3",
        "exec 0<&-; exit 2",
    ] {
        let tools = Workspace::new();
        let approver = script(&tools, text);
        let mut rig = filled(&asks(), approver);
        let refusal = rig.refused(read(rig.place.join("ask/a")));
        assert_eq!(refusal.code, Code::AskRefused, "{text}");
    }
    for command in [vec![], vec!["/nowhere/approver".to_owned()]] {
        let mut rig = filled(&asks(), Approver::Command(command));
        let refusal = rig.refused(read(rig.place.join("ask/a")));
        assert_eq!(refusal.code, Code::AskRefused);
    }
}

#[test]
fn a_program_that_reads_nothing_may_still_say_yes() {
    let tools = Workspace::new();
    let approver = script(&tools, "exec 0<&-; exit 0");
    let mut rig = filled(&asks(), approver);
    rig.granted(read(rig.place.join("ask/a")));
}

#[test]
fn a_program_that_takes_too_long_is_ended_with_all_it_started() {
    let tools = Workspace::new();
    let pids = tools.join("pids");
    let text = format!(
        "trap '' TERM; sleep 60 & echo $$ $! > {0}.new; mv {0}.new {0}; wait",
        pids.display()
    );
    let approver = script(&tools, &text);
    let timeout = Duration::from_secs(4);
    let mut rig = Rig::with_timeout(&asks(), approver, timeout, |place| {
        place.write("ask/a", "inside");
    });
    let ticket = rig.pend_asked(read(rig.place.join("ask/a")));
    eventually("the approver ran", || pids.exists());
    let refusal = refused(rig.wait(ticket));
    assert_eq!(
        (refusal.code, refusal.errno),
        (Code::AskTimeout, Errno::EACCES)
    );
    let pids = fs::read_to_string(&pids).unwrap();
    for pid in pids.split_whitespace().map(|pid| pid.parse().unwrap()) {
        eventually(&format!("{pid} was gone"), || !is_alive(pid));
    }
}

#[test]
fn what_was_located_is_granted_whatever_its_name_means_when_the_answer_comes() {
    let tools = Workspace::new();
    let (approver, go) = patient(&tools);
    let mut rig = filled(&asks(), approver);
    let link = rig.place.join("ask/link");
    symlink("a", &link).unwrap();
    let ticket = rig.pend_asked(read(&link));
    // The link, and then the file itself.
    let swapped = rig.place.join("ask/swapped");
    symlink(rig.place.join("secret"), &swapped).unwrap();
    fs::rename(&swapped, &link).unwrap();
    fs::rename(rig.place.join("ask/a"), rig.place.join("ask/moved")).unwrap();
    fs::copy(rig.place.join("secret"), rig.place.join("ask/a")).unwrap();
    fs::write(&go, "").unwrap();
    assert_eq!(content(granted(rig.wait(ticket))), "inside");
}

#[test]
fn a_file_that_appears_while_the_operator_thinks_is_not_the_new_one_that_was_agreed_to() {
    let tools = Workspace::new();
    let (approver, go) = patient(&tools);
    let mut rig = filled(&asks(), approver);
    let path = rig.place.join("ask/new");
    let ticket = rig.pend_asked(create(&path, Create::Yes));
    symlink(rig.place.join("secret"), &path).unwrap();
    fs::write(&go, "").unwrap();
    let refusal = refused(rig.wait(ticket));
    assert_eq!((refusal.code, refusal.errno), (Code::Failed, Errno::EEXIST));
    assert_eq!(
        fs::read_to_string(rig.place.join("secret")).unwrap(),
        "secret"
    );
}

#[test]
fn asking_makes_nobody_else_wait() {
    require!(feature::statmount());
    let tools = Workspace::new();
    let (approver, go) = patient(&tools);
    let mut rig = filled(&(asks() + &open_below()), approver);
    rig.place.write("open/fast", "");
    rig.granted(read(rig.place.join("open/fast")));
    let ticket = rig.pend_asked(read(rig.place.join("ask/a")));
    for _ in 0..1000 {
        let progress = rig.claim(read(rig.place.join("open/fast")));
        assert!(matches!(progress, Progress::Done(Outcome::Granted(_))));
    }
    assert!(rig.broker.completed(&mut rig.log).is_empty());
    fs::write(&go, "").unwrap();
    drop(granted(rig.wait(ticket)));
}

#[test]
fn questions_are_bounded_and_each_is_answered() {
    let tools = Workspace::new();
    let (approver, go) = patient(&tools);
    let mut rig = filled(&asks(), approver);
    let path = rig.place.join("ask/a");
    fs::metadata(&path).unwrap();
    let (mut pending, mut full) = (0, 0);
    for _ in 0..100 {
        match rig.claim(read(&path)) {
            Progress::Pending(_) => pending += 1,
            Progress::Done(outcome) => {
                assert_eq!(refused(outcome).code, Code::Limit);
                full += 1;
            }
        }
    }
    assert!(
        pending > 8 && full > 32,
        "{pending} pending, {full} refused"
    );
    fs::write(&go, "").unwrap();
    for (_, outcome) in rig.wait_for(pending) {
        drop(granted(outcome));
    }
}

#[test]
fn a_question_whose_asker_is_gone_ends_and_the_next_is_asked() {
    let tools = Workspace::new();
    let pids = tools.join("pids");
    let (_, go) = patient(&tools);
    let text = format!(
        "echo $$ >> {}; while ! [ -e {} ]; do sleep 0.01; done",
        pids.display(),
        go.display()
    );
    let approver = script(&tools, &text);
    let mut rig = filled(&asks(), approver);
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let path = rig.place.join("ask/a");
    fs::metadata(&path).unwrap();
    let tickets: Vec<_> = (0..6).map(|_| rig.pend_asked(read(&path))).collect();
    let all_written = |count| {
        let pids = fs::read_to_string(&pids).unwrap_or_default();
        pids.lines().count() == count
    };
    // Four at a time.
    eventually("four were asked", || all_written(4));
    let before = descriptors();
    for ticket in &tickets[..4] {
        rig.broker.cancel(&mut rig.log, *ticket);
    }
    eventually("two more were asked", || all_written(6));
    // Other tests open and close files at the same time, but not so many.
    eventually("what was held is closed", || descriptors() < before + 4);
    let first = fs::read_to_string(&pids).unwrap();
    for pid in first.lines().take(4) {
        let pid = pid.parse().unwrap();
        eventually(&format!("{pid} was gone"), || !is_alive(pid));
    }
    fs::write(&go, "").unwrap();
    for (ticket, outcome) in rig.wait_for(2) {
        assert!(tickets[4..].contains(&ticket));
        drop(granted(outcome));
    }
}

#[test]
fn an_approval_holds_for_its_time_and_its_object_only() {
    let tools = Workspace::new();
    let count = tools.join("count");
    let approver = script(&tools, &format!("echo x >> {}", count.display()));
    let policy = rule(
        "$P/ask",
        "\"read\", \"write\"",
        "decision = \"ask\"\nttl = \"1h\"",
    );
    let mut rig = filled(&policy, approver);
    let asked = || {
        fs::read_to_string(&count)
            .unwrap_or_default()
            .lines()
            .count()
    };
    let path = rig.place.join("ask/a");
    let first = rig.granted(read(&path));
    assert_eq!(first.expires, Some(Duration::from_secs(3600)));
    let again = rig.granted(read(&path));
    assert!(
        again
            .expires
            .is_some_and(|left| left <= Duration::from_secs(3600))
    );
    assert_eq!(asked(), 1);
    rig.granted(write(&path));
    assert_eq!(asked(), 2, "another access");
    rig.granted(read(rig.place.join("ask/b")));
    assert_eq!(asked(), 3, "another file");
    fs::rename(rig.place.join("ask/b"), &path).unwrap();
    rig.granted(read(&path));
    assert_eq!(asked(), 4, "another file of that name");
}

#[test]
fn without_a_ttl_every_claim_is_asked_about() {
    let tools = Workspace::new();
    let count = tools.join("count");
    let approver = script(&tools, &format!("echo x >> {}", count.display()));
    let mut rig = filled(&asks(), approver);
    for _ in 0..3 {
        let grant = rig.granted(read(rig.place.join("ask/a")));
        assert_eq!(grant.expires, None);
    }
    assert_eq!(fs::read_to_string(&count).unwrap().lines().count(), 3);
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    const NAME: &str = "approvers::without_a_terminal_nobody_is_asked";
    if is_inner() {
        let mut rig = filled(&asks(), Approver::Terminal);
        assert_eq!(
            rig.refused(read(rig.place.join("ask/a"))).code,
            Code::AskRefused
        );
        return;
    }
    let mut command = Command::new("setsid");
    let test = inner(NAME);
    command
        .arg("--wait")
        .arg(test.get_program())
        .args(test.get_args());
    for (name, value) in test.get_envs() {
        command.env(name, value.unwrap());
    }
    let ran = start(&mut command).wait();
    assert!(
        ran.status.success() && ran.stdout.contains("1 passed"),
        "{ran:?}"
    );
}

#[test]
fn approvers_end_with_the_broker() {
    let tools = Workspace::new();
    let pid = tools.join("pid");
    let approver = script(
        &tools,
        &format!("echo $$ > {0}.new; mv {0}.new {0}; sleep 60", pid.display()),
    );
    let mut rig = filled(&asks(), approver);
    let path = rig.place.join("ask/a");
    rig.pend_asked(read(&path));
    eventually("the approver ran", || Path::new(&pid).exists());
    let pid = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    drop(rig);
    eventually("it was gone", || !is_alive(pid));
}
