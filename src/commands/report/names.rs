//! Names from inside the sandbox, for the places that a report puts them in. Whoever chose them may want to have something run or
//! shown where the report is read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fmt::Write;
use supervisor::audit::Printable;

/// A value of the record as text: with escapes for whatever could not be seen, or is no text. Nothing else of a record is ever shown.
pub fn shown(value: &Value) -> String {
    match (value, &value["b64"]) {
        (_, Value::String(bytes)) => match STANDARD.decode(bytes) {
            Ok(bytes) => Printable::new(&bytes).to_string(),
            Err(_) => format!("base64:{}", Printable::from(bytes.as_str())),
        },
        (Value::Null, _) => String::new(),
        (Value::String(text), _) => Printable::from(text.as_str()).to_string(),
        (value, _) => Printable::from(value.to_string().as_str()).to_string(),
    }
}

/// For the text and the attributes of XML and HTML. What no XML may hold is written as an escape of ours.
pub fn marked_up(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => safe.extend(character.escape_unicode()),
            _ if character.is_control() => safe.extend(character.escape_unicode()),
            _ => safe.push(character),
        }
    }
    safe
}

/// For Markdown, in which nearly every character may mean something. References to characters never do.
pub fn marked_down(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '/' | ',' => safe.push(character),
            _ if character.is_ascii() => {
                let _infallible = write!(safe, "&#{};", u32::from(character));
            }
            _ => safe.push(character),
        }
    }
    safe
}

/// For a path or an address in a URI reference: its bytes, and no escapes of ours.
pub fn in_uri(name: &str) -> String {
    let mut safe = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                safe.push(char::from(byte));
            }
            _ => {
                let _infallible = write!(safe, "%{byte:02X}");
            }
        }
    }
    safe
}

/// JSON in which every character can be seen. In the text of a value, whatever is no ASCII stands in a string.
pub fn json(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| "null".to_owned());
    let mut seen = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if character == '\u{7f}' || (!character.is_ascii() && is_hidden(character)) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(seen, "\\u{unit:04x}");
            }
        } else {
            seen.push(character);
        }
    }
    seen.push('\n');
    seen
}

fn is_hidden(character: char) -> bool {
    let text = character.to_string();
    Printable::from(text.as_str()).to_string() != text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn bytes_that_are_no_text_are_shown_as_escapes() {
        assert_eq!(shown(&json!({ "b64": "L/8=" })), "/\\xff");
        assert_eq!(shown(&json!("a\u{202e}\u{1b}\n")), "a\\u{202e}\\x1b\\n");
        assert_eq!(shown(&json!(null)), "");
    }

    #[test]
    fn markup_of_strangers_is_text() {
        assert_eq!(
            marked_up("</script a='\"&"),
            "&lt;/script a=&#39;&quot;&amp;"
        );
        assert_eq!(marked_up("\u{ffff}"), "\\u{ffff}");
        assert_eq!(
            marked_down("a|b`<!--[x](y)"),
            "a&#124;b&#96;&#60;&#33;&#45;&#45;&#91;x&#93;&#40;y&#41;"
        );
        assert_eq!(in_uri("/a b%\u{e9}?#:"), "/a%20b%25%C3%A9%3F%23%3A");
    }

    proptest! {
        #[test]
        fn nothing_in_json_is_hidden_or_changed(text: String) {
            let written = json(&json!({ &text: [&text] }));
            let hides = |c: char| c != '\n' && is_hidden(c) && c != '\\';
            prop_assert!(!written.chars().any(hides));
            let read: Value = serde_json::from_str(&written).unwrap();
            prop_assert_eq!(read, json!({ &text: [&text] }));
        }

        #[test]
        fn no_character_of_markup_survives(text: String) {
            prop_assert!(!marked_up(&text).contains(['<', '>', '"', '\'']));
            let without = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || " /,&#;".contains(c);
            prop_assert!(marked_down(&text).chars().all(without));
        }
    }
}
