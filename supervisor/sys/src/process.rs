//! Attributes of the calling process: `prctl(2)`, resource limits.

use nix::errno::Errno;

/// Makes the calling process the one to which orphaned descendants are given (PR_SET_CHILD_SUBREAPER(2const)).
///
/// # Errors
/// The errno of `prctl(2)`.
pub fn become_subreaper() -> Result<(), Errno> {
    // SAFETY: takes a flag and changes nothing in memory.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    Errno::result(result).map(drop)
}

/// A soft and a hard limit, as `prlimit64(2)` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Limit {
    /// In force.
    pub soft: u64,
    /// The most that the soft limit may be set to.
    pub hard: u64,
}

/// The value that means "no limit".
pub const UNLIMITED: u64 = u64::MAX;

/// A limit of the calling process; `resource` is one of `libc::RLIMIT_*`.
///
/// # Errors
/// The errno of `prlimit64(2)`.
pub fn limit(resource: u32) -> Result<Limit, Errno> {
    let mut old = Limit { soft: 0, hard: 0 };
    // SAFETY: prlimit64(2) with no new limit writes a `struct rlimit64` to `old`, which has that layout.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            std::ptr::null::<Limit>(),
            &raw mut old,
        )
    };
    Errno::result(result)?;
    Ok(old)
}

/// Sends a signal to the process behind a pidfd.
///
/// # Errors
/// The errno of `pidfd_send_signal(2)`; `ESRCH` when the process is gone.
pub fn send_signal(pidfd: std::os::fd::BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    // SAFETY: a descriptor and scalars; no siginfo is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

/// A pidfd of the process that has this pid now.
///
/// # Errors
/// The errno of `pidfd_open(2)`; `ESRCH` when there is none.
pub fn open(pid: i32) -> Result<std::os::fd::OwnedFd, Errno> {
    use std::os::fd::FromRawFd;
    // SAFETY: scalars; the new descriptor is ours.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        Ok(std::os::fd::OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Whether the process behind a pidfd has ended, collected or not.
///
/// # Errors
/// The errno of `poll(2)`.
pub fn has_ended(pidfd: std::os::fd::BorrowedFd<'_>) -> Result<bool, Errno> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    loop {
        match poll(
            &mut [PollFd::new(pidfd, PollFlags::POLLIN)],
            PollTimeout::ZERO,
        ) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// With which errno `pidfd_getfd(2)` refuses a descriptor that is no pidfd: `EBADF` where the call is to be had.
pub fn take_descriptor_errno() -> Errno {
    // SAFETY: scalars, and no valid descriptor among them.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_getfd, -1, -1, 0) };
    Errno::result(result).err().unwrap_or(Errno::UnknownErrno)
}
