//! A request and its answer at their barest: so many bytes one way over a socket, so many back, between two processes.

use crate::must;
use std::ffi::OsStr;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::Instant;

/// For each number on standard input, a line of it, that many requests of `there` bytes are answered by `back` bytes each, and the
/// nanoseconds it took are printed.
pub fn serve_and_ask(there: &OsStr, back: &OsStr) -> ExitCode {
    let [there, back] = [there, back].map(|text| {
        let count = text.to_str().and_then(|text| text.parse().ok());
        count.expect("a number of bytes")
    });
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
        while receive(ends[0], there) {
            send(ends[0], back);
        }
        std::process::exit(0);
    }
    must!(libc::SYS_close, ends[0]);
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input is text");
        let count: u32 = line.trim().parse().expect("a number of requests");
        let start = Instant::now();
        for _ in 0..count {
            send(ends[1], there);
            assert!(receive(ends[1], back), "the other side is gone");
        }
        writeln!(out, "{}", start.elapsed().as_nanos())
            .and_then(|()| out.flush())
            .expect("somebody reads");
    }
    ExitCode::SUCCESS
}

fn send(socket: i32, count: usize) {
    let bytes = vec![b'x'; count];
    must!(libc::SYS_sendto, socket, bytes.as_ptr(), count, 0, 0, 0);
}

/// Whether all of it came.
fn receive(socket: i32, count: usize) -> bool {
    let mut bytes = vec![0u8; count];
    let mut had = 0;
    while had < count {
        let came = must!(
            libc::SYS_recvfrom,
            socket,
            bytes[had..].as_mut_ptr(),
            count - had,
            0,
            0,
            0
        );
        if came == 0 {
            return false;
        }
        had += came as usize;
    }
    true
}
