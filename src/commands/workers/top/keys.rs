//! What is typed, as keys.
//!
//! A terminal sends some keys as several bytes, and what is pasted between two marks. What is pasted is nothing that a person
//! typed, and so is no key: whoever has a text copied here has no question answered.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// One that writes something.
    Char(char),
    /// The arrow.
    Up,
    /// The arrow.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Enter.
    Enter,
    /// Back to before.
    Escape,
    /// Takes back what was typed last.
    Erase,
    /// Control and that letter.
    Control(char),
}

/// No sequence is so long.
const LONGEST: usize = 32;

const ESCAPE: u8 = 0x1b;

const PASTE_ENDS: &[u8] = b"\x1b[201~";

/// What was typed and is no whole key yet.
#[derive(Debug, Default)]
pub struct Keyboard {
    rest: Vec<u8>,
    is_paste: bool,
}

impl Keyboard {
    /// The keys in what came now, which was read at once.
    pub fn keys(&mut self, bytes: &[u8]) -> Vec<Key> {
        self.rest.extend_from_slice(bytes);
        let mut keys = Vec::new();
        let mut at = 0;
        loop {
            let rest = &self.rest[at..];
            if self.is_paste {
                let end = rest
                    .windows(PASTE_ENDS.len())
                    .position(|mark| mark == PASTE_ENDS);
                match end {
                    Some(end) => {
                        self.is_paste = false;
                        at += end + PASTE_ENDS.len();
                        continue;
                    }
                    None => {
                        // But for the beginning of what ends it.
                        at += rest.len().saturating_sub(PASTE_ENDS.len() - 1);
                        break;
                    }
                }
            }
            match next(rest) {
                Next::Nothing => break,
                Next::Key(key, length) => {
                    at += length;
                    keys.extend(key);
                }
                Next::Paste(length) => {
                    at += length;
                    self.is_paste = true;
                }
            }
        }
        self.rest.drain(..at);
        keys
    }

    /// Whether what came last may be a key, or the beginning of one that is on its way.
    pub fn is_undecided(&self) -> bool {
        self.rest == [ESCAPE]
    }

    /// The key that it was, since nothing followed for a while.
    pub fn decided(&mut self) -> Option<Key> {
        self.is_undecided().then(|| {
            self.rest.clear();
            Key::Escape
        })
    }
}

enum Next {
    /// What is there begins a key at most.
    Nothing,
    /// So many bytes are this key, or none that is known.
    Key(Option<Key>, usize),
    /// So many bytes say that what follows is pasted.
    Paste(usize),
}

fn next(bytes: &[u8]) -> Next {
    match bytes {
        [] | [ESCAPE] => Next::Nothing,
        [ESCAPE, b'[', rest @ ..] => sequence(rest),
        [ESCAPE, b'O', letter, ..] => Next::Key(named(&[], *letter), 3),
        [ESCAPE, b'O'] => Next::Nothing,
        // With the key that is Alt or Meta: none of ours.
        [ESCAPE, _, ..] => Next::Key(None, 2),
        [b'\r' | b'\n', ..] => Next::Key(Some(Key::Enter), 1),
        [0x7f | 0x08, ..] => Next::Key(Some(Key::Erase), 1),
        [control @ 1..=26, ..] => Next::Key(Some(Key::Control(char::from(control - 1 + b'a'))), 1),
        [0..=0x1f, ..] => Next::Key(None, 1),
        [first, ..] => character(bytes, *first),
    }
}

/// A character, of which all bytes may not be there.
fn character(bytes: &[u8], first: u8) -> Next {
    let length = match first {
        ..0x80 => 1,
        0xc2..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0..0xf5 => 4,
        _ => return Next::Key(None, 1),
    };
    let Some(bytes) = bytes.get(..length) else {
        return Next::Nothing;
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => Next::Key(text.chars().next().map(Key::Char), length),
        Err(_) => Next::Key(None, 1),
    }
}

/// What follows the two bytes with which a sequence begins.
fn sequence(rest: &[u8]) -> Next {
    let Some(end) = rest.iter().position(|byte| matches!(byte, 0x40..=0x7e)) else {
        return match rest.len() > LONGEST {
            true => Next::Key(None, rest.len() + 2),
            false => Next::Nothing,
        };
    };
    let (parameters, length) = (&rest[..end], end + 3);
    match (parameters, rest[end]) {
        (b"200", b'~') => Next::Paste(length),
        (parameters, last) => Next::Key(named(parameters, last), length),
    }
}

fn named(parameters: &[u8], last: u8) -> Option<Key> {
    Some(match (parameters, last) {
        (b"", b'A') => Key::Up,
        (b"", b'B') => Key::Down,
        (b"", b'H') | (b"1" | b"7", b'~') => Key::Home,
        (b"", b'F') | (b"4" | b"8", b'~') => Key::End,
        (b"5", b'~') => Key::PageUp,
        (b"6", b'~') => Key::PageDown,
        (b"", b'M') => Key::Enter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(parts: &[&str]) -> Vec<Key> {
        let mut keyboard = Keyboard::default();
        parts
            .iter()
            .flat_map(|part| keyboard.keys(part.as_bytes()))
            .collect()
    }

    #[test]
    fn keys_are_told_apart_however_they_arrive() {
        use Key::*;
        assert_eq!(
            keys(&["aN\r\x7f\x03\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[H\x1b[4~"]),
            [
                Char('a'),
                Char('N'),
                Enter,
                Erase,
                Control('c'),
                Up,
                Down,
                PageUp,
                PageDown,
                Home,
                End
            ]
        );
        assert_eq!(keys(&["\x1b[", "A", "\x1b[1;5", "Bj"]), [Up, Char('j')]);
        assert_eq!(keys(&["\x1b", "[A"]), [Up]);
        assert_eq!(keys(&["é\u{65e5}"]), [Char('é'), Char('\u{65e5}')]);
    }

    #[test]
    fn the_key_that_begins_the_names_of_others_is_one_when_nothing_follows() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.decided(), None);
        assert_eq!(keyboard.keys(b"a\x1b"), [Key::Char('a')]);
        assert!(keyboard.is_undecided());
        assert_eq!(keyboard.decided(), Some(Key::Escape));
        assert!(!keyboard.is_undecided());
        assert_eq!(
            keyboard.keys(b"[200~a"),
            "[200~a".chars().map(Key::Char).collect::<Vec<_>>()
        );
    }

    #[test]
    fn half_a_character_waits_for_its_other_half() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.keys(b"\xc3"), []);
        assert_eq!(
            keyboard.keys(b"\xa9\xff\xc3a"),
            [Key::Char('é'), Key::Char('a')]
        );
    }

    #[test]
    fn what_is_pasted_is_no_key() {
        assert_eq!(keys(&["\x1b[200~aaa\ryes\x1b[201~n"]), [Key::Char('n')]);
        assert_eq!(
            keys(&["\x1b", "[20", "0~a", "aa\x1b[2", "01", "~", "n"]),
            [Key::Char('n')]
        );
        // However long, and it takes no room.
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.keys(b"\x1b[200~"), []);
        for _ in 0..1000 {
            assert_eq!(keyboard.keys(&[b'a'; 100]), []);
        }
        assert!(keyboard.rest.len() < 10);
        assert_eq!(keyboard.keys(b"\x1b[201~q"), [Key::Char('q')]);
    }

    #[test]
    fn a_sequence_that_does_not_end_is_dropped() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.keys(b"\x1b["), []);
        assert_eq!(keyboard.keys(&[b'1'; 100]), []);
        assert_eq!(keyboard.keys(b"q"), [Key::Char('q')]);
    }
}
