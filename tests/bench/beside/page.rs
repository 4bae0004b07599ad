//! The table, for a terminal and for the book.

use crate::beside::results::{Cell, Results};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// Between these the table stands in a page, with nothing else.
const MARKS: [&str; 2] = [
    "<!-- measured: from here -->\n",
    "<!-- measured: to here -->\n",
];

/// All of it, for people.
pub fn text(results: &Results) -> String {
    let mut text = format!("\n{}\n\n", machine(results));
    for (name, version, line) in &results.subjects {
        let _infallible = writeln!(text, "{name}: {line}  [{version}]");
    }
    for one in &results.absent {
        let _infallible = writeln!(text, "{}: {}", one.name, one.why);
    }
    for row in &results.rows {
        let _infallible = writeln!(text, "\n{}", row.what);
        for (name, cell) in &row.cells {
            let _infallible = writeln!(text, "  {name:<28} {}", said(cell));
        }
    }
    text + "\n"
}

fn said(cell: &Cell) -> String {
    match cell {
        Cell::Took {
            median,
            ratio,
            rounds,
        } => format!(
            "{:>9}  {:>6.2} ({:.2} to {:.2}) of {rounds}",
            time(*median),
            ratio.of_medians,
            ratio.low,
            ratio.high
        ),
        Cell::Holds { kib, processes } => {
            format!(
                "{} KiB ({} to {}), {processes} processes",
                kib[0], kib[1], kib[2]
            )
        }
        Cell::Cannot(why) => why.clone(),
    }
}

fn machine(results: &Results) -> String {
    let before = &results.before;
    let after = results
        .after
        .as_ref()
        .map_or("?", |after| after.load.as_str());
    format!(
        "Linux {}, {} × {}, {} MiB; load {} before and {after} after; it took {} s",
        before.kernel,
        before.processors,
        before.processor,
        before.memory,
        before.load,
        results.took
    )
}

pub fn time(nanos: f64) -> String {
    match nanos {
        nanos if nanos < 1e6 => format!("{:.2} µs", nanos / 1e3),
        nanos if nanos < 1e9 => format!("{:.2} ms", nanos / 1e6),
        nanos => format!("{:.2} s", nanos / 1e9),
    }
}

/// Puts the table between the marks of a page, and the plot beside it.
pub fn put(page: &Path, results: &Results, plot: &str) {
    let name = page.display();
    let text = std::fs::read_to_string(page).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (before, rest) = text
        .split_once(MARKS[0])
        .unwrap_or_else(|| panic!("{} has no mark", page.display()));
    let (_, after) = rest
        .split_once(MARKS[1])
        .unwrap_or_else(|| panic!("{} has no second mark", page.display()));
    let text = format!("{before}{}{}{}{after}", MARKS[0], table(results), MARKS[1]);
    let picture = page.with_extension("svg");
    let written = std::fs::write(page, text).and_then(|()| std::fs::write(picture, plot));
    written.unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// As Markdown: a line for each subject, a column for each row of times.
fn table(results: &Results) -> String {
    let mut text = format!("{}.\n", machine(results));
    let parts = results.rows.chunks(4);
    for rows in parts {
        let mut cells: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (column, row) in rows.iter().enumerate() {
            for (name, cell) in &row.cells {
                let line = cells
                    .entry(name)
                    .or_insert_with(|| vec![String::new(); rows.len()]);
                line[column] = brief(cell);
            }
        }
        let heads: Vec<&str> = rows.iter().map(|row| row.what.as_str()).collect();
        let _infallible = write!(text, "\n| | {} |\n|---|", heads.join(" | "));
        let _infallible = writeln!(text, "{}", "---|".repeat(heads.len()));
        for (name, ..) in &results.subjects {
            if let Some(line) = cells.get(name.as_str()) {
                let _infallible = writeln!(text, "| {name} | {} |", line.join(" | "));
            }
        }
    }
    text.push_str("\n| | told so | version |\n|---|---|---|\n");
    for (name, version, line) in &results.subjects {
        let _infallible = writeln!(text, "| {name} | `{line}` | {version} |");
    }
    for one in &results.absent {
        let _infallible = writeln!(text, "| {} | {} | |", one.name, one.why);
    }
    text
}

fn brief(cell: &Cell) -> String {
    match cell {
        Cell::Took { ratio, median, .. } if (ratio.of_medians - 1.0).abs() < f64::EPSILON => {
            time(*median)
        }
        Cell::Took { ratio, .. } => {
            format!(
                "{:.2} ({:.2}–{:.2})",
                ratio.of_medians, ratio.low, ratio.high
            )
        }
        Cell::Holds { kib, processes } => format!("{} KiB, {processes} processes", kib[0]),
        Cell::Cannot(why) => why.clone(),
    }
}
