//! A keeper, its daemon and its workers.

use crate::harness::run::{Ran, Running, eventually, eventually_reads, start};
use crate::harness::{Workspace, built};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::process::Command;
use sys::pidfd::Pidfd;

/// A keeper that runs. Its end is the test's to bring about: [`Stage::stop`].
pub struct Stage {
    pub place: Workspace,
    keeper: Running,
}

/// What every worker may.
pub const BASE: &str = r#"version = 1
tmp = "none"
[fs]
read = ["/usr", "/etc"]
exec = ["/usr"]
"#;

impl Stage {
    /// Keeps `count` workers that run `command` under the policy `text`, in a directory of their own.
    pub fn new(count: usize, life: &str, text: &str, command: &[&str]) -> Self {
        let place = Workspace::new();
        place.make_dir("work");
        Self::in_place(place, count, life, text, command)
    }

    /// The same in a directory that is there.
    pub fn in_place(
        place: Workspace,
        count: usize,
        life: &str,
        text: &str,
        command: &[&str],
    ) -> Self {
        let mut keeper = Command::new(built::keeping());
        keeper.arg("keep").arg(place.path()).arg(count.to_string());
        keeper.args([life, text, "--"]).args(command);
        let keeper = start(&mut keeper);
        let stage = Self { place, keeper };
        stage.daemon();
        stage
    }

    pub fn work(&self) -> PathBuf {
        self.place.join("work")
    }

    /// The daemon that serves now.
    pub fn daemon(&self) -> Pidfd {
        self.daemon_after(0).1
    }

    /// A daemon other than the one with this number, and its number.
    pub fn daemon_after(&self, before: i32) -> (i32, Pidfd) {
        let mut found = None;
        eventually("a daemon serves", || {
            let text = eventually_reads(&self.place.join("daemon"));
            let pid: i32 = text.parse().expect("a pid");
            found = Pidfd::open(pid).ok().map(|process| (pid, process));
            pid != before && found.is_some()
        });
        found.expect("it was found")
    }

    /// What happened so far.
    pub fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.place.join("log")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What the workers said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.place.join("out")).unwrap_or_default()
    }

    /// The pids behind a word of the log, as often as they stand there.
    pub fn pids(&self, word: &str) -> Vec<i32> {
        let log = self.log();
        let pid = |line: &String| {
            line.strip_prefix(word)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        };
        log.iter().filter_map(pid).collect()
    }

    pub fn keeper(&self) -> i32 {
        self.keeper.pid()
    }

    pub fn signal(&self, signal: Signal) {
        self.keeper.signal(signal);
    }

    /// Ends everything in order.
    pub fn stop(self) -> Ran {
        self.keeper.signal(Signal::SIGTERM);
        self.keeper.wait()
    }

    /// Waits for the keeper's own end.
    pub fn wait(self) -> Ran {
        self.keeper.wait()
    }
}
