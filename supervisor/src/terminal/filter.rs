//! What a command writes to its terminal, without what would reach through to the person behind it.
//!
//! A machine over bytes: text goes on at once, a control sequence when it is whole and on the list of what is harmless
//! ([`super::allowed`]). So the terminal behind this is never in the middle of anything that was not decided on, and where its
//! idea of where a sequence ends differs from ours, it has not seen the sequence. What goes on goes on byte for byte.
//!
//! Bounded: a control sequence is held up to a length that none has, and of strings that can only be dropped nothing is held.
//!
//! The terminal is taken to speak UTF-8. The bytes 0x80 to 0x9f are no controls in the middle of a character, and elsewhere some
//! terminals take them for controls and some only where a whole character says so (`C2 9B`): here both are. What follows is then
//! text to the one kind, and a harmless sequence to the other.
//!
//! The parser is our own since those that there are (`vte` is the one that is well kept) give what a sequence means: its bytes are
//! gone, strings without end are gathered, and a control in eight bits is another thing to them.

use super::allowed::{self, Changed};

/// A longer control sequence is dropped.
const LONGEST_CONTROL: usize = 256;
/// A longer command to the operating system is dropped; links can be this long.
const LONGEST_COMMAND: usize = 4096;

const BELL: u8 = 0x07;
const ENQUIRY: u8 = 0x05;
const CANCEL: u8 = 0x18;
const SUBSTITUTE: u8 = 0x1a;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// Where the machine stands. What of the sequence is held stands in `held`, its introducer first, of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In text.
    Ground,
    /// Behind an escape.
    Escape,
    /// In a control sequence.
    Control { introducer: usize },
    /// In one that is too long.
    TooLong,
    /// In a command to the operating system, which may be harmless.
    Command { introducer: usize },
    /// Behind an escape in it.
    CommandEscape { introducer: usize },
    /// In a string that is dropped. `bell`: a bell ends it, too.
    Dropped { bell: bool },
    /// Behind an escape in it.
    DroppedEscape { bell: bool },
}

/// The machine.
#[derive(Debug)]
pub(super) struct Filter {
    state: State,
    /// Of a sequence that is not decided on.
    held: Vec<u8>,
    /// Of a character that is not whole.
    character: Vec<u8>,
    changed: Changed,
}

impl Filter {
    pub fn new() -> Self {
        Self {
            state: State::Ground,
            held: Vec::new(),
            character: Vec::with_capacity(4),
            changed: Changed::default(),
        }
    }

    /// Takes what was written, in pieces of any size, and appends what may go on.
    pub fn pass(&mut self, mut written: &[u8], out: &mut Vec<u8>) {
        while let Some(first) = written.first() {
            // Nearly all of it.
            if self.state == State::Ground && self.character.is_empty() {
                let is_plain = |byte: &u8| (0x20..DELETE).contains(byte);
                let end = written.iter().position(|byte| !is_plain(byte));
                let (plain, rest) = written.split_at(end.unwrap_or(written.len()));
                out.extend_from_slice(plain);
                written = rest;
                if !plain.is_empty() {
                    continue;
                }
            }
            self.byte(*first, out);
            written = &written[1..];
        }
    }

    /// What puts the modes of the terminal right that the command left otherwise. The machine is as new afterwards.
    pub fn end(&mut self) -> Vec<u8> {
        let text = self.changed.undone();
        *self = Self::new();
        text
    }

