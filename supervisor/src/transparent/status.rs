//! A waiting thread, as /proc/PID/status shows it: as whom it makes files, and which signals wait for it.

use super::failure::{Failure, refused};
use super::thread::Thread;
use sys::errand::Maker;

/// The most threads of a process that are looked at one by one.
const THREADS: usize = 64;

/// The text of /proc/PID/status (proc_pid_status(5)). It lies in memory, and reading it never waits.
pub(super) struct Status(String);

impl Status {
    /// Of that thread, at this moment.
    pub fn of(thread: Thread) -> Result<Self, Failure> {
        thread.status().map(Self)
    }

    fn field(&self, name: &str) -> Option<&str> {
        // The name of the program stands on the first line, with a line break in it escaped.
        let line = self.0.lines().skip(1).find_map(|line| {
            let (own, value) = line.split_once(':')?;
            (own == name).then_some(value)
        })?;
        Some(line.trim())
    }

    fn signals(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.field(name)?, 16).ok()
    }

    /// As whom it makes files.
    pub fn maker(&self) -> Result<Maker, Failure> {
        // The last of four is the one that file systems see.
        let id = |name| self.field(name)?.split_whitespace().nth(3)?.parse().ok();
        let umask = || u32::from_str_radix(self.field("Umask")?, 8).ok();
        let found = || {
            Some(Maker {
                umask: umask()?,
                uid: id("Uid")?,
                gid: id("Gid")?,
            })
        };
        found().ok_or(refused("the umask of the caller cannot be read"))
    }
}

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
    let status = Status::of(thread).ok()?;
    let taken = !status.signals("SigBlk")?;
    if status.signals("SigPnd")? & taken != 0 {
        return Some(true);
    }
    let mut left = status.signals("ShdPnd")? & taken;
    let threads: usize = status.field("Threads")?.parse().ok()?;
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
        let Ok(other) = Status::of(Thread(other)) else {
            continue;
        };
        left &= other.signals("SigBlk")?;
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
    fn a_thread_makes_files_as_itself() {
        let maker = Status::of(own()).unwrap().maker().unwrap();
        assert_eq!(maker.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(maker.gid, nix::unistd::getegid().as_raw());
        assert!(maker.umask <= 0o777);
    }

    #[test]
    fn fields_are_found_by_their_whole_names_and_never_in_the_programs() {
        let status = Status("Name:\tUmask:\t7\nUmask:\t0022\nShdPnd:\t00000000000000a0\n".into());
        assert_eq!(status.field("Umask"), Some("0022"));
        assert_eq!(status.field("mask"), None);
        assert_eq!(status.signals("ShdPnd"), Some(0xa0));
        assert!(status.maker().is_err());
    }

    #[test]
    fn a_blocked_signal_interrupts_nobody() {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGUSR2);
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&signals), Some(&mut before)).unwrap();
        // To this thread, not to the process.
        nix::sys::signal::raise(Signal::SIGUSR2).unwrap();
        let status = Status::of(own()).unwrap();
        assert_ne!(status.signals("SigPnd").unwrap(), 0);
        assert!(!is_interrupted(own()));
        assert_eq!(signals.wait(), Ok(Signal::SIGUSR2));
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None).unwrap();
    }
}
