//! Sockets that are somebody else's: what they are, connecting and binding them.

use nix::errno::Errno;
use std::ffi::c_int;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What a socket is, as it was made. It cannot change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `AF_*`.
    pub domain: c_int,
    /// `SOCK_*`, without flags.
    pub kind: c_int,
    /// `IPPROTO_*`.
    pub protocol: c_int,
}

/// Asks a socket what it is.
///
/// # Errors
/// The errno of `getsockopt(2)`: `ENOTSOCK` for what is none, `EBADF` for an `O_PATH` descriptor.
pub fn kind(socket: BorrowedFd<'_>) -> Result<Kind, Errno> {
    Ok(Kind {
        domain: option(socket, libc::SO_DOMAIN)?,
        kind: option(socket, libc::SO_TYPE)?,
        protocol: option(socket, libc::SO_PROTOCOL)?,
    })
}

fn option(socket: BorrowedFd<'_>, name: c_int) -> Result<c_int, Errno> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, an int, to a live one, and the length to a live one.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    Errno::result(result).map(|_| value)
}

/// The port that it is bound to; 0: none.
///
/// # Errors
/// The errno of `getsockname(2)`; `EAFNOSUPPORT` for a socket that is not of the internet.
pub fn port(socket: BorrowedFd<'_>) -> Result<u16, Errno> {
    // The port stands at the same place in both kinds.
    let mut address = libc::sockaddr_in6 {
        sin6_family: 0,
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    };
    let mut length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to a live structure of that size, and the length to a live one.
    let result = unsafe {
        libc::getsockname(
            socket.as_raw_fd(),
            (&raw mut address).cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    match c_int::from(address.sin6_family) {
        libc::AF_INET | libc::AF_INET6 => Ok(u16::from_be(address.sin6_port)),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

/// Where a TCP socket stands with the connection that it was to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// It was sent, and nobody has answered yet.
    Sent,
    /// It is over, one way or the other, or was never begun.
    Over,
}

/// Where it stands.
///
/// # Errors
/// The errno of `getsockopt(2)`.
pub fn handshake(socket: BorrowedFd<'_>) -> Result<Handshake, Errno> {
    /// `TCP_SYN_SENT` (net/tcp_states.h).
    const SYN_SENT: u8 = 2;
    // The first of `struct tcp_info`, of which the kernel gives as much as is asked for.
    let mut state = 0u8;
    let mut length = size_of::<u8>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, one, to a live one, and the length to a live one.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut length,
        )
    };
    Errno::result(result)?;
    Ok(match state {
        SYN_SENT => Handshake::Sent,
        _ => Handshake::Over,
    })
}

/// Makes it wait for connections.
///
/// # Errors
/// The errno of `listen(2)`.
pub fn listen(socket: BorrowedFd<'_>, backlog: c_int) -> Result<(), Errno> {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::listen(socket.as_raw_fd(), backlog) };
    Errno::result(result).map(drop)
}

/// Connects it, and waits as long as that takes if the socket was made to wait.
///
/// # Errors
/// The errno of `connect(2)`.
pub fn connect(socket: BorrowedFd<'_>, address: SocketAddr) -> Result<(), Errno> {
    connect_to(socket, &encoded(address))
}

fn connect_to(socket: BorrowedFd<'_>, address: &[u8]) -> Result<(), Errno> {
    let length = address.len() as libc::socklen_t;
    // SAFETY: the address is live and of that length.
    let result = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    Errno::result(result).map(drop)
}

/// Gives it an address of its own.
///
/// # Errors
/// The errno of `bind(2)`.
pub fn bind(socket: BorrowedFd<'_>, address: SocketAddr) -> Result<(), Errno> {
    let address = encoded(address);
    let length = address.len() as libc::socklen_t;
    // SAFETY: the address is live and of that length.
    let result = unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr().cast(), length) };
    Errno::result(result).map(drop)
}

