//! What a supervisor takes while the program it watches does nothing.

use crate::built::Built;
use crate::table;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const GOAL: u64 = 3 << 10;

pub fn rows(built: &Built) {
    let linked = [
        ("idle supervisor, dynamic", Ok(&built.dynamic)),
        (
            "idle supervisor, static",
            built.fixed.as_ref().map_err(Clone::clone),
        ),
    ];
    for (name, pair) in linked {
        match pair.and_then(|pair| built.runs(pair).map(|()| pair)) {
            Ok(pair) => row(built, name, &pair.supervise),
            Err(reason) => table::missing(name, &reason),
        }
    }
}

fn row(built: &Built, name: &str, supervise: &Path) {
    // Pages of a file that was just linked are dirty until they are on the disk, and would be counted.
    let file = std::fs::File::open(supervise).and_then(|file| file.sync_all());
    file.unwrap_or_else(|error| panic!("{}: {error}", supervise.display()));
    let ready = built.sub("work").join("ready");
    let mut command = built.command(supervise);
    command
        .args(["--", "/bin/sh", "-c", "echo > ready; read nothing"])
        .stdin(Stdio::piped());
    let mut running = start(&mut command, &ready);
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", running.id()));
    let rollup = rollup.unwrap_or_else(|error| panic!("smaps_rollup of our own child: {error}"));
    let field = |name: &str| {
        let line = rollup
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .expect("a field of smaps_rollup");
        line.trim_end_matches("kB")
            .trim()
            .parse::<u64>()
            .expect("a number of kB")
    };
    // What would come back if it ended: not the pages of files, which others read too.
    let own = field("Private_Dirty:");
    let verdict = if own <= GOAL { "reached" } else { "missed" };
    println!(
        "{name:<44} {own} KiB of its own, {} KiB resident  ≤ {GOAL} KiB: {verdict}",
        field("Rss:")
    );
    drop(running.stdin.take());
    let status = running.wait().expect("our own child can be waited for");
    // The shell's `read` met the end of its input.
    assert!(status.code() == Some(1), "{command:?}: {status}");
    std::fs::remove_file(ready).expect("the program made it");
}

fn start(command: &mut Command, ready: &Path) -> Child {
    let mut running = command
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while !ready.exists() {
        let ended = running.try_wait().expect("our own child can be waited for");
        assert!(
            ended.is_none() && Instant::now() < deadline,
            "{command:?} did not come up"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    running
}
