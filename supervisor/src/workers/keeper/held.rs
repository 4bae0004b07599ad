//! What is held of each worker, and what the present daemon was told of it.

use super::Said;
use super::entry::{Entry, Item, OWN, has_exited};
use super::message::{Held, MOST, Message, Verb};
use super::store::Name;
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::pidfd::Ended;

/// `si_code` of an end that nobody saw.
pub(super) const UNSEEN: i32 = 0;

/// Everything that is held, by key.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<u64, Entry>,
    /// Names of what the service manager is to store no longer.
    removed: VecDeque<String>,
    /// How many descriptors it stores.
    stored: usize,
}

/// How long its parent may take to collect it, whereupon the kernel tells how it ended.
const UNCOLLECTED: Duration = Duration::from_secs(1);

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
            while entry.given.is_none_or(|given| given < entry.items.len()) {
                let given = entry.given.unwrap_or(0);
                let rest = entry.items.iter().skip(given).take(MOST);
                let rest = rest.map(|item| &item.held);
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
    pub fn keep(&mut self, message: &Message, fds: Vec<Held>, exit: Option<(i32, i32)>) {
        let mut entry = Entry {
            pid: message.pid,
            is_bound: message.is_bound,
            total: message.total.into(),
            exit,
            ..Entry::default()
        };
        entry.push(fds);
        self.entries.insert(message.key, entry);
    }

    pub fn add(&mut self, key: u64, fds: Vec<Held>) {
        if key == OWN {
            self.entries.entry(key).or_default().push(fds);
        } else if let Some(entry) = self.entries.get_mut(&key) {
            entry.push(fds);
        }
    }

    pub fn drop_some(&mut self, key: u64, roles: &[u8], label: u32) {
        if let Some(mut entry) = self.entries.remove(&key) {
            let is_dropped =
                |item: &Item| item.held.label == label && roles.contains(&(item.held.role as u8));
            let (dropped, kept) = entry.items.drain(..).partition(is_dropped);
            self.unstore(key, &entry, dropped);
            entry.items = kept;
            entry.given = Some(entry.items.len());
            self.entries.insert(key, entry);
        }
    }

    pub fn forget(&mut self, key: u64) {
        if let Some(mut entry) = self.entries.remove(&key) {
            let items = std::mem::take(&mut entry.items);
            self.unstore(key, &entry, items);
        }
    }

    fn unstore(&mut self, key: u64, entry: &Entry, items: Vec<Item>) {
        for item in items.iter().filter(|item| item.is_stored) {
            self.stored = self.stored.saturating_sub(1);
            self.removed.push_back(entry.name(key, item).to_string());
        }
    }

    /// A child ended. Whether it was a worker.
    pub fn exited(&mut self, pid: i32, code: i32, status: i32) -> bool {
        let is_it =
            |entry: &&mut Entry| entry.pid == pid && entry.exit.is_none() && !entry.is_foreign;
        match self.entries.values_mut().find(is_it) {
            Some(entry) => {
                entry.exit = Some((code, status));
                true
            }
            None => false,
        }
    }

    /// The processes of workers that live and are not our children: each is readable when it ends.
    pub fn foreign(&self) -> Vec<BorrowedFd<'_>> {
        let living = self
            .entries
            .values()
            .filter(|entry| entry.lives_elsewhere());
        let open = living.filter(|entry| entry.over_since.is_none());
        open.filter_map(Entry::process).collect()
    }

    /// Looks who of them has ended. Whether one of them has, of whom it is not known yet how.
    pub fn look_at_foreign(&mut self, now: Instant) -> bool {
        let mut is_open = false;
        for entry in self.entries.values_mut() {
            if !entry.lives_elsewhere() {
                continue;
            }
            let Some(process) = entry.process() else {
                continue;
            };
            if entry.over_since.is_none() && !has_exited(process) {
                continue;
            }
            // The kernel tells once whoever is its parent has collected it; before Linux 6.15 it never does.
            let told = sys::pidfs::ended(process).ok().flatten();
            let since = *entry.over_since.get_or_insert(now);
            match told {
                Some(Ended::Exited(status)) => entry.exit = Some((libc::CLD_EXITED, status)),
                Some(Ended::Signaled(signal)) => entry.exit = Some((libc::CLD_KILLED, signal)),
                None if now.duration_since(since) >= UNCOLLECTED => entry.exit = Some((UNSEEN, 0)),
                None => is_open = true,
            }
        }
        is_open
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

    /// Who was given in part, by a daemon that died over it.
    pub fn torn(&self) -> Vec<u64> {
        let torn = self.entries.iter().filter(|(_, entry)| !entry.is_whole);
        torn.map(|(key, _)| *key).collect()
    }

    /// We killed it, and whoever collected it did not say how it ended.
    pub fn killed(&mut self, key: u64) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.exit.get_or_insert((libc::CLD_KILLED, libc::SIGKILL));
        }
    }

    /// Takes in what an earlier keeper had stored: a set of one worker, or what is the daemon's own.
    pub fn take_back(&mut self, set: Vec<(Name, OwnedFd)>) {
        for (name, fd) in set {
            self.stored += 1;
            let entry = self.entries.entry(name.key).or_default();
            entry.pid = name.pid;
            entry.is_foreign = name.key != OWN;
            entry.essential = name.essential;
            entry.next = entry.next.max(name.order + 1);
            entry.items.push(Item {
                held: Held {
                    role: name.role,
                    label: name.label,
                    fd,
                },
                order: name.order,
                is_stored: true,
            });
            entry.is_whole = true;
        }
    }

    /// What is not to be stored any more, by name.
    pub fn unwanted(&mut self, name: String) {
        self.removed.push_back(name);
    }

    /// Has the service manager store what it does not have, up to `room` descriptors, and drop what is dropped. `false`: there was
    /// no room for all of it on the way.
    pub fn store(
        &mut self,
        room: usize,
        mut say: impl FnMut(&str, Option<BorrowedFd<'_>>) -> Said,
    ) -> bool {
        while let Some(name) = self.removed.front() {
            match say(name, None) {
                Said::Yes => drop(self.removed.pop_front()),
                Said::Full | Said::Gone => return false,
            }
        }
        for (key, entry) in &mut self.entries {
            if !entry.is_to_be_stored() {
                continue;
            }
            let missing = entry.missing();
            // A part of a worker is of no use to anybody.
            if missing == 0 || self.stored + missing > room {
                continue;
            }
            for at in 0..entry.items.len() {
                let item = &entry.items[at];
                if item.is_stored || !item.held.role.is_stored() {
                    continue;
                }
                let name = entry.name(*key, item).to_string();
                match say(&name, Some(item.held.fd.as_fd())) {
                    Said::Yes => entry.items[at].is_stored = true,
                    Said::Full | Said::Gone => return false,
                }
                self.stored += 1;
            }
        }
        true
    }

    /// How many workers there are, and how many of them the service manager should have and does not.
    pub fn counts(&self) -> (usize, usize) {
        let workers = self.entries.iter().filter(|(key, _)| **key != OWN);
        let living = workers.filter(|(_, entry)| entry.exit.is_none());
        living.fold((0, 0), |(all, unstored), (_, entry)| {
            let is_unstored = entry.is_to_be_stored() && entry.missing() > 0;
            (all + 1, unstored + usize::from(is_unstored))
        })
    }

    /// Whether anything is held under this key.
    pub fn has(&self, key: u64) -> bool {
        self.entries.contains_key(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::Role;
    use super::*;

    fn fds(roles: &[Role]) -> Vec<Held> {
        let open = |role: &Role| Held {
            role: *role,
            label: 0,
            fd: std::fs::File::open("/dev/null").unwrap().into(),
        };
        roles.iter().map(open).collect()
    }

    fn keep(table: &mut Table, key: u64, is_bound: bool, total: u8, roles: &[Role]) {
        let message = Message {
            pid: 77,
            is_bound,
            total,
            ..Message::new(Verb::Keep, key)
        };
        table.keep(&message, fds(roles), None);
    }

    fn stored(table: &mut Table, room: usize) -> Vec<String> {
        let mut all = Vec::new();
        assert!(table.store(room, |name, fd| {
            let sign = if fd.is_some() { '+' } else { '-' };
            all.push(format!("{sign}{name}"));
            Said::Yes
        }));
        all
    }

    #[test]
    fn what_is_stored_is_what_can_go_on_without_us_and_only_as_a_whole() {
        let mut table = Table::default();
        let all = [Role::Process, Role::Listener, Role::Socket];
        keep(&mut table, 5, true, 3, &all);
        assert_eq!(stored(&mut table, 100).len(), 0, "it dies with us");
        keep(&mut table, 6, false, 4, &all);
        assert_eq!(stored(&mut table, 100).len(), 0, "it is not whole yet");
        assert_eq!(table.torn(), [6]);
        table.add(6, fds(&[Role::Output]));
        assert_eq!(table.torn(), [0; 0]);
        assert_eq!(stored(&mut table, 3).len(), 0, "there is no room for it");
        assert_eq!(table.counts(), (2, 1));
        let names = stored(&mut table, 4);
        assert_eq!(names.len(), 4);
        assert_eq!(table.counts(), (2, 0));
        assert_eq!(stored(&mut table, 4).len(), 0, "once is enough");
        table.drop_some(6, &[Role::Output as u8], 1);
        assert_eq!(
            stored(&mut table, 4).len(),
            0,
            "there is none of that label"
        );
        table.drop_some(6, &[Role::Output as u8], 0);
        let gone = names[3].replace('+', "-");
        assert_eq!(stored(&mut table, 4), [gone]);
        table.add(6, fds(&[Role::Errors]));
        let later = stored(&mut table, 4);
        assert!(
            later.len() == 1 && !names.contains(&later[0]),
            "a name is used once: {later:?}"
        );
        table.add(0, fds(&[Role::Lock, Role::Marks]));
        assert_eq!(
            stored(&mut table, 100).len(),
            0,
            "the lock is not for others"
        );
        table.forget(6);
        assert_eq!(stored(&mut table, 100).len(), 4);
    }

    #[test]
    fn what_the_service_manager_has_no_room_for_on_the_way_is_tried_again() {
        let mut table = Table::default();
        keep(&mut table, 6, false, 2, &[Role::Process, Role::Socket]);
        let mut before_it_is_full = 1;
        let all_told = table.store(9, |_, _| {
            before_it_is_full -= 1;
            if before_it_is_full < 0 {
                Said::Full
            } else {
                Said::Yes
            }
        });
        assert!(!all_told);
        assert_eq!(stored(&mut table, 9).len(), 1);
    }

    #[test]
    fn a_worker_that_is_another_s_child_ends_as_its_parent_found_or_nobody_knows_how() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let pidfd = sys::pidfd::Pidfd::open(pid).unwrap();
        let mut table = Table::default();
        let name = Name {
            key: 5,
            pid,
            essential: 1,
            order: 0,
            role: Role::Process,
            label: 0,
        };
        let own = pidfd.as_fd().try_clone_to_owned().unwrap();
        table.take_back(vec![(name, own)]);
        assert!(
            !table.exited(pid, libc::CLD_EXITED, 1),
            "a child of ours of that number is not it"
        );
        let now = Instant::now();
        assert_eq!(table.foreign().len(), 1);
        assert!(!table.look_at_foreign(now), "it lives");
        child.kill().unwrap();
        while !pidfd.has_exited().unwrap() {
            std::thread::yield_now();
        }
        assert!(table.look_at_foreign(now), "nobody has collected it");
        assert_eq!(table.foreign().len(), 0, "it is not waited for again");
        let told = |table: &mut Table| {
            let mut told = None;
            table.tell_exits(|message| {
                told = Some((message.code, message.status));
                Said::Yes
            });
            told
        };
        assert_eq!(told(&mut table), None);
        // What is never collected is not waited for for ever.
        assert!(!table.look_at_foreign(now + UNCOLLECTED));
        assert_eq!(told(&mut table), Some((UNSEEN, 0)));
        child.wait().unwrap();
    }
}
