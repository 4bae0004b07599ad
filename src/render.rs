//! Text for people: nothing in it can move a terminal's cursor.

use crate::exit;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Prints to standard output. Whoever stopped reading has what was wanted; any other failure is one of ours.
pub fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(format!("cannot write to standard output: {error}")),
    }
}

/// Says what is wrong, on standard error.
pub fn fail(error: impl std::fmt::Display) -> ExitCode {
    // A closed standard error leaves nobody to tell.
    let _unheard = writeln!(std::io::stderr(), "supervise: {error}");
    ExitCode::from(exit::OURS)
}

/// Says what went wrong without consequence for the exit status.
pub fn warn(error: impl std::fmt::Display) {
    // A closed standard error leaves nobody to tell.
    let _unheard = writeln!(std::io::stderr(), "supervise: warning: {error}");
}

/// The same text with every control character, and every character that turns writing around, made visible.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if turns || character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// The same text as one word of a shell's.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%=:,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Rows of cells, each column as wide as its widest cell, indented.
pub fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (column, cell) in row.iter().enumerate() {
            let cell = visible(cell);
            line.push_str(&format!(
                " {cell:width$} ",
                width = width(column).unwrap_or(0)
            ));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{quoted, table, visible};

    #[test]
    fn a_path_can_be_given_back_to_a_shell() {
        assert_eq!(quoted("/a/b-1.jsonl"), "/a/b-1.jsonl");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(
            visible("a\u{1b}[2Jb\n\u{202e}c"),
            "a\\u{1b}[2Jb\\n\\u{202e}c"
        );
        assert_eq!(visible("plain é"), "plain é");
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            ["a".to_owned(), "bb".to_owned()],
            ["ccc".to_owned(), "d".to_owned()],
        ];
        assert_eq!(table(&rows), "  a    bb\n  ccc  d\n");
    }
}
