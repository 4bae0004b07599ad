//! Making files as the caller would: under its umask, which the kernel combines with the default permissions of a directory.

use super::failure::{Failure, refused};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use std::cell::Cell;

thread_local! {
    /// Whether this thread's umask is its own, and not that of all threads.
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// The umask of a thread. The file is read by nobody but us and lies in memory.
pub(super) fn of(thread: super::thread::Thread) -> Result<u32, Failure> {
    let status = thread.status()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .ok_or(refused("the umask of the caller cannot be read"))
}

/// Does something while this thread's umask is `mask`.
///
/// # Errors
/// Those of `act`, and the errno of `unshare(2)` when the thread cannot have an umask of its own.
pub(super) fn under<T>(mask: u32, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    if !IS_OWN.get() {
        // Working directory and umask belong to all threads of a process until one says otherwise.
        unshare(CloneFlags::CLONE_FS)?;
        IS_OWN.set(true);
    }
    let before = umask(Mode::from_bits_truncate(mask));
    let result = act();
    umask(before);
    result
}

#[cfg(test)]
mod tests {
    use super::super::thread::Thread;
    use super::*;

    #[test]
    fn a_threads_umask_is_its_own() {
        let mask_of_another = || {
            let other = std::thread::spawn(|| of(Thread(nix::unistd::gettid().as_raw())));
            other.join().unwrap().unwrap()
        };
        let before = mask_of_another();
        let own = Thread(nix::unistd::gettid().as_raw());
        let inside = under(0o567, || Ok((of(own).unwrap(), mask_of_another()))).unwrap();
        assert_eq!(inside.0, 0o567);
        assert_eq!(mask_of_another(), before);
        // A new thread begins with the umask of the one that starts it, but no other thread is changed.
        assert_eq!(of(own), Ok(before));
    }
}
