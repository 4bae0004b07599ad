//! From what a run was seen to do to the least that a policy must say for it.
//!
//! In come things that were seen ([`Things`]) and facts about what they name ([`Scene`]). Out goes a [`Lesson`]: entries for a
//! policy, each with what it is for, and what was left out. Files are gathered into trees where a tree was listed or much of it
//! read; names that come and go become patterns; what was made in a directory that was there already is granted name by name, and
//! what is sensitive not at all unless the operator named it.

mod names;
mod reads;
mod scene;
mod sockets;
#[cfg(test)]
mod tests;
mod writes;

pub use scene::{Scene, World};

use crate::audit::{Recorded, Seen};
use crate::policy::Access;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Under which key of a policy an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `fs.read`.
    Read,
    /// `fs.write`.
    Write,
    /// `fs.exec`.
    Exec,
    /// `fs.make`.
    Make,
    /// `fs.deny`.
    Deny,
    /// `[[request]]` that reads and writes and is allowed at once.
    Request,
    /// `net.connect`.
    Connect,
    /// `net.bind`.
    Bind,
    /// `net.unix`.
    Unix,
    /// `net.unix`, of a service that acts outside of every sandbox.
    UnixUnconfined,
    /// `net.loopback`.
    Loopback,
    /// `net.udp`.
    Udp,
}

/// An entry of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Where it stands.
    pub key: Key,
    /// What it says.
    pub text: String,
    /// What it is for.
    pub why: String,
}

/// What a run taught.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lesson {
    /// What the policy must say.
    pub lines: Vec<Line>,
    /// What was done and is not granted: what, and why not.
    pub left_out: Vec<(String, String)>,
}

/// What a run was seen to do, each thing once.
#[derive(Clone, Debug, Default)]
pub struct Things {
    /// By path: what was done, and with which rights.
    pub files: BTreeMap<PathBuf, Deeds>,
    /// Socket files that were connected to.
    pub sockets: BTreeSet<PathBuf>,
    /// Addresses that were connected to.
    pub peers: BTreeSet<SocketAddr>,
    /// Addresses that were bound.
    pub own: BTreeSet<SocketAddr>,
    /// Addresses of datagrams.
    pub datagrams: BTreeSet<SocketAddr>,
    /// What was refused, each once.
    pub refused: BTreeSet<String>,
}

/// What was done with one path.
#[derive(Clone, Debug, Default)]
pub struct Deeds {
    /// What was done.
    pub seen: BTreeSet<Seen>,
    /// The rights that it took.
    pub access: Option<Access>,
    /// The name itself was a link, or was given to something else: the directory was written.
    pub writes_directory: bool,
    /// A program that did it.
    pub program: Option<String>,
}

impl Things {
    /// Takes note of a decision.
    pub fn note(&mut self, recorded: &Recorded) {
        if recorded.answer == "refused" {
            if let Some(object) = recorded.object() {
                self.refused.insert(super::group::shown(&object));
            }
            return;
        }
        if recorded.answer != "granted" {
            return;
        }
        let seen = Seen::from_name(&recorded.detail);
        let program = recorded.program.as_ref();
        let program = program.and_then(|path| path.file_name()?.to_str().map(str::to_owned));
        match (recorded.address, &recorded.path, seen) {
            (Some(address), _, Some(Seen::Datagrams)) => {
                self.datagrams.insert(address);
            }
            (Some(address), _, _) if recorded.call == "bind" => {
                self.own.insert(address);
            }
            (Some(address), _, _) => {
                self.peers.insert(address);
            }
            (None, Some(path), _) if recorded.access.is_none() => {
                self.sockets.insert(path.clone());
            }
            (None, Some(path), Some(seen)) => {
                // What a process asks of itself is no file of anybody's.
                if path.starts_with(format!("/proc/{}", recorded.pid)) {
                    return;
                }
                let deeds = self.files.entry(path.clone()).or_default();
                let access = recorded.access.unwrap_or(Access::NONE);
                deeds.access = Some(deeds.access.map_or(access, |known| known | access));
                deeds.seen.insert(seen);
                let calls = ["symlink", "symlinkat", "link", "linkat", "rmdir"];
                deeds.writes_directory |= calls.contains(&recorded.call.as_str());
                deeds.program = deeds.program.take().or(program);
            }
            _ => {}
        }
    }
}

impl Deeds {
    fn has(&self, seen: Seen) -> bool {
        self.seen.contains(&seen)
    }

    fn access(&self) -> Access {
        self.access.unwrap_or(Access::NONE)
    }
}

/// Learns from what was seen.
#[must_use]
pub fn learn(things: &Things, scene: &Scene<'_>) -> Lesson {
    let mut lesson = Lesson::default();
    let trees = writes::learn(things, scene, &mut lesson);
    reads::learn(things, &trees, scene, &mut lesson);
    sockets::learn(things, scene, &mut lesson);
    lesson.lines.sort();
    lesson
        .lines
        .dedup_by(|one, other| (one.key, &one.text) == (other.key, &other.text));
    lesson
}
