//! How lines hang together.
//!
//! ```text
//! {"seq":7,"prev":"<hash of line 6>","event":"decision", … ,"hash":"<SHA-256 of this line up to here>"}
//! ```
//! `prev` ties a line to the one before, `hash` guards the line itself: without it the last line could be changed
//! unseen. The form is fixed to the byte, so a line is checked without a JSON parser.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A SHA-256 hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// What stands for the line before the first.
    pub(super) const NONE: Self = Self([0; 32]);

    /// The hash of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(crate) fn finish(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    /// The hash that 64 lower-case hexadecimal digits stand for; no other spelling is one.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }

    fn append(self, line: &mut Vec<u8>) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in self.0 {
            line.push(DIGITS[usize::from(byte >> 4)]);
            line.push(DIGITS[usize::from(byte & 15)]);
        }
    }
}

fn digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A place between two lines: what the next one must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub seq: u64,
    pub prev: Digest,
}

impl Position {
    /// Before the first line.
    pub const START: Self = Self {
        seq: 0,
        prev: Digest::NONE,
    };

    /// Begins a line: everything before the fields of the event.
    pub fn open(self, line: &mut Vec<u8>, event: &str) {
        line.extend_from_slice(format!("{{\"seq\":{},\"prev\":\"", self.seq).as_bytes());
        self.prev.append(line);
        line.extend_from_slice(b"\",\"event\":\"");
        line.extend_from_slice(event.as_bytes());
        line.push(b'"');
    }

    /// Ends the line that starts at `start` in `line`, and says where the next one stands.
    pub fn close(self, line: &mut Vec<u8>, start: usize) -> Self {
        let hash = Digest::of(&line[start..]);
        line.extend_from_slice(b",\"hash\":\"");
        hash.append(line);
        line.extend_from_slice(b"\"}\n");
        Self {
            seq: self.seq + 1,
            prev: hash,
        }
    }
}

/// A line whose own hash is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed<'a> {
    /// Where it says it stands.
    pub at: Position,
    pub event: &'a [u8],
    pub hash: Digest,
}

impl<'a> Sealed<'a> {
    /// Reads a line with its newline; `None` when it is not whole or was changed.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        const TAIL: usize = ",\"hash\":\"".len() + 64;
        let line = line.strip_suffix(b"\"}\n")?;
        let (body, tail) = line.split_at_checked(line.len().checked_sub(TAIL)?)?;
        let hash = Digest::parse(tail.strip_prefix(b",\"hash\":\"")?)?;
        if Digest::of(body) != hash {
            return None;
        }
        let rest = body.strip_prefix(b"{\"seq\":")?;
        let (seq, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b',')?)?;
        let seq = std::str::from_utf8(seq).ok()?.parse().ok()?;
        let (prev, rest) = rest.strip_prefix(b",\"prev\":\"")?.split_at_checked(64)?;
        let prev = Digest::parse(prev)?;
        let rest = rest.strip_prefix(b"\",\"event\":\"")?;
        let event = &rest[..rest.iter().position(|byte| *byte == b'"')?];
        Some(Self {
            at: Position { seq, prev },
            event,
            hash,
        })
    }

    /// Where the next line stands.
    pub fn next(&self) -> Position {
        Position {
            seq: self.at.seq + 1,
            prev: self.hash,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Position, Sealed};

    fn line() -> Vec<u8> {
        let mut line = Vec::new();
        Position::START.open(&mut line, "start");
        line.extend_from_slice(b",\"x\":1");
        Position::START.close(&mut line, 0);
        line
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = line();
        let sealed = Sealed::read(&line).unwrap();
        assert_eq!(sealed.at, Position::START);
        assert_eq!(sealed.event, b"start");
        let mut again = Vec::new();
        Position::START.open(&mut again, "start");
        again.extend_from_slice(b",\"x\":1");
        assert_eq!(Position::START.close(&mut again, 0), sealed.next());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_breaks_the_seal() {
        let line = line();
        for bit in 0..line.len() * 8 {
            let mut changed = line.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Sealed::read(&changed).is_none(), "bit {bit}");
        }
        for length in 0..line.len() {
            assert!(Sealed::read(&line[..length]).is_none(), "{length} bytes");
        }
    }
}
