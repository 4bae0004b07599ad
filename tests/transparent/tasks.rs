//! The limit of tasks, and many at once.

use crate::harness::{Workspace, feature, require, run};
use crate::supervised::{Lists, Supervised, answers, probe};
use std::process::Command;

/// Says that the test runs in a process of its own, whose descendants are one session.
const ALONE: &str = "SUPERVISE_TEST_ALONE";

/// Runs the test of this name again, alone in a process.
fn alone(name: &str) {
    let own = std::env::current_exe().expect("a test knows its own file");
    let mut command = Command::new(own);
    command
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1");
    let ran = run::run(&mut command);
    assert_eq!(ran.code(), 0, "{ran}");
    assert!(ran.stdout.contains("1 passed"), "{ran}");
}

fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

fn limited(processes: u64) -> Supervised {
    sys::process::become_subreaper().expect("a process may become a subreaper");
    Supervised::new(Lists {
        processes: Some(processes),
        ..Lists::default()
    })
}

#[test]
fn a_fork_bomb_ends_at_the_limit() {
    require!(feature::listener());
    if !is_alone() {
        return alone("tasks::a_fork_bomb_ends_at_the_limit");
    }
    let workspace = Workspace::new();
    let supervised = limited(20);
    let mut command = probe(&workspace.path(), &["fork", "1000"]);
    let said = supervised.inside(move || {
        let mut running = run::start(&mut command);
        running.until_it_says("then EAGAIN");
        let pid = running.pid();
        drop(running);
        pid
    });
    assert!(said > 0);
    let refused = supervised.lines.all();
    assert!(
        refused.iter().all(|line| line.ends_with("EAGAIN")),
        "{refused:?}"
    );
    assert!(!refused.is_empty());
    // The bomb's children are ours now, and wait for ever.
    for orphan in children() {
        crate::harness::process::state(orphan);
        let pid = nix::unistd::Pid::from_raw(orphan);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it is our child");
        nix::sys::wait::waitpid(pid, None).expect("it is our child");
    }
}

#[test]
fn below_the_limit_tasks_come_and_go_for_ever() {
    require!(feature::listener());
    if !is_alone() {
        return alone("tasks::below_the_limit_tasks_come_and_go_for_ever");
    }
    let workspace = Workspace::new();
    let supervised = limited(4);
    // One at a time: never more than two are alive.
    let said = supervised.probe(&workspace.path(), &["fork-wait", "500"]);
    assert_eq!(said, ["ok 500"]);
    assert_eq!(supervised.lines.all(), [""; 0]);
    // A thread is a task.
    let said = supervised.probe(&workspace.path(), &["threads", "10"]);
    assert!(said[0].ends_with("then EAGAIN"), "{said:?}");
}

fn children() -> Vec<i32> {
    let text = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let mut all: Vec<i32> = text
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect();
    for task in std::fs::read_dir("/proc/self/task").expect("/proc is there") {
        let path = task.expect("an entry can be read").path().join("children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        all.extend(
            text.split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn a_program_tunes_itself_and_nobody_else() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let supervised = Supervised::new(Lists::default());
    let mut linger = Command::new("sleep");
    let mut other = run::start(linger.arg("1000"));
    let other_pid = other.pid().to_string();
    let own = |words: &[&str]| {
        // The shell hands its own number on to the program that it becomes.
        let line = format!("exec \"$0\" {}", words.join(" "));
        let probe = probe(&workspace.path(), &[""; 0]);
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(line).arg(probe.get_program());
        supervised.inside(move || answers(shell)).join("\n")
    };
    for call in ["affinity", "setpriority", "prlimit"] {
        let rest: &[&str] = match call {
            "setpriority" => &["5"],
            "prlimit" => &["7", "100", "100"],
            _ => &[],
        };
        assert_eq!(own(&[&[call, "$$"], rest].concat()), "ok", "{call}");
        assert_eq!(own(&[&[call, "0"], rest].concat()), "ok", "{call}");
        assert_eq!(
            own(&[&[call, other_pid.as_str()], rest].concat()),
            "errno EPERM",
            "{call}"
        );
    }
    // The mark of a session.
    assert_eq!(own(&["prlimit", "$$", "15", "100", "100"]), "errno EPERM");
    assert!(other.child.try_wait().expect("it is our child").is_none());
}

#[test]
fn a_hundred_children_are_served_at_once() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let supervised = Supervised::new(Lists::writing(&workspace.make_dir("inside")));
    let commands: Vec<Command> = (0..100)
        .map(|number| {
            let file = workspace.write(format!("inside/{number}"), "x");
            let file = file.to_str().expect("UTF-8").to_owned();
            let act = ["fchmodat", &file, "640", "--", "utimensat", &file, "--"];
            probe(
                &workspace.path(),
                &[&act[..], &["fchmodat", "/", "777"]].concat(),
            )
        })
        .collect();
    let said = supervised.inside(move || {
        let running: Vec<_> = commands
            .into_iter()
            .map(|mut command| run::start(&mut command))
            .collect();
        running
            .into_iter()
            .map(|one| one.wait().stdout)
            .collect::<Vec<_>>()
    });
    assert_eq!(said.len(), 100);
    assert!(
        said.iter().all(|one| one == "ok\nok\nerrno EACCES\n"),
        "{said:?}"
    );
    assert_eq!(supervised.lines.all().len(), 100);
}

#[test]
fn children_that_are_killed_in_a_call_disturb_nobody() {
    require!(feature::listener());
    let workspace = Workspace::new();
    let file = workspace.write("inside/file", "x");
    let supervised = Supervised::new(Lists::writing(&workspace.join("inside")));
    let file = file.to_str().expect("UTF-8").to_owned();
    for _ in 0..20 {
        let mut command = probe(
            &workspace.path(),
            &["race-fchmod", &file, &file, "640", "100000000"],
        );
        supervised.inside(move || {
            let running = run::start(&mut command);
            let pid = running.pid();
            // It is in the midst of its calls once it has a second thread.
            run::eventually("it began", || {
                std::fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.count() > 1)
            });
            drop(running);
        });
    }
    let command = probe(&workspace.path(), &["fchmodat", &file, "600"]);
    assert_eq!(supervised.inside(move || answers(command)), ["ok"]);
}
