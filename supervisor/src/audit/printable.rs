//! Text from strangers, made safe to show.

use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes that a stranger chose, shown so that they can neither drive a terminal nor look like something else: controls,
/// invisible and direction-changing characters and what is not UTF-8 are written as escapes, and so is the backslash.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a>(&'a [u8]);

impl<'a> Printable<'a> {
    /// Of any bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> From<&'a Path> for Printable<'a> {
    fn from(path: &'a Path) -> Self {
        Self(path.as_os_str().as_bytes())
    }
}

impl<'a> From<&'a OsStr> for Printable<'a> {
    fn from(text: &'a OsStr) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a str> for Printable<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    '\\' => f.write_str("\\\\")?,
                    _ if character.is_ascii_control() => write!(f, "\\x{:02x}", character as u32)?,
                    _ if deceives(character) => write!(f, "\\u{{{:x}}}", character as u32)?,
                    _ => f.write_char(character)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Whether a reader would not see this character, or see others in another place because of it.
pub(super) fn deceives(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
                | '\u{f0000}'..='\u{10ffff}'
        )
        // Spaces that are not the space.
        || (character.is_whitespace() && character != ' ')
}

#[cfg(test)]
mod tests {
    use super::Printable;
    use proptest::prelude::*;

    #[test]
    fn ordinary_text_stays() {
        let text = "/home/jörg/Überblick 日本.txt";
        assert_eq!(Printable::from(text).to_string(), text);
    }

    #[test]
    fn what_drives_a_terminal_is_escaped() {
        let shown = Printable::new(b"/a\x1b[2K\r\x9b\xff\x7f\n\\").to_string();
        assert_eq!(shown, "/a\\x1b[2K\\r\\x9b\\xff\\x7f\\n\\\\");
    }

    #[test]
    fn what_turns_text_around_or_hides_is_escaped() {
        let shown = Printable::from("a\u{202e}txt\u{200b}\u{85}\u{a0}\u{e0041}").to_string();
        assert_eq!(shown, "a\\u{202e}txt\\u{200b}\\u{85}\\u{a0}\\u{e0041}");
    }

    proptest! {
        #[test]
        fn different_bytes_look_different(a: Vec<u8>, b: Vec<u8>) {
            let same = Printable::new(&a).to_string() == Printable::new(&b).to_string();
            prop_assert_eq!(same, a == b);
        }

        #[test]
        fn nothing_shown_is_a_control(bytes: Vec<u8>) {
            prop_assert!(!Printable::new(&bytes).to_string().chars().any(char::is_control));
        }
    }
}
