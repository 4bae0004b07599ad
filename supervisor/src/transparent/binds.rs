//! What a `bind` is, judged by the socket that it is made on and an address that was copied once.

use super::address::{Address, UnixName};
use super::calls::{Base, Spot};
use super::failure::{Failure, refused};
use super::locate::resolve;
use super::parents::{Entry, Parent};
use super::thread::Thread;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use sys::openat2::Lookup;
use sys::{inet, metadata};

/// A bind that can be decided.
#[derive(Debug)]
pub(super) struct Bind {
    /// The child's own socket, the very same: whatever its number means by now.
    pub socket: OwnedFd,
    /// To what.
    pub to: Name,
}

/// What a socket is to be called.
#[derive(Debug)]
pub(super) enum Name {
    /// A file that is to be made.
    File(NewFile),
    /// An address for TCP.
    Stream(SocketAddr),
    /// An address for datagrams over IP.
    Datagrams(SocketAddr),
}

/// A socket file that is not there yet.
#[derive(Debug)]
pub(super) struct NewFile {
    /// As the child spelled it.
    pub asked: CString,
    /// Where the spelling begins, if the kernel's own walk from there leads to the same place: not through `/proc/self`, which
    /// means something else to everybody who asks.
    pub start: Option<OwnedFd>,
    /// Where it will be.
    pub entry: Entry,
}

impl Bind {
    /// Takes the child's socket and finds what its address means.
    pub fn examine(
        thread: Thread,
        number: i32,
        address: &Address,
        lookup: Lookup,
    ) -> Result<Self, Failure> {
        let socket = thread.duplicate(number)?;
        let kind = inet::kind(socket.as_fd())?;
        let is_inet = matches!(kind.domain, libc::AF_INET | libc::AF_INET6);
        let to = match (kind.domain, kind.kind, kind.protocol) {
            // Also the name that the kernel chooses when none is given is one of those that are no files.
            (libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_SEQPACKET, _)
                if address.is_nameless() =>
            {
                return Err(refused("an abstract name"));
            }
            (libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_SEQPACKET, _) => match address.unix()? {
                UnixName::Path(path) => Name::File(NewFile::find(thread, path, lookup)?),
                UnixName::Abstract => return Err(refused("an abstract name")),
            },
            (domain, libc::SOCK_STREAM, libc::IPPROTO_TCP) if is_inet => {
                Name::Stream(own_address(address, domain)?)
            }
            (domain, libc::SOCK_DGRAM, libc::IPPROTO_UDP) if is_inet => {
                Name::Datagrams(own_address(address, domain)?)
            }
            _ => return Err(refused("a socket of a kind that is not bound here")),
        };
        Ok(Self { socket, to })
    }
}

/// An address to be bound. As the kernel does it, an IPv4 socket takes the unspecified address also without a family.
fn own_address(address: &Address, domain: i32) -> Result<SocketAddr, Errno> {
    if domain == libc::AF_INET && address.family() == Some(libc::AF_UNSPEC) {
        let plain = address.of_family(libc::AF_INET).inet(domain)?;
        return match plain.ip() == Ipv4Addr::UNSPECIFIED {
            true => Ok(plain),
            false => Err(Errno::EAFNOSUPPORT),
        };
    }
    address.inet(domain)
}

impl NewFile {
    /// Whether its spelling leads nowhere but to where it begins: nothing stands before the last name but `./`.
    pub fn stays(&self) -> bool {
        let asked = self.asked.to_bytes();
        let mut parts = asked.rsplit(|byte| *byte == b'/').skip(1);
        !asked.starts_with(b"/") && parts.all(|part| matches!(part, b"" | b"."))
    }

    /// Finds where a socket file is to be made. A link at the end of its name is not followed: the place is taken by it.
    fn find(thread: Thread, asked: CString, lookup: Lookup) -> Result<Self, Failure> {
        let spot = Spot {
            base: Base::WorkingDirectory,
            path: Ok(asked.clone()),
        };
        let entry = Parent::find(thread, &spot, lookup)?.vacancy(false, lookup);
        let entry = entry.map_err(|failure| match failure {
            Failure::Native(Errno::EEXIST) => Errno::EADDRINUSE.into(),
            other => other,
        })?;
        let start = start(thread, &asked, &entry, lookup)?;
        Ok(Self {
            asked,
            start,
            entry,
        })
    }
}

/// Where the kernel's own walk of a path begins, if it ends in the directory that was found.
fn start(
    thread: Thread,
    asked: &CStr,
    entry: &Entry,
    lookup: Lookup,
) -> Result<Option<OwnedFd>, Failure> {
    let above = match asked.to_bytes().iter().rposition(|byte| *byte == b'/') {
        Some(slash) => CString::new(&asked.to_bytes()[..=slash]).map_err(|_| Errno::EINVAL)?,
        None => c".".to_owned(),
    };
    let start = thread.working_directory()?;
    let id = |fd| metadata::facts(fd).map(|facts| (facts.dev, facts.ino));
    match resolve(Some(start.as_fd()), &above, true, lookup) {
        Ok(fd) if id(fd.as_fd())? == id(entry.at().0)? => Ok(Some(start)),
        Err(Failure::WouldWait) => Err(Failure::WouldWait),
        _ => Ok(None),
    }
}
