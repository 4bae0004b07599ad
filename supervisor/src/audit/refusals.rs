//! The refusals of a run, each object once: what to tell people whose command failed.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::event::{Answer, Decision, Door};
use crate::policy::{Access, Mechanism, Origin, Reason};

/// So many objects are remembered: a child chooses how often it is refused something.
const MOST: usize = 64;

/// Something that was refused because of the policy, however often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What it was about.
    pub object: Object,
    /// The rights that were asked for, in all of these requests together.
    pub access: Access,
    /// Why the policy says no. `None`: by a rule that leaves it to an approver, or whose budget is used up.
    pub reason: Option<Reason>,
    /// The rule that refuses; `None`: no rule allows it.
    pub rule: Option<Origin>,
    /// The same in words, for a person.
    pub detail: String,
    /// The program that was first refused it, where that is known. Its name is the child's to choose.
    pub program: Option<PathBuf>,
    /// Who refused it.
    pub by: Refuser,
    /// What else it would have taken.
    pub takes: Takes,
    /// How often.
    pub times: u64,
}

/// Who refused something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refuser {
    /// The supervisor, which is asked.
    Supervisor,
    /// Landlock alone.
    Kernel,
}

impl From<Option<Mechanism>> for Refuser {
    fn from(mechanism: Option<Mechanism>) -> Self {
        match mechanism {
            Some(Mechanism::Landlock) => Self::Kernel,
            _ => Self::Supervisor,
        }
    }
}

/// What it takes to do what a call does, beside the right to what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// The kernel lets names be made, taken away and moved in whole directories, which it must be told of.
    Name,
    /// The right to the directory that it stands in, whoever does it: a link may lead anywhere, and a directory has names in it.
    Directory,
}

impl Takes {
    /// What this call takes. Of what the kernel itself wrote down, the directory is the object.
    #[must_use]
    pub fn of(call: &str, is_the_kernels: bool) -> Self {
        match call {
            _ if is_the_kernels => Self::Nothing,
            "symlink" | "symlinkat" | "link" | "linkat" | "rmdir" => Self::Directory,
            "mkdir" | "mkdirat" | "mknod" | "mknodat" | "unlink" | "unlinkat" => Self::Name,
            call if call.starts_with("rename") => Self::Name,
            _ => Self::Nothing,
        }
    }
}

/// What a refusal was about, as it was located.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A file or directory.
    File(PathBuf),
    /// A Unix socket that was to be connected to.
    Socket(PathBuf),
    /// An address that was to be connected to.
    Peer(SocketAddr),
    /// An address that was to be listened on.
    Own(SocketAddr),
}

/// The memory of them: bounded, in the order in which each was first refused.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Vec<Refused>);

impl Refusals {
    /// Keeps a decision in mind if it is a refusal that a policy could have made otherwise.
    pub fn note(&mut self, decision: &Decision<'_>) {
        if decision.answer != Answer::Refused
            || (decision.reason.is_none() && decision.rule.is_none())
        {
            return;
        }
        let Some(object) = object(decision) else {
            return;
        };
        let access = decision.access.unwrap_or(Access::NONE);
        let known = self.0.iter_mut().find(|known| {
            known.object == object
                && known.reason == decision.reason
                && known.rule.as_ref() == decision.rule
        });
        if let Some(known) = known {
            known.access |= access;
            known.by = known.by.max(decision.mechanism.into());
            known.takes = known
                .takes
                .max(Takes::of(decision.call, decision.door == Door::Kernel));
            known.times += 1;
            return;
        }
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        let program = decision.who.exe;
        self.0.push(Refused {
            object,
            access,
            reason: decision.reason,
            rule: decision.rule.cloned(),
            detail: decision.detail.unwrap_or_default().to_owned(),
            program: program.map(|exe| path(exe.0)),
            by: decision.mechanism.into(),
            takes: Takes::of(decision.call, decision.door == Door::Kernel),
            times: 1,
        });
    }

    /// The most telling first. What was refused for the first time shortly before the end is what the command may have failed
    /// for; what every process asks for when it starts was refused before, and something else was done. Where no rule can be
    /// added or changed that would allow it, there is less to be said.
    pub fn telling(&self) -> Vec<&Refused> {
        let mut telling: Vec<_> = self.0.iter().rev().collect();
        telling.sort_by_key(|refused| {
            !matches!(refused.reason, None | Some(Reason::NoRule | Reason::Rule))
        });
        telling
    }
}

