//! How a policy spells what was refused.

use crate::audit::Printable;
use std::fmt::Write;
use std::path::Path;

/// The path as a policy spells it: `None` where it would mean something else there. `end` is what stands behind it.
#[must_use]
pub fn spelled(path: &Path, home: Option<&Path>, end: &str) -> Option<String> {
    let text = path.to_str()?;
    if text.contains(['$', '*', '?', '[']) {
        return None;
    }
    let home = home.filter(|home| home.parent().is_some());
    let below = home.and_then(|home| path.strip_prefix(home).ok());
    Some(match below.and_then(Path::to_str) {
        Some(rest) if !rest.is_empty() => format!("$HOME/{rest}{end}"),
        _ => format!("{text}{end}"),
    })
}

/// A string of TOML in which nothing is hidden.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            _ if is_visible(character) => quoted.push(character),
            _ => {
                let _infallible = match u32::from(character) {
                    code @ ..=0xffff => write!(quoted, "\\u{code:04X}"),
                    code => write!(quoted, "\\U{code:08X}"),
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a character is seen for what it is.
#[must_use]
pub fn is_visible(character: char) -> bool {
    let text = character.to_string();
    Printable::from(text.as_str()).to_string() == text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_reads_back_as_what_it_was_and_shows_all_of_it() {
        for text in [
            "plain",
            "two \"words\" \\n",
            "a\nb\tc\rd\u{1b}e",
            "turned\u{202e}\u{200b}",
            "\u{e0001}",
        ] {
            let quoted = quoted(text);
            assert!(quoted.chars().all(is_visible_or_escape), "{quoted}");
            let table: toml::Table = format!("x = {quoted}").parse().unwrap();
            assert_eq!(table["x"].as_str(), Some(text));
        }
    }

    fn is_visible_or_escape(character: char) -> bool {
        character == '\\' || is_visible(character)
    }

    #[test]
    fn what_a_policy_would_take_for_a_pattern_or_a_variable_is_not_spelled() {
        for path in ["/a*", "/$HOME", "/what?", "/[x]"] {
            assert_eq!(spelled(Path::new(path), None, ""), None, "{path}");
        }
        let home = Some(Path::new("/home/u"));
        let spell = |path: &str| spelled(Path::new(path), home, "?").unwrap();
        assert_eq!(spell("/home/u/a"), "$HOME/a?");
        assert_eq!(spell("/home/u"), "/home/u?");
        assert_eq!(spell("/home/other"), "/home/other?");
        // Root of nothing: every path would be below it.
        assert_eq!(
            spelled(Path::new("/etc/x"), Some(Path::new("/")), "").unwrap(),
            "/etc/x"
        );
    }
}
