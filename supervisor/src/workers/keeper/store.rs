//! What the service manager stores for the next keeper (systemd.exec(5), "file descriptor store"), and how it comes back.
//!
//! Each descriptor is stored under a name of its own, which says all that the keeper knows of it: the manager gives them back
//! in no order, and may have lost some. A worker of which something essential is missing is not taken back. It goes on
//! alone, or is ended, as one without a keeper is.

use super::message::{Role, is_essential};
use crate::sandbox::Tag;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;

/// What is in a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    /// The worker's, 0 for the daemon's own.
    pub key: u64,
    pub pid: i32,
    /// How many essential descriptors it has.
    pub essential: usize,
    /// The place among those of this worker.
    pub order: u32,
    pub role: Role,
    pub label: u32,
}

/// What a name of ours begins with. Others are not looked at.
const OURS: &str = "supervise1-";

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            pid,
            essential,
            order,
            role,
            label,
        } = self;
        let role = *role as u8;
        write!(
            f,
            "{OURS}{key:016x}-{pid}-{essential}-{order}-{role}-{label}"
        )
    }
}

impl Name {
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(OURS)?.split('-');
        let key = u64::from_str_radix(parts.next()?, 16).ok()?;
        let name = Self {
            key,
            pid: parts.next()?.parse().ok()?,
            essential: parts.next()?.parse().ok()?,
            order: parts.next()?.parse().ok()?,
            role: Role::from_number(parts.next()?.parse().ok()?)?,
            label: parts.next()?.parse().ok()?,
        };
        let is_known = key == 0 || Tag::from_number(key).is_some();
        // One spelling for each: what it is removed by is written anew.
        (is_known && name.order < u32::MAX && name.to_string() == text).then_some(name)
    }
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Returned {
    /// Whole sets, in the order in which they were kept.
    pub sets: Vec<Vec<(Name, OwnedFd)>>,
    /// The names of what was in sets that are not whole, and is closed.
    pub torn: Vec<String>,
}

/// Sorts what the service manager handed over. Names that are not ours are closed.
pub(super) fn sort(handed: Vec<(String, OwnedFd)>) -> Returned {
    let mut by_key: BTreeMap<u64, BTreeMap<u32, (Name, OwnedFd)>> = BTreeMap::new();
    for (text, fd) in handed {
        if let Some(name) = Name::parse(&text) {
            by_key
                .entry(name.key)
                .or_default()
                .insert(name.order, (name, fd));
        }
    }
    let mut returned = Returned::default();
    for (key, set) in by_key {
        let set: Vec<_> = set.into_values().collect();
        if key == 0 || is_whole(&set) {
            returned.sets.push(set);
        } else {
            let names = set.iter().map(|(name, _)| name.to_string());
            returned.torn.extend(names);
        }
    }
    returned
}

fn is_whole(set: &[(Name, OwnedFd)]) -> bool {
    let count = |is: &dyn Fn(&Name) -> bool| set.iter().filter(|(name, _)| is(name)).count();
    let of = |role: Role| count(&|name| name.role == role);
    let Some((first, _)) = set.first() else {
        return false;
    };
    let agree = |(name, _): &(Name, OwnedFd)| {
        (name.pid, name.essential) == (first.pid, first.essential) && name.role.is_stored()
    };
    set.iter().all(agree)
        && count(&|name| is_essential(name.role, name.label)) == first.essential
        && of(Role::Process) == 1
        && of(Role::Listener) == of(Role::Journal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    const KEY: u64 = 1 << 61 | 5;

    fn name(order: u32, role: Role) -> Name {
        Name {
            key: KEY,
            pid: 77,
            essential: 4,
            order,
            role,
            label: 0,
        }
    }

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn whole() -> Vec<(String, OwnedFd)> {
        let names = [
            name(9, Role::Output),
            name(3, Role::Ruleset),
            name(2, Role::Ruleset),
            name(0, Role::Process),
            name(1, Role::Socket),
        ];
        names.map(|name| (name.to_string(), fd())).into()
    }

    #[test]
    fn a_name_says_again_what_was_put_into_it_and_has_one_spelling() {
        for role in [Role::Process, Role::Ruleset, Role::Control] {
            let name = name(12, role);
            let text = name.to_string();
            assert_eq!(Name::parse(&text), Some(name));
            // As sd_notify(3) wants a name.
            assert!(text.len() < 255 && text.bytes().all(|b| b.is_ascii_graphic() && b != b':'));
            assert_eq!(Name::parse(&format!("{text}-1")), None);
            assert_eq!(Name::parse(&format!("{text} ")), None);
            assert_eq!(Name::parse(&text.replace("-77-", "-077-")), None);
            assert_eq!(Name::parse(&text.replace("supervise1", "supervise2")), None);
        }
        // A number that is no tag.
        let other = Name {
            key: 5,
            ..name(0, Role::Process)
        };
        assert_eq!(Name::parse(&other.to_string()), None);
        for text in ["", "stored", "supervise1-", "supervise1-0-0-0-0-99-0"] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_set_comes_back_in_the_order_in_which_it_was_given() {
        let mut handed = whole();
        handed.insert(1, ("connection".to_owned(), fd()));
        let returned = sort(handed);
        assert_eq!(returned.torn.len(), 0);
        assert_eq!(returned.sets.len(), 1);
        let orders = returned.sets[0].iter().map(|(name, _)| name.order);
        assert_eq!(orders.collect::<Vec<_>>(), [0, 1, 2, 3, 9]);
    }

    #[test]
    fn a_set_of_which_something_essential_is_missing_or_doubtful_is_closed() {
        for missing in [1, 2, 3, 4] {
            let mut handed = whole();
            let (_, lost) = handed.remove(missing);
            let numbers: Vec<_> = handed.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
            drop(lost);
            let returned = sort(handed);
            assert_eq!((returned.sets.len(), returned.torn.len()), (0, 4));
            assert_eq!(numbers.len(), 4);
        }
        let mut handed = whole();
        handed.remove(0);
        let connection = Name {
            label: 3,
            ..name(8, Role::Socket)
        };
        handed.push((connection.to_string(), fd()));
        assert_eq!(
            sort(handed).sets.len(),
            1,
            "what it writes can be done without"
        );
        let mut handed = whole();
        handed[0].0 = Name {
            pid: 78,
            ..name(9, Role::Output)
        }
        .to_string();
        assert_eq!(sort(handed).torn.len(), 5, "two of one tag");
    }
}
