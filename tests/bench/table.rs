//! The table that `cargo bench` prints.

use crate::paired::Sample;
use std::time::Duration;

pub fn heading() {
    println!(
        "{:<44} {:>11} {:>11}  {:<24} goal",
        "what", "it took", "against", "ratio (block to block)"
    );
}

/// One line: `ours` against `other`, and whether the ratio is within `goal`.
pub fn row(what: &str, ours: &Sample, other: &Sample, goal: Option<f64>) {
    let ratio = ours.ratio_to(other);
    let shown = format!(
        "{:.2} ({:.2} to {:.2})",
        ratio.of_medians, ratio.low, ratio.high
    );
    let goal = match goal {
        Some(goal) if ratio.of_medians <= goal => format!("≤ {goal:.2}: reached"),
        Some(goal) => format!(
            "≤ {goal:.2}: missed by {:.0} %",
            (ratio.of_medians / goal - 1.0) * 100.0
        ),
        None => String::new(),
    };
    println!(
        "{:<44} {:>11} {:>11}  {:<24} {}",
        format!("{what}, against {}", other.name),
        time(ours.median()),
        time(other.median()),
        shown,
        goal
    );
}

/// One line for what has a goal of its own, and nothing to be held against.
pub fn within(what: &str, took: Duration, goal: Duration) {
    let reached = match took <= goal {
        true => "reached".to_owned(),
        false => format!(
            "missed by {:.0} %",
            (took.as_secs_f64() / goal.as_secs_f64() - 1.0) * 100.0
        ),
    };
    println!(
        "{:<44} {:>11} {:>11}  {:<24} ≤ {}: {reached}",
        what,
        time(took),
        "",
        "",
        time(goal)
    );
}

/// The same for sorted times of which the last is the worst.
pub fn spread(what: &str, times: &[Duration], goal: Duration) {
    let median = times[times.len() / 2];
    within(what, median, goal);
    let all = format!("{} to {}", time(times[0]), time(times[times.len() - 1]));
    note(&format!("of {}", times.len()), &all);
}

/// What more is to be said of the line before.
pub fn note(what: &str, value: &str) {
    println!("  {what:<42} {value:>11}");
}

/// A line for what could not be measured.
pub fn missing(what: &str, reason: &str) {
    println!("{what:<44} not measured: {reason}");
}

fn time(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    if micros < 1000.0 {
        format!("{micros:.2} µs")
    } else {
        format!("{:.2} ms", micros / 1000.0)
    }
}
