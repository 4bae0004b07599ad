//! JSON in which every character can be seen.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

use super::printable::deceives;

/// serde_json's compact form, but with the escapes that JSON leaves to the writer: a log is looked at with `cat`, too.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // What JSON demands is already escaped by the serializer; most fragments have nothing else in them.
        let is_plain = |byte: u8| (0x20..0x7f).contains(&byte);
        if fragment.bytes().all(is_plain) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(deceives) {
            let (before, after) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = after.chars();
            let mut units = [0u16; 2];
            for unit in characters.next().into_iter().flat_map(|character| {
                let length = character.encode_utf16(&mut units).len();
                units.into_iter().take(length)
            }) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Appends `value` to `line`.
pub(super) fn append<T: Serialize>(line: &mut Vec<u8>, value: &T) -> Result<(), serde_json::Error> {
    value.serialize(&mut serde_json::Serializer::with_formatter(line, Visible))
}

#[cfg(test)]
mod tests {
    use super::append;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        let mut line = Vec::new();
        append(&mut line, &text).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn what_cannot_be_seen_is_escaped() {
        assert_eq!(
            written("ä\u{7f}\u{9b}\u{202e}\u{e0041}\"\n"),
            r#""ä\u007f\u009b\u202e\udb40\udc41\"\n""#
        );
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(text: String) {
            let line = written(&text);
            prop_assert!(!line.chars().any(char::is_control));
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}
