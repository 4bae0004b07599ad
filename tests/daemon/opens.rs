//! Workers open files, and change names, while the daemon that decides about each is killed at any moment.

use crate::harness::run::eventually;
use crate::harness::{built, feature, require};
use crate::house::House;
use crate::seen::storm;
use std::time::Duration;

const WORKERS: usize = 4;

/// How often the workers did what they do, all together, and how many daemons died meanwhile.
fn done_while_daemons_are_killed(act: &[&str]) -> (u64, u64) {
    let probe = built::probe();
    let mut command = vec![probe.display().to_string()];
    command.extend(act.iter().map(|word| (*word).to_owned()));
    let pool = format!(
        r#"
[[worker]]
name = "act"
command = {command:?}
policy = "acting.toml"
count = {WORKERS}
speaks = "nothing"
restart = "never"
on_supervisor_exit = "survive"
directory = "$WORKER_DIR"
"#
    );
    let mut house = House::empty(&pool);
    // A pattern is nothing that the kernel could be told: each open is decided by the daemon.
    let directory = probe.parent().expect("it lies in a directory").display();
    let policy = format!(
        r#"version = 1
tmp = "none"
[fs]
read = ["/usr", "/etc", "$WORKER_DIR"]
write = ["$WORKER_DIR"]
exec = ["/usr", "{directory}"]
deny = ["$WORKER_DIR/**/*.secret"]
"#
    );
    house.workspace.write("acting.toml", policy);
    let directories: Vec<_> = (1..=WORKERS)
        .map(|number| {
            let name = format!("data/supervise/workers/act-{number}");
            let path = house.workspace.make_dir(&name);
            crate::harness::set_mode(&path, 0o700);
            std::fs::write(path.join("data.txt"), "content").expect("a file");
            std::fs::write(path.join("data.secret"), "secret").expect("a file");
            path
        })
        .collect();
    house.open();
    let workers = house.pids();
    assert_eq!(workers.len(), WORKERS);
    let kills = house.kill_daemons(storm(), Duration::from_millis(100));
    assert_eq!(house.pids(), workers, "they are who they were");
    for directory in &directories {
        std::fs::write(directory.join("stop"), "").expect("a file");
    }
    eventually("all came to their end", || house.pids().is_empty());
    let mut times = 0;
    for number in 1..=WORKERS {
        let id = format!("act-{number}");
        let worker = house.worker(&id);
        assert_eq!(worker["last_exit"]["code"], 0, "{worker}");
        let mut said = String::new();
        eventually("its word was written", || {
            said = house.ask(&["logs", &id]).stdout;
            !said.is_empty()
        });
        let done = said
            .trim()
            .strip_prefix("ok ")
            .and_then(|word| word.parse::<u64>().ok());
        times += done.unwrap_or_else(|| panic!("{id}: {said}"));
    }
    house.has_no_orphan();
    println!("{}: {times} times under {kills} kills", act[0]);
    (times, kills)
}

#[test]
fn no_open_is_lost_or_wrong_whenever_the_daemon_is_killed() {
    require!(feature::listener());
    let act = ["steady-opens", "stop", "data.txt", "data.secret"];
    let (opens, kills) = done_while_daemons_are_killed(&act);
    assert!(opens > 0 && kills > 0);
}

#[test]
fn names_are_changed_once_whenever_the_daemon_is_killed() {
    require!(feature::listener());
    let (changes, kills) = done_while_daemons_are_killed(&["steady-names", "stop"]);
    assert!(changes > 0 && kills > 0);
}
