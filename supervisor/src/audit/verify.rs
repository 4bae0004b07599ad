//! Whether a log is as it was written.

use std::fmt;
use std::io::{self, BufRead, Read};

use sha2::{Digest as _, Sha256};

use super::chain::{Digest, Position, Sealed};
use super::log::{self, MAX_LINE};

/// What a log turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Good records before the first fault.
    pub records: u64,
    /// Runs that began before the first fault.
    pub runs: u64,
    /// Where runs were cut off, and a later run noticed.
    pub breaks: Vec<Break>,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
    /// How it ends; meaningless after a fault.
    pub ending: Ending,
    /// The hash of the last good record.
    pub last: Digest,
}

/// A run that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// The line that says so.
    pub line: u64,
    /// What lies unreadable before it.
    pub torn_bytes: u64,
}

/// The first thing that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This line is not what was written.
    Changed {
        /// Counted from 1.
        line: u64,
    },
    /// This line is good, but does not belong here: lines before it are gone, were put in or changed places.
    Misplaced {
        /// Counted from 1.
        line: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { line } => write!(f, "line {line} is not as it was written"),
            Self::Misplaced { line } => write!(
                f,
                "line {line} does not follow the line before it: lines are gone, put in or exchanged"
            ),
        }
    }
}

/// How a log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing was ever written.
    Empty,
    /// With the end of a run.
    Complete,
    /// Without the end of the run: it goes on, its supervisor was killed, or the end of the log was cut off.
    Open,
    /// In the middle of a line: the supervisor was killed while it wrote, or the end of the log was cut off.
    Torn {
        /// Counted from 1.
        line: u64,
    },
}

/// Lines that are not good, until a break vouches for them.
struct Pending {
    line: u64,
    bytes: u64,
    hash: Sha256,
    /// Just one line, without its newline.
    is_torn: bool,
}

/// Reads a whole log.
///
/// # Errors
/// It cannot be read. What is wrong with it is in the report.
pub fn verify(log: impl Read) -> io::Result<Report> {
    read(log, |_, _| {})
}

/// The same, and shows each good record before the first fault: what it is of, and its line.
pub(super) fn read(log: impl Read, mut each: impl FnMut(&[u8], &[u8])) -> io::Result<Report> {
    let mut log = io::BufReader::new(log);
    let mut next = Position::START;
    let mut report = Report {
        records: 0,
        runs: 0,
        breaks: Vec::new(),
        fault: None,
        ending: Ending::Empty,
        last: Digest::NONE,
    };
    let mut pending: Option<Pending> = None;
    let mut raw = Vec::new();
    for line in 1.. {
        raw.clear();
        if log
            .by_ref()
            .take(MAX_LINE as u64 + 1)
            .read_until(b'\n', &mut raw)?
            == 0
        {
            break;
        }
        let Some(sealed) = Sealed::read(&raw) else {
            let unfinished = !raw.ends_with(b"\n") && raw.len() <= MAX_LINE;
            let bad = pending.get_or_insert_with(|| Pending {
                line,
                bytes: 0,
                hash: Sha256::new(),
                is_torn: unfinished,
            });
            bad.bytes += raw.len() as u64;
            bad.hash.update(&raw);
            continue;
        };
        let is_break = sealed.event == b"break";
        let bad = pending.take();
        report.fault = match &bad {
            Some(bad) if !is_break || sealed.at != next => Some(Fault::Changed { line: bad.line }),
            None if sealed.at != next => Some(Fault::Misplaced { line }),
            _ => None,
        };
        if report.fault.is_none() && is_break {
            match vouched(&raw, bad.as_ref()) {
                Some(torn_bytes) => report.breaks.push(Break { line, torn_bytes }),
                None => {
                    let line = bad.map_or(line, |bad| bad.line);
                    report.fault = Some(Fault::Changed { line });
                }
            }
        }
        if report.fault.is_some() {
            return Ok(report);
        }
        report.records += 1;
        report.runs += u64::from(sealed.event == b"start");
        report.ending = match sealed.event {
            b"end" | b"break" => Ending::Complete,
            _ => Ending::Open,
        };
        next = sealed.next();
        report.last = sealed.hash;
        each(sealed.event, &raw);
    }
    match pending {
        Some(torn) if torn.is_torn => report.ending = Ending::Torn { line: torn.line },
        Some(torn) => report.fault = Some(Fault::Changed { line: torn.line }),
        None => {}
    }
    Ok(report)
}

/// What a break says lies before it, if it describes just that.
fn vouched(raw: &[u8], bad: Option<&Pending>) -> Option<u64> {
    let said: log::Break = serde_json::from_slice(raw).ok()?;
    let found = match bad {
        Some(bad) => log::Break::from_hash(bad.bytes, Digest::finish(bad.hash.clone())),
        None => log::Break::of(b""),
    };
    (said == found).then_some(found.torn_bytes)
}
