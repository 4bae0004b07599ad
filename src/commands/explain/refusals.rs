//! From a record to what can be done about its refusals.

use super::{ExplainArgs, shown};
use crate::commands::audit;
use crate::exit;
use crate::law;
use crate::places;
use crate::render::{fail, print};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use supervisor::advice::{Below, Found, Group, Remedy, Setting, groups, remedy, sensitive};
use supervisor::audit::{Digest, Ended, Entry, Object, Recorded, Report, Started, entries};
use supervisor::policy::Kind;

/// So many entries of a directory are counted.
const COUNTED: usize = 10_000;

/// A run, as its record has it.
pub struct Run {
    /// The record.
    pub log: PathBuf,
    /// How it started.
    pub start: Started,
    /// What was refused, and what can be done about it.
    pub refusals: Vec<Explained>,
    /// How it ended; `None`: it goes on, or was killed.
    pub end: Option<Ended>,
    /// The policies whose text is another one by now.
    pub changed: Vec<PathBuf>,
    /// Each of its policies must allow what is to be allowed.
    pub is_stacked: bool,
}

/// A refusal, and what can be done about it.
pub struct Explained {
    /// What was refused.
    pub group: Group,
    /// What to do; `None`: it was refused for what it is.
    pub remedy: Option<Remedy>,
    /// How many of the other refusals of this run the same change would allow.
    pub others: usize,
}

/// Explains the run that is named.
pub fn explain(args: &ExplainArgs) -> ExitCode {
    let (run, report) = match find(args) {
        Ok(found) => found,
        Err(error) => return fail(error),
    };
    let printed = match args.json {
        true => print(&format!("{}\n", shown::as_json(&run))),
        false => print(&shown::as_text(&run)),
    };
    if report.fault.is_some() {
        // What is behind it was not looked at.
        let _status = fail(audit::summary(&report));
        return match printed {
            ExitCode::SUCCESS => ExitCode::from(audit::status(&report)),
            _ => ExitCode::from(exit::OURS),
        };
    }
    printed
}

fn find(args: &ExplainArgs) -> Result<(Run, Report), String> {
    let logs = match (&args.audit, &args.session) {
        (Some(file), _) => vec![file.clone()],
        (None, None) => vec![audit::written_last()?],
        (None, Some(_)) => audit::logs()?,
    };
    let wanted = args.session.as_deref();
    for log in logs {
        let text = audit::read(&log)
            .map_err(|error| format!("cannot read the audit log {}: {error}", log.display()))?;
        let (run, report) = last_run(&text, wanted)?;
        if let Some((start, refused, end)) = run {
            let named = args
                .policy
                .env
                .iter()
                .find_map(|variable| law::home(variable));
            let home = named.map_or_else(places::home, Ok);
            let home = home.map_err(|error| error.to_string())?;
            return Ok((explained(log, &home, start, refused, end), report));
        }
    }
    Err(match wanted {
        Some(name) => format!("no audit log knows a run of the name {name}"),
        None => "nothing was run yet".to_owned(),
    })
}

type Read = (Started, Vec<Recorded>, Option<Ended>);

/// The last run, or the last of that name.
fn last_run(text: &[u8], wanted: Option<&str>) -> Result<(Option<Read>, Report), String> {
    let mut found: Option<Read> = None;
    let mut is_in = false;
    // A log holds one run after the other.
    let report = entries(text, |entry| match entry {
        Entry::Start(start) => {
            is_in = wanted.is_none_or(|wanted| wanted == start.session);
            if is_in {
                found = Some((start, Vec::new(), None));
            }
        }
        Entry::Decision(recorded) if is_in && recorded.answer == "refused" => {
            if let Some((_, refused, _)) = &mut found {
                refused.push(*recorded);
            }
        }
        Entry::End(ended) if is_in => {
            is_in = false;
            if let Some((_, _, end)) = &mut found {
                *end = Some(ended);
            }
        }
        Entry::Decision(_) | Entry::End(_) => {}
    });
    // From memory nothing fails.
    let report = report.map_err(|error| error.to_string())?;
    Ok((found, report))
}

fn explained(
    log: PathBuf,
    home: &Path,
    start: Started,
    refused: Vec<Recorded>,
    end: Option<Ended>,
) -> Run {
    let is_stacked = start.policies.len() > 1;
    let setting = Setting {
        home: Some(home),
        is_stacked,
    };
    let groups = groups(refused);
    let explain = |(number, group): (usize, &Group)| {
        let refused = group.refused.as_ref();
        let remedy = refused.map(|refused| {
            let found = found(&refused.object, home);
            remedy(refused, &found, setting)
        });
        let others = match (&remedy, &group.object) {
            (Some(Remedy::Add(_)), Some(Object::File(path))) => {
                let others = groups.iter().enumerate();
                let others = others.filter(|(other, _)| *other != number);
                others
                    .filter(|(_, other)| other.is_allowed_by(path, group.access))
                    .count()
            }
            _ => 0,
        };
        Explained {
            group: group.clone(),
            remedy,
            others,
        }
    };
    Run {
        changed: changed(&start),
        refusals: groups.iter().enumerate().map(explain).collect(),
        log,
        start,
        end,
        is_stacked,
    }
}

/// What is there now of what was refused.
fn found(object: &Object, home: &Path) -> Found {
    let Object::File(path) = object else {
        return Found::default();
    };
    let Ok(known) = fs::symlink_metadata(path) else {
        return Found::default();
    };
    let kind = match known.file_type() {
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_symlink() => Kind::Link,
        kind if kind.is_file() => Kind::File,
        kind if kind.is_char_device() || kind.is_block_device() => Kind::Device,
        _ => Kind::Other,
    };
    Found {
        kind: Some(kind),
        below: (kind == Kind::Directory).then(|| below(path, home)),
    }
}

/// What is below a directory, as far as it can be counted.
fn below(directory: &Path, home: &Path) -> Below {
    let mut entries = 0;
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop()
        && entries < COUNTED
    {
        // What may not be looked at is not counted.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            entries += 1;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(entry.path());
            }
        }
    }
    let secrets = sensitive::below(directory, Some(home));
    Below {
        entries,
        is_more: !left.is_empty(),
        secrets: secrets.filter(|place| place.path.exists()).collect(),
    }
}

/// The policies whose text is not what it was.
fn changed(start: &Started) -> Vec<PathBuf> {
    let is_other = |(name, digest): &(std::ffi::OsString, String)| {
        let path = Path::new(name);
        // Presets have no file, and what was named from elsewhere is not found.
        let text = fs::read(start.directory.join(path)).ok()?;
        (Digest::of(&text).to_string() != *digest).then(|| path.to_owned())
    };
    start.policies.iter().filter_map(is_other).collect()
}
