//! The other end of a connection.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Gid, Pid, Uid};
use sys::messages::Sender;
use sys::peers::{self, Credentials};

use crate::{Error, Result};

/// A process that sent or connected, as the kernel names it.
///
/// Messages of one living process in a row, over one connection, have one and the same `Arc<Peer>`:
/// what was found out about it need not be found out again.
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

    /// Whether this very process sent what `later` sent, which has its number: so it is when the
    /// process lives, since its number is not given to another before it has ended.
    pub(crate) fn is_still(&self, later: &Self) -> bool {
        self.is(later) && self.pidfd.as_ref().is_some_and(lives)
    }

    /// Whether two messages came from processes of the same number and user.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.pid, self.uid, self.gid) == (other.pid, other.uid, other.gid)
    }
}

/// Whether the process of a pidfd has not ended: then the pidfd is not readable.
fn lives(pidfd: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO) == Ok(0)
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

/// Whether each message shall bring a pidfd of its sender.
pub(crate) fn name_by_pidfd(socket: BorrowedFd<'_>, each: bool) -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        let set = match each {
            true => peers::pass_pidfd(socket),
            false => peers::pass_no_pidfd(socket),
        };
        set.map(drop).map_err(Error::io("setsockopt(SO_PASSPIDFD)"))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _: (BorrowedFd<'_>, bool) = (socket, each);
        Ok(())
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
