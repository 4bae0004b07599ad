//! What is held of each worker, and what the present daemon was told of it.

use super::Said;
use super::message::{Held, MOST, Message, Verb};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};

/// Everything that is held, by key.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<u64, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    pid: i32,
    is_bound: bool,
    fds: Vec<Held>,
    /// `si_code` and `si_status`.
    exit: Option<(i32, i32)>,
    /// How many descriptors the present daemon was given; `None`: it has not heard of this.
    given: Option<usize>,
    told_exit: bool,
}

impl Table {
    /// There is a new daemon, which knows nothing.
    pub fn begin_handing(&mut self) {
        for entry in self.entries.values_mut() {
            entry.given = None;
            entry.told_exit = false;
        }
    }

    /// Hands over what the daemon does not have. `false`: there was no room for all of it.
    pub fn hand_over(&mut self, mut say: impl FnMut(&Message, &[BorrowedFd<'_>]) -> Said) -> bool {
        for (key, entry) in &mut self.entries {
            while entry.given.is_none_or(|given| given < entry.fds.len()) {
                let given = entry.given.unwrap_or(0);
                let rest = entry.fds.iter().skip(given).take(MOST);
                let label = rest.clone().next().map_or(0, |held| held.label);
                let part: Vec<_> = rest.take_while(|held| held.label == label).collect();
                let message = Message {
                    pid: entry.pid,
                    is_bound: entry.is_bound,
                    label,
                    ..Message::new(Verb::Held, *key)
                }
                .with_roles(part.iter().map(|held| held.role));
                let fds: Vec<_> = part.iter().map(|held| held.fd.as_fd()).collect();
                match say(&message, &fds) {
                    Said::Yes => entry.given = Some(given + part.len()),
                    Said::Full => return false,
                    Said::Gone => return true,
                }
            }
        }
        true
    }

    /// Tells who ended. `false`: there was no room for all of it.
    pub fn tell_exits(&mut self, mut say: impl FnMut(&Message) -> Said) -> bool {
        for (key, entry) in &mut self.entries {
            let Some((code, status)) = entry.exit.filter(|_| !entry.told_exit) else {
                continue;
            };
            let message = Message {
                pid: entry.pid,
                code,
                status,
                ..Message::new(Verb::Exited, *key)
            };
            match say(&message) {
                Said::Yes => entry.told_exit = true,
                Said::Full => return false,
                Said::Gone => return true,
            }
        }
        true
    }

    /// What the daemon gives it has.
    pub fn keep(
        &mut self,
        key: u64,
        pid: i32,
        is_bound: bool,
        fds: Vec<Held>,
        exit: Option<(i32, i32)>,
    ) {
        let given = Some(fds.len());
        let entry = Entry {
            pid,
            is_bound,
            fds,
            exit,
            given,
            told_exit: false,
        };
        self.entries.insert(key, entry);
    }

    pub fn add(&mut self, key: u64, fds: Vec<Held>) {
        let entry = self.entries.entry(key).or_default();
        entry.fds.extend(fds);
        entry.given = Some(entry.fds.len());
    }

    pub fn drop_some(&mut self, key: u64, roles: &[u8], label: u32) {
        if let Some(entry) = self.entries.get_mut(&key) {
            let is_meant = |held: &Held| held.label == label && roles.contains(&(held.role as u8));
            entry.fds.retain(|held| !is_meant(held));
            entry.given = Some(entry.fds.len());
        }
    }

    pub fn forget(&mut self, key: u64) {
        self.entries.remove(&key);
    }

    /// A child ended. Whether it was a worker.
    pub fn exited(&mut self, pid: i32, code: i32, status: i32) -> bool {
        let alive = |entry: &&mut Entry| entry.pid == pid && entry.exit.is_none();
        match self.entries.values_mut().find(alive) {
            Some(entry) => {
                entry.exit = Some((code, status));
                true
            }
            None => false,
        }
    }

    /// Who is to die with the daemon, and lives.
    pub fn bound(&self) -> Vec<u64> {
        let bound = |(_, entry): &(&u64, &Entry)| entry.is_bound && entry.exit.is_none();
        self.entries
            .iter()
            .filter(bound)
            .map(|(key, _)| *key)
            .collect()
    }

    /// We killed it, and whoever collected it did not say how it ended.
    pub fn killed(&mut self, key: u64) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.exit.get_or_insert((libc::CLD_KILLED, libc::SIGKILL));
        }
    }
}
