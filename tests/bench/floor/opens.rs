//! Programs that open one file again and again, as many at once as are wanted. They know nothing of being supervised.

use crate::must;
use std::ffi::{CString, OsStr};
use std::io::{BufRead, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Instant;

/// For each number on standard input, a line of it, the file is opened that often by all processes together, and the nanoseconds
/// that took are printed.
pub fn open_as_told(file: &OsStr, processes: &OsStr) -> ExitCode {
    as_told(file, processes, open)
}

/// The same with opens for writing that are refused.
pub fn be_refused_as_told(file: &OsStr, processes: &OsStr) -> ExitCode {
    as_told(file, processes, be_refused)
}

fn open(file: &CString) {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    let fd = must!(libc::SYS_openat, libc::AT_FDCWD, file.as_ptr(), flags, 0);
    must!(libc::SYS_close, fd);
}

fn be_refused(file: &CString) {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the path ends, and nothing else is read.
    let fd = unsafe { libc::openat(libc::AT_FDCWD, file.as_ptr(), flags) };
    assert!(fd < 0, "it is refused where this is measured");
}

fn as_told(file: &OsStr, processes: &OsStr, once: fn(&CString)) -> ExitCode {
    let file = CString::new(file.as_bytes()).expect("a path holds no zero byte");
    let processes: u32 = processes
        .to_str()
        .and_then(|text| text.parse().ok())
        .expect("a number of processes");
    let done = pipe();
    let openers: Vec<i32> = (0..processes)
        .map(|_| opener(&file, done[1], once))
        .collect();
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input is text");
        let count: u32 = line.trim().parse().expect("a number of opens");
        let share = (count / processes).to_ne_bytes();
        let start = Instant::now();
        for opener in &openers {
            must!(libc::SYS_write, *opener, share.as_ptr(), share.len());
        }
        let mut ready = 0;
        let mut bytes = [0u8; 64];
        while ready < processes as i64 {
            ready += must!(libc::SYS_read, done[0], bytes.as_mut_ptr(), bytes.len());
        }
        writeln!(out, "{}", start.elapsed().as_nanos())
            .and_then(|()| out.flush())
            .expect("somebody reads");
    }
    for opener in openers {
        must!(libc::SYS_close, opener);
    }
    for _ in 0..processes {
        must!(libc::SYS_wait4, -1i32, 0, 0, 0);
    }
    ExitCode::SUCCESS
}

/// Starts a process that does it to the file as often as it is told through the pipe whose end is returned.
fn opener(file: &CString, done: i32, once: fn(&CString)) -> i32 {
    let told = pipe();
    if must!(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) != 0 {
        must!(libc::SYS_close, told[0]);
        return told[1];
    }
    must!(libc::SYS_close, told[1]);
    let mut count = [0u8; 4];
    while must!(libc::SYS_read, told[0], count.as_mut_ptr(), count.len()) == 4 {
        for _ in 0..u32::from_ne_bytes(count) {
            once(file);
        }
        must!(libc::SYS_write, done, c"".as_ptr(), 1);
    }
    std::process::exit(0);
}

fn pipe() -> [i32; 2] {
    let mut ends = [0i32; 2];
    must!(libc::SYS_pipe2, ends.as_mut_ptr(), libc::O_CLOEXEC);
    ends
}
