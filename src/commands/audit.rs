//! `supervise audit verify [FILE]` and `supervise audit show [FILE]`: what was decided, and whether the record of it is whole.

use crate::exit;
use crate::places;
use crate::render::{fail, print, visible};
use crate::waiting::Waiting;
use clap::Subcommand;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use supervisor::audit::{Ending, Report, verify};

/// What to do with a log.
#[derive(Debug, Subcommand)]
pub enum AuditAction {
    /// Say whether a log is as it was written, and if not, which line is wrong
    #[command(
        after_help = "Exit status: 0 it is whole; 1 something was changed; 2 it ends without the end of a run (which goes on, or\nwas killed, or whose last lines were cut off); 125 it cannot be read."
    )]
    Verify {
        /// The log, by default the one that was written last
        file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print what was decided
    Show {
        /// The log, by default the one that was written last
        file: Option<PathBuf>,
        /// Only the run of this name
        #[arg(long, value_name = "NAME")]
        session: Option<String>,
        /// Only what was refused
        #[arg(long)]
        refused: bool,
        /// Print the records themselves, a line of JSON for each
        #[arg(long)]
        json: bool,
    },
}

/// Does what was asked for.
pub fn audit(action: &AuditAction) -> ExitCode {
    let (AuditAction::Verify { file, .. } | AuditAction::Show { file, .. }) = action;
    let file = match file.clone().map_or_else(written_last, Ok) {
        Ok(file) => file,
        Err(error) => return fail(error),
    };
    let waiting = Waiting::until("the record is read");
    let found = read(&file).and_then(|text| {
        // From memory nothing fails.
        let report = verify(text.as_slice())?;
        Ok((text, report))
    });
    drop(waiting);
    let (text, report) = match found {
        Ok(found) => found,
        Err(error) => {
            return fail(format!(
                "cannot read the audit log {}: {error}",
                file.display()
            ));
        }
    };
    match action {
        AuditAction::Verify { json: true, .. } => {
            let printed = print(&format!("{}\n", as_json(&report)));
            or_status(printed, &report)
        }
        AuditAction::Verify { json: false, .. } => {
            let printed = print(&format!("{}\n", summary(&report)));
            or_status(printed, &report)
        }
        AuditAction::Show {
            session,
            refused,
            json,
            ..
        } => {
            let wanted = Wanted {
                session: session.as_deref(),
                refused: *refused,
            };
            let printed = print(&records(&text, &report, &wanted, *json));
            if status(&report) != 0 {
                // Not among the records: they may be read by a program.
                let _status = fail(summary(&report));
            }
            or_status(printed, &report)
        }
    }
}

/// The log in the state directory that a run wrote to last.
pub fn written_last() -> Result<PathBuf, String> {
    logs().map(|mut logs| logs.swap_remove(0))
}

/// The logs in the state directory, the one that a run wrote to last first. There is one.
pub fn logs() -> Result<Vec<PathBuf>, String> {
    let user = nix::unistd::User::from_uid(nix::unistd::getuid());
    let home = user.ok().flatten().map(|user| user.dir);
    let directory = places::state(&home.unwrap_or_else(|| PathBuf::from("/")));
    let none = |why: &dyn std::fmt::Display| {
        format!(
            "there is no audit log in {}: {why}; name one",
            directory.display()
        )
    };
    let entries = std::fs::read_dir(&directory).map_err(|error| none(&error))?;
    let logs = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let is_log = name.starts_with("audit.") && name.ends_with(".jsonl");
        let written = path.metadata().ok()?.modified().ok()?;
        is_log.then_some((written, path))
    });
    let mut logs: Vec<_> = logs.collect();
    if logs.is_empty() {
        return Err(none(&"nothing was run yet"));
    }
    logs.sort_by(|first, second| second.cmp(first));
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

/// A log is a regular file; anything else might never end.
pub fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut options = File::options();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK);
    let mut log = options.open(file)?;
    if !log.metadata()?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    log.read_to_end(&mut text)?;
    Ok(text)
}

