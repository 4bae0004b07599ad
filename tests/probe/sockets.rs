//! Sockets of every family, and what can be reached through them.

use crate::arguments::{Arguments, misused};
use crate::files::{errno, escaped, owned};
use crate::{Answer, call, done};
use nix::errno::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

const FAMILIES: [(&str, i64); 16] = [
    ("unspec", 0),
    ("unix", 1),
    ("inet", 2),
    ("inet6", 10),
    ("netlink", 16),
    ("packet", 17),
    ("rds", 21),
    ("can", 29),
    ("tipc", 30),
    ("bluetooth", 31),
    ("alg", 38),
    ("vsock", 40),
    ("kcm", 41),
    ("qipcrtr", 42),
    ("smc", 43),
    ("xdp", 44),
];

const TYPES: [(&str, i64); 9] = [
    ("stream", 1),
    ("dgram", 2),
    ("raw", 3),
    ("rdm", 4),
    ("seqpacket", 5),
    ("dccp", 6),
    ("packet", 10),
    ("nonblock", libc::SOCK_NONBLOCK as i64),
    ("cloexec", libc::SOCK_CLOEXEC as i64),
];

const PROTOCOLS: [(&str, i64); 9] = [
    ("default", 0),
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("sctp", 132),
    ("udplite", 136),
    ("smc", 256),
    ("mptcp", 262),
];

