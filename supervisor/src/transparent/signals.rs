//! Signals for a waiting thread, as /proc shows them.

use super::thread::Thread;

/// The most threads of a process that are looked at one by one.
const THREADS: u64 = 64;

/// Whether a signal waits for this thread, and for certain.
///
/// The kernel interrupts a call only of the thread that it has chosen for a signal, and an interruption that we make up would be
/// seen by the program as an errno that does not exist. A signal to the thread itself is its own. One to the process goes to any
/// thread that does not block it: to this one for certain when all others block it, or when there are no others. In a process
/// where several could take it, another usually does so at once; when the kernel chose this one, the signal waits until the call
/// ends, as does everything but a signal that kills.
pub(super) fn is_interrupted(thread: Thread) -> bool {
    interruption(thread).unwrap_or(false)
}

fn interruption(thread: Thread) -> Option<bool> {
    let status = thread.status().ok()?;
    let taken = !status.blocked()?;
    if status.pending()? & taken != 0 {
        return Some(true);
    }
    let mut left = status.shared_pending()? & taken;
    let threads = status.threads()?;
    if left == 0 || threads == 1 {
        return Some(left != 0);
    }
    if threads > THREADS {
        return Some(false);
    }
    for entry in std::fs::read_dir(format!("/proc/{}/task", thread.0)).ok()? {
        let other: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        if other == thread.0 {
            continue;
        }
        // One that has just ended takes nothing.
        let Ok(other) = Thread(other).status() else {
            continue;
        };
        left &= other.blocked()?;
        if left == 0 {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};

    fn own() -> Thread {
        Thread(nix::unistd::gettid().as_raw())
    }

    #[test]
    fn a_blocked_signal_interrupts_nobody() {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGUSR2);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), Some(&mut before)).unwrap();
        // To this thread, not to the process.
        nix::sys::signal::raise(Signal::SIGUSR2).unwrap();
        let status = own().status().unwrap();
        assert_ne!(status.pending().unwrap(), 0);
        assert!(!is_interrupted(own()));
        assert_eq!(signals.wait(), Ok(Signal::SIGUSR2));
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).unwrap();
    }
}
