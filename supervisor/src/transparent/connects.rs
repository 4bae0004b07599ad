//! What a `connect` is, judged by the socket that it is made on and an address that was copied once.

use super::address::{Address, UnixName};
use super::calls::Base;
use super::failure::{Failure, refused};
use super::locate::{Located, as_path, by_path};
use super::thread::Thread;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::ffi::CString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::inet;
use sys::openat2::Lookup;

/// A connect that can be decided.
#[derive(Debug)]
pub(super) struct Connect {
    /// The child's own socket, the very same: whatever its number means by now.
    pub socket: OwnedFd,
    /// The child's number of it, for what replaces it there.
    pub number: i32,
    /// Where to.
    pub to: Destination,
}

/// Where a socket is to be connected to.
#[derive(Debug)]
pub(super) enum Destination {
    /// The session itself.
    Session,
    /// A Unix socket, as it was spelled and as it was found.
    Unix(CString, Located),
    /// TCP.
    Stream(SocketAddr),
    /// Datagrams over IP.
    Datagrams(SocketAddr),
    /// Nobody any more: a datagram socket forgets its peer.
    Nobody,
}

impl Connect {
    /// Takes the child's socket and finds what its address means. `session` is the path that stands for the session.
    pub fn examine(
        thread: Thread,
        number: i32,
        address: &Address,
        session: Option<&Path>,
        lookup: Lookup,
    ) -> Result<Self, Failure> {
        let socket = thread.duplicate(number)?;
        let to = Destination::of(thread, socket.as_fd(), address, session, lookup)?;
        Ok(Self { socket, number, to })
    }

    /// Whether making it may take its time, so that it needs one of the places that there are for that.
    pub fn needs_a_place(&self) -> bool {
        match self.to {
            Destination::Unix(..) => true,
            // A socket that cannot be asked is found out about later.
            Destination::Stream(_) => self.waits().unwrap_or(false),
            Destination::Session | Destination::Datagrams(_) | Destination::Nobody => false,
        }
    }

    /// Whether its owner wants to wait until it is connected. A property of the open file, so the child's and ours are one.
    pub fn waits(&self) -> Result<bool, Errno> {
        let flags = fcntl(&self.socket, FcntlArg::F_GETFL)?;
        Ok(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK))
    }
}

impl Destination {
    fn of(
        thread: Thread,
        socket: BorrowedFd<'_>,
        address: &Address,
        session: Option<&Path>,
        lookup: Lookup,
    ) -> Result<Self, Failure> {
        let kind = inet::kind(socket)?;
        let is_inet = matches!(kind.domain, libc::AF_INET | libc::AF_INET6);
        match (kind.domain, kind.kind, kind.protocol) {
            (libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_SEQPACKET, _) => {
                let path = match address.unix()? {
                    UnixName::Path(path) => path,
                    UnixName::Abstract => return Err(refused("an abstract socket")),
                };
                // Its bytes: no other spelling is the session.
                let is_session = session
                    .is_some_and(|session| session.as_os_str() == as_path(&path).as_os_str());
                if is_session && kind.kind == libc::SOCK_STREAM {
                    return Ok(Self::Session);
                }
                let located = by_path(thread, Base::WorkingDirectory, &path, true, lookup)?;
                match located.facts.is(libc::S_IFSOCK) {
                    true => Ok(Self::Unix(path, located)),
                    false => Err(Errno::ECONNREFUSED.into()),
                }
            }
            (domain, libc::SOCK_STREAM, libc::IPPROTO_TCP) if is_inet => match address.family() {
                None => Err(Errno::EINVAL.into()),
                Some(libc::AF_UNSPEC) => Err(refused("a stream cannot be dissolved")),
                Some(_) => Ok(Self::Stream(address.inet(domain)?)),
            },
            (domain, libc::SOCK_DGRAM, libc::IPPROTO_UDP) if is_inet => match address.family() {
                None => Err(Errno::EINVAL.into()),
                Some(libc::AF_UNSPEC) => Ok(Self::Nobody),
                // An IPv6 socket takes addresses of both families.
                Some(libc::AF_INET) if domain == libc::AF_INET6 => {
                    Ok(Self::Datagrams(address.inet(libc::AF_INET)?))
                }
                Some(_) => Ok(Self::Datagrams(address.inet(domain)?)),
            },
            _ => Err(refused("a socket of a kind that is not connected here")),
        }
    }
}
