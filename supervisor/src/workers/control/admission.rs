//! Who may control the daemon: the kernel says who connected.

use crate::audit::Answerer;
use crate::sandbox::Tag;
use nix::unistd::{Gid, Uid, geteuid};
use std::os::fd::BorrowedFd;
use sys::pidfd::Pidfd;

/// Who is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Members of this group, beside the daemon's own user.
    pub group: Option<Gid>,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// Another user, and no member of the group.
    #[error("it is user {0}'s, who may not control this daemon")]
    User(Uid),
    /// It runs in a sandbox.
    #[error("it runs in a sandbox")]
    Sandboxed,
    /// Nobody can say who it is: it is gone, or beyond what can be seen.
    #[error("it cannot be seen who it is")]
    Unknown,
}

impl Admission {
    /// Whether whoever connected this socket may come in, and who that is. Nothing of what it sent is looked at.
    ///
    /// # Errors
    /// [`Stranger`]
    pub fn consider(&self, socket: BorrowedFd<'_>) -> Result<Answerer, Stranger> {
        let peer = sys::peers::credentials(socket).map_err(|_| Stranger::Unknown)?;
        let is_member = || {
            let groups = sys::peers::groups(socket).unwrap_or_default();
            self.group
                .is_some_and(|group| peer.gid == group || groups.contains(&group))
        };
        if peer.uid != geteuid() && !peer.uid.is_root() && !is_member() {
            return Err(Stranger::User(peer.uid));
        }
        let pid = peer.pid.as_raw();
        if pid <= 0 {
            return Err(Stranger::Unknown);
        }
        // Held, so that the number means that process while its mark is read.
        let process = match sys::peers::pidfd(socket) {
            Ok(Some(pidfd)) => Pidfd::from(pidfd),
            Ok(None) => Pidfd::open(pid).map_err(|_| Stranger::Unknown)?,
            Err(_) => return Err(Stranger::Unknown),
        };
        let tag = Tag::of(pid);
        if process.has_exited() != Ok(false) {
            return Err(Stranger::Unknown);
        }
        let uid = peer.uid.as_raw();
        match tag {
            Ok(None) => Ok(Answerer { pid, uid }),
            // Where all of this happens inside a sandbox, those of the same one are let in.
            Ok(Some(tag)) if Tag::of(own_pid()) == Ok(Some(tag)) => Ok(Answerer { pid, uid }),
            Ok(Some(_)) => Err(Stranger::Sandboxed),
            Err(_) => Err(Stranger::Unknown),
        }
    }
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}
