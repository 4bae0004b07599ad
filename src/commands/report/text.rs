//! For people, at a terminal.

use super::record::{Answer, Health, Record, Run};
use super::refusals::{Refusal, refusals};
use super::{advice, state};
use std::fmt::Write;

/// So many refusals of a run are listed.
const MOST: usize = 100;

/// The report.
pub fn text(record: &Record) -> String {
    let mut said = match record.health() {
        Health::Whole => format!("record {}: {}\n", record.file, state(record)),
        _ => format!("RECORD {}: {}\n", record.file, state(record)),
    };
    if record.runs.is_empty() {
        said.push_str("no run is in it\n");
    }
    for run in &record.runs {
        said.push('\n');
        said.push_str(&one(run));
    }
    said
}

fn one(run: &Run) -> String {
    let mut lines = vec![format!("session {}, {}", run.session, run.started)];
    let mut line = |name: &str, value: &str| lines.push(format!("  {name:<10} {value}"));
    line("command", &run.command);
    line("in", &run.directory);
    line("policy", &run.policies.join(", narrowed by "));
    let lacking: Vec<String> = run.lacking().map(layer).collect();
    if !lacking.is_empty() {
        line("weaker", &lacking.join(", "));
    }
    line("ended", &format!("{}{}", run.ending(), took(run)));
    line("decided", &counts(run));
    if run.breaks > 0 {
        line(
            "cut off",
            "the record was cut off in this run, and taken up again",
        );
    }
    if run.unknown > 0 {
        let said = format!("{} records are not known to this version", run.unknown);
        line("unknown", &said);
    }
    let refusals = refusals(run);
    if !refusals.is_empty() {
        lines.push("  refused".to_owned());
    }
    for refusal in refusals.iter().take(MOST) {
        lines.extend(refused(run, refusal));
    }
    if refusals.len() > MOST {
        lines.push(format!("    and {} more", refusals.len() - MOST));
    }
    lines.join("\n") + "\n"
}

fn refused(run: &Run, refusal: &Refusal<'_>) -> Vec<String> {
    let mut said = format!("    {}  ({})", refusal.what(), refusal.why());
    for more in [refusal.by(), refusal.often()] {
        if !more.is_empty() {
            let _infallible = write!(said, ", {more}");
        }
    }
    let change = advice::change(run, refusal);
    let change = change.map(|change| format!("      to allow it: {change}"));
    std::iter::once(said).chain(change).collect()
}

fn layer(layer: &super::record::Layer) -> String {
    match layer.detail.is_empty() {
        true => format!("{} {}", layer.name, layer.state),
        false => format!("{} {} ({})", layer.name, layer.state, layer.detail),
    }
}

/// Such as `3 granted, 1 refused, 0 asked`.
pub fn counts(run: &Run) -> String {
    let [refused, granted, asked, revoked] = Answer::ALL.map(|answer| run.count(answer));
    let counts = format!("{granted} granted, {refused} refused, {asked} asked");
    match revoked {
        0 => counts,
        some => format!("{counts}, {some} taken back"),
    }
}

/// Such as `, after 1.250 s`.
pub fn took(run: &Run) -> String {
    match run.micros() {
        Some(micros) => format!(
            ", after {}.{:03} s",
            micros / 1_000_000,
            micros / 1000 % 1000
        ),
        None => String::new(),
    }
}
