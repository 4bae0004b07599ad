//! What anybody can see of a daemon from outside: its processes, their tags, their descriptors.

use crate::harness::run::{DEADLINE, eventually};
use crate::house::House;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use supervisor::sandbox::Tag;

/// How long a storm lasts.
pub fn storm() -> Duration {
    let given = std::env::var("SUPERVISE_CHAOS_SECONDS").ok();
    let seconds = given.map_or(4, |text| {
        text.parse().expect("SUPERVISE_CHAOS_SECONDS is a number")
    });
    Duration::from_secs(seconds)
}

/// Each process is seeded anew by the standard library.
pub fn random_below(most: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let state = std::collections::hash_map::RandomState::new();
    state.build_hasher().finish() % most
}

/// Sends SIGKILL. One that is gone already is no failure.
pub fn kill_now(pid: i32) {
    let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// How many descriptors a process has.
pub fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

impl House {
    /// The daemon, without asking it: the child of the keeper that serves. `None` where it is dead.
    pub fn daemon_now(&self) -> Option<i32> {
        let keeper = self.keeper();
        let children = format!("/proc/{keeper}/task/{keeper}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let mut pids = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        pids.find(|pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == b"--serve")
        })
    }

    /// Waits until a daemon answers, or the connection to it ends.
    #[track_caller]
    fn answers(&self) {
        let stream = UnixStream::connect(self.socket()).expect("the keeper holds the socket");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        let hello = b"{\"id\":1,\"req\":{\"hello\":{\"version\":1}}}\n";
        if (&stream).write_all(hello).is_ok() {
            // Another test of this process may change its ids, of which the C library tells all threads by a signal.
            let answer = loop {
                match (&stream).read(&mut [0; 1024]) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    answer => break answer,
                }
            };
            match answer {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }

    /// Kills daemons at any moment for as long as a storm lasts; each has up to `most` of life. How many died.
    #[track_caller]
    pub fn kill_daemons(&self, time: Duration, most: Duration) -> u64 {
        let (end, mut before, mut kills) = (Instant::now() + time, 0, 0);
        let most = u64::try_from(most.as_micros()).expect("a moment");
        while Instant::now() < end {
            let mut found = None;
            eventually("there was another daemon", || {
                found = self.daemon_now().filter(|pid| *pid != before);
                found.is_some()
            });
            before = found.expect("it was found");
            // Some die before they serve, which the keeper makes the next ones wait for.
            if random_below(4) > 0 {
                self.answers();
            }
            std::thread::sleep(Duration::from_micros(random_below(most)));
            kill_now(before);
            kills += 1;
        }
        eventually("the last daemon answers", || {
            self.ask(&["status"]).code() == 0 && self.daemon_now() != Some(before)
        });
        kills
    }

    /// The pid of each worker that has a process.
    pub fn pids(&self) -> Vec<(String, i32)> {
        let status = self.status();
        let workers = status["workers"].as_array().expect("workers").iter();
        let pid = |worker: &serde_json::Value| {
            let id = worker["id"].as_str()?.to_owned();
            Some((id, i32::try_from(worker["pid"].as_i64()?).ok()?))
        };
        workers.filter_map(pid).collect()
    }

    /// Every living process that carries a tag and was started here.
    pub fn tagged(&self) -> Vec<(i32, Tag)> {
        let here = self.workspace.path().display().to_string();
        let entries = std::fs::read_dir("/proc").expect("/proc is there");
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let tagged = pids.filter_map(|pid: i32| {
            let tag = Tag::of(pid).ok()??;
            let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            String::from_utf8_lossy(&environment)
                .contains(&here)
                .then_some((pid, tag))
        });
        tagged
            .filter(|(pid, _)| crate::harness::process::is_alive(*pid))
            .collect()
    }

    /// All that carries a tag belongs to a worker that the status shows, and each of those is there.
    #[track_caller]
    pub fn has_no_orphan(&self) {
        let mut last = String::new();
        let deadline = Instant::now() + DEADLINE;
        // What is ending, or beginning, is not there yet or no longer.
        loop {
            let tagged = self.tagged();
            let shown = self.pids();
            let of = |pid: i32| Tag::of(pid).ok().flatten().map(Tag::number);
            let tags: BTreeSet<_> = shown.iter().filter_map(|(_, pid)| of(*pid)).collect();
            let is_known = tagged.iter().all(|(_, tag)| tags.contains(&tag.number()));
            if is_known && tags.len() == shown.len() {
                return;
            }
            if last.is_empty() || Instant::now() < deadline {
                last = format!("shown {shown:?}, tagged {tagged:?}");
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            panic!("there are orphans: {last}");
        }
    }
}
