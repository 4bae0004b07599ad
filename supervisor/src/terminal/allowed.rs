//! Which control sequences may reach the caller's terminal: a list of what is harmless. What is not on it is dropped, whatever it
//! is to some terminal: what answers (and so types), what reads or writes the clipboard, what names windows, programs keys, prints
//! or moves windows.

/// A private mode that may be set and reset, and how it is left.
struct Mode {
    number: u16,
    left: Left,
}

/// What becomes of a mode when the command has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It stays as it is.
    Alone,
    /// It is reset if it was set: it would make the terminal send what nobody reads, or show nothing.
    Off,
    /// It is set if it was reset.
    On,
}

const fn mode(number: u16, left: Left) -> Mode {
    Mode { number, left }
}

/// xterm's control sequences, under DECSET. Not there: 40 and 2048, which resize or report sizes, 2031, which reports colours, and
/// all that is known to one terminal only.
const MODES: [Mode; 38] = [
    // Keys of the cursor and the number pad.
    mode(1, Left::Off),
    mode(66, Left::Off),
    // The screen: width, scrolling, reverse, origin, wrapping, cursor, margins.
    mode(3, Left::Alone),
    mode(4, Left::Alone),
    mode(5, Left::Off),
    mode(6, Left::Off),
    mode(7, Left::On),
    mode(8, Left::Alone),
    mode(12, Left::Alone),
    mode(25, Left::On),
    mode(45, Left::Alone),
    mode(67, Left::Alone),
    mode(69, Left::Off),
    mode(80, Left::Alone),
    // The mouse, focus, and pasted text in brackets.
    mode(9, Left::Off),
    mode(1000, Left::Off),
    mode(1001, Left::Off),
    mode(1002, Left::Off),
    mode(1003, Left::Off),
    mode(1004, Left::Off),
    mode(1005, Left::Off),
    mode(1006, Left::Off),
    mode(1007, Left::Alone),
    mode(1015, Left::Off),
    mode(1016, Left::Off),
    mode(2004, Left::Off),
    // What the modifier keys send.
    mode(1034, Left::Alone),
    mode(1035, Left::Alone),
    mode(1036, Left::Alone),
    mode(1039, Left::Alone),
    mode(1045, Left::Alone),
    // The other screen.
    mode(47, Left::Off),
    mode(1047, Left::Off),
    mode(1048, Left::Alone),
    mode(1049, Left::Off),
    // Updates at once, wide characters.
    mode(2026, Left::Off),
    mode(2027, Left::Alone),
    mode(2028, Left::Alone),
];

/// What the command did to modes that are put right after it: a bit for each of the list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Changed(u64);

impl Changed {
    fn note(&mut self, number: u16, is_set: bool) {
        let at = MODES.iter().position(|mode| mode.number == number);
        let Some(at) = at else {
            return;
        };
        match (MODES[at].left, is_set) {
            (Left::Alone, _) => {}
            (Left::Off, true) | (Left::On, false) => self.0 |= 1 << at,
            (Left::Off, false) | (Left::On, true) => self.0 &= !(1 << at),
        }
    }

    /// What puts them right.
    pub fn undone(self) -> Vec<u8> {
        let mut text = Vec::new();
        for (at, mode) in MODES.iter().enumerate() {
            if self.0 & 1 << at != 0 {
                let end = match mode.left {
                    Left::On => 'h',
                    Left::Off | Left::Alone => 'l',
                };
                text.extend_from_slice(format!("\x1b[?{}{end}", mode.number).as_bytes());
            }
        }
        text
    }
}

/// An escape sequence without parameters: what stands between the escape and the last byte, and that one.
pub(super) fn escape(intermediates: &[u8], last: u8) -> bool {
    match intermediates {
        // Cursor saved, restored and moved, tabs, single shifts, keypad, reset, locking shifts.
        [] => b"78DEHM=><cNOno|}~69".contains(&last),
        // Character sets, of which some have names of two bytes.
        [b'(' | b')' | b'*' | b'+' | b'-' | b'.' | b'/', more @ ..] => more.len() <= 1,
        // Lines of double height, the screen filled.
        b"#" => b"34568".contains(&last),
        _ => false,
    }
}

