//! A daemon is killed, and the next one goes on.

use crate::harness::run::eventually;
use crate::harness::{feature, require};
use crate::stage::{BASE, Stage};
use std::fs;

/// Reads a file that the rules give by a pattern alone, over and over, and counts.
const READER: &str = r#"import os, sys
n = 0
while not os.path.exists("stop"):
    with open("data.txt") as file:
        assert file.read() == "content", "wrong content"
    try:
        open("data.secret")
        raise SystemExit("a denied file was opened")
    except PermissionError:
        pass
    n += 1
print("read", n, flush=True)
"#;

fn policy() -> String {
    // A pattern is nothing that the kernel could be told: each open is decided by the daemon.
    format!("{BASE}deny = [\"$PWD/**/*.secret\"]\n")
        .replace("read = [\"/usr\"", "read = [\"$PWD\", \"/usr\"")
}

#[test]
fn a_worker_goes_on_when_its_daemon_is_killed_and_the_next_one_answers_it() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let stage = Stage::new(
        2,
        "free",
        &policy(),
        &["sh", "-c", "exec python3 -c \"$0\"", READER],
    );
    let started = stage.pids("started");
    assert_eq!(started.len(), 2, "{:?}", stage.log());
    fs::write(stage.work().join("data.txt"), "content").expect("a file");
    fs::write(stage.work().join("data.secret"), "secret").expect("a file");
    let mut before = 0;
    for round in 1..=20 {
        let (pid, daemon) = stage.daemon_after(before);
        before = pid;
        daemon.send_signal(libc::SIGKILL).expect("it lives");
        let (next, _) = stage.daemon_after(pid);
        assert_ne!(next, pid);
        eventually("both are adopted", || {
            stage.pids("adopted").len() == 2 * round
        });
    }
    let adopted: std::collections::BTreeSet<i32> = stage.pids("adopted").into_iter().collect();
    assert_eq!(adopted, started.iter().copied().collect());
    fs::write(stage.work().join("stop"), "").expect("a file");
    eventually("both end as they should", || {
        let ended = "ended Ok(Command(Code(0)))";
        let log = stage.log();
        assert!(
            !log.iter()
                .any(|line| line.starts_with("ended") && line != ended),
            "{log:?} {}",
            stage.said()
        );
        log.iter().filter(|line| *line == ended).count() == 2
    });
    assert_eq!(stage.said().matches("read ").count(), 2, "{}", stage.said());
    stage.stop().expect_code(0);
}
