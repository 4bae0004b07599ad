//! Text of strangers, made fit for a screen: each character of it is seen, in columns that are known, and nothing else looks like it.

use supervisor::advice::is_visible;
use supervisor::audit::Printable;
use unicode_width::UnicodeWidthChar;

/// A name or a reason, so that different ones look different. What would take no column, such as an accent of its own, is written
/// as an escape, too: on a screen of cells it would be gone.
pub fn plain(text: &str) -> String {
    escaped(&Printable::from(text).to_string(), |_| true)
}

/// A line in which what strangers said was escaped already, and is to be so whatever they said.
pub fn line(text: &str) -> String {
    escaped(text, |character| character == '\\' || is_visible(character))
}

fn escaped(text: &str, is_fine: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match is_fine(character) && columns_of(character) > 0 {
            true => shown.push(character),
            false => shown.extend(character.escape_unicode()),
        }
    }
    shown
}

/// How many columns a character takes.
pub fn columns_of(character: char) -> usize {
    character.width().unwrap_or(0)
}

/// How many columns a text takes.
pub fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// As much of it as fits, with a mark where something is left out: at its end.
pub fn cut(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let mut shown = beginning(text, most.saturating_sub(1)).to_owned();
    if most > 0 {
        shown.push('…');
    }
    shown
}

/// The same, left out in the middle: the end of a path says most.
pub fn cut_within(text: &str, most: usize) -> String {
    if columns(text) <= most || most < 8 {
        return cut(text, most);
    }
    let first = beginning(text, most / 3);
    let mut last = text.len();
    let mut taken = columns(first) + 1;
    for (at, character) in text.char_indices().rev() {
        taken += columns_of(character);
        if taken > most {
            break;
        }
        last = at;
    }
    format!("{first}…{}", &text[last..])
}

/// All of it, in lines of at most so many columns; those after the first begin with `indent`.
pub fn wrapped(text: &str, most: usize, indent: &str) -> Vec<String> {
    let room = most.saturating_sub(columns(indent)).max(2);
    let first = beginning(text, most.max(2));
    let mut lines = vec![first.to_owned()];
    let mut rest = &text[first.len()..];
    while !rest.is_empty() {
        let part = beginning(rest, room);
        lines.push(format!("{indent}{part}"));
        rest = &rest[part.len()..];
    }
    lines
}

/// The longest beginning of at most so many columns.
fn beginning(text: &str, most: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, character)| {
        taken += columns_of(*character);
        taken > most
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// A time, in few characters.
pub fn time(seconds: u64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_no_column_is_seen() {
        assert_eq!(plain("a\u{301}\u{1161}b\\"), "a\\u{301}\\u{1161}b\\\\");
        assert_eq!(plain("/日本 é"), "/日本 é");
        assert_eq!(line("\\u{1b} \u{200b}\u{301}"), "\\u{1b} \\u{200b}\\u{301}");
    }

    #[test]
    fn what_does_not_fit_is_said_to_be_left_out() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("ab", 0), "");
        assert_eq!(
            cut_within("/home/user/deep/below/name", 16),
            "/home…below/name"
        );
        assert_eq!(cut_within("日本語日本語日本語", 10), "日…日本語");
    }

    #[test]
    fn times_are_short() {
        let times = [0, 59, 61, 3661, 90_061].map(time);
        assert_eq!(times, ["0s", "59s", "1m01s", "1h01m", "1d01h"]);
    }

    proptest! {
        #[test]
        fn wrapped_text_is_all_there_and_fits(text: String, most in 4usize..40) {
            let text = plain(&text);
            let lines = wrapped(&text, most, "  ");
            for line in &lines {
                prop_assert!(columns(line) <= most);
            }
            let mut parts = lines.iter();
            let first = parts.next().cloned().unwrap_or_default();
            let rest: String = parts.map(|line| &line[2..]).collect();
            prop_assert_eq!(first + &rest, text);
        }

        #[test]
        fn different_texts_look_different(a: String, b: String) {
            prop_assert_eq!(plain(&a) == plain(&b), a == b);
        }

        #[test]
        fn all_of_it_takes_columns_that_are_known(text: String) {
            prop_assert!(plain(&text).chars().chain(line(&text).chars()).all(|c| columns_of(c) > 0));
        }
    }
}
