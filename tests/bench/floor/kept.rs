//! Workers that know nothing of being kept: one that waits for ever, and one that opens a file again and again and notes how long it
//! was without.

use crate::must;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Duration;

/// Waits until it is killed.
pub fn idle() -> ExitCode {
    loop {
        std::thread::park();
    }
}

/// What is noted beside the pause, in nanoseconds.
const GAP: u64 = 1_000_000;

/// Opens `file` until it is killed, with a pause of so many microseconds in between, for who answers them to have the processor to
/// itself. Of each time longer than that and a millisecond from one open that succeeded to the next, `notes` is told: when it ended and
/// how long it was, in nanoseconds of the monotonic clock, 8 bytes each.
pub fn open_and_note(file: &OsStr, notes: &OsStr, pause: &OsStr) -> ExitCode {
    let pause = pause.to_str().and_then(|text| text.parse().ok());
    let pause = Duration::from_micros(pause.expect("a number of microseconds"));
    let long = GAP + pause.as_nanos() as u64;
    let path = |name: &OsStr| CString::new(name.as_bytes()).expect("a path holds no zero byte");
    let (file, notes) = (path(file), path(notes));
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
    let notes = must!(
        libc::SYS_openat,
        libc::AT_FDCWD,
        notes.as_ptr(),
        flags,
        0o600
    );
    let mut last = now();
    loop {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let fd = must!(libc::SYS_openat, libc::AT_FDCWD, file.as_ptr(), flags, 0);
        let opened = now();
        must!(libc::SYS_close, fd);
        let gap = opened - last;
        last = opened;
        if gap >= long {
            let note = [opened, gap];
            must!(libc::SYS_write, notes, note.as_ptr(), size_of_val(&note));
        }
        std::thread::sleep(pause);
    }
}

fn now() -> u64 {
    let mut time = [0i64; 2];
    must!(
        libc::SYS_clock_gettime,
        libc::CLOCK_MONOTONIC,
        time.as_mut_ptr()
    );
    time[0] as u64 * 1_000_000_000 + time[1] as u64
}
