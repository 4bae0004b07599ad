//! Signals of the supervisor: all that it handles are blocked and read from a descriptor, so no handler ever runs.

use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Who sent a signal, as far as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The kernel: a terminal that sends to a whole foreground process group, a timer, a child's end.
    Kernel,
    /// A process, by `kill` or its kin.
    Process(i32),
}

/// A signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Its number.
    pub number: i32,
    /// Who sent it.
    pub sender: Sender,
}

/// A descriptor from which blocked signals are read (signalfd(2)).
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: a zeroed sigset_t is valid memory for sigemptyset to fill in; both calls only write to it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}

/// Blocks `signals` in the calling thread and returns the mask that was in force, as the kernel's 64 bits.
///
/// # Errors
/// The errno of `pthread_sigmask(3)`.
pub fn block(signals: &[i32]) -> Result<u64, Errno> {
    change_mask(libc::SIG_BLOCK, Some(&set_of(signals)))
}

/// Blocks every signal that can be blocked in the calling thread and returns the mask that was in force.
///
/// # Errors
/// The errno of `pthread_sigmask(3)`.
pub fn block_all() -> Result<u64, Errno> {
    // SAFETY: sigfillset only writes to the set it is given.
    let full = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        set
    };
    change_mask(libc::SIG_BLOCK, Some(&full))
}

/// Puts back a mask that [`block`] or [`block_all`] returned.
///
/// # Errors
/// The errno of `pthread_sigmask(3)`.
pub fn restore(mask: u64) -> Result<(), Errno> {
    let signals: Vec<i32> = (1..=64)
        .filter(|number| mask & 1 << (number - 1) != 0)
        .collect();
    change_mask(libc::SIG_SETMASK, Some(&set_of(&signals))).map(drop)
}

/// Has the kernel do to our process group what the stop key does, and returns when this process goes on. Whether it was stopped:
/// not where it ignores that, nor where nobody could continue its group, whose parents are all elsewhere. SIGCONT is blocked.
///
/// # Errors
/// The errno of `pthread_sigmask(3)`, `kill(2)` or `sigpending(2)`.
pub fn stop_group() -> Result<bool, Errno> {
    let mask = change_mask(libc::SIG_UNBLOCK, Some(&set_of(&[libc::SIGTSTP])))?;
    // SAFETY: takes numbers. Only this thread has it unblocked, so it takes effect before the call returns. A SIGCONT that waited
    // until now is discarded by it: one that waits afterwards is whoever continued us.
    let sent = Errno::result(unsafe { libc::kill(0, libc::SIGTSTP) });
    restore(mask)?;
    sent?;
    // SAFETY: the call only writes to the set it is given.
    unsafe {
        let mut pending: libc::sigset_t = std::mem::zeroed();
        Errno::result(libc::sigpending(&raw mut pending))?;
        Ok(libc::sigismember(&raw const pending, libc::SIGCONT) == 1)
    }
}

fn change_mask(how: i32, set: Option<&libc::sigset_t>) -> Result<u64, Errno> {
    let new = set.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `new` is null or points to a live set, `old` is written; the mask of this thread is the caller's to change.
    unsafe {
        let mut old: libc::sigset_t = std::mem::zeroed();
        match libc::pthread_sigmask(how, new, &raw mut old) {
            0 => Ok((1..=64)
                .filter(|number| libc::sigismember(&raw const old, *number) == 1)
                .fold(0u64, |mask, number| mask | 1 << (number - 1))),
            error => Err(Errno::from_raw(error)),
        }
    }
}

/// Whether the caller of this process had it ignore `signal`.
///
/// # Errors
/// The errno of `sigaction(2)`.
pub fn is_ignored(signal: i32) -> Result<bool, Errno> {
    // SAFETY: with no new action the call only writes the present one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        Errno::result(libc::sigaction(signal, std::ptr::null(), &raw mut action))?;
        Ok(action.sa_sigaction == libc::SIG_IGN)
    }
}

impl SignalFd {
    /// A descriptor for `signals`, which the caller has blocked in every thread. Close-on-exec, non-blocking.
    ///
    /// # Errors
    /// The errno of `signalfd4(2)`.
    pub fn new(signals: &[i32]) -> Result<Self, Errno> {
        let set = set_of(signals);
        // SAFETY: `set` is a live signal set; -1 asks for a new descriptor, which is ours.
        unsafe {
            let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            Errno::result(fd).map(|fd| Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The next signal that arrived; `None` when there is none now.
    ///
    /// # Errors
    /// The errno of `read(2)`, but for `EAGAIN`.
    pub fn next(&self) -> Result<Option<Signal>, Errno> {
        loop {
            // SAFETY: the kernel writes one whole signalfd_siginfo into a buffer of that size; all zeroes is a valid value.
            let (result, info) = unsafe {
                let mut info: libc::signalfd_siginfo = std::mem::zeroed();
                let size = size_of::<libc::signalfd_siginfo>();
                (
                    libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), size),
                    info,
                )
            };
            return match Errno::result(result) {
                Ok(_) => {
                    // si_code is SI_USER, SI_QUEUE, SI_TKILL (≤ 0) for what a process sent (sigaction(2)).
                    let sender = if info.ssi_code <= 0 {
                        Sender::Process(info.ssi_pid as i32)
                    } else {
                        Sender::Kernel
                    };
                    Ok(Some(Signal {
                        number: info.ssi_signo as i32,
                        sender,
                    }))
                }
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Ok(None),
                Err(error) => Err(error),
            };
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_signal_is_read_with_its_sender() {
        std::thread::spawn(|| {
            let before = block(&[libc::SIGUSR1]).unwrap();
            let fd = SignalFd::new(&[libc::SIGUSR1]).unwrap();
            assert_eq!(fd.next(), Ok(None));
            // SAFETY: sends a signal to this thread, where it is blocked.
            unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR1) };
            let own = std::process::id() as i32;
            assert_eq!(
                fd.next(),
                Ok(Some(Signal {
                    number: libc::SIGUSR1,
                    sender: Sender::Process(own)
                }))
            );
            restore(before).unwrap();
            assert_eq!(block(&[]).unwrap(), before);
        })
        .join()
        .unwrap();
    }
}
