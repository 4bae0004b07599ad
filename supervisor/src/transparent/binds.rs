//! What a `bind` is, judged by the socket that it is made on and an address that was copied once.

use super::address::{Address, UnixName};
use super::calls::Base;
use super::failure::{Failure, refused};
use super::locate::{Located, as_path, by_path, resolve};
use super::thread::Thread;
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
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
    /// The directory in which it will be.
    pub parent: Located,
    /// Its name there.
    pub name: CString,
    /// Its canonical name, when it will have been made.
    pub path: PathBuf,
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
    /// Finds where a socket file is to be made. A link at the end of its name is not followed: the place is taken by it.
    fn find(thread: Thread, asked: CString, lookup: Lookup) -> Result<Self, Failure> {
        let (above, name) = split(asked.to_bytes());
        let parent = by_path(thread, Base::WorkingDirectory, &above, true, lookup)?;
        if !parent.facts.is(libc::S_IFDIR) {
            return Err(Errno::ENOTDIR.into());
        }
        // What stands for a directory that is there is taken as well.
        let name = name.ok_or(Errno::EADDRINUSE)?;
        let bare = CString::new(bare(name.to_bytes())).map_err(|_| Errno::EINVAL)?;
        // One name in one directory, which the kernel reads itself unless the file system is a server's.
        let nearby = if parent.is_slow { lookup } else { Lookup::Full };
        match resolve(Some(parent.fd.as_fd()), &bare, false, nearby) {
            Err(Failure::Native(Errno::ENOENT)) => {}
            // A link that is magic is there like any other.
            Ok(_) | Err(Failure::Native(Errno::ELOOP)) => return Err(Errno::EADDRINUSE.into()),
            Err(failure) => return Err(failure),
        }
        if bare != name {
            // Only a directory's name can end in a slash.
            return Err(Errno::ENOENT.into());
        }
        // A directory that is gone takes no new entries.
        let path = parent.path().ok_or(Errno::ENOENT)?.join(as_path(&name));
        let start = start(thread, &above, &parent, lookup)?;
        Ok(Self {
            asked,
            start,
            parent,
            name,
            path,
        })
    }
}

/// Where the kernel's own walk of `above` begins, if it ends in that directory.
fn start(
    thread: Thread,
    above: &CStr,
    parent: &Located,
    lookup: Lookup,
) -> Result<Option<OwnedFd>, Failure> {
    let start = thread.working_directory()?;
    let id = |facts: metadata::Facts| (facts.dev, facts.ino);
    match resolve(Some(start.as_fd()), above, true, lookup) {
        Ok(fd) if id(metadata::facts(fd.as_fd())?) == id(parent.facts) => Ok(Some(start)),
        Err(Failure::WouldWait) => Err(Failure::WouldWait),
        _ => Ok(None),
    }
}

/// A path without the slashes at its end.
fn bare(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/');
    end.map_or(&[], |last| &path[..=last])
}

/// The directory of a name, and the name with what slashes follow it; `None` for one that stands for a directory.
fn split(path: &[u8]) -> (CString, Option<CString>) {
    let owned = |part: &[u8]| CString::new(part).expect("a part of a string that holds no NUL");
    let end = bare(path).len();
    let at = path[..end].iter().rposition(|byte| *byte == b'/');
    let begin = at.map_or(0, |slash| slash + 1);
    match (&path[..begin], &path[begin..end]) {
        (_, b"" | b"." | b"..") => (owned(path), None),
        (b"", _) => (owned(b"."), Some(owned(path))),
        (above, _) => (owned(above), Some(owned(&path[begin..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_its_directory() {
        let split = |path: &str| {
            let (above, name) = split(path.as_bytes());
            let text = |part: CString| part.into_string().unwrap();
            (text(above), name.map(text))
        };
        let found = |above: &str, name: &str| (above.to_owned(), Some(name.to_owned()));
        assert_eq!(split("x"), found(".", "x"));
        assert_eq!(split("/x"), found("/", "x"));
        assert_eq!(split("a//x/"), found("a//", "x/"));
        assert_eq!(split("../x"), found("../", "x"));
        for directory in ["/", "//", "a/.", "..", "a/../"] {
            assert_eq!(split(directory), (directory.to_owned(), None));
        }
    }
}
