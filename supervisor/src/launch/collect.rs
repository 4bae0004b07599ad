//! Ending what is left of a session whose guardian and supervisor are gone, or whose guardian was killed.

use crate::sandbox::Tag;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use std::os::fd::AsFd;
use sys::pidfd::Pidfd;

/// Kills every process that carries the session's tag and returns how many there were. The tag is in the kernel's hands
/// and is inherited by every descendant: no process of the session can lose it, and no other has it.
///
/// Goes on until a whole pass over the processes finds none, so that one that forks while it is looked for is found too.
/// Blocks until those that were killed are gone.
///
/// # Errors
/// The errno with which the list of processes could not be read.
pub fn collect(tag: Tag) -> Result<usize, Errno> {
    let mut total = 0;
    loop {
        let members = tag.members()?;
        if members.is_empty() {
            return Ok(total);
        }
        total += members.len();
        for pidfd in &members {
            pidfd.signal_if_there(libc::SIGKILL)?;
        }
        for pidfd in &members {
            await_end(pidfd)?;
        }
    }
}

fn await_end(pidfd: &Pidfd) -> Result<(), Errno> {
    loop {
        match nix::poll::poll(
            &mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)],
            PollTimeout::NONE,
        ) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // If it was given to us, it is ours to collect; else ECHILD.
    match waitid(
        Id::PIDFd(pidfd.as_fd()),
        WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG,
    ) {
        Ok(_) | Err(Errno::ECHILD) => Ok(()),
        Err(errno) => Err(errno),
    }
}
