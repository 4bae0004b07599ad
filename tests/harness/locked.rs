//! A thread that Landlock restricts, and nothing else.

use std::os::fd::{AsRawFd, BorrowedFd};

/// Restricts the calling thread, and all that it starts, with each of the rulesets. It cannot be undone: let the thread end.
pub fn lock_thread(rulesets: &[BorrowedFd<'_>]) {
    // SAFETY: takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    nix::errno::Errno::result(result).expect("no_new_privs is always there");
    for ruleset in rulesets {
        // SAFETY: takes numbers only; the descriptor is borrowed, so it is open.
        let result =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
        nix::errno::Errno::result(result).expect("a ruleset can be entered");
    }
}