const MSG_FASTOPEN: i32 = 0x2000_0000;
const TCP_FASTOPEN_CONNECT: i32 = 30;

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "socket" => {
            let (family, kind) = (arguments.flags(&FAMILIES), arguments.flags(&TYPES));
            let protocol = arguments.flags_or(&PROTOCOLS, 0);
            done(owned(call!(libc::SYS_socket, family, kind, protocol)))
        }
        "socketpair" => {
            let (family, kind) = (arguments.flags(&FAMILIES), arguments.flags(&TYPES));
            pair(family, kind, arguments.flags_or(&PROTOCOLS, 0)).map(|_| String::new())
        }
        "connect-tcp" => {
            let address = address(arguments);
            stream(&address).and_then(|fd| done(connect(&fd, &encoded(&address))))
        }
        // As above, then what the other side says until it closes.
        "hear-tcp" => {
            let address = address(arguments);
            stream(&address).and_then(|fd| {
                connect(&fd, &encoded(&address))?;
                hear(fd)
            })
        }
        // As above, on a socket that does not wait: the errno of the first call, then how the connection ended.
        "connect-tcp-nonblocking" => connect_nonblocking(&address(arguments)),
        "connect-twice" => {
            let (first, second) = (address(arguments), address(arguments));
            stream(&first).and_then(|fd| {
                connect(&fd, &encoded(&first))?;
                disconnect(&fd)?;
                done(connect(&fd, &encoded(&second)))
            })
        }
        "connect-unspec" => {
            socket(libc::AF_INET, libc::SOCK_STREAM).and_then(|fd| done(disconnect(&fd)))
        }
        // An address shorter than its family's, as long as the second argument says.
        "connect-short" => {
            let (address, length) = (address(arguments), arguments.number() as usize);
            let mut bytes = encoded(&address);
            bytes.truncate(length);
            stream(&address).and_then(|fd| done(connect(&fd, &bytes)))
        }
        "connect-mptcp" => {
            let address = address(arguments);
            owned(call!(
                libc::SYS_socket,
                family(&address),
                libc::SOCK_STREAM,
                262
            ))
            .and_then(|fd| done(connect(&fd, &encoded(&address))))
        }
        "bind-tcp" => {
            let address = address(arguments);
            stream(&address).and_then(|fd| done(bind(&fd, &encoded(&address))))
        }
        "listen-tcp" => {
            let address = address(arguments);
            stream(&address).and_then(|fd| {
                bind(&fd, &encoded(&address))?;
                done(call!(libc::SYS_listen, fd.as_raw_fd(), 8))
            })
        }
        // Without a bind before it the kernel chooses a port.
        "listen-unbound" => socket(libc::AF_INET, libc::SOCK_STREAM)
            .and_then(|fd| done(call!(libc::SYS_listen, fd.as_raw_fd(), 8))),
        "fastopen" => {
            let address = address(arguments);
            stream(&address).and_then(|fd| done(send_to(&fd, &encoded(&address), MSG_FASTOPEN)))
        }
        "fastopen-sendmsg" => {
            let address = address(arguments);
            stream(&address)
                .and_then(|fd| done(send_message(&fd, &encoded(&address), MSG_FASTOPEN)))
        }
        "fastopen-sendmmsg" => {
            let address = address(arguments);
            stream(&address)
                .and_then(|fd| done(send_messages(&fd, &encoded(&address), MSG_FASTOPEN)))
        }
        "fastopen-connect" => {
            let address = address(arguments);
            stream(&address).and_then(|fd| {
                let on = 1i32;
                call!(
                    libc::SYS_setsockopt,
                    fd.as_raw_fd(),
                    libc::IPPROTO_TCP,
                    TCP_FASTOPEN_CONNECT,
                    &raw const on,
                    4
                )?;
                connect(&fd, &encoded(&address))?;
                done(call!(libc::SYS_write, fd.as_raw_fd(), c"x".as_ptr(), 1))
            })
        }
        "udp" => {
            let address = address(arguments);
            socket(family(&address), libc::SOCK_DGRAM)
                .and_then(|fd| done(send_to(&fd, &encoded(&address), 0)))
        }
        "connect-unix" => {
            let path = arguments.path();
            connect_unix(libc::SOCK_STREAM, &pathname(&path)).map(|_| String::new())
        }
        // `connect-tcp-many ADDRESS COUNT`, `connect-unix-many PATH COUNT`: how many succeeded, one after the other.
        "connect-tcp-many" => {
            let address = address(arguments);
            many(arguments.number(), || {
                stream(&address).and_then(|fd| connect(&fd, &encoded(&address)))
            })
        }
        "connect-unix-many" => {
            let path = pathname(&arguments.path());
            many(arguments.number(), || {
                connect_unix(libc::SOCK_STREAM, &path).map(drop)
            })
        }
        "hear-unix" => {
            let path = arguments.path();
            connect_unix(libc::SOCK_STREAM, &pathname(&path)).and_then(hear)
        }
        "connect-seqpacket" => {
            let path = arguments.path();
            done(connect_unix(libc::SOCK_SEQPACKET, &pathname(&path)))
        }
        "connect-abstract" => {
            let name = arguments.path();
            done(connect_unix(libc::SOCK_STREAM, &abstract_name(&name)))
        }
        "bind-unix" => bind_unix(&pathname(&arguments.path())),
        "bind-abstract" => bind_unix(&abstract_name(&arguments.path())),
        // The kernel chooses an abstract name.
        "autobind" => bind_unix(&(libc::AF_UNIX as u16).to_ne_bytes()),
        "unix-dgram" => {
            let path = arguments.path();
            socket(libc::AF_UNIX, libc::SOCK_DGRAM)
                .and_then(|fd| done(send_to(&fd, &pathname(&path), 0)))
        }
        // `pair-sendto KIND PATH`: through an end of a pair that nobody ever connected.
        "pair-sendto" => {
            let (kind, path) = (arguments.flags(&TYPES), arguments.path());
            pair(libc::AF_UNIX as i64, kind, 0)
                .and_then(|(fd, _)| done(send_to(&fd, &pathname(&path), 0)))
        }
        "pair-connect" => {
            let (kind, path) = (arguments.flags(&TYPES), arguments.path());
            pair(libc::AF_UNIX as i64, kind, 0)
                .and_then(|(fd, _)| done(connect(&fd, &pathname(&path))))
        }
        "peer-fd" => {
            let fd = arguments.number();
            let mut credentials = [0u32; 3];
            let mut length = 12u32;
            call!(
                libc::SYS_getsockopt,
                fd,
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                credentials.as_mut_ptr(),
                &raw mut length
            )
            .map(|_| credentials[0].to_string())
        }
        _ => return None,
    })
}

fn many(count: i64, attempt: impl Fn() -> Result<(), Errno>) -> Answer {
    let succeeded = (0..count).filter(|_| attempt().is_ok()).count();
    Ok(succeeded.to_string())
}

fn address(arguments: &mut Arguments) -> SocketAddr {
    let text = arguments.text();
    text.parse()
        .unwrap_or_else(|_| misused(&format!("`{text}` is not ADDRESS:PORT")))
}

fn family(address: &SocketAddr) -> i32 {
    if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    }
}

/// `struct sockaddr_in` or `struct sockaddr_in6`.
fn encoded(address: &SocketAddr) -> Vec<u8> {
    let mut bytes = (family(address) as u16).to_ne_bytes().to_vec();
    bytes.extend(address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend(v6.flowinfo().to_ne_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
        }
    }
    bytes
}

/// `struct sockaddr_un` of a path, cut where the kernel would refuse more.
pub fn pathname(path: &CStr) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    bytes.extend(path.to_bytes_with_nul());
    bytes
}

fn abstract_name(name: &CStr) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
    bytes.push(0);
    bytes.extend(name.to_bytes());
    bytes
}

