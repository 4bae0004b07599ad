//! Annotations of a GitHub workflow: lines that the runner finds in what a step prints.

use super::record::{Answer, Health, Record};
use super::refusals::{Place, refusals, seen_from};
use super::{advice, state};

/// So many are written; the runner takes ten of each kind from a step and keeps quiet about the others.
const MOST: usize = 10;

/// The report.
pub fn github(record: &Record) -> String {
    let mut said = String::new();
    if record.health() != Health::Whole {
        let text = data(&state(record));
        said.push_str(&format!("::error title=supervise: the record::{text}\n"));
    }
    let mut left = MOST;
    let mut more = 0;
    for run in &record.runs {
        for refusal in refusals(run) {
            if left == 0 {
                more += 1;
                continue;
            }
            left -= 1;
            let place = match refusal.place() {
                Place::File { name, line } => {
                    let name = seen_from(&run.directory, name).unwrap_or(name);
                    format!(",file={},line={line}", property(name))
                }
                Place::Elsewhere(_) | Place::Nowhere => String::new(),
            };
            let mut text = format!("{} ({})", refusal.what(), refusal.why());
            for part in [refusal.by(), refusal.often()] {
                if !part.is_empty() {
                    text.push_str(", ");
                    text.push_str(&part);
                }
            }
            if let Some(change) = advice::change(run, &refusal) {
                text.push_str("\nto allow it: ");
                text.push_str(&change);
            }
            let level = match refusal.is_denied() {
                true => "error",
                false => "warning",
            };
            said.push_str(&format!(
                "::{level} title=refused{place}::{}\n",
                data(&text)
            ));
        }
    }
    if more > 0 {
        let all = record.count(Answer::Refused);
        said.push_str(&format!(
            "::notice title=supervise::{all} requests were refused; {more} kinds of them are not shown here\n"
        ));
    }
    said
}

/// What stands behind the second pair of colons.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// What stands between them.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_begins_another_command() {
        assert_eq!(data("a%\n::error::x"), "a%25%0A::error::x");
        assert_eq!(property("a,b:c"), "a%2Cb%3Ac");
    }
}
