//! A line: one JSON object and a newline. The framing between workers, daemon and whoever commands them.

use serde::Serialize;

use crate::Error;

/// The most bytes of a line, without its newline, in either direction.
pub const MAX: usize = 64 * 1024;

/// What is made room for when the first bytes come.
const FIRST: usize = 4 * 1024;

/// Lines, as their bytes come. Whoever reads a stream puts the bytes into [`space`](Self::space), and takes
/// out what they complete with [`next_line`](Self::next_line) until there is none.
///
/// Never holds more than a line of [`MAX`] bytes and its newline, whatever is sent.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Where the first line that was not taken begins.
    start: usize,
    /// Up to where no newline is.
    searched: usize,
    /// Where the bytes end that were put in.
    end: usize,
}

impl Lines {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the next bytes go; empty only while a whole line waits to be taken, or one that is too long was seen.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.searched -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let larger = (self.buffer.len() * 2).clamp(FIRST, MAX + 1);
            self.buffer.resize(larger, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Says that the first `count` bytes of the space hold something now.
    ///
    /// # Panics
    /// When the space was smaller than that.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end, "more than the space");
        self.end += count;
    }

    /// The next whole line, without its newline; `None` as long as there is none.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: nobody can know where the next line begins, so the stream is of no further use.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, Error> {
        let fresh = &self.buffer[self.searched..self.end];
        let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.end;
            let length = self.end - self.start;
            if length > MAX {
                return Err(Error::TooLarge { length });
            }
            return Ok(None);
        };
        let line = self.start..self.searched + at;
        self.start = line.end + 1;
        self.searched = self.start;
        Ok(Some(&self.buffer[line]))
    }

    /// Whether a part of a line is there: where the stream ends now, it ends too early.
    #[must_use]
    pub fn is_within_a_line(&self) -> bool {
        self.start < self.end
    }
}

/// Appends `message` as a line; leaves `out` as it was when there is an error.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn append(out: &mut Vec<u8>, message: &impl Serialize) -> Result<(), Error> {
    let start = out.len();
    let written = serde_json::to_writer(&mut *out, message).map_err(Error::malformed);
    let length = out.len() - start;
    let checked = match length {
        0..=MAX => written,
        _ => Err(Error::TooLarge { length }),
    };
    match checked {
        Ok(()) => out.push(b'\n'),
        Err(_) => out.truncate(start),
    }
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts `bytes` in, at most `step` at a time, and takes out what they complete.
    fn read(bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, Result<(), Error>, Lines) {
        let mut lines = Lines::new();
        let mut found = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let space = lines.space();
            let count = rest.len().min(step).min(space.len());
            assert!(count > 0, "there is space while nothing is wrong");
            space[..count].copy_from_slice(&rest[..count]);
            lines.filled(count);
            rest = &rest[count..];
            loop {
                match lines.next_line() {
                    Ok(Some(line)) => found.push(line.to_vec()),
                    Ok(None) => break,
                    Err(error) => return (found, Err(error), lines),
                }
            }
        }
        (found, Ok(()), lines)
    }

    #[test]
    fn lines_are_found_however_their_bytes_come() {
        let text = b"{}\n\n{\"a\":1}\nrest";
        for step in 1..=text.len() {
            let (found, end, lines) = read(text, step);
            assert_eq!(end, Ok(()));
            assert_eq!(found, [&b"{}"[..], b"", b"{\"a\":1}"], "{step} at a time");
            assert!(lines.is_within_a_line());
        }
        assert!(!read(b"{}\n", 2).2.is_within_a_line());
    }

    #[test]
    fn the_longest_line_passes_and_a_byte_more_does_not() {
        for step in [1000, 4096, MAX * 2] {
            let mut text = vec![b'x'; MAX];
            text.push(b'\n');
            let (found, end, _) = read(&text, step);
            assert_eq!((found.len(), end), (1, Ok(())));
            text.insert(0, b'x');
            let (found, end, lines) = read(&text, step);
            let length = MAX + 1;
            assert_eq!((found.len(), end), (0, Err(Error::TooLarge { length })));
            assert!(lines.buffer.capacity() <= 2 * MAX, "room for no more");
        }
    }

    #[test]
    fn nothing_is_held_for_a_stream_that_says_nothing() {
        assert_eq!(Lines::new().buffer.capacity(), 0);
        let mut lines = Lines::new();
        assert_eq!(lines.space().len(), FIRST);
    }

    #[test]
    fn what_is_too_large_is_not_written() {
        let mut out = b"before".to_vec();
        let length = MAX + 1;
        assert_eq!(
            append(&mut out, &"x".repeat(MAX - 1)),
            Err(Error::TooLarge { length })
        );
        assert_eq!(out, b"before");
        assert_eq!(append(&mut out, &"x\n".repeat(2)), Ok(()));
        assert_eq!(out, b"before\"x\\nx\\n\"\n");
    }
}
