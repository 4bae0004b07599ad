//! What the door asks the policy: the few questions that it can be asked.

use crate::broker::id_of;
use crate::policy::{
    Access, Allowed, Kind, Mechanism, NativeGrant, Peer, Ruleset, Subject, Udp, Verdict,
};
use nix::fcntl::OFlag;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::Path;
use sys::metadata::facts;
use sys::openat2::{Lookup, locate};

/// Who decides. [`Ruleset`] does.
pub trait Law {
    /// Whether the child may open this located file so, or make and open it.
    fn decide_open(&self, subject: &Subject<'_>, access: Access) -> Verdict;
    /// Whether the child may access this located object so.
    fn decide(&self, subject: &Subject<'_>, access: Access) -> Verdict;
    /// Whether it may make an entry of this kind.
    fn decide_make(&self, subject: &Subject<'_>, kind: Kind) -> Verdict;
    /// Whether it may take a directory or a symbolic link away.
    fn decide_replace(&self, subject: &Subject<'_>) -> Verdict;
    /// Whether it may take anything else away.
    fn decide_remove(&self, subject: &Subject<'_>) -> Verdict;
    /// Whether it may move an entry, of this kind, over what may have the second name.
    fn decide_move(&self, from: &Subject<'_>, to: &Subject<'_>, kind: Kind) -> Verdict;
    /// Whether it may give what has the first name the second as well.
    fn decide_link(&self, from: &Subject<'_>, to: &Subject<'_>) -> Verdict;
    /// Whether the kernel may have been told to let the child access so what has this canonical name. Cheaper than to decide.
    fn may_be_native(&self, path: &Path, access: Access) -> bool;
    /// Whether a file may be denied such access for what it is, whatever its name. Else names and directories tell everything.
    fn knows_files(&self, access: Access) -> bool;
    /// Whether it may connect to this located socket file.
    fn decide_unix(&self, subject: &Subject<'_>) -> Verdict;
    /// Whether it may open a TCP connection to this address, given who listens there.
    fn decide_connect(&self, address: SocketAddr, peer: Peer) -> Verdict;
    /// Whether it matters for connections to this machine who listens there.
    fn reaches_itself(&self) -> bool;
    /// Whether it may bind a TCP socket to this address.
    fn decide_bind(&self, address: SocketAddr) -> Verdict;
    /// Whether it may send datagrams over IP, to anybody.
    fn allows_udp(&self) -> bool;
}

impl Law for Ruleset {
    fn decide_open(&self, subject: &Subject<'_>, access: Access) -> Verdict {
        let verdict = Ruleset::decide_open(self, subject, access);
        settled(verdict, || self.unsettled_grants(subject, access))
    }

    fn decide(&self, subject: &Subject<'_>, access: Access) -> Verdict {
        Ruleset::decide(self, subject, access)
    }

    fn decide_make(&self, subject: &Subject<'_>, kind: Kind) -> Verdict {
        let verdict = Ruleset::decide_make(self, subject, kind);
        settled(verdict, || above(self, subject))
    }

    fn decide_replace(&self, subject: &Subject<'_>) -> Verdict {
        let verdict = Ruleset::decide_replace(self, subject);
        settled(verdict, || above(self, subject))
    }

    fn decide_remove(&self, subject: &Subject<'_>) -> Verdict {
        let verdict = Ruleset::decide_remove(self, subject);
        settled(verdict, || above(self, subject))
    }

    fn decide_move(&self, from: &Subject<'_>, to: &Subject<'_>, kind: Kind) -> Verdict {
        let verdict = Ruleset::decide_move(self, from, to, kind);
        settled(verdict, || [above(self, from), above(self, to)].concat())
    }

    fn decide_link(&self, from: &Subject<'_>, to: &Subject<'_>) -> Verdict {
        let verdict = Ruleset::decide_link(self, from, to);
        settled(verdict, || [above(self, from), above(self, to)].concat())
    }

    fn may_be_native(&self, path: &Path, access: Access) -> bool {
        Ruleset::may_be_native(self, path, access)
    }

    fn knows_files(&self, access: Access) -> bool {
        Ruleset::knows_files(self, access)
    }

    fn decide_unix(&self, subject: &Subject<'_>) -> Verdict {
        Ruleset::decide_unix(self, subject)
    }

    fn decide_connect(&self, address: SocketAddr, peer: Peer) -> Verdict {
        Ruleset::decide_connect(self, address, peer)
    }

    fn reaches_itself(&self) -> bool {
        Ruleset::reaches_itself(self)
    }

    fn decide_bind(&self, address: SocketAddr) -> Verdict {
        Ruleset::decide_bind(self, address)
    }

    fn allows_udp(&self) -> bool {
        self.udp() == Udp::Any
    }
}

/// The grants by which the kernel lets the directory be written that an entry stands in.
fn above<'r>(ruleset: &'r Ruleset, entry: &Subject<'_>) -> Vec<&'r NativeGrant> {
    let directory = entry.path.parent().unwrap_or(entry.path);
    ruleset.unsettled_grants(&Subject::named(directory), Access::WRITE)
}

/// What is the kernel's to do is ours where the kernel was told of something that stands there no more: it would refuse what does.
fn settled<'r>(verdict: Verdict, grants: impl FnOnce() -> Vec<&'r NativeGrant>) -> Verdict {
    match verdict {
        Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Landlock => {
            let mechanism = match grants().into_iter().all(stands) {
                true => Mechanism::Landlock,
                false => Mechanism::Broker,
            };
            Verdict::Allow(Allowed {
                mechanism,
                ..allowed
            })
        }
        verdict => verdict,
    }
}

/// Whether what the kernel was told of is still in its place, as far as can be seen without waiting.
fn stands(grant: &NativeGrant) -> bool {
    let found = locate(None, &grant.path, OFlag::O_NOFOLLOW, Lookup::Cached);
    let found = found.and_then(|fd| facts(fd.as_fd()));
    found.is_ok_and(|found| grant.object == Some(id_of(&found)))
}
