//! What the doors recorded of the kernel's refusals before the kernel made them: nothing is to stand in the record twice.

use crate::audit::{Answer, Decision, Event};
use crate::policy::{Access, Mechanism};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// So many things are known to be recorded. Then it begins anew, and some are recorded twice.
const REMEMBERED: usize = 1 << 14;

/// What is recorded already, or will be.
#[derive(Debug, Default)]
pub struct Known {
    /// Programs ask over the socket for each open that the kernel refused.
    are_opens_asked: bool,
    objects: HashMap<PathBuf, Access>,
    /// Where names were not to be made or taken away: the kernel says no more of them.
    directories: HashSet<PathBuf>,
    /// The call of which one thing was known. The kernel says two of a move.
    call: Option<u64>,
}

impl Known {
    /// Nothing yet. `are_opens_asked`: a library that programs preload asks for what the kernel refused them to open.
    #[must_use]
    pub fn nothing(are_opens_asked: bool) -> Self {
        Self {
            are_opens_asked,
            ..Self::default()
        }
    }

    /// Takes note of what a door records.
    pub fn note(&mut self, event: &Event<'_>) {
        let Event::Decision(Decision {
            answer: Answer::Refused,
            mechanism: Some(Mechanism::Landlock),
            path: Some(path),
            access: Some(access),
            ..
        }) = event
        else {
            return;
        };
        if self.objects.len() >= REMEMBERED {
            self.objects.clear();
            self.directories.clear();
        }
        let path = Path::new(OsStr::from_bytes(path.0));
        if let Some(directory) = path.parent()
            && access.contains(Access::WRITE)
        {
            self.directories.insert(directory.to_owned());
        }
        let known = self.objects.entry(path.to_owned());
        *known.or_insert(Access::NONE) |= *access;
    }

    /// Whether it is recorded that a call was refused this.
    pub(super) fn has(&mut self, call: u64, path: &Path, access: Access, is_name: bool) -> bool {
        let known = self.objects.get(path).copied();
        let is_known = self.call == Some(call)
            || known.is_some_and(|known| known.contains(access))
            || is_name && self.directories.contains(path);
        if is_known {
            self.call = Some(call);
        }
        is_known
    }

    /// Whether somebody asks for it over the socket.
    pub(super) fn is_asked(&self, is_open: bool) -> bool {
        self.are_opens_asked && is_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Bytes, Door, Who};

    fn noted(path: &str, access: Access, mechanism: Mechanism) -> Known {
        let who = Who {
            pid: 1,
            uid: 0,
            exe: None,
        };
        let mut known = Known::nothing(false);
        known.note(&Event::Decision(Decision {
            path: Some(Bytes::from(path)),
            access: Some(access),
            mechanism: Some(mechanism),
            ..Decision::new(Door::Call, "openat", who, Answer::Refused)
        }));
        known
    }

    fn has(known: &mut Known, call: u64, path: &str, access: Access, is_name: bool) -> bool {
        known.has(call, Path::new(path), access, is_name)
    }

    #[test]
    fn what_a_door_left_to_the_kernel_is_known_and_nothing_else() {
        let mut known = noted("/a/b", Access::READ, Mechanism::Landlock);
        assert!(has(&mut known, 1, "/a/b", Access::READ, false));
        assert!(!has(&mut known, 2, "/a/b", Access::WRITE, false));
        assert!(!has(&mut known, 3, "/a/c", Access::READ, false));
        assert!(!has(&mut known, 4, "/a", Access::WRITE, true));
        let mut known = noted("/a/b", Access::READ, Mechanism::Broker);
        assert!(!has(&mut known, 5, "/a/b", Access::READ, false));
    }

    #[test]
    fn of_a_name_the_kernel_says_the_directory_and_of_a_move_both() {
        let mut known = noted("/a/new", Access::WRITE, Mechanism::Landlock);
        assert!(has(&mut known, 1, "/a", Access::WRITE, true));
        assert!(has(&mut known, 1, "/elsewhere", Access::WRITE, true));
        assert!(!has(&mut known, 2, "/elsewhere", Access::WRITE, true));
        // The directory itself was not to be listed.
        assert!(!has(&mut known, 3, "/a", Access::READ, false));
    }
}
