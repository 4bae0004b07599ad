//! Descriptors that whoever executed this program left open for it (sd_listen_fds(3)).

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first number that is handed down.
const FIRST: RawFd = 3;

/// They are taken once.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes the descriptors with the numbers from 3 upwards, so many, and makes each close-on-exec. One that is not open, or was
/// opened by this program itself, is `None`; so are all of them the second time.
///
/// # Errors
/// The errno of `fcntl(2)`.
pub fn take(count: usize) -> Result<Vec<Option<OwnedFd>>, Errno> {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok((0..count).map(|_| None).collect());
    }
    (0..count).map(take_one).collect()
}

/// Closes whatever else came over the exec, but for the standard streams. Whoever lives for long would keep open what belongs to
/// others: a pipe never ends, a file system stays busy.
///
/// # Errors
/// `ENOENT` and the like where `/proc` is not mounted; the errno of `fcntl(2)`.
pub fn close_rest() -> Result<(), Errno> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").map_err(errno)? {
        let name = entry.map_err(errno)?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.parse::<usize>().ok()));
    }
    let first = FIRST as usize;
    for number in numbers.into_iter().filter(|number| *number >= first) {
        drop(take_one(number - first)?);
    }
    Ok(())
}

fn take_one(at: usize) -> Result<Option<OwnedFd>, Errno> {
    let Ok(number) = RawFd::try_from(at).map(|at| FIRST.saturating_add(at)) else {
        return Ok(None);
    };
    // SAFETY: only its flags are asked for and, where it is found to be handed down, set; a number that is not open is EBADF.
    let named = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = match fcntl(named, FcntlArg::F_GETFD) {
        Ok(flags) => FdFlag::from_bits_retain(flags),
        Err(Errno::EBADF) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    // Nothing that is close-on-exec came over an exec.
    if flags.contains(FdFlag::FD_CLOEXEC) {
        return Ok(None);
    }
    fcntl(named, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and was open before this program began: what the program opens itself is close-on-exec from the first
    // moment, here and in the standard library. Nobody in it owns the number, since each is given out here alone, once.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(named.as_raw_fd()) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn what_the_program_opened_itself_is_not_taken_and_nothing_is_taken_twice() {
        // The number is far from what other tests open, and inherited as far as can be told: it lives over an exec.
        let file = std::fs::File::open("/dev/null").unwrap();
        let own = crate::fds::duplicate_from(file.as_fd(), 700).unwrap();
        let other = crate::fds::duplicate_from(file.as_fd(), own.as_raw_fd() + 1).unwrap();
        fcntl(&other, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        let at = |fd: &OwnedFd| (fd.as_raw_fd() - FIRST) as usize;
        assert!(take_one(at(&own)).unwrap().is_none(), "close-on-exec");
        let number = std::os::fd::IntoRawFd::into_raw_fd(other);
        let taken = take_one((number - FIRST) as usize).unwrap().unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        let flags = fcntl(&taken, FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, FdFlag::FD_CLOEXEC.bits());
        assert!(take_one((number - FIRST) as usize).unwrap().is_none());
        assert!(take_one(100_000).unwrap().is_none(), "not open");
        assert_eq!(take(0).unwrap().len(), 0);
        assert!(take(2).unwrap().iter().all(Option::is_none));
    }
}
