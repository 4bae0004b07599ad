//! A keeper, its daemon and its workers.

use crate::harness::run::{Ran, Running, eventually, eventually_reads, start};
use crate::harness::{Workspace, built};
use nix::sys::signal::Signal;
use std::ffi::OsString;
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

/// What the keeper is told.
pub fn words(
    place: &Workspace,
    count: usize,
    life: &str,
    text: &str,
    command: &[&str],
) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["keep".into(), place.path().into()];
    words.push(count.to_string().into());
    words.extend([life, text, "--"].map(OsString::from));
    words.extend(command.iter().map(OsString::from));
    words
}

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
        let keeper =
            start(Command::new(built::keeping()).args(words(&place, count, life, text, command)));
        let stage = Self { place, keeper };
        stage.daemon();
        stage
    }

    /// The same, started by `starter`, which executes what its arguments say.
    pub fn started_by(mut starter: Command, place: Workspace, keeper: &[OsString]) -> Self {
        starter.arg(built::keeping()).args(keeper);
        let keeper = start(&mut starter);
        Self { place, keeper }
    }

    /// Kills the keeper, and gives back the place when its daemon is gone.
    pub fn kill(self) -> Workspace {
        self.keeper.signal(Signal::SIGKILL);
        self.keeper.wait();
        self.place
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
