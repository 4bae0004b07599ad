//! Names of sockets, whole and odd; and signals that arrive while a socket is being connected.

use crate::arguments::{Arguments, misused};
use crate::files::{escaped, owned};
use crate::races::{Wavering, against, exchange, tries};
use crate::{Answer, call, done};
use nix::errno::Errno;
use std::ffi::CStr;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        // What a socket says that it is called once it was bound to PATH.
        "bound-name" => bound_name(&arguments.path()),
        // `bind-bytes FAMILY HEX`, `connect-bytes FAMILY HEX`: any address at all, for a stream socket.
        "bind-bytes" => with_bytes(arguments, libc::SYS_bind),
        "connect-bytes" => with_bytes(arguments, libc::SYS_connect),
        "bind-twice" => bind_twice(arguments),
        "listen-unix" => listen_unix(&arguments.path()),
        // `talk ADDRESS`: listens there, connects to itself, sends a byte and receives it.
        "talk" => talk(&address(arguments), false, |_| Ok(())),
        "talk-nonblocking" => talk(&address(arguments), true, |_| Ok(())),
        // Listens there and waits to be ended.
        "listen-on" => listening(&address(arguments), 8).and_then(|_listens| {
            say(b"listening\n");
            linger()
        }),
        // The same, but the port is given up before the connect: by closing, by shutting down.
        "talk-closed" => talk(&address(arguments), false, |socket| {
            call!(libc::SYS_dup3, 0, socket, 0).map(drop)
        }),
        "talk-shut" => talk(&address(arguments), false, |socket| {
            call!(libc::SYS_shutdown, socket, 2).map(drop)
        }),
        "share-port" => share_port(&address(arguments)),
        "overtake" => overtake(&address(arguments)),
        "race-bind" => race_bind(arguments),
        "race-bind-tcp" => race_bind_tcp(arguments),
        "bind-duplicate" => bind_duplicate(&address(arguments)),
        "race-bind-swap" => race_bind_swap(arguments),
        "race-bind-abstract" => race_bind_abstract(arguments),
        "race-listen" => race_listen(arguments),
        _ => return None,
    })
}

pub fn address(arguments: &mut Arguments) -> SocketAddr {
    let text = arguments.text();
    text.parse()
        .unwrap_or_else(|_| misused("an address and a port are wanted"))
}

/// `struct sockaddr_in` or `struct sockaddr_in6`, and the family.
fn encoded(address: &SocketAddr) -> (i32, Vec<u8>) {
    match address {
        SocketAddr::V4(_) => (libc::AF_INET, inet(*address)),
        SocketAddr::V6(v6) => {
            let mut bytes = (libc::AF_INET6 as u16).to_ne_bytes().to_vec();
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
            (libc::AF_INET6, bytes)
        }
    }
}

/// The port that a socket has.
fn port(socket: &OwnedFd) -> Result<u16, Errno> {
    let bytes = name(socket)?;
    Ok(u16::from_be_bytes([bytes[2], bytes[3]]))
}

/// What a socket is bound to.
fn name(socket: &OwnedFd) -> Result<[u8; 28], Errno> {
    let (mut bytes, mut length) = ([0u8; 28], 28u32);
    call!(
        libc::SYS_getsockname,
        socket.as_raw_fd(),
        bytes.as_mut_ptr(),
        &raw mut length
    )?;
    Ok(bytes)
}

fn listening(at: &SocketAddr, backlog: i32) -> Result<(OwnedFd, SocketAddr), Errno> {
    let (family, bytes) = encoded(at);
    let socket = stream(family)?;
    with(libc::SYS_bind, &socket, &bytes)?;
    call!(libc::SYS_listen, socket.as_raw_fd(), backlog)?;
    let mut at = *at;
    at.set_port(port(&socket)?);
    Ok((socket, at))
}

fn talk(
    at: &SocketAddr,
    nonblocking: bool,
    first: impl FnOnce(i32) -> Result<(), Errno>,
) -> Answer {
    let (listener, at) = listening(at, 8)?;
    first(listener.as_raw_fd())?;
    let (family, bytes) = encoded(&at);
    let flags = if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    let client = owned(call!(
        libc::SYS_socket,
        family,
        libc::SOCK_STREAM | flags,
        0
    ))?;
    match with(libc::SYS_connect, &client, &bytes) {
        Ok(_) | Err(Errno::EINPROGRESS) => {}
        Err(other) => return Err(other),
    }
    let server = owned(call!(libc::SYS_accept, listener.as_raw_fd(), 0, 0))?;
    call!(libc::SYS_write, client.as_raw_fd(), c"x".as_ptr(), 1)?;
    let mut byte = 0u8;
    call!(libc::SYS_read, server.as_raw_fd(), &raw mut byte, 1)?;
    match byte {
        b'x' => Ok(String::new()),
        _ => Err(Errno::EIO),
    }
}