fn object(decision: &Decision<'_>) -> Option<Object> {
    let located = decision.path.map(|located| path(located.0));
    Object::of(
        decision.call,
        decision.address,
        located,
        decision.access.is_some(),
    )
}

impl Object {
    /// What a call was about, given what was located. `is_file`: whether rights to a file were asked for.
    pub(super) fn of(
        call: &str,
        address: Option<SocketAddr>,
        located: Option<PathBuf>,
        is_file: bool,
    ) -> Option<Self> {
        match (address, located) {
            (Some(address), _) if call == "bind" => Some(Self::Own(address)),
            (Some(address), _) => Some(Self::Peer(address)),
            (None, Some(path)) if is_file => Some(Self::File(path)),
            (None, Some(path)) => Some(Self::Socket(path)),
            (None, None) => None,
        }
    }
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Bytes, Who};

    fn who() -> Who<'static> {
        Who {
            pid: 1,
            uid: 1,
            exe: None,
        }
    }

    fn refusal(path: &str, access: Access) -> Decision<'_> {
        Decision {
            path: Some(Bytes::from(path)),
            access: Some(access),
            reason: Some(Reason::NoRule),
            ..Decision::new(Door::Call, "openat", who(), Answer::Refused)
        }
    }

    fn files(refusals: &Refusals) -> Vec<String> {
        let name = |refused: &&Refused| match &refused.object {
            Object::File(path) => path.display().to_string(),
            other => format!("{other:?}"),
        };
        refusals.telling().iter().map(name).collect()
    }

    #[test]
    fn one_object_is_one_refusal_with_all_rights_that_were_asked_for() {
        let mut refusals = Refusals::default();
        for access in [Access::READ, Access::WRITE, Access::READ] {
            refusals.note(&refusal("/a", access));
        }
        let [known] = refusals.telling()[..] else {
            panic!("{refusals:?}");
        };
        assert_eq!(known.access, Access::READ | Access::WRITE);
        assert_eq!(known.times, 3);
    }

    #[test]
    fn what_was_refused_last_is_told_first_and_a_repeated_probe_is_not_news() {
        let mut refusals = Refusals::default();
        for path in ["/probe", "/a", "/probe", "/b", "/probe"] {
            refusals.note(&refusal(path, Access::READ));
        }
        assert_eq!(files(&refusals), ["/b", "/a", "/probe"]);
    }

    #[test]
    fn what_no_rule_could_allow_comes_last() {
        let mut refusals = Refusals::default();
        refusals.note(&refusal("/a", Access::READ));
        refusals.note(&Decision {
            reason: Some(Reason::WouldGain),
            ..refusal("/moved", Access::WRITE)
        });
        assert_eq!(files(&refusals), ["/a", "/moved"]);
    }

    #[test]
    fn grants_and_what_no_policy_decided_are_not_kept() {
        let mut refusals = Refusals::default();
        refusals.note(&Decision {
            answer: Answer::Granted,
            ..refusal("/a", Access::READ)
        });
        refusals.note(&Decision {
            reason: None,
            ..refusal("/b", Access::READ)
        });
        assert!(refusals.telling().is_empty(), "{refusals:?}");
    }

    #[test]
    fn however_much_is_refused_a_bounded_part_is_kept_and_it_is_the_latest() {
        let mut refusals = Refusals::default();
        let paths: Vec<String> = (0..1000).map(|number| format!("/{number}")).collect();
        for path in &paths {
            refusals.note(&refusal(path, Access::READ));
        }
        let kept = files(&refusals);
        assert_eq!(kept.len(), MOST);
        assert_eq!(kept[0], "/999");
    }

    #[test]
    fn sockets_and_addresses_are_told_apart_from_files() {
        let mut refusals = Refusals::default();
        let address: SocketAddr = "10.0.0.1:443".parse().unwrap();
        for call in ["connect", "bind"] {
            refusals.note(&Decision {
                call,
                path: None,
                access: None,
                address: Some(address),
                ..refusal("/", Access::NONE)
            });
        }
        refusals.note(&Decision {
            access: None,
            ..refusal("/run/socket", Access::NONE)
        });
        let objects: Vec<_> = refusals.telling().iter().map(|one| &one.object).collect();
        let expected = [
            &Object::Socket("/run/socket".into()),
            &Object::Own(address),
            &Object::Peer(address),
        ];
        assert_eq!(objects, expected);
    }
}
