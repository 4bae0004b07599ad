//! What the running kernel offers, and what the place we run in leaves of it.

use super::NoTag;
use nix::errno::Errno;

/// Facts about the kernel that decide which layers can be had. Found by asking it, never by its version number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The Landlock ABI; 0 where there is none.
    pub landlock_abi: u32,
    /// Which bugs of Landlock are fixed, as the kernel's bits.
    pub landlock_errata: u32,
    /// A seccomp listener can be asked for (user notification, Linux 5.0).
    pub notification: bool,
    /// Calls that wait for an answer are interrupted by fatal signals only (`WAIT_KILLABLE_RECV`, Linux 5.19).
    pub wait_killable: bool,
    /// `pidfd_getfd(2)` is not refused, as container runtimes do.
    pub take_descriptors: bool,
    /// Why processes cannot be marked with the session's tag; `None` where they can.
    pub no_tag: Option<NoTag>,
}

impl Kernel {
    /// Asks the kernel. A handful of system calls that change nothing.
    pub fn probe() -> Self {
        let seccomp = sys::seccomp::features();
        Self {
            landlock_abi: sys::landlock::abi(),
            landlock_errata: sys::landlock::errata(),
            notification: seccomp.notifications,
            wait_killable: seccomp.wait_killable,
            // A number that is no pidfd: EBADF says that the call was looked at.
            take_descriptors: sys::process::take_descriptor_errno() == Errno::EBADF,
            no_tag: super::Tag::unavailable(),
        }
    }
}
