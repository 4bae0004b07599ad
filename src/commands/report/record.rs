//! A log, read for a report: which runs are in it, what each of them decided, and how far it can be believed.

use super::names::shown;
use serde_json::Value;
use std::collections::BTreeSet;
use supervisor::audit::{Ending, Fault, Report};

/// A log as far as it is good.
#[derive(Debug)]
pub struct Record {
    /// Where it was read from.
    pub file: String,
    /// What it turned out to be.
    pub found: Report,
    /// Its runs, in the order in which they started.
    pub runs: Vec<Run>,
}

/// How far a report can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All that is shown is as it was written, and ends.
    Whole,
    /// All that is shown is as it was written, but a run has no end.
    Open,
    /// The log is not as it was written.
    Changed,
}

/// One run.
#[derive(Debug, Default)]
pub struct Run {
    /// The session's name.
    pub session: String,
    /// When it started, as it was written.
    pub started: String,
    /// The command as a shell takes it, as far as it was recorded.
    pub command: String,
    /// Where it started.
    pub directory: String,
    /// The policies by name, the operator's first.
    pub policies: Vec<String>,
    /// The kernel's release, and Landlock's version.
    pub kernel: String,
    /// What confined it.
    pub layers: Vec<Layer>,
    /// What was decided.
    pub decisions: Vec<Decision>,
    /// How it ended, and when.
    pub end: Option<(String, String)>,
    /// So many times its record was cut off and taken up again.
    pub breaks: usize,
    /// Records of a kind that this version does not know.
    pub unknown: usize,
    /// The record of its start.
    pub start: Value,
    /// The record of its end.
    pub last: Value,
}

/// A layer of confinement.
#[derive(Debug)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Whether it was in force, as it was written.
    pub state: String,
    /// What more was said.
    pub detail: String,
}

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// No.
    Refused,
    /// Yes.
    Granted,
    /// The approver was asked.
    Asked,
    /// No more.
    Revoked,
}

impl Answer {
    /// Every one, the most interesting first.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Granted, Self::Asked, Self::Revoked];

    /// As it stands in the record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Granted => "granted",
            Self::Asked => "asked",
            Self::Revoked => "revoked",
        }
    }
}

/// What a decision was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Reading.
    Read,
    /// Changing.
    Write,
    /// Executing.
    Exec,
    /// Connecting and listening, sockets by path included.
    Network,
    /// Anything else.
    Other,
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Exec,
        Self::Network,
        Self::Other,
    ];

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exec => "exec",
            Self::Network => "network",
            Self::Other => "other",
        }
    }
}

/// One decision, all of it safe to show.
#[derive(Debug)]
pub struct Decision {
    /// When, as it was written.
    pub at: String,
    /// What was answered.
    pub answer: Answer,
    /// What was asked for: rights to a file, or the call.
    pub operation: String,
    /// The same, by kind.
    pub kinds: BTreeSet<Kind>,
    /// What it was about: a path or an address.
    pub object: String,
    /// What it was called, where that differs.
    pub asked: String,
    /// The call.
    pub call: String,
    /// The program that asked; empty where nobody knows.
    pub program: String,
    /// Its process.
    pub pid: String,
    /// The errno of a refusal.
    pub errno: String,
    /// Where the rule stands that decided; empty: none.
    pub rule: String,
    /// The supervisor's explanation.
    pub detail: String,
    /// What the program said that it wants it for.
    pub why: String,
    /// The record itself.
    pub record: Value,
}

impl Record {
    /// Reads the good lines of a log that was verified.
    pub fn read(file: String, text: &[u8], found: Report) -> Self {
        let good = match found.fault {
            Some(Fault::Changed { line } | Fault::Misplaced { line }) => {
                usize::try_from(line).unwrap_or(usize::MAX) - 1
            }
            None => usize::MAX,
        };
        let mut runs: Vec<Run> = Vec::new();
        let lines = text.split_inclusive(|byte| *byte == b'\n').take(good);
        // What a break vouches for is no record.
        for record in lines.filter_map(|line| serde_json::from_slice::<Value>(line).ok()) {
            match (record["event"].as_str(), runs.last_mut()) {
                (Some("start"), _) => runs.push(Run::starting(record)),
                (_, None) => {}
                (Some("decision"), Some(run)) => match Decision::read(record) {
                    Some(decision) => run.decisions.push(decision),
                    None => run.unknown += 1,
                },
                (Some("end"), Some(run)) => {
                    run.end = Some((status(&record["status"]), shown(&record["at"])));
                    run.last = record;
                }
                (Some("break"), Some(run)) => run.breaks += 1,
                (_, Some(run)) => run.unknown += 1,
            }
        }
        Self { file, found, runs }
    }

    /// How far what is left in it can be believed.
    pub fn health(&self) -> Health {
        if self.found.fault.is_some() {
            Health::Changed
        } else if self.runs.iter().any(|run| run.end.is_none())
            || (self.runs.is_empty() && matches!(self.found.ending, Ending::Torn { .. }))
        {
            Health::Open
        } else {
            Health::Whole
        }
    }

    /// How often it was answered so, in all runs.
    pub fn count(&self, answer: Answer) -> usize {
        self.runs.iter().map(|run| run.count(answer)).sum()
    }
}

impl Run {
    fn starting(record: Value) -> Self {
        let list = |name: &str| record[name].as_array().into_iter().flatten();
        let mut command: Vec<String> = list("argv")
            .map(|word| crate::render::quoted(&shown(word)))
            .collect();
        if let Some(more) = record["argv_more"].as_u64() {
            command.push(format!("... and {more} more"));
        }
        let layers = list("layers").map(|layer| Layer {
            name: shown(&layer["name"]),
            state: shown(&layer["state"]),
            detail: shown(&layer["detail"]),
        });
        Self {
            session: shown(&record["session"]),
            started: shown(&record["at"]),
            command: command.join(" "),
            directory: shown(&record["directory"]),
            policies: list("policies")
                .map(|policy| shown(&policy["name"]))
                .collect(),
            kernel: format!(
                "{}, Landlock {}",
                shown(&record["kernel"]),
                shown(&record["landlock_abi"])
            ),
            layers: layers.collect(),
            start: record,
            ..Self::default()
        }
    }