/// Listens on a port that another program shares with whoever wants.
fn share_port(at: &SocketAddr) -> Answer {
    let (family, bytes) = encoded(at);
    let socket = stream(family)?;
    let on = 1i32;
    call!(
        libc::SYS_setsockopt,
        socket.as_raw_fd(),
        libc::SOL_SOCKET,
        libc::SO_REUSEPORT,
        &raw const on,
        4
    )?;
    with(libc::SYS_bind, &socket, &bytes)?;
    done(call!(libc::SYS_listen, socket.as_raw_fd(), 8))
}

/// Fills its own queue, connects once more without waiting, gives the port up, says so, and tells what becomes of the connection
/// when somebody else has the port.
fn overtake(at: &SocketAddr) -> Answer {
    let (listener, at) = listening(at, 0)?;
    let (family, bytes) = encoded(&at);
    let client = |flags| {
        owned(call!(
            libc::SYS_socket,
            family,
            libc::SOCK_STREAM | flags,
            0
        ))
    };
    let first = client(0)?;
    with(libc::SYS_connect, &first, &bytes)?;
    let second = client(libc::SOCK_NONBLOCK)?;
    match with(libc::SYS_connect, &second, &bytes) {
        Err(Errno::EINPROGRESS) => {}
        other => return done(other).and(Err(Errno::EIO)),
    }
    drop((listener, first));
    say(format!("free {}\n", at.port()).as_bytes());
    let mut waited = libc::pollfd {
        fd: second.as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    let limit = [30i64, 0];
    call!(libc::SYS_ppoll, &raw mut waited, 1, limit.as_ptr(), 0, 8)?;
    done(call!(libc::SYS_write, second.as_raw_fd(), c"x".as_ptr(), 1))
}

pub fn unix(path: &CStr) -> Vec<u8> {
    let family = (libc::AF_UNIX as u16).to_ne_bytes();
    [family.as_slice(), path.to_bytes_with_nul()].concat()
}

/// `struct sockaddr_in`.
pub fn inet(address: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(address) = address else {
        misused("an IPv4 address is wanted");
    };
    let mut bytes = (libc::AF_INET as u16).to_ne_bytes().to_vec();
    bytes.extend(address.port().to_be_bytes());
    bytes.extend(address.ip().octets());
    bytes.extend([0; 8]);
    bytes
}

pub fn stream(family: i32) -> Result<OwnedFd, Errno> {
    owned(call!(libc::SYS_socket, family, libc::SOCK_STREAM, 0))
}

pub fn with(call: i64, socket: &OwnedFd, address: &[u8]) -> Result<i64, Errno> {
    call!(call, socket.as_raw_fd(), address.as_ptr(), address.len())
}

fn bound_name(path: &CStr) -> Answer {
    let socket = stream(libc::AF_UNIX)?;
    let address = unix(path);
    with(libc::SYS_bind, &socket, &address[..address.len() - 1])?;
    let (mut bytes, mut length) = ([0u8; 128], 128u32);
    call!(
        libc::SYS_getsockname,
        socket.as_raw_fd(),
        bytes.as_mut_ptr(),
        &raw mut length
    )?;
    let name = &bytes[2..length as usize];
    Ok(escaped(name.strip_suffix(b"\0").unwrap_or(name)))
}

fn with_bytes(arguments: &mut Arguments, call: i64) -> Answer {
    let (family, text) = (arguments.number() as i32, arguments.text());
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16);
    let bytes: Result<Vec<u8>, _> = (0..text.len()).step_by(2).map(byte).collect();
    let bytes = bytes.unwrap_or_else(|_| misused("bytes are two digits each"));
    done(stream(family).and_then(|socket| with(call, &socket, &bytes)))
}

/// A socket that has a name is given another.
fn bind_twice(arguments: &mut Arguments) -> Answer {
    let (one, other) = (arguments.path(), arguments.path());
    let socket = stream(libc::AF_UNIX)?;
    with(libc::SYS_bind, &socket, &unix(&one))?;
    done(with(libc::SYS_bind, &socket, &unix(&other)))
}

/// Binds, listens, and waits to be ended.
fn listen_unix(path: &CStr) -> Answer {
    let socket = stream(libc::AF_UNIX)?;
    with(libc::SYS_bind, &socket, &unix(path))?;
    call!(libc::SYS_listen, socket.as_raw_fd(), 8)?;
    say(b"listening\n");
    linger()
}

/// Until a signal ends it. Tests wait for what they look for, never for this.
fn linger() -> Answer {
    let limit = [300i64, 0];
    done(call!(libc::SYS_ppoll, 0, 0, limit.as_ptr(), 0, 8))
}

