//! A shell on a terminal of its own, and the person in front of it. Goes with `terminal.rs` beside it, as `controlling`.

use super::controlling::controlled_by;
use super::harness::built::supervise;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Nothing on a terminal takes that long.
const DEADLINE: Duration = Duration::from_secs(60);

pub const INTERRUPT: &str = "\x03";
pub const STOP: &str = "\x1a";

/// A shell on a terminal, and the person in front of it.
pub struct Desk {
    pub shell: Child,
    pub keyboard: File,
    pub screen: String,
    pub seen: usize,
}

impl Desk {
    pub fn new(shell: &mut Command) -> Self {
        // Neither end is inherited by anybody: a terminal goes away when the desk does.
        let (master, slave) = sys::terminal::pair().expect("a terminal");
        let shell = controlled_by(shell, slave)
            .env("S", supervise())
            .env("PS1", "$ ")
            .env("TERM", "dumb")
            .spawn()
            .expect("bash is there");
        Self {
            shell,
            keyboard: File::from(master),
            screen: String::new(),
            seen: 0,
        }
    }

    /// A shell with job control.
    pub fn shell() -> Command {
        let mut shell = Command::new("env");
        // What the caller of the tests ignores (nohup, background jobs) bash would ignore too.
        shell.args(["--default-signal", "bash"]);
        shell.args(["--norc", "--noprofile", "--noediting", "-i"]);
        shell
    }

    /// What is typed is echoed: a word that is waited for is typed with quotes in it.
    pub fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("a key");
    }

    pub fn look(&mut self) {
        let mut bytes = [0; 4096];
        // Nothing there now (EAGAIN), or everybody has left the terminal (EIO).
        while let Ok(length @ 1..) = self.keyboard.read(&mut bytes) {
            self.screen
                .push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    /// Waits until that is on the screen, after all that was waited for before, and returns what stands behind it on its line.
    #[track_caller]
    pub fn sees(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.look();
            let new = &self.screen[self.seen..];
            let found = new.find(text).and_then(|at| {
                let rest = &new[at + text.len()..];
                let end = rest.find('\n')?;
                Some((at + text.len() + end, rest[..end].trim().to_owned()))
            });
            if let Some((end, behind)) = found {
                self.seen += end;
                return behind;
            }
            assert!(
                Instant::now() < deadline,
                "{text:?} never was on the screen:\n{}",
                self.screen
            );
            let mut screen = [PollFd::new(self.keyboard.as_fd(), PollFlags::POLLIN)];
            // An interrupted wait is a short wait; a terminal that everybody left is looked at again now and then.
            let _events = poll(&mut screen, PollTimeout::from(2u8));
        }
    }

    /// Waits until that is on the screen, in a line that has not ended.
    #[track_caller]
    pub fn seems(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.screen[self.seen..].contains(text) {
            assert!(Instant::now() < deadline, "{text:?}:\n{}", self.screen);
            self.look();
            std::thread::yield_now();
        }
    }

    /// The process group that the terminal's keys signal.
    pub fn foreground(&self) -> i32 {
        let group = nix::unistd::tcgetpgrp(&self.keyboard).expect("a terminal has a foreground");
        group.as_raw()
    }

    pub fn shell_pid(&self) -> i32 {
        self.shell.id() as i32
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Whoever is still there goes with the terminal.
        let _gone = self.shell.kill();
        let _reaped = self.shell.wait();
    }
}
