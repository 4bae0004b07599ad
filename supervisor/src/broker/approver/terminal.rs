//! The person at the terminal.
//!
//! The question goes to `/dev/tty`, opened for it alone: never to the child's standard streams. What was typed before is
//! discarded, and only `y` and Enter allow.
//!
//! A child in the foreground reads from the same terminal and writes to it. What it reads we do not get: then the question
//! is late, and late is no. What it writes may look like anything, a question of its own included, and a person who
//! answers that with `y` has answered ours, if ours is there. Where children are not to be trusted with the screen, run
//! them without the terminal, or have a program answer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open as open_file};
use nix::sys::stat::Mode;
use nix::sys::termios::{FlushArg, tcflush};
use nix::unistd::{getpgrp, read, write};

use super::Answer;
use crate::broker::question::{self, Question};

/// No answer is so long.
const LONGEST: usize = 64;

/// A question that stands on the terminal.
#[derive(Debug)]
pub(super) struct Prompt {
    terminal: OwnedFd,
    unsent: Vec<u8>,
    /// The line in which the answer is typed, until its turn comes.
    prompt: Option<String>,
    typed: Vec<u8>,
    /// What went wrong at the start.
    failed: Option<Answer>,
}

/// The terminal that controls this process, if it is in the foreground there: in the background to ask would stop us.
pub(super) fn open() -> Result<OwnedFd, &'static str> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let terminal = open_file("/dev/tty", flags, Mode::empty())
        .map_err(|_| "there is no terminal to ask at")?;
    if is_in_foreground(&terminal) {
        Ok(terminal)
    } else {
        Err("the run is in the background of its terminal")
    }
}

/// Whether to read, to write and to flush is ours. In the background the kernel would stop us, and with us everybody's
/// claims. (The shell may take the terminal away between this look and the call; then that is what happens.)
fn is_in_foreground(terminal: &OwnedFd) -> bool {
    sys::terminal::foreground(terminal.as_fd()) == Some(getpgrp())
}

impl Prompt {
    pub fn start(terminal: OwnedFd, question: &Question, timeout: Duration) -> Self {
        let mut prompt = Self {
            terminal,
            unsent: question.text().into_bytes(),
            prompt: Some(question::prompt(timeout)),
            typed: Vec::new(),
            failed: None,
        };
        prompt.failed = prompt.send();
        prompt
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }

    /// Shows what is not shown yet. What was typed before the last line came is forgotten.
    fn send(&mut self) -> Option<Answer> {
        loop {
            match write(&self.terminal, &self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return None,
                Err(_) => return Some(Answer::no("the question cannot be shown")),
            }
            if !self.unsent.is_empty() {
                continue;
            }
            let prompt = self.prompt.take()?;
            if tcflush(&self.terminal, FlushArg::TCIFLUSH).is_err() {
                return Some(Answer::no(
                    "what was typed before cannot be told from the answer",
                ));
            }
            self.unsent = prompt.into_bytes();
        }
    }

    pub fn answer(&mut self) -> Option<Answer> {
        if self.failed.is_some() {
            return self.failed.take();
        }
        if !is_in_foreground(&self.terminal) {
            // Until it comes back, or the question is late.
            return None;
        }
        if !self.unsent.is_empty() {
            let failed = self.send();
            if failed.is_some() || !self.unsent.is_empty() {
                return failed;
            }
        }
        let mut bytes = [0; LONGEST];
        loop {
            match read(&self.terminal, &mut bytes) {
                Ok(0) => return Some(Answer::no("the terminal is gone")),
                Ok(count) => self.typed.extend_from_slice(&bytes[..count]),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return None,
                // EIO: in the background, where nobody can be asked.
                Err(_) => return Some(Answer::no("the terminal cannot be read")),
            }
            // Enter gives the one or the other, as the child has set up the terminal.
            let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
            if let Some(end) = self.typed.iter().position(is_end) {
                let is_all = end + 1 == self.typed.len();
                return Some(match &self.typed[..end] {
                    b"y" if is_all => Answer::YES,
                    _ => Answer::no("the operator refused"),
                });
            }
            if self.typed.len() > LONGEST {
                return Some(Answer::no("the operator refused"));
            }
        }
    }

    /// Says that no answer is wanted any more, as far as the terminal takes it.
    pub fn end(self, why: &str) {
        if !is_in_foreground(&self.terminal) {
            return;
        }
        // Nothing depends on it.
        let _said = write(
            &self.terminal,
            format!("\r\nsupervise: {why}\r\n").as_bytes(),
        );
    }
}
