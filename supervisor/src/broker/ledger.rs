//! What was agreed to and still holds, of many sessions, for operators who list it or take it back.
//!
//! In: approvals as sessions keep them, and what was handed out under each. Out: the list; and from the moment in which an operator takes
//! one back, a no to whatever would be given under it: the session asks here before each grant. An open file that was handed out stays
//! with who has it; here stands how many those were, and who got the last ones.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::eventfd::EventFd;
use protocol::{Scope, control};

use super::board::{Board, random_number, ring};
use super::descent::Identity;
use super::peer::Asker;
use super::question::{LONGEST_PROGRAM, millis, text, verbs};
use crate::audit::{Answerer, Door};
use crate::policy::{Access, Origin};

/// Of so many that got something the name is kept.
const LAST: usize = 8;

/// What an approval is for.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub path: PathBuf,
    pub access: Access,
    pub rule: Origin,
    pub scope: Scope,
    /// Whose end it ends with.
    pub process: Option<Identity>,
    /// `None`: as long as the session lasts.
    pub until: Option<Instant>,
    /// Which way it was asked for.
    pub door: Door,
    pub asker: Asker,
    pub by: Option<Answerer>,
}

impl Terms {
    pub fn is_over(&self) -> bool {
        let is_gone = |process: &Identity| !process.lives();
        self.until.is_some_and(|until| until <= Instant::now())
            || self.process.as_ref().is_some_and(is_gone)
    }

    /// How much longer it holds; `None`: as long as the session lasts.
    pub fn left(&self) -> Option<Duration> {
        let until = self.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }
}

/// Who took it back, and what is to become of whoever asks again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revocation {
    pub by: Answerer,
    /// They are refused. Otherwise it is a question again.
    pub refuses: bool,
}

/// Which approvals an operator means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one of this number.
    Number(u64),
    /// Those of this path and all below it, of all workers or of these.
    Below(PathBuf, Option<Vec<String>>),
    /// All, of all workers or of these.
    All(Option<Vec<String>>),
}

impl Which {
    fn means(&self, number: u64, entry: &Entry) -> bool {
        let is_meant = |workers: &Option<Vec<String>>| {
            let is_it = |worker: &String| **worker == *entry.worker;
            workers
                .as_ref()
                .is_none_or(|workers| workers.iter().any(is_it))
        };
        match self {
            Self::Number(wanted) => *wanted == number,
            Self::Below(path, workers) => is_meant(workers) && entry.terms.path.starts_with(path),
            Self::All(workers) => is_meant(workers),
        }
    }
}

/// All that still holds.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<u64, Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    /// The older, the less.
    age: u64,
    worker: Arc<str>,
    terms: Terms,
    handed: u64,
    last: VecDeque<Handed>,
    revoked: Option<Revocation>,
    bell: Arc<EventFd>,
}

/// Somebody got a descriptor.
#[derive(Debug)]
struct Handed {
    pid: i32,
    program: Option<PathBuf>,
    at: Instant,
}

impl Ledger {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What holds, the oldest first.
    pub fn living(&self, which: &Which) -> Vec<control::Grant> {
        let kept = self.kept();
        let living = kept.entries.iter().filter(|(number, entry)| {
            entry.revoked.is_none() && !entry.terms.is_over() && which.means(**number, entry)
        });
        let mut living: Vec<_> = living.collect();
        living.sort_by_key(|(_, entry)| entry.age);
        let shown = living.iter().map(|(number, entry)| entry.shown(**number));
        shown.collect()
    }

    /// Takes back what holds, and says what that was.
    pub fn revoke(&self, which: &Which, revocation: Revocation) -> Vec<control::Grant> {
        let mut kept = self.kept();
        let mut revoked = Vec::new();
        for (number, entry) in &mut kept.entries {
            let holds = entry.revoked.is_none() && !entry.terms.is_over();
            if holds && which.means(*number, entry) {
                entry.revoked = Some(revocation);
                ring(&entry.bell);
                revoked.push((entry.age, entry.shown(*number)));
            }
        }
        revoked.sort_by_key(|(age, _)| *age);
        revoked.into_iter().map(|(_, shown)| shown).collect()
    }
}

