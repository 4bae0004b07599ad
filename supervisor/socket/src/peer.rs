//! The other end of a connection.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::unistd::{Gid, Pid, Uid};
use sys::messages::Sender;
use sys::peers::{self, Credentials};

use crate::{Error, Result};

/// A process that sent or connected, as the kernel names it.
#[derive(Debug)]
pub struct Peer {
    /// The process.
    pub pid: Pid,
    /// Its user.
    pub uid: Uid,
    /// Its group.
    pub gid: Gid,
    /// The process itself, whatever becomes of its number; absent before Linux 6.5.
    pub pidfd: Option<OwnedFd>,
}

impl Peer {
    /// The sender of a message. A process that we cannot see, or bytes from before the kernel was asked
    /// to name senders, have the number zero, which is nobody.
    pub(crate) fn sent(sender: Sender) -> Option<Self> {
        let Credentials { pid, uid, gid } = sender.credentials;
        (pid.as_raw() > 0).then_some(Self {
            pid,
            uid,
            gid,
            pidfd: sender.pidfd,
        })
    }

    /// Who is connected: right for a socket that was accepted or connected by name.
    ///
    /// On a pair the kernel names whoever made it. Where that is this very process it proves
    /// nothing about the other end.
    pub(crate) fn connected(socket: BorrowedFd<'_>) -> Result<Self> {
        let Credentials { pid, uid, gid } =
            peers::credentials(socket).map_err(Error::io("getsockopt(SO_PEERCRED)"))?;
        if pid.as_raw() <= 0 || pid == nix::unistd::getpid() {
            return Err(Error::PeerUnknown);
        }
        Ok(Self {
            pid,
            uid,
            gid,
            pidfd: pidfd(socket),
        })
    }

    /// Whether two messages came from the same process.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.pid, self.uid, self.gid) == (other.pid, other.uid, other.gid)
    }
}

/// Asks the kernel to name the sender of every message; where it cannot (nowhere but on Linux),
/// `false`. Without pidfds, the credentials alone must do.
pub(crate) fn name_senders(socket: BorrowedFd<'_>) -> Result<bool> {
    #[cfg(target_os = "linux")]
    {
        peers::pass_credentials(socket).map_err(Error::io("setsockopt(SO_PASSCRED)"))?;
        peers::pass_pidfd(socket).map_err(Error::io("setsockopt(SO_PASSPIDFD)"))?;
        Ok(true)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _: BorrowedFd<'_> = socket;
        Ok(false)
    }
}

/// The connected process as a pidfd, if the kernel makes one: it may be gone already.
fn pidfd(socket: BorrowedFd<'_>) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    return peers::pidfd(socket).ok().flatten();
    #[cfg(not(target_os = "linux"))]
    {
        let _: BorrowedFd<'_> = socket;
        None
    }
}
