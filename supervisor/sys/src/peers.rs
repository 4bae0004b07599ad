//! Who is at the other end of a Unix stream socket, by the word of the kernel.
//!
//! Two questions that look alike are not. *Who connected* (`SO_PEERCRED`) is recorded once, when
//! the connection is made: on a socket pair it names whoever made the pair, so for one that a
//! child inherited it names the supervisor itself and proves nothing. *Who sent this*
//! (`SO_PASSCRED`) comes with each message and names the process that really sent it.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::unistd::{Gid, Pid, Uid};

/// A process and the identity it had when the kernel looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The process; zero when it is in a pid namespace that this one cannot see.
    pub pid: Pid,
    /// Its user.
    pub uid: Uid,
    /// Its group.
    pub gid: Gid,
}

#[cfg(target_os = "linux")]
pub use linux::{
    groups, pass_credentials, pass_no_pidfd, pass_pidfd, passes_credentials, pidfd,
    refuse_descriptors,
};

/// Who connected: on a connected socket the process that called `connect` (seen by the one that
/// accepted) or `listen` (seen by the one that connected); on a pair, whoever made the pair.
///
/// # Errors
/// What `getsockopt` says.
pub fn credentials(socket: BorrowedFd<'_>) -> nix::Result<Credentials> {
    platform::credentials(socket)
}

#[cfg(not(target_os = "linux"))]
use darwin as platform;
#[cfg(target_os = "linux")]
use linux as platform;

