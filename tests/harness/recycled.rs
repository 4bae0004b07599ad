//! A process with a number of the test's choice: the next owner of a pid, made at once.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;

/// Executes a program as process `pid`: clone3(2) with `set_tid`, which whoever rules the pid namespace may do. It gets these
/// descriptors at these numbers, and an environment of its own.
pub fn execute_as(
    pid: i32,
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    fds: &[(OwnedFd, RawFd)],
) -> Result<(), Errno> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).expect("no zero in it");
    let path = text(program.as_os_str());
    let mut argv = vec![path.clone()];
    argv.extend(arguments.iter().map(|argument| text(OsStr::new(argument))));
    let envp: Vec<CString> = environment
        .iter()
        .map(|(name, value)| text(OsStr::new(&format!("{name}={value}"))))
        .collect();
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        let pointers = texts.iter().map(|text| text.as_ptr());
        pointers.chain([std::ptr::null()]).collect()
    };
    let (argv_pointers, envp_pointers) = (pointers(&argv), pointers(&envp));
    // Above all numbers that are given, lest one be lost before its turn.
    let high: Vec<OwnedFd> = fds
        .iter()
        .map(|(fd, _)| sys::fds::duplicate_from(fd.as_fd(), 100))
        .collect::<Result<_, _>>()?;
    let moves: Vec<(RawFd, RawFd)> = high
        .iter()
        .zip(fds)
        .map(|(fd, (_, to))| (fd.as_raw_fd(), *to))
        .collect();
    let set_tid = [pid];
    // SAFETY: clone_args is a C structure of integers, for which zero is valid.
    let mut how: libc::clone_args = unsafe { std::mem::zeroed() };
    how.exit_signal = libc::SIGCHLD as u64;
    how.set_tid = set_tid.as_ptr() as u64;
    how.set_tid_size = 1;
    // SAFETY: without CLONE_VM the child has a copy of everything; `how` and the number it points to outlive the call.
    let made = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const how,
            std::mem::size_of_val(&how),
        )
    };
    if made != 0 {
        return Errno::result(made).map(drop);
    }
    for (from, to) in moves {
        // SAFETY: takes two numbers.
        unsafe { libc::dup2(from, to) };
    }
    // SAFETY: the child of a process that may have threads makes system calls only. Everything they read was made before the clone and
    // lives: terminated strings, and arrays of pointers to them that end with null.
    unsafe {
        libc::execve(
            path.as_ptr(),
            argv_pointers.as_ptr(),
            envp_pointers.as_ptr(),
        );
        libc::_exit(127)
    }
}
