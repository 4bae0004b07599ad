//! Who asks: the kernel's word, and what can be read about that process.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::Create;
use sys::pidfd::Pidfd;
use sys::status::Status;

use super::claim::Claim;
use super::descent::Identity;

use crate::audit::{Bytes, Printable, Who};
use crate::sandbox::Tag;

/// The process that sent a message, as the kernel named it.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Its number when it sent.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// The process itself, where the kernel gives it (6.5).
    pub pidfd: Option<BorrowedFd<'a>>,
}

/// So many of those who started a process are named.
const ANCESTORS: usize = 6;

/// A process that started another, in the same sandbox.
#[derive(Clone, Debug)]
pub(super) struct Ancestor {
    pub pid: i32,
    /// The program that it runs, where that could be read.
    pub exe: Option<PathBuf>,
}

impl fmt::Display for Ancestor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exe {
            Some(exe) => write!(f, "{} ({})", Printable::from(exe.as_path()), self.pid),
            None => write!(f, "pid {}", self.pid),
        }
    }
}

/// A peer, as far as it is remembered while its claim is considered.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub pid: i32,
    pub uid: u32,
    /// The program it ran when it asked, where that could be read.
    pub exe: Option<PathBuf>,
    /// Its umask; the tightest one where it cannot be read.
    pub umask: u32,
    /// The process itself, where its number is needed once more, or whose claim it was.
    process: Option<Arc<Pidfd>>,
    /// The same for those who may have to wait for long: when it ends nobody waits any more.
    watched: Option<Arc<Pidfd>>,
}

impl Asker {
    /// Reads about a process whatever this claim of it may need.
    pub fn of(peer: &Peer<'_>, claim: &Claim) -> Self {
        let asks_for_umask = claim.create != Create::No && claim.umask.is_none();
        let may_mean_itself = claim.path.starts_with("/proc") || claim.path.starts_with("/dev");
        let exe = match claim.call {
            Some(_) => claim.program.clone(),
            None => std::fs::read_link(format!("/proc/{}/exe", peer.pid)).ok(),
        };
        let status = asks_for_umask.then(|| Status::of(peer.pid).ok()).flatten();
        let umask = status.and_then(|status| status.umask());
        // Looked at last: as long as the process lives, its number is nobody else's. Without a pidfd there is only the number.
        let is_it = peer.pidfd.is_none_or(lives);
        let process = peer.pidfd.filter(|_| may_mean_itself);
        Self {
            pid: peer.pid,
            uid: peer.uid,
            exe: exe.filter(|_| is_it),
            umask: umask.filter(|_| is_it).or(claim.umask).unwrap_or(0o077),
            process: process.and_then(kept),
            watched: None,
        }
    }

    /// Keeps who it is, where the kernel says so.
    pub fn identify(&mut self, peer: &Peer<'_>) {
        if self.process.is_none() {
            self.process = peer.pidfd.and_then(kept);
        }
    }

    /// Who it is, if it is kept.
    pub fn identity(&self) -> Option<Identity> {
        let process = Arc::clone(self.process.as_ref()?);
        Some(Identity {
            pid: self.pid,
            process,
        })
    }

    /// Has it watched from now on, if it is there.
    pub fn watch(&mut self, peer: &Peer<'_>) {
        // A description of its own, which leaves a poll when it is closed.
        let watched = Pidfd::open(peer.pid).ok();
        let is_it = peer.pidfd.is_none_or(lives);
        self.watched = watched.filter(|_| is_it).map(Arc::new);
    }

    /// What says that it ended.
    pub fn watched(&self) -> Option<&Pidfd> {
        self.watched.as_deref()
    }

    /// Whether what was found under its number until now was its own.
    pub fn is_certain(&self) -> bool {
        self.process
            .as_ref()
            .is_some_and(|process| lives(process.as_fd()))
    }

    /// Who started it, and who started that one, as far as they are in its sandbox and still there. Nothing where it was not found
    /// out what it runs, or where sandboxes bear no tag.
    pub fn ancestors(&self) -> Vec<Ancestor> {
        let mut found = Vec::new();
        let Ok(Some(tag)) = Tag::of(self.pid) else {
            return found;
        };
        let parent = |pid: i32| Status::of(pid).ok().and_then(|status| status.parent());
        let mut child = self.pid;
        while found.len() < ANCESTORS && self.exe.is_some() {
            let Some(pid) = parent(child).filter(|pid| tag.is_on(*pid)) else {
                break;
            };
            let exe = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
            // Who is the parent still was it while it was read.
            if parent(child) != Some(pid) {
                break;
            }
            found.push(Ancestor { pid, exe });
            child = pid;
        }
        found
    }

    pub fn who(&self) -> Who<'_> {
        Who {
            pid: self.pid,
            uid: self.uid,
            exe: self.exe.as_deref().map(Bytes::from),
        }
    }
}

/// `None`, when there is no room for it: then it will be nobody who is known.
fn kept(process: BorrowedFd<'_>) -> Option<Arc<Pidfd>> {
    let process = process.try_clone_to_owned().ok()?;
    Some(Arc::new(process.into()))
}

pub(super) fn lives(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO) == Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Access, OpenFlags, OpenRequest, RequestedPath};

    #[test]
    fn of_a_call_only_that_program_is_named_which_was_found_while_it_waited() {
        let own = i32::try_from(std::process::id()).unwrap();
        let peer = Peer {
            pid: own,
            uid: 0,
            pidfd: None,
        };
        let call = |program: Option<&str>| {
            let flags = nix::fcntl::OFlag::empty();
            let access = crate::policy::Access::READ;
            let claim = Claim::called("openat", "/a".into(), access, flags, 0);
            Asker::of(&peer, &claim.by(program.map(PathBuf::from))).exe
        };
        // As if its number were ours by now.
        assert_eq!(call(None), None);
        assert_eq!(call(Some("/bin/a")), Some("/bin/a".into()));
    }

    #[test]
    fn a_process_that_is_gone_is_not_read_about() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let pidfd = sys::pidfd::Pidfd::open(pid).unwrap();
        child.wait().unwrap();
        let claim = Claim::new(OpenRequest {
            id: 1,
            path: RequestedPath::new("/proc/self/x").unwrap(),
            access: Access::Write,
            flags: OpenFlags::NONE,
            create: Create::Yes,
            mode: 0,
            why: None,
        });
        // As if its number were ours by now.
        let own = i32::try_from(std::process::id()).unwrap();
        let peer = Peer {
            pid: own,
            uid: 0,
            pidfd: Some(pidfd.as_fd()),
        };
        let asker = Asker::of(&peer, &claim.unwrap());
        assert_eq!((&asker.exe, asker.umask), (&None, 0o077));
        assert!(!asker.is_certain());
    }
}
