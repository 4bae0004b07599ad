//! Refusals of a record that are the same, however often.

use crate::audit::{Object, Printable, Recorded, Refused};
use crate::policy::{Access, Mechanism, Origin, Reason};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// One thing that was refused, and everything that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What it was; `None`: nothing was located.
    pub object: Option<Object>,
    /// As which it was asked for, where that was another name.
    pub asked: BTreeSet<PathBuf>,
    /// The calls.
    pub calls: BTreeSet<String>,
    /// The flags of opens.
    pub flags: BTreeSet<String>,
    /// The rights that were asked for, in all of these requests together.
    pub access: Access,
    /// What the callers were told.
    pub errnos: BTreeSet<String>,
    /// Who refused it.
    pub mechanism: Option<Mechanism>,
    /// The programs that asked.
    pub programs: BTreeSet<PathBuf>,
    /// What the policy says of it; `None`: it was refused for what it is.
    pub refused: Option<Refused>,
    /// Why, in words.
    pub detail: String,
    /// How often.
    pub times: u64,
    /// When first, and when last.
    pub at: (String, String),
}

impl Group {
    fn of(mut recorded: Recorded) -> Self {
        // What each process asks of itself is the same of all.
        let own = format!("/proc/{}", recorded.pid);
        let inside = recorded.path.as_ref();
        let inside = inside.and_then(|path| path.strip_prefix(own).ok());
        recorded.path = inside
            .map(|inside| Path::new("/proc/self").join(inside))
            .or(recorded.path);
        let refused = recorded.as_refused();
        Self {
            object: recorded.object(),
            asked: recorded.asked.into_iter().collect(),
            calls: [match recorded.is_request {
                true => format!("{} over the socket", recorded.call),
                false => recorded.call,
            }]
            .into(),
            flags: recorded.flags.into_iter().collect(),
            access: recorded.access.unwrap_or(Access::NONE),
            errnos: recorded.errno.into_iter().collect(),
            mechanism: recorded.mechanism,
            programs: recorded.program.into_iter().collect(),
            refused,
            detail: recorded.detail,
            times: 1,
            at: (recorded.at.clone(), recorded.at),
        }
    }

    fn key(&self) -> Key {
        let refused = self.refused.as_ref();
        // Of what was not located the name that was asked for is all that is known.
        let named = match &self.object {
            Some(_) => Default::default(),
            None => (self.asked.clone(), self.calls.clone()),
        };
        Key {
            object: self.object.clone(),
            mechanism: self.mechanism,
            reason: refused.and_then(|refused| refused.reason),
            rule: refused.and_then(|refused| refused.rule.clone()),
            detail: self.detail.clone(),
            named,
        }
    }

    fn absorb(&mut self, other: Self) {
        self.asked.extend(other.asked);
        self.calls.extend(other.calls);
        self.flags.extend(other.flags);
        self.access |= other.access;
        self.errnos.extend(other.errnos);
        self.programs.extend(other.programs);
        self.times += other.times;
        self.at.1 = other.at.1;
        if let Some(refused) = &mut self.refused {
            refused.access |= other.access;
            refused.times = self.times;
            if let Some(other) = other.refused {
                refused.by = refused.by.max(other.by);
                refused.takes = refused.takes.max(other.takes);
            }
        }
    }

    /// Whether a rule that allows these rights to a path, and to all below it, would have allowed this one too.
    #[must_use]
    pub fn is_allowed_by(&self, path: &Path, access: Access) -> bool {
        let is_below = matches!(&self.object, Some(Object::File(own)) if own.starts_with(path));
        // To write is to read, and so is to execute.
        is_below && self.refused.is_some() && (access | Access::READ).contains(self.access)
    }
}

/// The refusals among `recorded`, those that are alike together, in the order in which each was first refused.
#[must_use]
pub fn groups(recorded: impl IntoIterator<Item = Recorded>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known: BTreeMap<Key, usize> = BTreeMap::new();
    let refused = recorded.into_iter().filter(|one| one.answer == "refused");
    for group in refused.map(Group::of) {
        match known.entry(group.key()) {
            Entry::Occupied(at) => groups[*at.get()].absorb(group),
            Entry::Vacant(place) => {
                place.insert(groups.len());
                groups.push(group);
            }
        }
    }
    groups
}