/// Whether this is a Unix stream socket, and not some other file that took the number.
#[must_use]
pub fn is_unix_stream(fd: BorrowedFd<'_>) -> bool {
    use nix::sys::socket::SockaddrLike;
    use nix::sys::socket::{
        AddressFamily, SockType, SockaddrStorage, getsockname, getsockopt, sockopt,
    };
    let stream = getsockopt(&fd, sockopt::SockType).is_ok_and(|kind| kind == SockType::Stream);
    stream
        && getsockname::<SockaddrStorage>(fd.as_raw_fd())
            .is_ok_and(|name| name.family() == Some(AddressFamily::Unix))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::mem::size_of;
    use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

    use nix::errno::Errno;
    use nix::sys::socket::{getsockopt, setsockopt, sockopt};
    use nix::unistd::{Gid, Pid, Uid};

    use super::Credentials;

    /// `SO_PASSRIGHTS` (Linux 6.16), which the libc crate does not name on every target.
    const SO_PASSRIGHTS: libc::c_int = 83;

    /// `SO_PEERGROUPS` (Linux 4.13), which neither does.
    const SO_PEERGROUPS: libc::c_int = 59;

    impl From<libc::ucred> for Credentials {
        fn from(ucred: libc::ucred) -> Self {
            Self {
                pid: Pid::from_raw(ucred.pid),
                uid: Uid::from_raw(ucred.uid),
                gid: Gid::from_raw(ucred.gid),
            }
        }
    }

    /// Asks that every message received name its sender.
    ///
    /// # Errors
    /// What `setsockopt` says.
    pub fn pass_credentials(socket: BorrowedFd<'_>) -> nix::Result<()> {
        setsockopt(&socket, sockopt::PassCred, &true)
    }

    /// Whether every message received names its sender.
    ///
    /// # Errors
    /// What `getsockopt` says.
    pub fn passes_credentials(socket: BorrowedFd<'_>) -> nix::Result<bool> {
        getsockopt(&socket, sockopt::PassCred)
    }

    /// Asks that every message received carry a pidfd of its sender; `false` before Linux 6.5.
    ///
    /// # Errors
    /// What `setsockopt` says.
    pub fn pass_pidfd(socket: BorrowedFd<'_>) -> nix::Result<bool> {
        supported(set(socket, libc::SO_PASSPIDFD, 1))
    }

    /// Takes that back.
    ///
    /// # Errors
    /// What `setsockopt` says.
    pub fn pass_no_pidfd(socket: BorrowedFd<'_>) -> nix::Result<bool> {
        supported(set(socket, libc::SO_PASSPIDFD, 0))
    }

    /// Makes the kernel refuse descriptors sent to this socket; `false` before Linux 6.16.
    ///
    /// Closing a stranger's descriptor may block for as long as the stranger likes (a file of
    /// its own FUSE server, a lingering connection): better never to have it.
    ///
    /// # Errors
    /// What `setsockopt` says.
    pub fn refuse_descriptors(socket: BorrowedFd<'_>) -> nix::Result<bool> {
        supported(set(socket, SO_PASSRIGHTS, 0))
    }

    pub(super) fn credentials(socket: BorrowedFd<'_>) -> nix::Result<Credentials> {
        let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
        Ok(Credentials {
            pid: Pid::from_raw(peer.pid()),
            uid: Uid::from_raw(peer.uid()),
            gid: Gid::from_raw(peer.gid()),
        })
    }

    /// The process that [`credentials`](super::credentials) names, as a pidfd; `None` before Linux 6.5.
    ///
    /// # Errors
    /// What `getsockopt` says; `ESRCH` when that process is gone.
    pub fn pidfd(socket: BorrowedFd<'_>) -> nix::Result<Option<OwnedFd>> {
        let mut number: RawFd = -1;
        let mut size = size_of::<RawFd>() as libc::socklen_t;
        // SAFETY: getsockopt writes at most `size` bytes to `number`, which has that many, and the
        // written size to `size`; both outlive the call.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERPIDFD,
                (&raw mut number).cast(),
                &raw mut size,
            )
        };
        match Errno::result(done) {
            // SAFETY: the kernel has just installed this close-on-exec descriptor for us alone.
            Ok(_) => Ok(Some(unsafe { OwnedFd::from_raw_fd(number) })),
            Err(Errno::ENOPROTOOPT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// The further groups of the process that [`credentials`](super::credentials) names.
    ///
    /// # Errors
    /// What `getsockopt` says.
    pub fn groups(socket: BorrowedFd<'_>) -> nix::Result<Vec<Gid>> {
        let mut groups: Vec<libc::gid_t> = vec![0; 64];
        loop {
            let room = groups.len() * size_of::<libc::gid_t>();
            let mut size = libc::socklen_t::try_from(room).map_err(|_| Errno::EOVERFLOW)?;
            // SAFETY: getsockopt writes at most `size` bytes to `groups`, which has that many, and the size that it wrote or
            // would need to `size`; both outlive the call.
            let done = unsafe {
                libc::getsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_SOCKET,
                    SO_PEERGROUPS,
                    groups.as_mut_ptr().cast(),
                    &raw mut size,
                )
            };
            let count = size as usize / size_of::<libc::gid_t>();
            match Errno::result(done) {
                Ok(_) => {
                    groups.truncate(count);
                    return Ok(groups.into_iter().map(Gid::from_raw).collect());
                }
                Err(Errno::ERANGE) if count > groups.len() => groups.resize(count, 0),
                Err(errno) => return Err(errno),
            }
        }
    }

    fn set(socket: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> nix::Result<()> {
        // SAFETY: setsockopt reads the size of one integer from `value`, which outlives the call.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        Errno::result(done).map(drop)
    }

    /// A kernel that does not know the option is an answer, not an error.
    fn supported(done: nix::Result<()>) -> nix::Result<bool> {
        match done {
            Ok(()) => Ok(true),
            Err(Errno::ENOPROTOOPT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod darwin {
    use std::mem::size_of;
    use std::os::fd::{AsRawFd, BorrowedFd};

    use nix::errno::Errno;
    use nix::unistd::{Pid, getpeereid};

    use super::Credentials;

    pub(super) fn credentials(socket: BorrowedFd<'_>) -> nix::Result<Credentials> {
        let mut pid: libc::pid_t = 0;
        let mut size = size_of::<libc::pid_t>() as libc::socklen_t;
        // SAFETY: getsockopt writes at most `size` bytes to `pid`, which has that many, and the
        // written size to `size`; both outlive the call.
        let done = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_LOCAL,
                libc::LOCAL_PEERPID,
                (&raw mut pid).cast(),
                &raw mut size,
            )
        };
        Errno::result(done)?;
        let (uid, gid) = getpeereid(socket)?;
        Ok(Credentials {
            pid: Pid::from_raw(pid),
            uid,
            gid,
        })
    }
}