    /// How often it was answered so.
    pub fn count(&self, answer: Answer) -> usize {
        let same = self.decisions.iter();
        same.filter(|decision| decision.answer == answer).count()
    }

    /// Layers that were not what a policy can have.
    pub fn lacking(&self) -> impl Iterator<Item = &Layer> {
        let layers = self.layers.iter();
        layers.filter(|layer| matches!(&*layer.state, "weakened" | "missing"))
    }

    /// How long it took, in microseconds; of one without an end until the last that is known of it.
    pub fn micros(&self) -> Option<u64> {
        let last = self.decisions.last().map(|decision| &decision.at);
        let last = self.end.as_ref().map(|(_, at)| at).or(last)?;
        micros(last)?.checked_sub(micros(&self.started)?)
    }

    /// How it ended, in words.
    pub fn ending(&self) -> &str {
        match &self.end {
            Some((how, _)) => how,
            None => "no end on record: it goes on, or was killed, or the end was cut off",
        }
    }
}

impl Decision {
    fn read(record: Value) -> Option<Self> {
        let field = |name: &str| shown(&record[name]);
        let answer = Answer::ALL
            .into_iter()
            .find(|answer| record["answer"] == answer.name())?;
        let rights: Vec<String> = record["access"]
            .as_array()
            .into_iter()
            .flatten()
            .map(shown)
            .collect();
        let call = field("call");
        let object = ["path", "address", "asked"].map(field);
        let object = object.into_iter().find(|object| !object.is_empty());
        let is_socket = !record["address"].is_null() || call == "connect" || call == "bind";
        let kinds = match rights.is_empty() {
            true if is_socket => BTreeSet::from([Kind::Network]),
            true => BTreeSet::from([Kind::Other]),
            false => {
                let known = |right: &String| Kind::ALL.into_iter().find(|k| k.name() == right);
                rights.iter().filter_map(known).collect()
            }
        };
        let is_other_name = !record["path"].is_null();
        Some(Self {
            at: field("at"),
            answer,
            operation: match rights.is_empty() {
                true => call.clone(),
                false => rights.join("+"),
            },
            kinds,
            object: object.unwrap_or_default(),
            asked: match is_other_name {
                true => field("asked"),
                false => String::new(),
            },
            call,
            program: field("exe"),
            pid: field("pid"),
            errno: field("errno"),
            rule: field("rule"),
            detail: field("detail"),
            why: field("why"),
            record,
        })
    }

    /// The program's name without its directory.
    pub fn program_name(&self) -> &str {
        self.program.rsplit('/').next().unwrap_or_default()
    }
}

/// Such as `exited 3`.
fn status(status: &Value) -> String {
    match status.as_object().and_then(|status| status.iter().next()) {
        Some((how, number)) => format!("{} {}", shown(&how.as_str().into()), shown(number)),
        None => shown(status).replace('-', " "),
    }
}

/// A time of the record, in microseconds since 1970.
pub fn micros(time: &str) -> Option<u64> {
    let number = |from: usize, to: usize| time.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    // In years that begin in March, so that the leap day is the last.
    let (y, m) = match month {
        ..=2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let days =
        (y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day).checked_sub(719_469)?;
    let seconds = days * 86400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    Some(seconds * 1_000_000 + number(20, 26)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_count_from_1970() {
        assert_eq!(micros("1970-01-01T00:00:00.000000Z"), Some(0));
        assert_eq!(
            micros("2026-11-21T23:14:58.987104Z"),
            Some(1_795_302_898_987_104)
        );
        assert_eq!(
            micros("2024-02-29T00:00:00.000001Z"),
            Some(1_709_164_800_000_001)
        );
        assert_eq!(micros("yesterday"), None);
    }

    #[test]
    fn what_is_asked_for_is_told_by_rights_or_by_call() {
        let read = |record: Value| Decision::read(record).unwrap();
        let file = read(
            json!({ "call": "openat", "answer": "refused", "access": ["read", "write"], "path": "/a" }),
        );
        assert_eq!(file.operation, "read+write");
        assert_eq!(file.kinds, BTreeSet::from([Kind::Read, Kind::Write]));
        let peer = read(json!({ "call": "connect", "answer": "granted", "address": "10.0.0.1:1" }));
        assert_eq!((&*peer.operation, &*peer.object), ("connect", "10.0.0.1:1"));
        assert_eq!(peer.kinds, BTreeSet::from([Kind::Network]));
        assert!(Decision::read(json!({ "answer": "perhaps" })).is_none());
    }

    #[test]
    fn what_goes_on_after_a_break_belongs_to_the_same_run() {
        let lines = [
            json!({ "event": "start", "session": "a" }),
            json!({ "event": "decision", "answer": "granted" }),
            json!({ "event": "break" }),
            json!({ "event": "decision", "answer": "granted" }),
            json!({ "event": "novelty" }),
            json!({ "event": "end", "status": { "exited": 0 } }),
        ];
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let found = supervisor::audit::verify(&b""[..]).unwrap();
        let record = Record::read(String::new(), text.as_bytes(), found);
        let [run] = &record.runs[..] else {
            panic!("{record:?}");
        };
        assert_eq!((run.decisions.len(), run.breaks, run.unknown), (2, 1, 1));
        assert_eq!(record.health(), Health::Whole);
    }
}