fn socket(family: i32, kind: i32) -> Result<OwnedFd, Errno> {
    owned(call!(
        libc::SYS_socket,
        family,
        kind | libc::SOCK_CLOEXEC,
        0
    ))
}

fn stream(address: &SocketAddr) -> Result<OwnedFd, Errno> {
    socket(family(address), libc::SOCK_STREAM)
}

fn pair(family: i64, kind: i64, protocol: i64) -> Result<(OwnedFd, OwnedFd), Errno> {
    let mut ends = [0i32; 2];
    call!(
        libc::SYS_socketpair,
        family,
        kind,
        protocol,
        ends.as_mut_ptr()
    )?;
    Ok((owned(Ok(ends[0].into()))?, owned(Ok(ends[1].into()))?))
}

fn connect(fd: &OwnedFd, address: &[u8]) -> Result<(), Errno> {
    call!(
        libc::SYS_connect,
        fd.as_raw_fd(),
        address.as_ptr(),
        address.len()
    )
    .map(drop)
}

fn disconnect(fd: &OwnedFd) -> Result<(), Errno> {
    connect(fd, &[0; 16])
}

pub fn connect_unix(kind: i32, address: &[u8]) -> Result<OwnedFd, Errno> {
    let fd = socket(libc::AF_UNIX, kind)?;
    connect(&fd, address).map(|()| fd)
}

fn bind(fd: &OwnedFd, address: &[u8]) -> Result<(), Errno> {
    call!(
        libc::SYS_bind,
        fd.as_raw_fd(),
        address.as_ptr(),
        address.len()
    )
    .map(drop)
}

fn bind_unix(address: &[u8]) -> Answer {
    let fd = socket(libc::AF_UNIX, libc::SOCK_STREAM)?;
    done(bind(&fd, address))
}

fn hear(fd: OwnedFd) -> Answer {
    let mut heard = Vec::new();
    let mut file = File::from(fd);
    file.read_to_end(&mut heard).map_err(errno)?;
    Ok(escaped(&heard))
}

fn connect_nonblocking(address: &SocketAddr) -> Answer {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    let fd = owned(call!(libc::SYS_socket, family(address), kind, 0))?;
    let first = match connect(&fd, &encoded(address)) {
        Ok(()) => "at once".to_owned(),
        Err(Errno::EINPROGRESS) => "EINPROGRESS".to_owned(),
        Err(other) => return Err(other),
    };
    let mut waited = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    let limit = [30i64, 0];
    call!(libc::SYS_ppoll, &raw mut waited, 1, limit.as_ptr(), 0, 8)?;
    let (mut error, mut length) = (0i32, 4u32);
    call!(
        libc::SYS_getsockopt,
        fd.as_raw_fd(),
        libc::SOL_SOCKET,
        libc::SO_ERROR,
        &raw mut error,
        &raw mut length
    )?;
    match error {
        0 => Ok(first),
        raw => Err(Errno::from_raw(raw)),
    }
}

pub fn send_to(fd: &OwnedFd, address: &[u8], flags: i32) -> Result<(), Errno> {
    let flags = flags | libc::MSG_NOSIGNAL;
    call!(
        libc::SYS_sendto,
        fd.as_raw_fd(),
        c"x".as_ptr(),
        1,
        flags,
        address.as_ptr(),
        address.len()
    )
    .map(drop)
}

/// `struct msghdr` for one byte to `address`.
fn message(address: &[u8], vector: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeroes is a `struct msghdr` that names nothing.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = address.as_ptr() as *mut libc::c_void;
    message.msg_namelen = address.len() as u32;
    message.msg_iov = vector;
    message.msg_iovlen = 1;
    message
}

fn one_byte() -> libc::iovec {
    libc::iovec {
        iov_base: c"x".as_ptr() as *mut libc::c_void,
        iov_len: 1,
    }
}

fn send_message(fd: &OwnedFd, address: &[u8], flags: i32) -> Result<(), Errno> {
    let mut vector = one_byte();
    let message = message(address, &mut vector);
    call!(
        libc::SYS_sendmsg,
        fd.as_raw_fd(),
        &raw const message,
        flags | libc::MSG_NOSIGNAL
    )
    .map(drop)
}

fn send_messages(fd: &OwnedFd, address: &[u8], flags: i32) -> Result<(), Errno> {
    let mut vector = one_byte();
    let mut messages = libc::mmsghdr {
        msg_hdr: message(address, &mut vector),
        msg_len: 0,
    };
    call!(
        libc::SYS_sendmmsg,
        fd.as_raw_fd(),
        &raw mut messages,
        1,
        flags | libc::MSG_NOSIGNAL
    )
    .map(drop)
}
