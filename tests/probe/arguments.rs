//! The words of one act, taken from left to right.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

pub struct Arguments<'a> {
    words: std::slice::Iter<'a, OsString>,
}

/// Ends the process: the test is wrong, not the sandbox.
pub fn misused(reason: &str) -> ! {
    eprintln!("probe: {reason}");
    std::process::exit(64);
}

impl<'a> Arguments<'a> {
    pub fn new(words: &'a [OsString]) -> Self {
        Self {
            words: words.iter(),
        }
    }

    fn word(&mut self) -> &'a OsString {
        self.words
            .next()
            .unwrap_or_else(|| misused("an argument is missing"))
    }

    pub fn path(&mut self) -> CString {
        let word = self.word();
        CString::new(word.as_bytes()).unwrap_or_else(|_| misused("a path holds no zero byte"))
    }

    pub fn text(&mut self) -> String {
        let word = self.word();
        let text = word.to_str().unwrap_or_else(|| misused("text is UTF-8"));
        text.to_owned()
    }

    pub fn number(&mut self) -> i64 {
        let text = self.text();
        parse(&text).unwrap_or_else(|| misused(&format!("`{text}` is not a number")))
    }

    pub fn number_or(&mut self, absent: i64) -> i64 {
        if self.words.len() == 0 {
            absent
        } else {
            self.number()
        }
    }

    /// A mode, in octal.
    pub fn mode(&mut self) -> u32 {
        let text = self.text();
        u32::from_str_radix(&text, 8).unwrap_or_else(|_| misused(&format!("`{text}` is not octal")))
    }

    pub fn mode_or(&mut self, absent: u32) -> u32 {
        if self.words.len() == 0 {
            absent
        } else {
            self.mode()
        }
    }

    /// Words with commas between them, each with its bits in `known`; a number stands for itself.
    pub fn flags(&mut self, known: &[(&str, i64)]) -> i64 {
        let text = self.text();
        text.split(',')
            .map(|word| {
                let value = known
                    .iter()
                    .find(|(name, _)| *name == word)
                    .map(|(_, bits)| *bits);
                value
                    .or_else(|| parse(word))
                    .unwrap_or_else(|| misused(&format!("`{word}` is not a flag here")))
            })
            .fold(0, |all, bits| all | bits)
    }

    pub fn flags_or(&mut self, known: &[(&str, i64)], absent: i64) -> i64 {
        if self.words.len() == 0 {
            absent
        } else {
            self.flags(known)
        }
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> Vec<CString> {
        let mut rest = Vec::new();
        while self.words.len() != 0 {
            rest.push(self.path());
        }
        rest
    }

    pub fn end(&mut self) {
        if self.words.len() != 0 {
            misused("there are arguments left over");
        }
    }
}

fn parse(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().map(|bits| bits as i64),
        None => text.parse().ok(),
    }
}
