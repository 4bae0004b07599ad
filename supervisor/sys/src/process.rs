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

/// With which errno `pidfd_getfd(2)` refuses a descriptor that is no pidfd: `EBADF` where the call is to be had.
pub fn take_descriptor_errno() -> Errno {
    // SAFETY: scalars, and no valid descriptor among them.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_getfd, -1, -1, 0) };
    Errno::result(result).err().unwrap_or(Errno::UnknownErrno)
}