    /// Takes a byte, and divides characters from controls.
    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        if let [first, more @ ..] = self.character.as_slice() {
            if continues(*first, more.len(), byte) {
                self.character.push(byte);
                if self.character.len() == length(self.character[0]) {
                    let mut whole = std::mem::take(&mut self.character);
                    match *whole.as_slice() {
                        [0xc2, control @ 0x80..=0x9f] => self.control(control, &whole, out),
                        _ => self.text(&whole, out),
                    }
                    // The room for the next.
                    whole.clear();
                    self.character = whole;
                }
                return;
            }
            // It is none; so each byte of it stands for itself.
            for byte in std::mem::take(&mut self.character) {
                self.alone(byte, out);
            }
        }
        match length(byte) {
            1 => self.alone(byte, out),
            _ => self.character.push(byte),
        }
    }

    /// A byte that is no part of a character of several.
    fn alone(&mut self, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0..=0x7f => self.ascii(byte, out),
            0x80..=0x9f => self.control(byte, &[byte], out),
            _ => self.text(&[byte], out),
        }
    }

    /// A character beyond ASCII.
    fn text(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.state {
            State::Dropped { .. } => {}
            State::DroppedEscape { bell } => self.state = State::Dropped { bell },
            State::Command { .. } | State::CommandEscape { .. } => self.drop_string(true),
            // In the middle of a sequence: that is over, and was none.
            _ => {
                self.ground();
                out.extend_from_slice(bytes);
            }
        }
    }

    /// A control beyond ASCII, as whatever bytes it came.
    fn control(&mut self, control: u8, bytes: &[u8], out: &mut Vec<u8>) {
        match self.state {
            State::Command { .. }
            | State::CommandEscape { .. }
            | State::Dropped { .. }
            | State::DroppedEscape { .. } => match control {
                0x9c => self.ground(),
                _ => self.drop_string(self.ends_with_bell()),
            },
            State::Ground | State::Escape | State::Control { .. } | State::TooLong => {
                self.ground();
                let introducer = bytes.len();
                match control {
                    // Lines, a tab, single shifts.
                    0x84 | 0x85 | 0x88 | 0x8d | 0x8e | 0x8f => out.extend_from_slice(bytes),
                    0x9b => self.hold(bytes, State::Control { introducer }),
                    0x9d => self.hold(bytes, State::Command { introducer }),
                    0x90 | 0x98 | 0x9e | 0x9f => self.drop_string(false),
                    _ => {}
                }
            }
        }
    }

    fn ascii(&mut self, byte: u8, out: &mut Vec<u8>) {
        match (self.state, byte) {
            (State::Ground, ESCAPE) => self.hold(&[ESCAPE], State::Escape),
            (State::Ground, _) => execute(byte, out),
            (_, CANCEL | SUBSTITUTE) => self.ground(),
            (State::Command { introducer }, _) => self.in_command(introducer, byte, out),
            (State::CommandEscape { introducer }, b'\\') => {
                self.finish_command(introducer, b"\x1b\\", out);
            }
            (State::Dropped { bell }, ESCAPE) => self.state = State::DroppedEscape { bell },
            (State::Dropped { bell: true }, BELL) | (State::DroppedEscape { .. }, b'\\') => {
                self.ground();
            }
            (State::Dropped { .. }, _) => {}
            // The string is over, and this is another sequence.
            (State::CommandEscape { .. } | State::DroppedEscape { .. }, _) => {
                self.hold(&[ESCAPE], State::Escape);
                self.ascii(byte, out);
            }
            (State::Escape | State::Control { .. } | State::TooLong, ESCAPE) => {
                self.hold(&[ESCAPE], State::Escape);
            }
            // Terminals do these at once, wherever they stand.
            (_, 0..0x20) => execute(byte, out),
            (_, DELETE..) => {}
            (State::Escape, _) => self.in_escape(byte, out),
            (State::Control { introducer }, _) => self.in_control(introducer, byte, out),
            (State::TooLong, 0x40..) => self.ground(),
            (State::TooLong, _) => {}
        }
    }

    fn in_escape(&mut self, byte: u8, out: &mut Vec<u8>) {
        let is_first = self.held.len() == 1;
        match byte {
            0x20..0x30 if self.held.len() < LONGEST_CONTROL => self.held.push(byte),
            0x20..0x30 => self.state = State::TooLong,
            b'[' if is_first => {
                self.held.push(byte);
                self.state = State::Control { introducer: 2 };
            }
            b']' if is_first => {
                self.held.push(byte);
                self.state = State::Command { introducer: 2 };
            }
            // Strings to devices and applications, and the title of screen(1).
            b'P' | b'X' | b'^' | b'_' | b'k' if is_first => self.drop_string(false),
            _ => {
                let is_harmless = allowed::escape(&self.held[1..], byte);
                self.release(is_harmless, &[byte], out);
            }
        }
    }

    fn in_control(&mut self, introducer: usize, byte: u8, out: &mut Vec<u8>) {
        match byte {
            0x20..0x40 if self.held.len() < LONGEST_CONTROL => self.held.push(byte),
            0x20..0x40 => {
                self.held.clear();
                self.state = State::TooLong;
            }
            _ => {
                let body = &self.held[introducer..];
                let is_harmless = allowed::control(body, byte, &mut self.changed);
                self.release(is_harmless, &[byte], out);
            }
        }
    }

    fn in_command(&mut self, introducer: usize, byte: u8, out: &mut Vec<u8>) {
        match byte {
            BELL => self.finish_command(introducer, &[BELL], out),
            ESCAPE => self.state = State::CommandEscape { introducer },
            0x20..DELETE if self.held.len() < LONGEST_COMMAND => {
                self.held.push(byte);
                // The palette of the console, the only ones that end without an end.
                match &self.held[introducer..] {
                    b"R" => self.ground(),
                    [b'P', digits @ ..] if digits.len() == 7 => self.ground(),
                    _ => {}
                }
            }
            _ => self.drop_string(true),
        }
    }

    fn finish_command(&mut self, introducer: usize, end: &[u8], out: &mut Vec<u8>) {
        let is_harmless = allowed::command(&self.held[introducer..]);
        self.release(is_harmless, end, out);
    }

    /// The sequence is whole.
    fn release(&mut self, is_harmless: bool, end: &[u8], out: &mut Vec<u8>) {
        if is_harmless {
            out.extend_from_slice(&self.held);
            out.extend_from_slice(end);
        }
        self.ground();
    }

    fn ground(&mut self) {
        self.held.clear();
        self.state = State::Ground;
    }

    fn hold(&mut self, bytes: &[u8], state: State) {
        self.held.clear();
        self.held.extend_from_slice(bytes);
        self.state = state;
    }

    fn drop_string(&mut self, bell: bool) {
        // A long one leaves its room behind for nothing.
        self.held = Vec::new();
        self.state = State::Dropped { bell };
    }

    fn ends_with_bell(&self) -> bool {
        match self.state {
            State::Dropped { bell } | State::DroppedEscape { bell } => bell,
            _ => true,
        }
    }
}

/// A control of ASCII. The one that asks a terminal who it is goes nowhere.
fn execute(byte: u8, out: &mut Vec<u8>) {
    if byte != ENQUIRY {
        out.push(byte);
    }
}

/// How many bytes the character has that begins with this one; 1 for what begins none of several.
fn length(first: u8) -> usize {
    match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    }
}

/// Whether `byte` can stand behind `first` and so many more (RFC 3629): no character in more bytes than it needs.
fn continues(first: u8, more: usize, byte: u8) -> bool {
    match (first, more) {
        (0xe0, 0) => (0xa0..=0xbf).contains(&byte),
        (0xed, 0) => (0x80..=0x9f).contains(&byte),
        (0xf0, 0) => (0x90..=0xbf).contains(&byte),
        (0xf4, 0) => (0x80..=0x8f).contains(&byte),
        _ => (0x80..=0xbf).contains(&byte),
    }
}

#[cfg(test)]
mod tests;