/// `race-bind ALLOWED FORBIDDEN TRIES`: the name is rewritten all the time.
fn race_bind(arguments: &mut Arguments) -> Answer {
    let (one, other) = (arguments.path(), arguments.path());
    let (address, count) = (Wavering::new(unix(&one), unix(&other)), arguments.number());
    let attempt = || {
        let socket = stream(libc::AF_UNIX)?;
        let bound = address.with(libc::SYS_bind, &socket);
        // So that the place is free again.
        let _removed = call!(libc::SYS_unlinkat, libc::AT_FDCWD, one.as_ptr(), 0);
        bound
    };
    against(|| address.waver(), || tries(count, attempt))
}

/// `race-bind-tcp ONE OTHER TRIES`: an address is written over all the time while it is bound. How many sockets were bound to OTHER.
fn race_bind_tcp(arguments: &mut Arguments) -> Answer {
    let (one, other) = (address(arguments), address(arguments));
    let count = arguments.number();
    let wavering = Wavering::new(inet(one), inet(other));
    let mut others = 0;
    let attempt = || {
        let socket = stream(libc::AF_INET)?;
        let bound = wavering.with(libc::SYS_bind, &socket);
        others += i32::from(name(&socket)?[4..8] == inet(other)[4..8]);
        bound
    };
    let said = against(|| wavering.waver(), || tries(count, attempt))?;
    Ok(format!("{said} others={others}"))
}

/// Binds by one number, listens by another, and says by the first which port it is.
fn bind_duplicate(at: &SocketAddr) -> Answer {
    let (family, bytes) = encoded(at);
    let socket = stream(family)?;
    let other = owned(call!(libc::SYS_dup, socket.as_raw_fd()))?;
    with(libc::SYS_bind, &other, &bytes)?;
    call!(libc::SYS_listen, other.as_raw_fd(), 1)?;
    Ok(port(&socket)?.to_string())
}

/// `race-bind-swap ONE OTHER PATH MADE TRIES`: two names change places all the time while a path that leads through them is bound.
/// What is made where it may be is MADE, and removed again.
fn race_bind_swap(arguments: &mut Arguments) -> Answer {
    let (one, other) = (arguments.path(), arguments.path());
    let (path, made) = (arguments.path(), arguments.path());
    let count = arguments.number();
    // A race that cannot be run proves nothing.
    exchange(&one, &other)?;
    let attempt = || {
        let bound = with(libc::SYS_bind, &stream(libc::AF_UNIX)?, &unix(&path));
        let _removed = call!(libc::SYS_unlinkat, libc::AT_FDCWD, made.as_ptr(), 0);
        bound
    };
    against(
        || {
            let _exchanged = exchange(&one, &other);
        },
        || tries(count, attempt),
    )
}

/// `race-bind-abstract PATH TRIES`: the first byte of the name comes and goes, and without it the name is no file's.
fn race_bind_abstract(arguments: &mut Arguments) -> Answer {
    let path = arguments.path();
    let mut bare = unix(&path);
    bare[2] = 0;
    let count = arguments.number();
    let address = Wavering::new(unix(&path), bare.clone());
    let mut abstracts = 0;
    let attempt = || {
        let socket = stream(libc::AF_UNIX)?;
        let bound = address.with(libc::SYS_bind, &socket);
        let (mut bytes, mut length) = ([1u8; 128], 128u32);
        call!(
            libc::SYS_getsockname,
            socket.as_raw_fd(),
            bytes.as_mut_ptr(),
            &raw mut length
        )?;
        abstracts += i32::from(length > 2 && bytes[2] == 0);
        let _removed = call!(libc::SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), 0);
        bound
    };
    let said = against(|| address.waver(), || tries(count, attempt))?;
    Ok(format!("{said} abstract={abstracts}"))
}

/// `race-listen TRIES`: one number is now a Unix socket, now a TCP socket without a port, while it is made to listen. How many TCP
/// sockets ended up with a port.
fn race_listen(arguments: &mut Arguments) -> Answer {
    let count = arguments.number();
    let unix_socket = stream(libc::AF_UNIX)?;
    let path = c"race-listen.sock";
    let _removed = call!(libc::SYS_unlinkat, libc::AT_FDCWD, path.as_ptr(), 0);
    with(libc::SYS_bind, &unix_socket, &unix(path))?;
    let tcp = stream(libc::AF_INET)?;
    let number: OwnedFd = owned(call!(libc::SYS_dup, unix_socket.as_raw_fd()))?;
    let becomes = |fd: &OwnedFd| call!(libc::SYS_dup3, fd.as_raw_fd(), number.as_raw_fd(), 0);
    let said = against(
        || {
            let _both = [becomes(&tcp), becomes(&unix_socket)];
        },
        || tries(count, || call!(libc::SYS_listen, number.as_raw_fd(), 1)),
    )?;
    Ok(format!("{said} port={}", port(&tcp)?))
}

pub fn say(text: &[u8]) {
    let _unheard = call!(libc::SYS_write, 1, text.as_ptr(), text.len());
}
