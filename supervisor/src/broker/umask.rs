//! Making files as the caller would: under its umask, which the kernel combines with the default permissions of a directory.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use std::cell::Cell;
use std::sync::RwLock;
use std::time::{Duration, Instant};
use sys::status::Status;

thread_local! {
    /// Whether this thread's umask is its own, and not that of all threads.
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Does something while this thread's umask is `mask`.
///
/// # Errors
/// Those of `act`, and the errno of `unshare(2)` when the thread cannot have an umask of its own; where that is refused altogether,
/// as in containers, `EACCES` when everybody's is in use for long.
pub(crate) fn under<T>(mask: u32, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    if !IS_OWN.get() {
        // Working directory and umask belong to all threads of a process until one says otherwise.
        match unshare(CloneFlags::CLONE_FS) {
            Err(Errno::EPERM | Errno::ENOSYS) => return borrowed(mask, act),
            other => other?,
        }
        IS_OWN.set(true);
    }
    let before = umask(Mode::from_bits_truncate(mask));
    let result = act();
    umask(before);
    result
}

/// How long somebody else may have the umask that all threads share.
const PATIENCE: Duration = Duration::from_secs(1);

/// As [`under`], with the umask that all threads share. Whoever wants it as it is, as most do, since it is the caller's of us
/// both, has it together with others; whoever wants another one has it alone.
fn borrowed<T>(mask: u32, act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    static SHARED: RwLock<()> = RwLock::new(());
    let same = soon(|| SHARED.try_read().ok())?;
    let own = Status::own().map_err(|_| Errno::EACCES)?;
    if own.umask() == Some(mask) {
        return act();
    }
    drop(same);
    let _alone = soon(|| SHARED.try_write().ok())?;
    let before = umask(Mode::from_bits_truncate(mask));
    let result = act();
    umask(before);
    result
}

/// A lock that becomes free before long. Whoever has it may be waiting for a file server.
fn soon<T>(take: impl Fn() -> Option<T>) -> Result<T, Errno> {
    let end = Instant::now() + PATIENCE;
    loop {
        match take() {
            Some(taken) => return Ok(taken),
            None if Instant::now() >= end => return Err(Errno::EACCES),
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calling thread's.
    fn own() -> u32 {
        Status::own().unwrap().umask().unwrap()
    }

    #[test]
    fn a_threads_umask_is_its_own() {
        let mask_of_another = || std::thread::spawn(own).join().unwrap();
        let before = mask_of_another();
        let inside = under(0o567, || Ok((own(), mask_of_another()))).unwrap();
        assert_eq!(inside.0, 0o567);
        assert_eq!(mask_of_another(), before);
        // A new thread begins with the umask of the one that starts it, but no other thread is changed.
        assert_eq!(own(), before);
    }

    #[test]
    fn an_umask_that_all_share_is_everybodys_in_turn() {
        // The threads below share theirs with each other and with no other test.
        if unshare(CloneFlags::CLONE_FS) == Err(Errno::EPERM) {
            eprintln!("SKIP umask: unshare is refused here");
            return;
        }
        umask(Mode::from_bits_truncate(0o022));
        let seen = |mask: u32| {
            (0..200)
                .map(|_| borrowed(mask, || Ok(own())))
                .all(|found| found == Ok(mask))
        };
        std::thread::scope(|scope| {
            let threads = [0o022, 0o077, 0o022, 0o026].map(|mask| scope.spawn(move || seen(mask)));
            for thread in threads {
                assert!(thread.join().unwrap());
            }
        });
        assert_eq!(umask(Mode::empty()), Mode::from_bits_truncate(0o022));
    }

    #[test]
    fn who_has_it_for_long_makes_nobody_wait_for_ever() {
        assert_eq!(soon(|| None::<()>), Err(Errno::EACCES));
        assert_eq!(soon(|| Some(1)), Ok(1));
    }
}
