//! For the summary of a step, as GitHub and GitLab show it.

use super::names::marked_down;
use super::record::{Answer, Health, Record, Run};
use super::refusals::{Refusal, refusals};
use super::text::{counts, took};
use super::{advice, state};
use std::fmt::Write;

/// So many refusals are listed, of all runs together: a summary may be 1 MiB long, and a name 4 KiB, each character of it written
/// with up to seven.
const MOST: usize = 200;
/// So much of a name is shown.
const LONGEST: usize = 200;

/// The report.
pub fn markdown(record: &Record) -> String {
    let refused = record.count(Answer::Refused);
    let mut page = match refused {
        0 => "### supervise: nothing was refused\n\n".to_owned(),
        1 => "### supervise: 1 request was refused\n\n".to_owned(),
        many => format!("### supervise: {many} requests were refused\n\n"),
    };
    if record.health() != Health::Whole {
        let _infallible = write!(page, "> **Warning:** {}\n\n", marked_down(&state(record)));
    }
    let mut left = MOST;
    for run in &record.runs {
        page.push_str(&one(run, &mut left));
    }
    if record.runs.is_empty() {
        page.push_str("No run is in the record.\n");
    }
    page
}

fn one(run: &Run, left: &mut usize) -> String {
    let mut said = format!(
        "{}: {}{}; {}\n\n",
        code(&run.command),
        marked_down(run.ending()),
        took(run),
        counts(run),
    );
    let lacking: Vec<String> = run
        .lacking()
        .map(|layer| format!("{} {}", layer.name, layer.state))
        .collect();
    if !lacking.is_empty() {
        let _infallible = write!(said, "Weaker: {}\n\n", marked_down(&lacking.join(", ")));
    }
    let refusals = refusals(run);
    if refusals.is_empty() {
        return said;
    }
    let shown = refusals.len().min(*left);
    *left -= shown;
    if shown > 0 {
        said.push_str("| refused | why | by | times | to allow it |\n|---|---|---|---:|---|\n");
    }
    for refusal in &refusals[..shown] {
        said.push_str(&row(run, refusal));
    }
    if shown < refusals.len() {
        let _infallible = write!(
            said,
            "\n{} more are not shown here.\n",
            refusals.len() - shown
        );
    }
    said.push('\n');
    said
}

fn row(run: &Run, refusal: &Refusal<'_>) -> String {
    let change = advice::change(run, refusal);
    format!(
        "| {} {} | {} | {} | {} | {} |\n",
        marked_down(&refusal.first.operation),
        code(&refusal.first.object),
        marked_down(&short(refusal.why())),
        marked_down(&short(&refusal.by())),
        refusal.times,
        change.as_deref().map(code).unwrap_or_default(),
    )
}

/// As it is, in the type of machines.
fn code(text: &str) -> String {
    match text.is_empty() {
        true => String::new(),
        false => format!("<code>{}</code>", marked_down(&short(text))),
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}