impl Entry {
    fn shown(&self, number: u64) -> control::Grant {
        let Terms { asker, by, .. } = &self.terms;
        let last = self.last.iter().map(|handed| control::Handed {
            pid: u32::try_from(handed.pid).ok(),
            program: handed.program.as_deref().and_then(named),
            ago_ms: millis(handed.at.elapsed()),
        });
        control::Grant {
            grant: number,
            worker: self.worker.to_string(),
            access: verbs(self.terms.access).to_owned(),
            object: text(&self.terms.path),
            scope: self.terms.scope,
            pid: u32::try_from(asker.pid).ok(),
            program: asker.exe.as_deref().and_then(named),
            rule: Some(self.terms.rule.to_string()),
            by_uid: by.map(|by| by.uid),
            remaining_ms: self.terms.left().map(millis),
            handed: self.handed,
            last: last.collect(),
        }
    }
}

/// A program's name, if it is no longer than is told.
fn named(program: &Path) -> Option<String> {
    (program.as_os_str().len() <= LONGEST_PROGRAM).then(|| text(program))
}

/// One session's part of it.
#[derive(Debug)]
pub(super) struct Pages {
    pub board: Arc<Board>,
    pub worker: Arc<str>,
    pub bell: Arc<EventFd>,
}

impl Pages {
    /// Enters an approval. `None`: it cannot be, and so must not be kept.
    pub fn enter(&self, terms: Terms) -> Option<Arc<Slip>> {
        let mut kept = self.board.ledger().kept();
        let free = |number: &u64| !kept.entries.contains_key(number);
        let number = (0..8).filter_map(|_| random_number()).find(free)?;
        let entry = Entry {
            age: kept.next,
            worker: self.worker.clone(),
            terms,
            handed: 0,
            last: VecDeque::new(),
            revoked: None,
            bell: self.bell.clone(),
        };
        kept.next += 1;
        kept.entries.insert(number, entry);
        let board = self.board.clone();
        Some(Arc::new(Slip { board, number }))
    }

    /// Has seen that it was rung.
    pub fn reset(&self) {
        // EAGAIN: it was not set.
        let _reset = self.bell.read();
    }
}

impl AsFd for Pages {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// What says that an approval is entered. It is struck out when nobody has this any more.
#[derive(Debug)]
pub(super) struct Slip {
    board: Arc<Board>,
    number: u64,
}

impl Slip {
    fn with<T>(&self, see: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut kept = self.board.ledger().kept();
        kept.entries.get_mut(&self.number).map(see)
    }

    /// Whether it was taken back.
    pub fn revoked(&self) -> Option<Revocation> {
        self.with(|entry| entry.revoked).flatten()
    }

    /// How many descriptors were handed out under it.
    pub fn handed(&self) -> u64 {
        self.with(|entry| entry.handed).unwrap_or_default()
    }

    /// Somebody is given something under it, a descriptor or something done. `false`: they must not be, any more.
    pub fn use_it(&self, asker: &Asker, is_descriptor: bool) -> bool {
        let used = self.with(|entry| {
            if entry.revoked.is_some() {
                return false;
            }
            if is_descriptor {
                entry.handed += 1;
                if entry.last.len() >= LAST {
                    entry.last.pop_front();
                }
                entry.last.push_back(Handed {
                    pid: asker.pid,
                    program: asker.exe.clone(),
                    at: Instant::now(),
                });
            }
            true
        });
        used.unwrap_or(false)
    }

    /// They were not given it after all.
    pub fn unuse(&self, is_descriptor: bool) {
        self.with(|entry| {
            if is_descriptor && entry.last.pop_back().is_some() {
                entry.handed -= 1;
            }
        });
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        self.board.ledger().kept().entries.remove(&self.number);
    }
}
