//! For what shows the results of tests: a suite for each run, a failed test for each refusal.

use super::names::marked_up;
use super::record::{Health, Record, Run};
use super::refusals::{Refusal, refusals};
use super::{advice, state};
use std::fmt::Write;

/// The report.
pub fn junit(record: &Record) -> String {
    let mut suites = String::new();
    let mut total = Tally::default();
    let mut add = |suite: (String, Tally)| {
        suites.push_str(&suite.0);
        total.tests += suite.1.tests;
        total.failures += suite.1.failures;
        total.errors += suite.1.errors;
    };
    add(of_record(record));
    for run in &record.runs {
        add(of_run(run));
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"supervise\" {total}>\n{suites}</testsuites>\n"
    )
}

#[derive(Clone, Copy, Default)]
struct Tally {
    tests: usize,
    failures: usize,
    errors: usize,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "tests=\"{}\" failures=\"{}\" errors=\"{}\"",
            self.tests, self.failures, self.errors
        )
    }
}

/// Whether the record is whole is a test too: nobody overlooks that one.
fn of_record(record: &Record) -> (String, Tally) {
    let is_whole = record.health() == Health::Whole;
    let tally = Tally {
        tests: 1,
        errors: usize::from(!is_whole),
        ..Tally::default()
    };
    let said = marked_up(&state(record));
    let outcome = match is_whole {
        true => "/>".to_owned(),
        false => format!(">\n      <error type=\"record\" message=\"{said}\"/>\n    </testcase>"),
    };
    let suite = format!(
        "  <testsuite name=\"record\" {tally} skipped=\"0\">\n    <testcase classname=\"record\" name=\"{} is whole\" time=\"0\"{outcome}\n  </testsuite>\n",
        marked_up(&record.file)
    );
    (suite, tally)
}

fn of_run(run: &Run) -> (String, Tally) {
    let refusals = refusals(run);
    let tally = Tally {
        tests: refusals.len().max(1),
        failures: refusals.len(),
        errors: 0,
    };
    let micros = run.micros().unwrap_or(0);
    let mut suite = format!(
        "  <testsuite name=\"{}\" {tally} skipped=\"0\" time=\"{}.{:06}\" timestamp=\"{}\">\n",
        marked_up(&run.command),
        micros / 1_000_000,
        micros % 1_000_000,
        // The schema has seconds, and no zone.
        marked_up(run.started.get(..19).unwrap_or_default()),
    );
    if refusals.is_empty() {
        suite.push_str(
            "    <testcase classname=\"run\" name=\"nothing was refused\" time=\"0\"/>\n",
        );
    }
    for refusal in &refusals {
        suite.push_str(&refused(run, refusal));
    }
    suite.push_str("  </testsuite>\n");
    (suite, tally)
}

fn refused(run: &Run, refusal: &Refusal<'_>) -> String {
    let by = refusal.by();
    let class = if by.is_empty() {
        "unknown program"
    } else {
        &by
    };
    let mut told = format!(
        "{}\ncalls: {}\ntimes: {}\nfirst: {}\n",
        refusal.why(),
        refusal.calls.iter().copied().collect::<Vec<_>>().join(", "),
        refusal.times,
        refusal.first.at
    );
    if !refusal.first.rule.is_empty() {
        let _infallible = writeln!(told, "rule: {}", refusal.first.rule);
    }
    if let Some(change) = advice::change(run, refusal) {
        let _infallible = writeln!(told, "to allow it: {change}");
    }
    // Lines are ours, and so is all that divides them.
    let told: Vec<String> = told.lines().map(marked_up).collect();
    format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"0\">\n      <failure type=\"refused\" message=\"{}\">{}</failure>\n    </testcase>\n",
        marked_up(class),
        marked_up(&refusal.what()),
        marked_up(refusal.why()),
        told.join("\n"),
    )
}
