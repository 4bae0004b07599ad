//! What the Landlock crate leaves to its callers: the version and the errata of the running kernel, and the bare
//! `landlock_restrict_self(2)` for a child that may not allocate.

use nix::errno::Errno;

/// `LANDLOCK_CREATE_RULESET_VERSION` (linux/landlock.h).
const VERSION: u32 = 1 << 0;
/// `LANDLOCK_CREATE_RULESET_ERRATA` (linux/landlock.h, since 6.15 and backported).
const ERRATA: u32 = 1 << 1;
/// `LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON` (ABI 7): refusals of programs that the sandbox executes are logged to the kernel's audit.
pub const LOG_NEW_EXEC_ON: u32 = 1 << 1;

fn query(flags: u32) -> Result<u32, Errno> {
    // SAFETY: with a null attribute and size 0 the call only answers a question (landlock_create_ruleset(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0usize,
            flags,
        )
    };
    Errno::result(result).map(|value| value as u32)
}

/// The Landlock ABI of the running kernel; 0 where Landlock is not built in or not enabled at boot.
pub fn abi() -> u32 {
    query(VERSION).unwrap_or(0)
}

/// The errata bits of the running kernel: which known bugs of its ABI are fixed. 0 where the kernel cannot say.
pub fn errata() -> u32 {
    query(ERRATA).unwrap_or(0)
}