/// A control sequence: all between its introducer and its last byte, and that one. Notes what it does to modes.
pub(super) fn control(body: &[u8], last: u8, changed: &mut Changed) -> bool {
    let first_intermediate = body.iter().position(|byte| (0x20..0x30).contains(byte));
    let (given, intermediates) = body.split_at(first_intermediate.unwrap_or(body.len()));
    match (given, intermediates) {
        ([b'?', given @ ..], []) => private(given, last, changed),
        // The rest of what is private: how keys are sent, and questions.
        ([b'<'..=b'?', ..], _) => false,
        // Not in between either.
        (given, _) if given.iter().any(|byte| (b'<'..=b'?').contains(byte)) => false,
        (given, []) => public(given, last),
        // The cursor's shape.
        (_, b" ") => last == b'q',
        // A soft reset.
        ([], b"!") => last == b'p',
        _ => false,
    }
}

fn public(given: &[u8], last: u8) -> bool {
    match last {
        b'A'..=b'M' | b'P' | b'S' | b'X' | b'Z' | b'@' | b'`' | b'a' | b'b' | b'd'..=b'g' => true,
        b'm' | b'r' | b's' | b'u' => true,
        // With more parameters it is a way to follow the mouse.
        b'T' => numbers(given).is_some_and(|numbers| numbers.len() <= 1),
        // Inserting, new lines, and the cursor of some consoles. Not 2, which locks the keyboard.
        b'h' | b'l' => are_all(given, |number| matches!(number, 4 | 20 | 34)),
        // Of what is done with windows: their titles put aside and taken back.
        b't' => numbers(given).is_some_and(|numbers| matches!(numbers.first(), Some(22 | 23))),
        _ => false,
    }
}

fn private(given: &[u8], last: u8, changed: &mut Changed) -> bool {
    match last {
        b'J' | b'K' => numbers(given).is_some(),
        b'h' | b'l' | b'r' | b's' => {
            let is_known = |number| MODES.iter().any(|mode| mode.number == number);
            if !are_all(given, is_known) {
                return false;
            }
            for number in numbers(given).into_iter().flatten() {
                match last {
                    b'h' => changed.note(number, true),
                    b'l' => changed.note(number, false),
                    // As it was when it was saved, whatever that was.
                    b'r' => changed.taint(number),
                    _ => {}
                }
            }
            true
        }
        _ => false,
    }
}

impl Changed {
    fn taint(&mut self, number: u16) {
        self.note(number, true);
        let on = MODES
            .iter()
            .any(|mode| mode.number == number && mode.left == Left::On);
        if on {
            self.note(number, false);
        }
    }
}

fn are_all(given: &[u8], known: impl Fn(u16) -> bool) -> bool {
    numbers(given).is_some_and(|numbers| numbers.into_iter().all(known))
}

/// The parameters; nothing where a number should be is 0.
fn numbers(given: &[u8]) -> Option<Vec<u16>> {
    let number = |text: &[u8]| match text {
        [] => Some(0),
        digits => std::str::from_utf8(digits).ok()?.parse().ok(),
    };
    given.split(|byte| *byte == b';').map(number).collect()
}

/// A command to the operating system, as these are called: what stands between its introducer and its end, all of it visible ASCII.
pub(super) fn command(body: &[u8]) -> bool {
    let end = body.iter().position(|byte| *byte == b';');
    let (number, rest) = body.split_at(end.unwrap_or(body.len()));
    match number {
        // Links.
        b"8" => true,
        // Colours: set, and as they were. One that is asked for is answered.
        b"4" | b"5" | b"10" | b"11" | b"12" | b"13" | b"14" | b"15" | b"16" | b"17" | b"18"
        | b"19" => !rest.contains(&b'?'),
        b"104" | b"105" | b"110" | b"111" | b"112" | b"113" | b"114" | b"115" | b"116" | b"117"
        | b"118" | b"119" => true,
        _ => false,
    }
}
