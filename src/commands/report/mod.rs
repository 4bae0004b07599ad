//! `supervise report`: what the record says of runs, for people, for programs and for the places where continuous integration shows
//! such things.
//!
//! In comes a log, which is verified first: what is wrong with it stands above all else, and is the exit status. Out goes one text.
//! [`record`] is the only one that looks into records, and it lets nothing through that could not be seen; each format then
//! writes names as its own language wants them. What never happens here: deciding, and looking at the files that a record names.

mod advice;
mod github;
mod html;
mod json;
mod junit;
mod markdown;
mod names;
mod page;
mod record;
mod refusals;
mod sarif;
mod text;
mod timeline;
mod tree;

use super::audit;
use crate::exit;
use crate::render::{fail, print};
use crate::waiting::Waiting;
use clap::{Args, ValueEnum};
use record::{Answer, Health, Record};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use supervisor::audit::verify;

/// What to report, and how.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervise report                                     the last run, for people
  supervise report --last --format html -o run.html    a page that needs no network
  supervise report audit.jsonl --format sarif -o refusals.sarif
  supervise report audit.jsonl --format markdown >>\"$GITHUB_STEP_SUMMARY\"

Exit status: 0 the record is whole; 1 it was changed; 2 a run in it has no end (it goes on, was killed, or was cut off); 3 something
was refused, with --fail-on-refusals; 125 nothing could be reported.")]
pub struct ReportArgs {
    /// A log of which all runs are reported; without one, the last run of the log that was written last
    #[arg(value_name = "AUDIT")]
    file: Option<PathBuf>,
    /// Only the last run
    #[arg(long)]
    last: bool,
    /// Only the run of this name, looked for in every log where none is named
    #[arg(long, value_name = "ID", conflicts_with = "last")]
    session: Option<String>,
    /// What for
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write it to this file, not to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Exit with 3 when something was refused
    #[arg(long)]
    fail_on_refusals: bool,
}

/// The forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
    /// For code scanning: a result for each refusal, where the policy says so
    Sarif,
    /// For test reports: a failed test for each refusal
    Junit,
    /// For the summary of a step
    Markdown,
    /// A page of its own, that needs nothing else
    Html,
    /// Annotations of a GitHub workflow, printed by a step
    Github,
}

/// Reports.
pub fn report(args: &ReportArgs) -> ExitCode {
    let waiting = Waiting::until("the record is read");
    let selected = select(args);
    drop(waiting);
    let record = match selected {
        Ok(record) => record,
        Err(error) => return fail(error),
    };
    let text = match args.format {
        Format::Text => text::text(&record),
        Format::Json => json::json(&record),
        Format::Sarif => sarif::sarif(&record),
        Format::Junit => junit::junit(&record),
        Format::Markdown => markdown::markdown(&record),
        Format::Html => html::html(&record),
        Format::Github => github::github(&record),
    };
    let written = match &args.output {
        None => print(&text),
        Some(file) => match put(file, &text) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(format!("cannot write {}: {error}", file.display())),
        },
    };
    if written != ExitCode::SUCCESS {
        return ExitCode::from(exit::OURS);
    }
    if record.health() != Health::Whole && (args.format != Format::Text || args.output.is_some()) {
        // Whoever reads the report is told there, whoever asked for it here.
        let _status = fail(state(&record));
    }
    match record.health() {
        Health::Changed => ExitCode::from(exit::CHANGED),
        Health::Open => ExitCode::from(exit::OPEN),
        Health::Whole if args.fail_on_refusals && record.count(Answer::Refused) > 0 => {
            ExitCode::from(exit::REFUSALS)
        }
        Health::Whole => ExitCode::SUCCESS,
    }
}

/// What is to be reported.
fn select(args: &ReportArgs) -> Result<Record, String> {
    let files = match (&args.file, &args.session) {
        (Some(file), _) => vec![file.clone()],
        (None, Some(_)) => audit::logs()?,
        (None, None) => vec![audit::written_last()?],
    };
    let mut found = None;
    for file in &files {
        let mut record = read(file)?;
        if let Some(session) = &args.session {
            record.runs.retain(|run| run.session == *session);
            if record.runs.is_empty() {
                continue;
            }
        } else if args.last || args.file.is_none() {
            record.runs = record.runs.pop().into_iter().collect();
        }
        found = Some(record);
        break;
    }
    found.ok_or_else(|| {
        let session = args.session.as_deref().unwrap_or_default();
        let names: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        format!("there is no run {session} in {}", names.join(", "))
    })
}

fn read(file: &Path) -> Result<Record, String> {
    let wrong =
        |error: std::io::Error| format!("cannot read the audit log {}: {error}", file.display());
    let text = audit::read(file).map_err(wrong)?;
    let found = verify(text.as_slice()).map_err(wrong)?;
    let name = supervisor::audit::Printable::from(file).to_string();
    Ok(Record::read(name, &text, found))
}

/// What there is to say of the record itself, in one line.
fn state(record: &Record) -> String {
    let said = audit::summary(&record.found);
    match record.health() {
        Health::Changed => format!("what follows is not all: {said}"),
        Health::Open => format!("a run has no end on record: {said}"),
        Health::Whole => said,
    }
}

/// Replaces the file, and never what a link of that name leads to: the name may lie where a command in a sandbox could write.
fn put(file: &Path, text: &str) -> std::io::Result<()> {
    match std::fs::symlink_metadata(file) {
        Ok(there) if !there.is_file() => {
            return Err(std::io::Error::other(
                "there is something else of that name",
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = file.with_file_name(name);
    let mut made = File::create_new(&new)?;
    let done = made
        .write_all(text.as_bytes())
        .and_then(|()| std::fs::rename(&new, file));
    if done.is_err() {
        // What went wrong is said; that a file of ours is left over is not what matters then.
        let _unremoved = std::fs::remove_file(&new);
    }
    done
}
