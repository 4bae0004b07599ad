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

/// Numbers of resources (asm-generic/resource.h), the same on x86-64 and arm64. The C libraries give them different types.
pub mod resource {
    /// Processor time, in seconds.
    pub const CPU: u32 = 0;
    /// The largest file that may be written.
    pub const FSIZE: u32 = 1;
    /// Private writable memory.
    pub const DATA: u32 = 2;
    /// The largest core file.
    pub const CORE: u32 = 4;
    /// One more than the highest descriptor.
    pub const NOFILE: u32 = 7;
    /// Processor time of a real-time task without a blocking call, in microseconds.
    pub const RTTIME: u32 = 15;
}

/// The value that means "no limit".
pub const UNLIMITED: u64 = u64::MAX;

/// A limit of the calling process; `resource` is one of those in [`resource`].
///
/// # Errors
/// The errno of `prlimit64(2)`.
pub fn limit(resource: u32) -> Result<Limit, Errno> {
    limit_of(0, resource)
}

/// A limit of the process of a task, by its number; 0 is the caller itself.
///
/// # Errors
/// The errno of `prlimit64(2)`.
pub fn limit_of(task: i32, resource: u32) -> Result<Limit, Errno> {
    let mut old = Limit { soft: 0, hard: 0 };
    // SAFETY: prlimit64(2) with no new limit writes a `struct rlimit64` to `old`, which has that layout.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            task,
            resource,
            std::ptr::null::<Limit>(),
            &raw mut old,
        )
    };
    Errno::result(result)?;
    Ok(old)
}

/// Sets a limit of the process of a task, by its number.
///
/// # Errors
/// The errno of `prlimit64(2)`.
pub fn set_limit_of(task: i32, resource: u32, limit: Limit) -> Result<(), Errno> {
    // SAFETY: prlimit64(2) with no place for the old limit only reads a `struct rlimit64` from `limit`, which has that layout.
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            task,
            resource,
            &raw const limit,
            std::ptr::null_mut::<Limit>(),
        )
    };
    Errno::result(result).map(drop)
}

/// With which errno `pidfd_getfd(2)` refuses a descriptor that is no pidfd: `EBADF` where the call is to be had.
pub fn take_descriptor_errno() -> Errno {
    // SAFETY: scalars, and no valid descriptor among them.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_getfd, -1, -1, 0) };
    Errno::result(result).err().unwrap_or(Errno::UnknownErrno)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_have_the_numbers_of_the_c_library() {
        use resource::{CORE, CPU, DATA, FSIZE, NOFILE, RTTIME};
        let ours = [CPU, FSIZE, DATA, CORE, NOFILE, RTTIME];
        let theirs = [
            libc::RLIMIT_CPU,
            libc::RLIMIT_FSIZE,
            libc::RLIMIT_DATA,
            libc::RLIMIT_CORE,
            libc::RLIMIT_NOFILE,
            libc::RLIMIT_RTTIME,
        ];
        for (own, other) in ours.into_iter().zip(theirs) {
            assert_eq!(i64::from(own), i64::from(other));
        }
    }
}