/// Whether a socket of the internet or a Unix one has a name.
pub fn is_bound(socket: BorrowedFd<'_>) -> bool {
    use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname};
    let Ok(name) = getsockname::<SockaddrStorage>(socket.as_raw_fd()) else {
        return false;
    };
    match name.family() {
        Some(AddressFamily::Unix) => name.len() as usize > size_of::<libc::sa_family_t>(),
        _ => {
            // What kind of socket it is matters to nobody here.
            let socket = socket.try_clone_to_owned().map(std::net::UdpSocket::from);
            let name = socket.and_then(|socket| socket.local_addr());
            name.is_ok_and(|name| name.port() != 0)
        }
    }
}

/// Whether a socket has a peer.
pub fn is_connected(socket: BorrowedFd<'_>) -> bool {
    use nix::sys::socket::{SockaddrStorage, getpeername};
    getpeername::<SockaddrStorage>(socket.as_raw_fd()).is_ok()
}

/// `struct sockaddr_in` or `struct sockaddr_in6`, byte by byte.
pub(crate) fn encoded(address: SocketAddr) -> Vec<u8> {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let mut bytes = (family as u16).to_ne_bytes().to_vec();
    bytes.extend(address.port().to_be_bytes());
    match address {
        SocketAddr::V4(address) => {
            bytes.extend(address.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(address) => {
            bytes.extend(address.flowinfo().to_ne_bytes());
            bytes.extend(address.ip().octets());
            bytes.extend(address.scope_id().to_ne_bytes());
        }
    }
    bytes
}

/// Makes a datagram socket forget whom it was connected to, and a stream end its connection, or its attempt at one, at once.
///
/// # Errors
/// The errno of `connect(2)`.
pub fn disconnect(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // The family AF_UNSPEC, and nothing else.
    connect_to(socket, &[0; 16])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::fd::AsFd;

    #[test]
    fn a_socket_says_whether_it_has_a_name_and_a_peer() {
        use std::os::unix::net::{UnixListener, UnixStream};
        let new = |family| {
            let flags = nix::sys::socket::SockFlag::SOCK_CLOEXEC;
            let kind = nix::sys::socket::SockType::Stream;
            nix::sys::socket::socket(family, kind, flags, None).unwrap()
        };
        use nix::sys::socket::AddressFamily::{Inet, Inet6, Unix};
        for family in [Inet, Inet6, Unix] {
            let socket = new(family);
            assert!(!is_bound(socket.as_fd()) && !is_connected(socket.as_fd()));
        }
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(is_bound(tcp.as_fd()) && !is_connected(tcp.as_fd()));
        let path = std::env::temp_dir().join(format!("named-{}", std::process::id()));
        let named = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        assert!(is_bound(named.as_fd()) && !is_connected(named.as_fd()));
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(is_connected(one.as_fd()));
    }

    #[test]
    fn a_socket_says_what_it_is() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(
            kind(tcp.as_fd()),
            Ok(Kind {
                domain: libc::AF_INET,
                kind: libc::SOCK_STREAM,
                protocol: libc::IPPROTO_TCP
            })
        );
        let (reader, _writer) = nix::unistd::pipe().unwrap();
        assert_eq!(kind(reader.as_fd()), Err(Errno::ENOTSOCK));
    }

    #[test]
    fn a_datagram_socket_is_connected_and_disconnected() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        connect(socket.as_fd(), peer.local_addr().unwrap()).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), peer.local_addr().unwrap());
        disconnect(socket.as_fd()).unwrap();
        assert!(socket.peer_addr().is_err());
    }

    #[test]
    fn addresses_are_encoded_as_the_kernel_reads_them() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let flags = nix::sys::socket::SockFlag::SOCK_CLOEXEC;
            let family = match address.starts_with('[') {
                true => nix::sys::socket::AddressFamily::Inet6,
                false => nix::sys::socket::AddressFamily::Inet,
            };
            let kind = nix::sys::socket::SockType::Stream;
            let socket = nix::sys::socket::socket(family, kind, flags, None).unwrap();
            let wanted: SocketAddr = address.parse().unwrap();
            match bind(socket.as_fd(), wanted) {
                // No IPv6 here.
                Err(Errno::EADDRNOTAVAIL) => continue,
                bound => bound.unwrap(),
            }
            let bound = TcpListener::from(socket).local_addr().unwrap();
            assert_eq!(bound.ip(), wanted.ip());
            assert_ne!(bound.port(), 0);
        }
    }
}
