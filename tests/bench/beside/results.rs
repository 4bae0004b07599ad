//! What was found.

use crate::beside::subjects::{Absent, Subject};
use crate::built::Built;
use crate::paired::{Ratio, Sample};
use serde_json::{Value, json};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What it was measured on.
pub struct Machine {
    pub kernel: String,
    pub processor: String,
    pub processors: usize,
    pub memory: u64,
    /// How many wanted to run in the last minute.
    pub load: String,
    pub seconds: u64,
}

impl Machine {
    pub fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: field(&read("/proc/cpuinfo"), "model name"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory: memory.trim_end_matches(" kB").parse().unwrap_or(0) >> 10,
            load: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            seconds: clock.map_or(0, |since| since.as_secs()),
        }
    }
}

/// What came of one subject in one row.
pub enum Cell {
    Took {
        /// In nanoseconds.
        median: f64,
        ratio: Ratio,
        rounds: usize,
    },
    /// Memory of the supervisor's side for each sandbox, in KiB: in the middle, least and most.
    Holds {
        kib: [u64; 3],
        processes: usize,
    },
    Cannot(String),
}

/// One thing that all of them were told to do.
pub struct Row {
    pub what: String,
    pub cells: Vec<(String, Cell)>,
}

/// All of it.
pub struct Results {
    pub before: Machine,
    pub after: Option<Machine>,
    pub subjects: Vec<(String, String, String)>,
    pub absent: Vec<Absent>,
    pub rows: Vec<Row>,
    began: Instant,
    pub took: u64,
}

impl Results {
    pub fn new(before: Machine, built: &Built, subjects: &[Subject], absent: Vec<Absent>) -> Self {
        let said = |one: &Subject| (one.name.clone(), one.version.clone(), one.line(built));
        Self {
            before,
            after: None,
            subjects: subjects.iter().map(said).collect(),
            absent,
            rows: Vec::new(),
            began: Instant::now(),
            took: 0,
        }
    }

    /// A row of times, each against that of no sandbox.
    pub fn times(
        &mut self,
        what: &str,
        rounds: usize,
        samples: &[Sample],
        cannot: Vec<(String, String)>,
    ) {
        let Some(bare) = samples.iter().find(|sample| sample.name == "bare") else {
            return;
        };
        let cell = |sample: &Sample| {
            let cell = Cell::Took {
                median: sample.median().as_secs_f64() * 1e9,
                ratio: sample.ratio_to(bare),
                rounds,
            };
            (sample.name.clone(), cell)
        };
        let cells = samples.iter().map(cell);
        let cannot = cannot
            .into_iter()
            .map(|(name, why)| (name, Cell::Cannot(why)));
        self.row(what, cells.chain(cannot).collect());
    }

    pub fn row(&mut self, what: &str, cells: Vec<(String, Cell)>) {
        eprintln!("measured: {what}");
        let what = what.to_owned();
        self.rows.push(Row { what, cells });
    }

    pub fn finish(&mut self) {
        self.after = Some(Machine::now());
        self.took = self.began.elapsed().as_secs();
    }

    pub fn json(&self) -> String {
        let cell = |(name, cell): &(String, Cell)| match cell {
            Cell::Took {
                median,
                ratio,
                rounds,
            } => json!({
                "subject": name, "median_ns": median.round(), "rounds": rounds,
                "ratio": ratio.of_medians, "low": ratio.low, "high": ratio.high,
            }),
            Cell::Holds { kib, processes } => json!({
                "subject": name, "kib": kib[0], "low": kib[1], "high": kib[2], "processes": processes,
            }),
            Cell::Cannot(why) => json!({"subject": name, "cannot": why}),
        };
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| json!({"what": row.what, "cells": row.cells.iter().map(cell).collect::<Vec<_>>()}))
            .collect();
        let subjects: Vec<Value> = self
            .subjects
            .iter()
            .map(|(name, version, line)| json!({"name": name, "version": version, "line": line}))
            .collect();
        let absent: Vec<Value> = self
            .absent
            .iter()
            .map(|one| json!({"name": one.name, "why": one.why}))
            .collect();
        let all = json!({
            "machine": {
                "kernel": self.before.kernel, "processor": self.before.processor,
                "processors": self.before.processors, "memory_mib": self.before.memory,
                "load_before": self.before.load,
                "load_after": self.after.as_ref().map(|after| after.load.clone()),
            },
            "at": self.before.seconds, "took_s": self.took,
            "subjects": subjects, "absent": absent, "rows": rows,
        });
        serde_json::to_string_pretty(&all).expect("it is all text and numbers") + "\n"
    }
}
