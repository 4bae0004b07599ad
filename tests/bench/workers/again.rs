//! Workers taken over by a new daemon, and what the supervisor's side takes for each while it does nothing.

use super::kept::{Kept, Kind};
use crate::built::{Built, Pair};
use crate::processor;
use crate::table;
use std::time::Duration;

const COUNTS: [usize; 3] = [1, 100, 1000];
/// How often the daemon is replaced.
const ROUNDS: usize = 15;
/// Of the supervisor's memory, for each worker beyond the first.
const GOAL: f64 = 64.0;

/// What was measured with so many workers.
struct Measured {
    took: Vec<Duration>,
    /// On processors.
    worked: Vec<Duration>,
    /// Of both processes together: KiB, as memory of which others have a part is counted in parts.
    memory: u64,
    /// Of the daemon.
    descriptors: usize,
}

pub fn rows(built: &Built, pair: &Pair) {
    let mut first: Option<Measured> = None;
    for count in COUNTS {
        let name = format!("re-attach, {count} workers");
        match measure(built, pair, count) {
            Ok(measured) => {
                show(&name, count, &measured, first.as_ref());
                first.get_or_insert(measured);
            }
            Err(reason) => table::missing(&name, &reason),
        }
    }
}

fn measure(built: &Built, pair: &Pair, count: usize) -> Result<Measured, String> {
    let kind = Kind {
        name: "w",
        program: &pair.floor,
        arguments: vec!["idle".to_owned()],
        count,
        speaks: false,
        asks: None,
    };
    let mut kept = Kept::start(built, pair, &format!("again-{count}"), &[kind])?;
    let (mut took, mut worked) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (time, daemon) = kept.kill_daemon()?;
        took.push(time);
        worked.push(processor::worked(daemon)?);
        kept.wait_for_all(count)?;
    }
    took.sort_unstable();
    worked.sort_unstable();
    let processes = kept.processes()?;
    let mut memory = 0;
    for process in processes {
        memory += proportional(process)?;
    }
    let [_, daemon] = processes;
    let descriptors = std::fs::read_dir(format!("/proc/{daemon}/fd"));
    Ok(Measured {
        took,
        worked,
        memory,
        descriptors: descriptors.map_err(|error| error.to_string())?.count(),
    })
}

fn show(name: &str, count: usize, measured: &Measured, first: Option<&Measured>) {
    let goal = Duration::from_millis(1) * u32::try_from(count).expect("a few").max(100);
    table::spread(name, &measured.took, goal);
    table::note(
        "on processors",
        &format!("{:.2?}", measured.worked[measured.worked.len() / 2]),
    );
    let Some(first) = first else {
        return table::note("memory", &format!("{} KiB", measured.memory));
    };
    let each = |all: f64, one: f64| (all - one) / (count - 1) as f64;
    let took = |measured: &Measured| measured.took[measured.took.len() / 2].as_secs_f64() * 1e6;
    table::note(
        "each further worker",
        &format!("{:.0} µs", each(took(measured), took(first))),
    );
    let memory = each(measured.memory as f64, first.memory as f64);
    let verdict = if memory <= GOAL { "reached" } else { "missed" };
    table::note(
        "memory for each further worker",
        &format!("{memory:.1} KiB  ≤ {GOAL} KiB: {verdict}"),
    );
    table::note(
        "descriptors of the daemon for each",
        &format!(
            "{:.1}",
            each(measured.descriptors as f64, first.descriptors as f64)
        ),
    );
}

/// In KiB.
fn proportional(process: u32) -> Result<u64, String> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
    let text = text.map_err(|error| format!("memory of {process}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let value = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok());
    value.ok_or_else(|| format!("memory of {process}: {text}"))
}
