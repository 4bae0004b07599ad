//! A grant at its barest: a request of 150 bytes, `openat2`, a reply of 60 bytes with the descriptor.

use crate::must;
use std::ffi::{CString, OsStr};
use std::io::{BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Instant;

const REQUEST: usize = 150;
const REPLY: usize = 60;
/// Room for one descriptor: `CMSG_SPACE(4)`.
const CONTROL: usize = 24;

/// Two processes with a socket between them. For each line `COUNT DEPTH` on standard input that many grants are asked for, so many at
/// a time, and the nanoseconds it took are printed.
pub fn serve_and_ask(file: &OsStr) -> ExitCode {
    let file = CString::new(file.as_bytes()).expect("a path holds no zero byte");
    let mut ends = [0i32; 2];
    must!(
        libc::SYS_socketpair,
        libc::AF_UNIX,
        libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
        0,
        ends.as_mut_ptr()
    );
    if must!(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) == 0 {
        must!(libc::SYS_close, ends[1]);
        serve(ends[0], &file);
    }
    must!(libc::SYS_close, ends[0]);
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input is text");
        let (count, depth) = line.split_once(' ').expect("COUNT DEPTH");
        let (count, depth): (usize, usize) = (
            count.parse().expect("a number"),
            depth.parse().expect("a number"),
        );
        let start = Instant::now();
        for _ in 0..count / depth {
            for _ in 0..depth {
                let request = [b'x'; REQUEST];
                must!(
                    libc::SYS_sendto,
                    ends[1],
                    request.as_ptr(),
                    REQUEST,
                    0,
                    0,
                    0
                );
            }
            for _ in 0..depth {
                must!(libc::SYS_close, receive(ends[1]));
            }
        }
        writeln!(out, "{}", start.elapsed().as_nanos())
            .and_then(|()| out.flush())
            .expect("somebody reads");
    }
    ExitCode::SUCCESS
}

fn serve(socket: i32, file: &CString) -> ! {
    let mut buffer = [0u8; 64 * REQUEST];
    let mut had = 0;
    loop {
        let received = must!(
            libc::SYS_recvfrom,
            socket,
            buffer[had..].as_mut_ptr(),
            buffer.len() - had,
            0,
            0,
            0
        );
        if received == 0 {
            std::process::exit(0);
        }
        had += received as usize;
        for _ in 0..had / REQUEST {
            let how = [libc::O_CLOEXEC as u64, 0, 2]; // no magic links
            let fd = must!(
                libc::SYS_openat2,
                libc::AT_FDCWD,
                file.as_ptr(),
                how.as_ptr(),
                24
            );
            send(socket, fd as i32);
            must!(libc::SYS_close, fd);
        }
        buffer.copy_within(had / REQUEST * REQUEST..had, 0);
        had %= REQUEST;
    }
}

/// A message of one buffer with room for one descriptor.
fn message(vector: &mut libc::iovec, control: &mut [u64; CONTROL / 8]) -> libc::msghdr {
    // SAFETY: all zeroes is a `struct msghdr` that names nothing.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    message
}

fn send(socket: i32, fd: i32) {
    let mut reply = [b'y'; REPLY];
    let mut vector = libc::iovec {
        iov_base: reply.as_mut_ptr().cast(),
        iov_len: REPLY,
    };
    // `struct cmsghdr`: length, SOL_SOCKET, SCM_RIGHTS, the descriptor.
    let mut control = [20, 1 | 1 << 32, fd as u64];
    let message = message(&mut vector, &mut control);
    must!(libc::SYS_sendmsg, socket, &raw const message, 0);
}

fn receive(socket: i32) -> i32 {
    let mut reply = [0u8; REPLY];
    let mut vector = libc::iovec {
        iov_base: reply.as_mut_ptr().cast(),
        iov_len: REPLY,
    };
    let mut control = [0u64; CONTROL / 8];
    let mut message = message(&mut vector, &mut control);
    must!(
        libc::SYS_recvmsg,
        socket,
        &raw mut message,
        libc::MSG_CMSG_CLOEXEC
    );
    control[2] as i32
}
