//! SIGTERM as something to be waited for, in a program whose threads and children are not ours: unlike a blocked signal, a handled one
//! is not handed on to what the program starts.

use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

/// While it lives, SIGTERM makes it readable instead of ending the process.
#[derive(Debug)]
pub struct Termination {
    before: libc::sigaction,
}

/// Both ends of the pipe. It is never closed: the handler may be about to write to it in any thread.
static PIPE: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();

/// The end that the handler writes to; -1 while SIGTERM is not ours.
static TO: AtomicI32 = AtomicI32::new(-1);

extern "C" fn write_down(_: libc::c_int) {
    let to = TO.load(Ordering::Relaxed);
    // SAFETY: one byte of a constant is read, and the pipe is never closed. write(2) may be called in a handler, and the errno that it
    // leaves is put back. A full pipe has told it already.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(to, c"t".as_ptr().cast(), 1);
        *libc::__errno_location() = errno;
    }
}

impl Termination {
    /// Takes SIGTERM, whatever the program did with it before.
    ///
    /// # Errors
    /// `EBUSY` when it is taken already; the errno of `pipe2(2)` and `sigaction(2)`.
    pub fn take() -> Result<Self, Errno> {
        let (read, write) = match PIPE.get() {
            Some(pipe) => pipe,
            None => {
                let flags = nix::fcntl::OFlag::O_CLOEXEC | nix::fcntl::OFlag::O_NONBLOCK;
                let made = nix::unistd::pipe2(flags)?;
                PIPE.get_or_init(|| made)
            }
        };
        let (free, order) = (-1, Ordering::SeqCst);
        if TO
            .compare_exchange(free, write.as_raw_fd(), order, order)
            .is_err()
        {
            return Err(Errno::EBUSY);
        }
        // What is left from an earlier time.
        while nix::unistd::read(read, &mut [0; 64]).is_ok_and(|count| count > 0) {}
        // SAFETY: a zeroed sigaction is valid, and an empty set is what zeroes are made into; the handler is a function of the right
        // kind that lives as long as the program, and does only what a handler may. The old action is written.
        let taken = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut before: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = write_down as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigemptyset(&raw mut action.sa_mask);
            let result = libc::sigaction(libc::SIGTERM, &raw const action, &raw mut before);
            Errno::result(result).map(|_| Self { before })
        };
        if taken.is_err() {
            TO.store(free, order);
        }
        taken
    }

    /// Whether it came since this was taken.
    #[must_use]
    pub fn came(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl AsFd for Termination {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match PIPE.get() {
            Some((read, _)) => read.as_fd(),
            None => unreachable!("nothing is taken before the pipe is made"),
        }
    }
}

impl Drop for Termination {
    fn drop(&mut self) {
        // SAFETY: the action is one that the kernel gave.
        unsafe { libc::sigaction(libc::SIGTERM, &raw const self.before, std::ptr::null_mut()) };
        TO.store(-1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_that_is_taken_can_be_waited_for_and_is_given_back() {
        let before = crate::signals::is_ignored(libc::SIGTERM).unwrap();
        for _ in 0..2 {
            let taken = Termination::take().unwrap();
            assert_eq!(Termination::take().unwrap_err(), Errno::EBUSY);
            assert!(!taken.came(), "nothing is left from before");
            // SAFETY: sends a signal to this thread, where it is handled.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGTERM) };
            assert!(taken.came());
        }
        assert_eq!(crate::signals::is_ignored(libc::SIGTERM).unwrap(), before);
    }
}