pub fn status(report: &Report) -> u8 {
    match (report.fault, report.ending) {
        (Some(_), _) => exit::CHANGED,
        (None, Ending::Open | Ending::Torn { .. }) => exit::OPEN,
        (None, Ending::Complete | Ending::Empty) => 0,
    }
}

fn or_status(printed: ExitCode, report: &Report) -> ExitCode {
    if printed == ExitCode::SUCCESS {
        ExitCode::from(status(report))
    } else {
        ExitCode::from(exit::OURS)
    }
}

pub fn summary(report: &Report) -> String {
    if let Some(fault) = report.fault {
        return format!(
            "{fault}; {} before it are good",
            count(report.records, "record")
        );
    }
    let mut text = match report.ending {
        Ending::Empty => "empty".to_owned(),
        Ending::Complete => "whole".to_owned(),
        Ending::Open => {
            "unchanged, but ends without an end record: the run goes on, or was killed, or the end of the log was cut off"
                .to_owned()
        }
        Ending::Torn { line } => format!(
            "unchanged up to line {line}, where it ends in the middle of a record: the run was killed, or the end of the log was cut off"
        ),
    };
    text += &format!(
        "; {} of {}",
        count(report.records, "record"),
        count(report.runs, "run")
    );
    for at in &report.breaks {
        text += &format!("; line {} notes a run that was cut off before it", at.line);
    }
    text + &format!("; last hash {}", report.last)
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn as_json(report: &Report) -> Value {
    use supervisor::audit::Fault;
    let fault = report.fault.map(|fault| {
        let (kind, line) = match fault {
            Fault::Changed { line } => ("changed", line),
            Fault::Misplaced { line } => ("misplaced", line),
        };
        json!({ "kind": kind, "line": line })
    });
    let (ending, torn) = match report.ending {
        Ending::Empty => ("empty", None),
        Ending::Complete => ("complete", None),
        Ending::Open => ("open", None),
        Ending::Torn { line } => ("torn", Some(line)),
    };
    json!({
        "schema": 1,
        "records": report.records,
        "runs": report.runs,
        "breaks": report.breaks.iter().map(|at| at.line).collect::<Vec<_>>(),
        "fault": fault,
        "ending": ending,
        "torn_line": torn,
        "last": report.last.to_string(),
    })
}

/// Which records are wanted.
struct Wanted<'a> {
    session: Option<&'a str>,
    refused: bool,
}

/// The good records, up to the first fault.
fn records(text: &[u8], report: &Report, wanted: &Wanted<'_>, json: bool) -> String {
    let lines = text.split_inclusive(|byte| *byte == b'\n');
    let good = match report.fault {
        Some(
            supervisor::audit::Fault::Changed { line }
            | supervisor::audit::Fault::Misplaced { line },
        ) => usize::try_from(line).unwrap_or(usize::MAX) - 1,
        None => usize::MAX,
    };
    let mut shown = String::new();
    // A log holds one run after the other.
    let mut in_session = wanted.session.is_none();
    for line in lines.take(good) {
        // What a break vouches for is no record.
        let Ok(record) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        if let (Some(session), "start") = (wanted.session, &*self::text(&record["event"])) {
            in_session = record["session"] == session;
        }
        if !in_session || (wanted.refused && record["answer"] != "refused") {
            continue;
        }
        if json {
            shown += &String::from_utf8_lossy(line);
        } else {
            shown += &sentence(&record);
            shown.push('\n');
        }
    }
    shown
}

/// One record for a person.
fn sentence(record: &Value) -> String {
    let field = |name: &str| text(&record[name]);
    let time = field("at");
    let time = time.get(..19).unwrap_or(&time).replace('T', " ");
    let said = match record["event"].as_str() {
        Some("start") => start(record),
        Some("decision") => decision(record),
        Some("end") => {
            let status = match record["status"]
                .as_object()
                .and_then(|status| status.iter().next())
            {
                Some((how, number)) => format!("{how} {number}"),
                None => field("status"),
            };
            format!(
                "end      {status}; {} granted, {} refused",
                record["granted"], record["refused"]
            )
        }
        Some("break") => format!(
            "break    a run before this was cut off ({} unreadable bytes)",
            record["torn_bytes"]
        ),
        _ => format!("{}  not known to this version", field("event")),
    };
    format!("{time}  {said}")
}

