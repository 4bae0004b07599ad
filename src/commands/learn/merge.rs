//! A lesson added to a policy that is there: what stands in it stays as it is, comments and all.

use super::written::{comment, lines, request, value};
use supervisor::advice::learn::{Key, Lesson, Line};
use toml_edit::{Array, DocumentMut, Item, Table, Value};

/// The lists, each in its table.
const LISTS: [(Key, &str, &str); 9] = [
    (Key::Read, "fs", "read"),
    (Key::Write, "fs", "write"),
    (Key::Exec, "fs", "exec"),
    (Key::Make, "fs", "make"),
    (Key::Deny, "fs", "deny"),
    (Key::Connect, "net", "connect"),
    (Key::Bind, "net", "bind"),
    (Key::Unix, "net", "unix"),
    (Key::UnixUnconfined, "net", "unix"),
];

/// The text with what it does not say yet.
pub fn merged(before: &str, lesson: &Lesson) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the policy cannot be added to: {error}");
    let mut document: DocumentMut = before.parse().map_err(|error| failed(&error))?;
    for (key, table, name) in LISTS {
        for line in lines(lesson, key) {
            let array = array(&mut document, table, name).map_err(|error| failed(&error))?;
            add(array, line).map_err(|error| failed(&error))?;
        }
    }
    for (key, name) in [(Key::Loopback, "loopback"), (Key::Udp, "udp")] {
        for line in lines(lesson, key) {
            let table = table(&mut document, "net").map_err(|error| failed(&error))?;
            // What the policy says already is its author's decision.
            if !table.contains_key(name) {
                table.insert(name, Item::Value(Value::from(line.text.as_str())));
            }
        }
    }
    let mut text = document.to_string();
    for line in lines(lesson, Key::Request) {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&request(line));
    }
    Ok(text)
}

/// The text without that entry in one of its lists, such as `ask_read`. `None`: there is no such entry.
pub fn without(before: &str, of: &str, name: &str, entry: &str) -> Option<String> {
    let mut document: DocumentMut = before.parse().ok()?;
    let list = document.get_mut(of)?.as_table_like_mut()?.get_mut(name)?;
    let list = list.as_array_mut()?;
    let at = list
        .iter()
        .position(|value| value.as_str() == Some(entry))?;
    // What stands before it stays: it may be about others.
    let gone = list.remove(at);
    let before = gone.decor().prefix().and_then(|prefix| prefix.as_str());
    if let (Some(before), Some(next)) = (before.map(str::to_owned), list.get_mut(at)) {
        next.decor_mut().set_prefix(before);
    }
    Some(document.to_string())
}

fn table<'a>(
    document: &'a mut DocumentMut,
    name: &str,
) -> Result<&'a mut dyn toml_edit::TableLike, String> {
    let item = document.entry(name).or_insert(Item::Table(Table::new()));
    item.as_table_like_mut()
        .ok_or_else(|| format!("`{name}` is no table"))
}

fn array<'a>(document: &'a mut DocumentMut, of: &str, name: &str) -> Result<&'a mut Array, String> {
    let table = table(document, of)?;
    let item = table
        .entry(name)
        .or_insert(Item::Value(Value::Array(Array::new())));
    item.as_array_mut()
        .ok_or_else(|| format!("`{of}.{name}` is no list"))
}

fn add(array: &mut Array, line: &Line) -> Result<(), String> {
    let is_there = |value: &Value| value.as_str() == Some(line.text.as_str());
    if array.iter().any(is_there) {
        return Ok(());
    }
    let mut new: Value = value(line)
        .parse()
        .map_err(|error: toml_edit::TomlError| error.to_string())?;
    // What stands behind the last entry is about that.
    let behind = array.trailing().as_str().unwrap_or_default().trim_end();
    let prefix = format!("{behind}\n    # {}\n    ", comment(&line.why));
    new.decor_mut().set_prefix(prefix);
    array.push_formatted(new);
    array.set_trailing_comma(true);
    array.set_trailing("\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lesson(entries: &[(Key, &str)]) -> Lesson {
        Lesson {
            lines: entries
                .iter()
                .map(|(key, text)| Line {
                    key: *key,
                    text: (*text).to_owned(),
                    why: "seen".to_owned(),
                })
                .collect(),
            left_out: Vec::new(),
        }
    }

    #[test]
    fn what_stands_there_stays_with_its_comments_and_what_is_new_is_added() {
        let before = "# Mine.\nversion = 1\n[fs]\n# All of it.\nread = [\n    \"/a\", # first\n    # last\n    \"/b\",\n]\n";
        let after = merged(
            before,
            &lesson(&[
                (Key::Read, "/a"),
                (Key::Read, "/c"),
                (Key::Exec, "/d"),
                (Key::Udp, "any"),
            ]),
        )
        .unwrap();
        for line in before.lines() {
            assert!(after.contains(line), "{line}\n{after}");
        }
        let read: toml_edit::DocumentMut = after.parse().unwrap();
        let list = |name: &str| -> Vec<String> {
            let values = read["fs"][name].as_array().unwrap().iter();
            values
                .map(|value| value.as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(list("read"), ["/a", "/b", "/c"]);
        assert_eq!(list("exec"), ["/d"]);
        assert_eq!(read["net"]["udp"].as_str(), Some("any"));
    }

    #[test]
    fn a_second_time_nothing_is_added() {
        let learned = lesson(&[
            (Key::Write, "/a"),
            (Key::Connect, "*:443"),
            (Key::Loopback, "own"),
        ]);
        let once = merged(
            "version = 1\nnet = { connect = [\"*:1\"], loopback = \"none\" }\n",
            &learned,
        )
        .unwrap();
        assert_eq!(merged(&once, &learned).unwrap(), once);
        assert!(once.contains("loopback = \"none\""), "{once}");
    }
}
