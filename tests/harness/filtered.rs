//! A program that starts under a system call filter and under nothing else.

use libc::sock_filter;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes `command` install `program` just before it becomes what it is to run.
pub fn filtered<'c>(command: &'c mut Command, program: &[sock_filter]) -> &'c mut Command {
    let program = program.to_vec();
    // SAFETY: the closure runs between fork and exec; it makes two system calls and neither allocates nor locks.
    unsafe { command.pre_exec(move || install(&program)) }
}

fn install(program: &[sock_filter]) -> std::io::Result<()> {
    let header = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    nix::errno::Errno::result(result)?;
    // SAFETY: `header` describes `program`, which the kernel copies and does not write to.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const header,
        )
    };
    nix::errno::Errno::result(result)?;
    Ok(())
}
