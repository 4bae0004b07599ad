//! Who listens on a TCP port of this machine, whoever it is (sock_diag(7)): the sockets, by the kernel's own names for them.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use std::ffi::c_int;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// The name that the kernel has for a socket for as long as it runs: no other socket ever gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(u64);

impl Cookie {
    /// It, to be written down; never 0.
    pub fn number(self) -> u64 {
        self.0
    }

    /// What was written down.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }
}

/// A TCP socket that waits for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listening {
    /// Where; the unspecified address for all. Never an IPv4 address in the clothes of an IPv6 one.
    pub at: IpAddr,
    /// Which.
    pub cookie: Cookie,
}

/// `struct nlmsghdr`, `struct inet_diag_req_v2`, `struct inet_diag_msg` (linux/netlink.h, linux/inet_diag.h): their sizes.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;
/// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST | NLM_F_DUMP`, `1 << TCP_LISTEN`.
const BY_FAMILY: u16 = 20;
const DUMP: u16 = 0x301;
const LISTEN: u32 = 1 << 10;

/// The name of a socket of ours.
///
/// # Errors
/// The errno of `getsockopt(2)`.
pub fn cookie(socket: BorrowedFd<'_>) -> Result<Cookie, Errno> {
    let mut value: u64 = 0;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, a u64, to a live one, and the length to a live one.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_COOKIE,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| Cookie(value))
}

/// All who listen on a port, at whatever address; on port 0: on any.
///
/// # Errors
/// The errno of `socket(2)`, `sendmsg(2)`, `recvmsg(2)`, or the kernel's answer: `ENOENT` where it has no such service. `EPROTO`
/// for an answer that is none.
pub fn at(port: u16) -> Result<Vec<Listening>, Errno> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 32 * 1024];
    for family in [libc::AF_INET, libc::AF_INET6] {
        send(
            socket.as_raw_fd(),
            &request(family, port),
            MsgFlags::empty(),
        )?;
        loop {
            let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC)?;
            let bytes = buffer.get(..length).ok_or(Errno::EPROTO)?;
            if parse(bytes, port, &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

fn request(family: c_int, port: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    bytes.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    // Sequence and sender: there is one question at a time, and the kernel knows who asked.
    bytes.extend([0; 8]);
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(LISTEN.to_ne_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.resize(HEADER + REQUEST, 0);
    bytes
}

/// Takes what listens on the port out of messages; whether they were the last.
fn parse(mut bytes: &[u8], port: u16, found: &mut Vec<Listening>) -> Result<bool, Errno> {
    while !bytes.is_empty() {
        let word = |at: usize| {
            let word = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_ne_bytes(word))
        };
        let length = word(0).ok_or(Errno::EPROTO)? as usize;
        let kind = word(4).ok_or(Errno::EPROTO)? as u16;
        if length < HEADER || length > bytes.len() {
            return Err(Errno::EPROTO);
        }
        match c_int::from(kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let errno = word(HEADER).ok_or(Errno::EPROTO)? as i32;
                return Err(Errno::from_raw(errno.wrapping_neg()));
            }
            _ if kind == BY_FAMILY => {
                let message = bytes.get(HEADER..HEADER + MESSAGE).ok_or(Errno::EPROTO)?;
                // The kernel was asked for that port, and may be too old to have understood.
                if port == 0 || message[4..6] == port.to_be_bytes() {
                    found.push(listening(message)?);
                }
            }
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(false)
}

fn listening(message: &[u8]) -> Result<Listening, Errno> {
    let part = |at: usize, size: usize| message.get(at..at + size).ok_or(Errno::EPROTO);
    let octets: [u8; 16] = part(8, 16)?.try_into().map_err(|_| Errno::EPROTO)?;
    let at = match c_int::from(message[0]) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
        _ => Ipv6Addr::from(octets).to_canonical(),
    };
    // Two halves, the lower one first, whatever the order of bytes.
    let half = |at| -> Result<u64, Errno> {
        let half = part(at, 4)?.try_into().map_err(|_| Errno::EPROTO)?;
        Ok(u32::from_ne_bytes(half).into())
    };
    let cookie = Cookie(half(44)? | half(48)? << 32);
    Ok(Listening { at, cookie })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    #[test]
    fn who_listens_is_found_by_name_and_address() {
        for address in [
            "127.0.0.1:0",
            "0.0.0.0:0",
            "[::1]:0",
            "[::ffff:127.0.0.1]:0",
        ] {
            let Ok(listener) = TcpListener::bind(address) else {
                // No IPv6 here.
                continue;
            };
            let bound = listener.local_addr().unwrap();
            let own = Listening {
                at: bound.ip().to_canonical(),
                cookie: cookie(listener.as_fd()).unwrap(),
            };
            assert!(at(bound.port()).unwrap().contains(&own), "{address}");
            assert!(at(0).unwrap().contains(&own), "{address}");
            drop(listener);
            assert!(!at(bound.port()).unwrap().contains(&own), "{address}");
        }
    }

    #[test]
    fn who_only_has_the_port_does_not_listen() {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .unwrap();
        crate::inet::bind(socket.as_fd(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let port = crate::inet::port(socket.as_fd()).unwrap();
        let own = cookie(socket.as_fd()).unwrap();
        let is_found = || at(port).unwrap().iter().any(|found| found.cookie == own);
        assert!(!is_found());
        crate::inet::listen(socket.as_fd(), 1).unwrap();
        assert!(is_found());
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        let message = |length: u32, kind: u16, rest: &[u8]| {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(HEADER, 0);
            bytes.extend(rest);
            bytes
        };
        let mut found = Vec::new();
        let mut said = |bytes: &[u8]| parse(bytes, 0, &mut found);
        assert_eq!(said(&message(16, 3, &[])), Ok(true));
        let refused = message(20, 2, &(-libc::ENOENT).to_ne_bytes());
        assert_eq!(said(&refused), Err(Errno::ENOENT));
        for bytes in [
            message(16, 3, &[])[..5].to_vec(),
            message(8, 3, &[]),
            message(17, 3, &[]),
            message(16, BY_FAMILY, &[]),
            message(40, BY_FAMILY, &[0; 24]),
        ] {
            assert_eq!(said(&bytes), Err(Errno::EPROTO));
        }
        assert!(found.is_empty());
    }
}
