//! The signals that a supervisor takes and passes on.

use nix::errno::Errno;
use sys::signals::SignalFd;

/// All of them are blocked while it serves, and read from a descriptor.
const FORWARDED: [i32; 9] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGTSTP,
    libc::SIGCONT,
];

/// Signals for the command, and the mask that it is to start with.
#[derive(Debug)]
pub struct Signals {
    pub(super) arrived: SignalFd,
    caller_mask: u64,
}

impl Signals {
    /// Blocks the signals in this thread and in all that it starts later. To be called before any other thread exists.
    ///
    /// # Errors
    /// The errno of `pthread_sigmask(3)` or `signalfd(2)`.
    pub fn take() -> Result<Self, Errno> {
        let caller_mask = sys::signals::block(&FORWARDED)?;
        // Where the caller limits the size of files, a record that is one too much is an error, and not the end of us.
        sys::signals::block(&[libc::SIGXFSZ])?;
        Ok(Self {
            arrived: SignalFd::new(&FORWARDED)?,
            caller_mask,
        })
    }

    /// The mask that was in force before, as the kernel's 64 bits.
    pub fn caller_mask(&self) -> u64 {
        self.caller_mask
    }
}
