//! What a `listen` is. A TCP socket that was bound to no port is given a free one by it, and Landlock is not asked; one that was
//! bound has been judged then.

use super::failure::{Failure, refused};
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use sys::inet;

const UNBOUND: &str = "no port was bound, and not every port may be";

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listen {
    /// It listens.
    Done,
    /// Nothing: no port is at stake, but whoever connects to this socket sees the credentials of the process that made it listen.
    /// It cannot be left to the child: the number, which is all that the kernel would look at, may mean another socket by then.
    ByAnother,
}

/// Makes the child's own socket listen, unless that would give it a port, and it may not have any port.
pub(super) fn listen(
    socket: &OwnedFd,
    backlog: i32,
    may_have_any: impl FnOnce(IpAddr) -> bool,
) -> Result<Listen, Failure> {
    let kind = inet::kind(socket.as_fd())?;
    if !matches!(kind.domain, libc::AF_INET | libc::AF_INET6) {
        return Ok(Listen::ByAnother);
    }
    let bound = inet::port(socket.as_fd())?;
    let everywhere = match kind.domain {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    if may_have_any(everywhere) {
        inet::listen(socket.as_fd(), backlog)?;
        return Ok(Listen::Done);
    }
    if bound == 0 {
        return Err(refused(UNBOUND));
    }
    inet::listen(socket.as_fd(), backlog)?;
    // A connection that failed just now took the port that it had been given away again, and this was another.
    if inet::port(socket.as_fd())? != bound {
        // One that listens can be shut down.
        let _ended: Result<(), Errno> = shutdown(socket.as_raw_fd(), Shutdown::Both);
        return Err(refused(UNBOUND));
    }
    Ok(Listen::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    fn tcp() -> OwnedFd {
        let flags = SockFlag::SOCK_CLOEXEC;
        socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap()
    }

    #[test]
    fn only_a_port_that_was_bound_is_listened_on() {
        assert!(matches!(
            listen(&tcp(), 1, |_| false),
            Err(Failure::Refused(..))
        ));
        assert_eq!(listen(&tcp(), 1, |_| true), Ok(Listen::Done));
        for address in ["127.0.0.1:0", "[::1]:0"] {
            if let Ok(bound) = std::net::TcpListener::bind(address) {
                assert_eq!(
                    listen(&bound.into(), 1, |_| false),
                    Ok(Listen::Done),
                    "{address}"
                );
            }
        }
    }

    #[test]
    fn sockets_without_ports_are_left_to_another() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let unix = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        assert_eq!(listen(&unix, 1, |_| true), Ok(Listen::ByAnother));
        let file = std::fs::File::open("/dev/null").unwrap().into();
        assert_eq!(listen(&file, 1, |_| true), Err(Errno::ENOTSOCK.into()));
    }
}
