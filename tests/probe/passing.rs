//! Descriptors that somebody else opened: received over a Unix socket, handed on, and what can be done with them.

use crate::arguments::{Arguments, misused};
use crate::files::{OPEN, magic_link, names_in, owned, run};
use crate::sockets::{connect_unix, pathname, send_to};
use crate::{Answer, call, done};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::ffi::CString;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "receive-fds" => receive(arguments),
        "send-fds" => send(arguments),
        // `list-fd NUMBER`: the names in a directory that somebody else opened.
        "list-fd" => owned(call!(libc::SYS_dup, arguments.number())).and_then(names_in),
        "fchdir-fd" => done(call!(libc::SYS_fchdir, arguments.number())),
        "reopen-fd" => {
            let (number, flags) = (arguments.number(), arguments.flags(&OPEN));
            borrowed(number, |fd| {
                let path = magic_link(fd);
                done(owned(call!(
                    libc::SYS_openat,
                    libc::AT_FDCWD,
                    path.as_ptr(),
                    flags,
                    0o600
                )))
            })
        }
        // `link-from-fd NUMBER PATH`: a name for what somebody else opened.
        "link-from-fd" => {
            let (number, path) = (arguments.number(), arguments.path());
            done(call!(
                libc::SYS_linkat,
                number,
                c"".as_ptr(),
                libc::AT_FDCWD,
                path.as_ptr(),
                libc::AT_EMPTY_PATH
            ))
        }
        "mkdir-fd" => {
            let (number, path) = (arguments.number(), arguments.path());
            done(call!(libc::SYS_mkdirat, number, path.as_ptr(), 0o700))
        }
        "unlink-fd" => {
            let (number, path) = (arguments.number(), arguments.path());
            done(call!(libc::SYS_unlinkat, number, path.as_ptr(), 0))
        }
        "fchmod-fd" => done(call!(
            libc::SYS_fchmod,
            arguments.number(),
            arguments.mode()
        )),
        "exec-fd-number" => {
            let number = arguments.number();
            let words: Vec<CString> = arguments.rest();
            run(number as i32, c"", &words, libc::AT_EMPTY_PATH)
        }
        // `connect-fd NUMBER PORT`, `send-fd NUMBER PORT`: of 127.0.0.1, by a socket that somebody else made.
        "connect-fd" => {
            let number = arguments.number();
            let address = loopback(arguments.number());
            done(call!(
                libc::SYS_connect,
                number,
                address.as_ptr(),
                address.len()
            ))
        }
        "send-fd" => {
            let number = arguments.number();
            let address = loopback(arguments.number());
            borrowed(number, |fd| done(send_to(fd, &address, 0)))
        }
        _ => return None,
    })
}

/// `struct sockaddr_in`.
fn loopback(port: i64) -> Vec<u8> {
    let mut bytes = (libc::AF_INET as u16).to_ne_bytes().to_vec();
    bytes.extend((port as u16).to_be_bytes());
    bytes.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// A duplicate of a number for the time of an act.
fn borrowed(number: i64, act: impl FnOnce(&OwnedFd) -> Answer) -> Answer {
    owned(call!(libc::SYS_dup, number)).and_then(|fd| act(&fd))
}

/// `receive-fds PATH NUMBER`: connects, and what comes with the first byte has this number and those after it. The answer is how
/// many there were.
fn receive(arguments: &mut Arguments) -> Answer {
    let (path, first) = (arguments.path(), arguments.number());
    let socket = connect_unix(libc::SOCK_STREAM, &pathname(&path))?;
    let mut byte = [0u8; 1];
    let mut into = [IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!([RawFd; 16]);
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(&mut control), flags)?;
    let mut number = first;
    for part in message.cmsgs()? {
        let ControlMessageOwned::ScmRights(fds) = part else {
            continue;
        };
        for fd in fds {
            let fd = owned(Ok(fd.into()))?;
            call!(libc::SYS_dup3, fd.as_raw_fd(), number, 0)?;
            number += 1;
        }
    }
    Ok((number - first).to_string())
}

/// `send-fds PATH NUMBERS…`: listens there, and sends them to whoever comes first.
fn send(arguments: &mut Arguments) -> Answer {
    let path = arguments.path();
    let word = |word: &CString| word.to_str().ok().and_then(|word| word.parse().ok());
    let given: Option<Vec<RawFd>> = arguments.rest().iter().map(word).collect();
    let given = given.unwrap_or_else(|| misused("descriptors are numbers"));
    let address = pathname(&path);
    let kind = libc::SOCK_STREAM;
    let listener = owned(call!(libc::SYS_socket, libc::AF_UNIX, kind, 0))?;
    let fd = listener.as_raw_fd();
    call!(libc::SYS_bind, fd, address.as_ptr(), address.len())?;
    call!(libc::SYS_listen, fd, 1)?;
    let peer = owned(call!(libc::SYS_accept4, fd, 0, 0, 0))?;
    let rights = [ControlMessage::ScmRights(&given)];
    let byte = [IoSlice::new(b"x")];
    done(sendmsg::<()>(
        peer.as_raw_fd(),
        &byte,
        &rights,
        MsgFlags::empty(),
        None,
    ))
}