fn start(record: &Value) -> String {
    let list = |name: &str, each: &dyn Fn(&Value) -> String| {
        let values = record[name].as_array().into_iter().flatten();
        values.map(each).collect::<Vec<_>>()
    };
    let mut argv = list("argv", &text).join(" ");
    if let Some(more) = record["argv_more"].as_u64() {
        argv += &format!(" ... and {more} more");
    }
    let policies = list("policies", &|policy| text(&policy["name"])).join(", ");
    let lacking: Vec<String> = record["layers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|layer| matches!(layer["state"].as_str(), Some("weakened" | "missing")))
        .map(|layer| format!("{} {}", text(&layer["name"]), text(&layer["state"])))
        .collect();
    let layers = match lacking.is_empty() {
        true => String::new(),
        false => format!("; {}", lacking.join(", ")),
    };
    format!(
        "start    {argv}  (in {}, policy {policies}, Landlock ABI {}{layers}, session {})",
        text(&record["directory"]),
        record["landlock_abi"],
        text(&record["session"])
    )
}

fn decision(record: &Value) -> String {
    let answer = text(&record["answer"]);
    let object = ["path", "address", "asked"]
        .into_iter()
        .map(|name| text(&record[name]))
        .find(|object| !object.is_empty())
        .unwrap_or_default();
    let access = record["access"].as_array().into_iter().flatten();
    let access = access.map(text).collect::<Vec<_>>().join("+");
    let mut said = format!("{answer:<8} {} {access} {object}", text(&record["call"]));
    if access.is_empty() {
        said = format!("{answer:<8} {} {object}", text(&record["call"]));
    }
    if !record["path"].is_null() && !record["asked"].is_null() {
        said += &format!(" (asked for as {})", text(&record["asked"]));
    }
    for (name, word) in [("errno", ": "), ("rule", " by "), ("detail", ", ")] {
        if !record[name].is_null() {
            said += &format!("{word}{}", text(&record[name]));
        }
    }
    if let Some(expires) = record["expires_ms"].as_u64() {
        said += &format!(", for {} s", expires / 1000);
    }
    let exe = match text(&record["exe"]) {
        exe if exe.is_empty() => String::new(),
        exe => format!(" {exe}"),
    };
    said += &format!("  [pid {}{exe}]", record["pid"]);
    if !record["why"].is_null() {
        said += &format!("  it said: \"{}\"", text(&record["why"]));
    }
    said
}

/// A value as text that can be shown; bytes that are no text as they stand in the record.
fn text(value: &Value) -> String {
    match (value, &value["b64"]) {
        (_, Value::String(bytes)) => format!("base64:{bytes}"),
        (Value::Null, _) => String::new(),
        (Value::String(text), _) => visible(text),
        (value, _) => visible(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_reads_as_a_sentence() {
        let record = json!({
            "event": "decision", "at": "2026-11-21T14:00:00.000001Z", "call": "open", "pid": 42, "uid": 0,
            "exe": "/bin/x", "path": "/data/\u{1b}[2Ja", "asked": "/l", "access": ["read", "write"],
            "answer": "refused", "errno": "EACCES", "rule": "p.toml:3", "why": "it\u{202e}"
        });
        assert_eq!(
            sentence(&record),
            "2026-11-21 14:00:00  refused  open read+write /data/\\u{1b}[2Ja (asked for as /l): EACCES by p.toml:3  \
             [pid 42 /bin/x]  it said: \"it\\u{202e}\""
        );
    }

    #[test]
    fn bytes_stay_what_they_are() {
        assert_eq!(text(&json!({"b64": "L/8="})), "base64:L/8=");
    }
}
