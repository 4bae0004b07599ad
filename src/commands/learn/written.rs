//! A lesson as a policy file, with the reason for each entry beside it.

use super::Mode;
use crate::hint::shown;
use crate::render::visible;
use std::fmt::Write;
use std::path::Path;
use supervisor::advice::learn::{Key, Lesson, Line, Things};
use supervisor::advice::quoted;
use supervisor::audit::Started;

/// The text of a policy.
pub fn policy(
    lesson: &Lesson,
    extends: &str,
    start: &Started,
    mode: Mode,
    things: &Things,
) -> String {
    let command = start.command.iter().map(|word| shown(Path::new(word)));
    let command: Vec<String> = command.collect();
    let mut text = format!(
        "# Learned from one run of: {}\n\
         # What that run did not do is not in here: learn from others with --merge. A `?` at the end of a path: it may be absent.\n\
         # What is sensitive (keys, tokens, histories, what browsers keep, sockets of daemons) is never included without being\n\
         # named by --include; what was left out stands at the end.\n\
         version = 1\nextends = [{extends}]\n",
        comment(&command.join(" ")),
    );
    let mut section = |name: &str, keys: &[(Key, &str)]| {
        let entries: String = keys
            .iter()
            .map(|(key, name)| list(lesson, *key, name))
            .collect();
        if !entries.is_empty() {
            text.push_str(&format!("\n[{name}]\n{entries}"));
        }
    };
    section(
        "fs",
        &[
            (Key::Read, "read"),
            (Key::Write, "write"),
            (Key::Exec, "exec"),
            (Key::Make, "make"),
            (Key::Deny, "deny"),
        ],
    );
    section(
        "net",
        &[
            (Key::Connect, "connect"),
            (Key::Bind, "bind"),
            (Key::Loopback, "loopback"),
            (Key::Udp, "udp"),
            (Key::Unix, "unix"),
        ],
    );
    for line in lines(lesson, Key::Request) {
        text.push_str(&request(line));
    }
    if mode == Mode::Guard && !things.refused.is_empty() {
        text.push_str("\n# Refused while it was learned from:\n");
        for refused in &things.refused {
            text.push_str(&format!("# - {}\n", comment(refused)));
        }
    }
    if !lesson.left_out.is_empty() {
        text.push_str("\n# Left out:\n");
        for (what, why) in &lesson.left_out {
            text.push_str(&format!("# - {}: {}\n", comment(what), comment(why)));
        }
    }
    text
}

/// A comment stays on its line.
pub fn comment(text: &str) -> String {
    visible(text)
}

/// The entries of a key.
pub fn lines(lesson: &Lesson, key: Key) -> impl Iterator<Item = &Line> {
    lesson.lines.iter().filter(move |line| line.key == key)
}

/// What stands in the list: a string, or a table where a service acts outside.
pub fn value(line: &Line) -> String {
    match line.key {
        Key::UnixUnconfined => {
            format!(
                "{{ path = {}, unconfined_peer = true }}",
                quoted(&line.text)
            )
        }
        _ => quoted(&line.text),
    }
}

/// A rule of its own.
pub fn request(line: &Line) -> String {
    format!(
        "\n# {}\n[[request]]\npath = {}\naccess = [\"read\", \"write\"]\ndecision = \"allow\"\n",
        comment(&line.why),
        quoted(&line.text),
    )
}

fn list(lesson: &Lesson, key: Key, name: &str) -> String {
    let mut entries: Vec<&Line> = lines(lesson, key).collect();
    if key == Key::Unix {
        entries.extend(lines(lesson, Key::UnixUnconfined));
    }
    if entries.is_empty() {
        return String::new();
    }
    if let (Key::Loopback | Key::Udp, [line]) = (key, entries.as_slice()) {
        return format!(
            "# {}\n{name} = {}\n",
            comment(&line.why),
            quoted(&line.text)
        );
    }
    let values: Vec<String> = entries
        .iter()
        .map(|line| format!("{},", value(line)))
        .collect();
    let width = values
        .iter()
        .map(|value| value.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = format!("{name} = [\n");
    for (line, value) in entries.iter().zip(&values) {
        let _infallible = writeln!(text, "    {value:width$}  # {}", comment(&line.why));
    }
    text + "]\n"
}
