//! Making files as the caller would: under its umask, which the kernel combines with the default permissions of a directory.

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use sys::making::Making;
use sys::status::Status;

thread_local! {
    /// Whether this thread's umask is its own, and not that of all threads.
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
}

/// Makes something in a directory as if this thread's umask were `mask`. What is opened is returned.
///
/// # Errors
/// Those of what is made, and the errno of `unshare(2)` when the thread cannot have an umask of its own; where that is refused
/// altogether, as in containers, what prevents another process from being made, which has one.
pub(crate) fn make_under(
    mask: u32,
    making: Making,
    directory: BorrowedFd<'_>,
    name: &CStr,
) -> Result<Option<OwnedFd>, Errno> {
    if !IS_OWN.get() {
        // Working directory and umask belong to all threads of a process until one says otherwise.
        match unshare(CloneFlags::CLONE_FS) {
            Err(Errno::EPERM | Errno::ENOSYS) => return shared(mask, making, directory, name),
            other => other?,
        }
        IS_OWN.set(true);
    }
    let before = umask(Mode::from_bits_truncate(mask));
    let result = making.make(directory, name);
    umask(before);
    result
}

/// The same where the umask is that of all threads: nobody ever changes it. Most want it as it is, since it is the caller's of us
/// both.
fn shared(
    mask: u32,
    making: Making,
    directory: BorrowedFd<'_>,
    name: &CStr,
) -> Result<Option<OwnedFd>, Errno> {
    let own = Status::own().map_err(|_| Errno::EACCES)?;
    match own.umask() == Some(mask) {
        true => making.make(directory, name),
        false => making.make_under(mask, directory, name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;

    /// The calling thread's.
    fn own() -> u32 {
        Status::own().unwrap().umask().unwrap()
    }

    type Make = fn(u32, Making, BorrowedFd<'_>, &CStr) -> Result<Option<OwnedFd>, Errno>;

    fn made(make: Make, mask: u32) -> u32 {
        let place = tempfile::tempdir().unwrap();
        let directory = File::open(place.path()).unwrap();
        let making = Making::File(OFlag::O_WRONLY, 0o666);
        let file = make(mask, making, directory.as_fd(), c"a").unwrap();
        let file = File::from(file.expect("it was opened"));
        file.metadata().unwrap().mode() & 0o777
    }

    #[test]
    fn a_threads_umask_is_its_own() {
        let mask_of_another = || std::thread::spawn(own).join().unwrap();
        let before = mask_of_another();
        assert_eq!(made(make_under, 0o567), 0o666 & !0o567);
        assert_eq!(mask_of_another(), before);
        // A new thread begins with the umask of the one that starts it, but no other thread is changed.
        assert_eq!(own(), before);
    }

    #[test]
    fn an_umask_that_all_share_is_changed_by_nobody() {
        // This thread's is that of all that share it, and of no other test.
        if unshare(CloneFlags::CLONE_FS) == Err(Errno::EPERM) {
            eprintln!("SKIP umask: unshare is refused here");
            return;
        }
        umask(Mode::from_bits_truncate(0o022));
        std::thread::scope(|scope| {
            for mask in [0o022, 0o077, 0o026] {
                let modes = move || (0..100).map(|_| made(shared, mask)).collect::<Vec<_>>();
                let maker = scope.spawn(modes);
                while !maker.is_finished() {
                    assert_eq!(own(), 0o022);
                }
                assert_eq!(maker.join().unwrap(), vec![0o666 & !mask; 100]);
            }
        });
    }
}
