//! A terminal of a test's own.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes `command` the leader of a session that `slave` controls, with its standard streams there, in the foreground.
pub fn controlled_by(command: &mut Command, slave: OwnedFd) -> &mut Command {
    let attach = move || {
        let fd = slave.as_raw_fd();
        // SAFETY: takes nothing; the process that was just forked is no group leader.
        if unsafe { libc::setsid() } < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: takes a number; the descriptor is open.
        if unsafe { libc::ioctl(fd, libc::TIOCSCTTY, 0) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
        for stream in 0..3 {
            // SAFETY: takes two numbers, and changes the table of this process alone.
            if unsafe { libc::dup2(fd, stream) } < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: runs between fork and exec: system calls, and errors that hold a number and allocate nothing.
    unsafe { command.pre_exec(attach) }
}
