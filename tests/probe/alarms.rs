//! Calls that wait, and are sent a signal a moment later.

use crate::arguments::{Arguments, misused};
use crate::files::{self, OPEN, owned};
use crate::names::{address, inet, say, stream, unix, with};
use crate::{Answer, call, done};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::AsRawFd;

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "alarmed-unix" => {
            let (restarts, path) = (restarts(arguments), arguments.path());
            connects(libc::AF_UNIX, &unix(&path), restarts)
        }
        "alarmed-tcp" => {
            let restarts = restarts(arguments);
            connects(libc::AF_INET, &inet(address(arguments)), restarts)
        }
        "alarmed-open" => {
            let (restarts, path) = (restarts(arguments), arguments.path());
            opens(&path, arguments.flags(&OPEN) as i32, restarts)
        }
        _ => return None,
    })
}

/// The first argument: whether a call that the signal interrupts is made again.
fn restarts(arguments: &mut Arguments) -> bool {
    match arguments.text().as_str() {
        "restart" => true,
        "once" => false,
        other => misused(&format!("`{other}` is neither `restart` nor `once`")),
    }
}

extern "C" fn on_alarm(_signal: i32) {
    say(b"alarm\n");
}

/// Sets the alarm.
fn soon(restarts: bool) -> Result<(), Errno> {
    // SAFETY: all zeroes is a `struct sigaction` without flags or mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_alarm as extern "C" fn(i32) as usize;
    action.sa_flags = if restarts { libc::SA_RESTART } else { 0 };
    // SAFETY: the handler makes one system call and returns; the structure lives.
    Errno::result(unsafe {
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut())
    })?;
    let once = [0i64, 0, 0, 50_000];
    call!(libc::SYS_setitimer, 0, once.as_ptr(), 0).map(drop)
}

/// Connects. When the signal ends the call, a second connect that does not wait tells what it left.
fn connects(family: i32, address: &[u8], restarts: bool) -> Answer {
    let socket = stream(family)?;
    soon(restarts)?;
    match with(libc::SYS_connect, &socket, address) {
        Err(Errno::EINTR) => {}
        other => return done(other),
    }
    call!(
        libc::SYS_fcntl,
        socket.as_raw_fd(),
        libc::F_SETFL,
        libc::O_NONBLOCK
    )?;
    let then = with(libc::SYS_connect, &socket, address);
    Ok(format!("EINTR, then {:?}", then.err()))
}

/// Opens one end of a FIFO. When the signal ends the call, the other end tells whether anybody is at this one.
fn opens(path: &CStr, flags: i32, restarts: bool) -> Answer {
    soon(restarts)?;
    match files::open(path, flags) {
        Err(Errno::EINTR) => {}
        other => return done(other),
    }
    let at = |flags| {
        let (at, path) = (libc::AT_FDCWD, path.as_ptr());
        owned(call!(libc::SYS_openat, at, path, flags | libc::O_NONBLOCK))
    };
    let then = match flags & libc::O_ACCMODE {
        libc::O_RDONLY => at(libc::O_WRONLY).map(drop).err(),
        _ => {
            let (reader, mut byte) = (at(libc::O_RDONLY)?, 0u8);
            // Nothing to come, where nobody writes; EAGAIN, where somebody could.
            call!(libc::SYS_read, reader.as_raw_fd(), &raw mut byte, 1).err()
        }
    };
    Ok(format!("EINTR, then {then:?}"))
}