/// What was refused, for people.
pub(super) fn shown(object: &Object) -> String {
    match object {
        Object::File(path) => Printable::from(path.as_path()).to_string(),
        Object::Socket(path) => format!("connect {}", Printable::from(path.as_path())),
        Object::Peer(address) => format!("connect {address}"),
        Object::Own(address) => format!("bind {address}"),
    }
}

/// What is the same of refusals that are alike.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    object: Option<Object>,
    mechanism: Option<Mechanism>,
    reason: Option<Reason>,
    rule: Option<Origin>,
    detail: String,
    named: (BTreeSet<PathBuf>, BTreeSet<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(call: &str, path: &str, access: Access, at: &str) -> Recorded {
        Recorded {
            at: at.to_owned(),
            call: call.to_owned(),
            is_request: false,
            is_the_kernels: false,
            pid: 1,
            program: Some(format!("/bin/{call}").into()),
            path: Some(path.into()),
            asked: None,
            address: None,
            access: Some(access),
            flags: None,
            answer: "refused".to_owned(),
            errno: Some("EACCES".to_owned()),
            reason: Some(Reason::NoRule),
            rule: None,
            mechanism: Some(Mechanism::Broker),
            detail: "no rule allows it".to_owned(),
        }
    }

    #[test]
    fn what_is_refused_again_is_counted_with_all_that_was_asked() {
        let granted = Recorded {
            answer: "granted".to_owned(),
            ..refusal("open", "/a", Access::READ, "0")
        };
        let by_rule = Recorded {
            rule: Some(Origin::flag("--deny")),
            reason: Some(Reason::Rule),
            ..refusal("open", "/a", Access::READ, "4")
        };
        let found = groups([
            granted,
            refusal("openat", "/a", Access::READ, "1"),
            refusal("openat", "/b", Access::READ, "2"),
            refusal("unlink", "/a", Access::WRITE, "3"),
            by_rule,
        ]);
        let [a, b, denied] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((a.times, a.access), (2, Access::READ | Access::WRITE));
        assert_eq!(a.at, ("1".to_owned(), "3".to_owned()));
        assert_eq!(a.calls, ["openat".to_owned(), "unlink".to_owned()].into());
        assert_eq!(a.refused.as_ref().unwrap().access, a.access);
        assert_eq!((b.times, denied.times), (1, 1));
    }

    #[test]
    fn a_rule_for_a_directory_is_one_for_what_lies_in_it() {
        let [group] = groups([refusal("open", "/a/b", Access::READ, "1")])
            .try_into()
            .unwrap();
        assert!(group.is_allowed_by(Path::new("/a"), Access::READ));
        assert!(group.is_allowed_by(Path::new("/a/b"), Access::WRITE));
        assert!(!group.is_allowed_by(Path::new("/a/c"), Access::READ));
        let [group] = groups([refusal("rm", "/a/b", Access::WRITE, "1")])
            .try_into()
            .unwrap();
        assert!(!group.is_allowed_by(Path::new("/a"), Access::READ));
    }

    #[test]
    fn what_processes_ask_of_themselves_is_one_thing() {
        let own = |pid| Recorded {
            pid,
            ..refusal("open", &format!("/proc/{pid}/maps"), Access::READ, "1")
        };
        let another = Recorded { pid: 3, ..own(2) };
        let found = groups([own(1), own(2), another]);
        let objects: Vec<_> = found.iter().map(|group| group.object.clone()).collect();
        let file = |path: &str| Some(Object::File(path.into()));
        assert_eq!(objects, [file("/proc/self/maps"), file("/proc/2/maps")]);
    }

    #[test]
    fn what_was_not_located_is_told_apart_by_its_name() {
        let nowhere = |asked: &str| Recorded {
            path: None,
            asked: Some(asked.into()),
            ..refusal("open", "/", Access::READ, "1")
        };
        let found = groups([nowhere("a"), nowhere("b"), nowhere("a")]);
        let times: Vec<_> = found.iter().map(|group| group.times).collect();
        assert_eq!(times, [2, 1]);
    }
}
