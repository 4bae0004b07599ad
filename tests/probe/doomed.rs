//! Tasks that end, or become another program, while a call of theirs is being answered.

use crate::arguments::{Arguments, misused};
use crate::files::{AT_FDCWD, owned, program};
use crate::processes::{fork, touch_and_wait};
use crate::{Answer, call, done};
use nix::errno::Errno;
use std::ffi::CString;
use std::os::fd::AsRawFd;

/// Where the words of such a call lie, in every process that takes part: whoever takes over the number of a task has the same
/// words at the same place. A test has this number too.
const PLACE: usize = 0x10_0000_0000;

/// The number of the socket in such a call. A test has this number too.
const SOCKET: i32 = 100;

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "heir" => heir(arguments),
        "doomed" => doomed(arguments),
        "becomes" => becomes(arguments),
        _ => return None,
    })
}

/// `heir READY GO NAME MODE`: a program that has the words of another's call in their place, announces itself, waits, and then
/// makes the same call.
fn heir(arguments: &mut Arguments) -> Answer {
    let (ready, go) = (arguments.text(), arguments.text());
    lay_out(arguments.path().to_bytes_with_nul())?;
    touch_and_wait(&ready, &go)?;
    done(call!(libc::SYS_fchmodat, AT_FDCWD, PLACE, arguments.mode()))
}

fn lay_out(bytes: &[u8]) -> Result<(), Errno> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    call!(libc::SYS_mmap, PLACE, 4096, protection, flags, -1i64, 0)?;
    assert!(bytes.len() <= 4096, "the words of a call fit in a page");
    // SAFETY: the page was just mapped there, is writable and is never unmapped.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), PLACE as *mut u8, bytes.len()) };
    Ok(())
}

/// `doomed READY GO chmod DIRECTORY NAME MODE`, `… truncate DIRECTORY NAME`, `… connect PORT`: a child writes its pid to READY, waits until GO is
/// there and makes the call. How it ended is the answer: that of wait(2), in hexadecimal.
fn doomed(arguments: &mut Arguments) -> Answer {
    let (ready, go, what) = (arguments.text(), arguments.text(), arguments.text());
    match what.as_str() {
        "chmod" => {
            let (directory, name, mode) = (arguments.path(), arguments.path(), arguments.mode());
            in_a_child(|| {
                call!(libc::SYS_chdir, directory.as_ptr())?;
                lay_out(name.to_bytes_with_nul())?;
                touch_and_wait(&ready, &go)?;
                call!(libc::SYS_fchmodat, AT_FDCWD, PLACE, mode).map(drop)
            })
        }
        "truncate" => {
            let (directory, name) = (arguments.path(), arguments.path());
            in_a_child(|| {
                call!(libc::SYS_chdir, directory.as_ptr())?;
                lay_out(name.to_bytes_with_nul())?;
                touch_and_wait(&ready, &go)?;
                let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
                call!(libc::SYS_openat, AT_FDCWD, PLACE, flags, 0o600).map(drop)
            })
        }
        "connect" => {
            let mut address = (libc::AF_INET as u16).to_ne_bytes().to_vec();
            address.extend((arguments.number() as u16).to_be_bytes());
            address.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
            in_a_child(|| {
                let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
                let socket = owned(call!(libc::SYS_socket, libc::AF_INET, kind, 0))?;
                call!(libc::SYS_dup3, socket.as_raw_fd(), SOCKET, 0)?;
                lay_out(&address)?;
                touch_and_wait(&ready, &go)?;
                call!(libc::SYS_connect, SOCKET, PLACE, address.len()).map(drop)
            })
        }
        _ => misused("there is no such call"),
    }
}

/// `becomes READY GO NOW DIRECTORY NAME MODE PROGRAM WORDS…`: as `doomed … chmod`, by the first thread of a process, in a
/// directory of its own; the second thread, which is where we are, becomes PROGRAM as soon as NOW is there.
fn becomes(arguments: &mut Arguments) -> Answer {
    let [ready, go, now] = [arguments.text(), arguments.text(), arguments.text()];
    let (directory, name, mode) = (arguments.path(), arguments.path(), arguments.mode());
    let words: Vec<CString> = arguments.rest();
    in_a_child(|| {
        lay_out(name.to_bytes_with_nul())?;
        let second = move || {
            while !std::path::Path::new(&now).exists() {
                std::thread::yield_now();
            }
            let _refused = program(&words);
            std::process::exit(libc::ENOEXEC);
        };
        std::thread::spawn(second);
        call!(libc::SYS_unshare, libc::CLONE_FS)?;
        call!(libc::SYS_chdir, directory.as_ptr())?;
        touch_and_wait(&ready, &go)?;
        call!(libc::SYS_fchmodat, AT_FDCWD, PLACE, mode)?;
        // The other thread takes this one's number.
        loop {
            std::thread::park();
        }
    })
}

fn in_a_child(work: impl FnOnce() -> Result<(), Errno>) -> Answer {
    let child = fork()?;
    if child == 0 {
        std::process::exit(work().map_or_else(|errno| errno as i32, |()| 0));
    }
    let mut status = 0i32;
    call!(libc::SYS_wait4, child, &raw mut status, 0, 0).map(|_| format!("{status:x}"))
}
