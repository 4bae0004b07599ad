//! What it costs to start a program and see it end.

use crate::built::{Built, Pair};
use crate::law;
use crate::paired::{Subject, measure};
use crate::plan;
use crate::table;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 300;
pub const TRUE: &str = "/usr/bin/true";

/// How long a command takes from being started to having been waited for.
pub fn time(command: &mut Command) -> Duration {
    let start = Instant::now();
    let status = command.status();
    let took = start.elapsed();
    let status = status.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
    took
}

pub fn rows(built: &Built) {
    let linked = [
        ("command, dynamic", Ok(&built.dynamic)),
        (
            "command, static",
            built.fixed.as_ref().map_err(Clone::clone),
        ),
    ];
    for (name, pair) in linked {
        match pair.and_then(|pair| built.runs(pair).map(|()| pair)) {
            Ok(pair) => compare(built, name, subjects(built, pair)),
            Err(reason) => table::missing(name, &reason),
        }
    }
}

/// The command and its floor.
fn subjects(built: &Built, pair: &Pair) -> [Command; 2] {
    let ruleset = law::ruleset(built);
    let confinement = law::confinement(&ruleset).unwrap_or_else(|error| panic!("{error}"));
    let plan = plan::write(built, &ruleset, &confinement);
    let mut supervise = built.command(&pair.supervise);
    supervise.args(["--", TRUE]);
    let mut floor = built.command(&pair.floor);
    floor.arg("launch").arg(plan).arg(TRUE);
    [supervise, floor]
}

fn compare(built: &Built, name: &str, commands: [Command; 2]) {
    let [mut supervise, mut floor] = commands;
    let mut bare = built.command(Path::new(TRUE));
    let mut bwrap = built.command(Path::new("bwrap"));
    bwrap.args(["--ro-bind", "/", "/", TRUE]);
    let mut all = vec![
        Subject::new("command", || time(&mut supervise)),
        Subject::new("floor", || time(&mut floor)),
        Subject::new("/usr/bin/true alone", || time(&mut bare)),
    ];
    let has_bwrap = is_installed("bwrap");
    if has_bwrap {
        all.push(Subject::new("bwrap --ro-bind / /", || time(&mut bwrap)));
    }
    let samples = measure(ROUNDS, all);
    let is_static = name.ends_with("static");
    table::row(name, &samples[0], &samples[1], is_static.then_some(1.25));
    table::row(name, &samples[0], &samples[2], None);
    match samples.get(3) {
        Some(bwrap) => table::row(name, &samples[0], bwrap, is_static.then_some(0.65)),
        None => table::missing("command / bwrap", "bwrap is not installed"),
    }
}

pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
