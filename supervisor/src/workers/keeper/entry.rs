//! What is held of one worker.

use super::message::{Held, Role, is_essential};
use super::store::Name;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// The key under which the daemon's own descriptors are held.
pub(super) const OWN: u64 = 0;

/// A worker, or what is the daemon's own.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub pid: i32,
    pub is_bound: bool,
    pub items: Vec<Item>,
    /// How many descriptors make it whole.
    pub total: usize,
    /// It has been. What has not is not kept.
    pub is_whole: bool,
    /// How many essential ones it had then.
    pub essential: usize,
    /// The order of the next one.
    pub next: u32,
    /// Somebody else is its parent.
    pub is_foreign: bool,
    /// Since when it is seen to have ended, by who is not its parent.
    pub over_since: Option<Instant>,
    /// `si_code` and `si_status`.
    pub exit: Option<(i32, i32)>,
    /// How many descriptors the present daemon was given; `None`: it has not heard of this.
    pub given: Option<usize>,
    pub told_exit: bool,
}

/// A descriptor.
#[derive(Debug)]
pub(super) struct Item {
    pub held: Held,
    pub order: u32,
    /// The service manager has it too.
    pub is_stored: bool,
}

impl Entry {
    pub fn push(&mut self, fds: Vec<Held>) {
        for held in fds {
            let order = self.next;
            self.next += 1;
            self.items.push(Item {
                held,
                order,
                is_stored: false,
            });
        }
        self.given = Some(self.items.len());
        if !self.is_whole && self.items.len() >= self.total {
            self.is_whole = true;
            let held = self.items.iter().map(|item| &item.held);
            let essential = held.filter(|held| is_essential(held.role, held.label));
            self.essential = essential.count();
        }
    }

    pub fn name(&self, key: u64, item: &Item) -> Name {
        Name {
            key,
            pid: self.pid,
            essential: self.essential,
            order: item.order,
            role: item.held.role,
            label: item.held.label,
        }
    }

    pub fn process(&self) -> Option<BorrowedFd<'_>> {
        let process = self
            .items
            .iter()
            .find(|item| item.held.role == Role::Process)?;
        Some(process.held.fd.as_fd())
    }

    pub fn lives_elsewhere(&self) -> bool {
        self.is_foreign && self.exit.is_none()
    }

    /// Who dies with us needs nothing stored.
    pub fn is_to_be_stored(&self) -> bool {
        !self.is_bound && self.is_whole
    }

    pub fn missing(&self) -> usize {
        let missing = |item: &&Item| !item.is_stored && item.held.role.is_stored();
        self.items.iter().filter(missing).count()
    }
}

/// One that cannot be asked is asked again.
pub(super) fn has_exited(process: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(process, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}
