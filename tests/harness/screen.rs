//! A program that has a whole terminal to itself, and what is on the screen of that.

use super::controlling::controlled_by;
use super::harness::run::{DEADLINE, eventually};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{Termios, tcgetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// The program, and the person in front of it.
pub struct Screen {
    pub child: Child,
    terminal: File,
    before: Termios,
    size: (u16, u16),
    said: Vec<u8>,
}

/// What is on it.
pub struct Shown {
    pub lines: Vec<String>,
    /// It is the one that programs have to themselves.
    pub is_own: bool,
}

impl Shown {
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

impl Screen {
    /// Starts it there.
    #[track_caller]
    pub fn start(command: &mut Command, columns: u16, rows: u16) -> Self {
        let size = winsize(columns, rows);
        let pty = openpty(&size, None).expect("a terminal");
        let terminal = File::from(pty.master);
        fcntl(&terminal, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
        let before = tcgetattr(&terminal).expect("it is a terminal");
        let command = controlled_by(command, pty.slave).env("TERM", "xterm");
        Self {
            child: command.spawn().expect("it starts"),
            terminal,
            before,
            size: (columns, rows),
            said: Vec::new(),
        }
    }

    /// Presses keys.
    pub fn types(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).expect("a key");
    }

    pub fn resize(&mut self, columns: u16, rows: u16) {
        let size = winsize(columns, rows);
        // SAFETY: TIOCSWINSZ reads a `winsize`, which is what the pointer is to, and lives until after the call.
        let done =
            unsafe { libc::ioctl(self.terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0);
        self.size = (columns, rows);
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it was not waited for");
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// What is on it now.
    pub fn look(&mut self) -> Shown {
        let mut bytes = [0; 4096];
        // Nothing there now (EAGAIN), or everybody has left the terminal (EIO).
        while let Ok(length @ 1..) = self.terminal.read(&mut bytes) {
            self.said.extend_from_slice(&bytes[..length]);
        }
        shown(&String::from_utf8_lossy(&self.said), self.size)
    }

    /// Waits until that is so of what is on it.
    #[track_caller]
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Shown) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let shown = self.look();
            if is_so(&shown) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}\n{}", shown.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until that stands there.
    #[track_caller]
    pub fn until_it_shows(&mut self, text: &str) {
        self.until(text, |shown| shown.is_own && shown.text().contains(text));
    }

    /// Whether the terminal is as it was before the program came.
    pub fn is_given_back(&mut self) -> bool {
        let now = tcgetattr(&self.terminal).expect("it is a terminal");
        let flags = |terminal: &Termios| {
            (
                terminal.input_flags,
                terminal.output_flags,
                terminal.control_flags,
                terminal.local_flags,
            )
        };
        flags(&now) == flags(&self.before) && !self.look().is_own
    }

    /// How often it was told to write in a colour.
    pub fn colours(&mut self) -> usize {
        self.look();
        let said = String::from_utf8_lossy(&self.said);
        let styles = said.split("\x1b[").filter_map(|part| part.split_once('m'));
        let is_colour = |word: &str| word.len() == 2 && word.starts_with('3');
        styles
            .filter(|(style, _)| style.split(';').any(is_colour))
            .count()
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("it ended", || {
            // It may wait for somebody to take what it says.
            self.look();
            status = self.child.try_wait().expect("our own child");
            status.is_some()
        });
        status.expect("it ended")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It has ended already, or does now.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn winsize(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// What a terminal shows that was told this. It knows what is used here, and takes every character for one column.
fn shown(said: &str, (columns, rows): (u16, u16)) -> Shown {
    let (columns, rows) = (usize::from(columns), usize::from(rows));
    let mut cells = vec![vec![' '; columns]; rows];
    let (mut row, mut column, mut is_own) = (0, 0, false);
    let mut rest = said.chars();
    while let Some(character) = rest.next() {
        if character != '\u{1b}' {
            if let Some(cell) = cells.get_mut(row).and_then(|row| row.get_mut(column)) {
                *cell = character;
            }
            column += 1;
            continue;
        }
        if rest.next() != Some('[') {
            continue;
        }
        let mut words = String::new();
        let end = rest.find(|character| {
            let is_end = ('\u{40}'..='\u{7e}').contains(character);
            if !is_end {
                words.push(*character);
            }
            is_end
        });
        match (end, words.as_str()) {
            (Some('H'), place) => {
                let (first, second) = place.split_once(';').unwrap_or(("1", "1"));
                row = first.parse().unwrap_or(1) - 1;
                column = second.parse().unwrap_or(1) - 1;
            }
            (Some('J'), _) => cells = vec![vec![' '; columns]; rows],
            (Some(switch @ ('h' | 'l')), "?1049") => is_own = switch == 'h',
            _ => {}
        }
    }
    let lines = cells.iter().map(|cells| {
        let line: String = cells.iter().collect();
        line.trim_end().to_owned()
    });
    Shown {
        lines: lines.collect(),
        is_own,
    }
}
