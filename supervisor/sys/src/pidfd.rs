//! Processes by descriptor (pidfd_open(2)): no number that could meanwhile mean another process.

use crate::ancestor;
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `PIDFD_THREAD` (linux/pidfd.h, 6.9): the descriptor names a thread, whose table of descriptors may be its own.
const PIDFD_THREAD: u32 = libc::O_EXCL as u32;

/// A process, or a thread.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl From<OwnedFd> for Pidfd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// linux/pidfd.h
const PIDFD_SIGNAL_PROCESS_GROUP: u32 = 1 << 2;

impl Pidfd {
    /// Opens a process by its number. What made the number known must be looked at again afterwards.
    ///
    /// # Errors
    /// The errno of `pidfd_open(2)`: `ESRCH` when there is none.
    pub fn open(pid: i32) -> Result<Self, Errno> {
        open(pid, 0)
    }

    /// Opens a thread by its number.
    ///
    /// # Errors
    /// The errno of `pidfd_open(2)`: `EINVAL` before Linux 6.9, `ESRCH` when there is none.
    pub fn open_thread(tid: i32) -> Result<Self, Errno> {
        open(tid, PIDFD_THREAD)
    }

    /// A duplicate of a descriptor of that process, close-on-exec.
    ///
    /// # Errors
    /// The errno of `pidfd_getfd(2)`: `EBADF` when it has none of that number, `EPERM` where that is not allowed, not to our
    /// [`ancestor`] either.
    pub fn get_fd(&self, number: RawFd) -> Result<OwnedFd, Errno> {
        ancestor::or_ask(self.get_fd_itself(number), |ancestor| {
            ancestor.descriptor(self.as_fd(), number)
        })
    }

    /// The same, by this process alone.
    ///
    /// # Errors
    /// As [`Pidfd::get_fd`].
    pub fn get_fd_itself(&self, number: RawFd) -> Result<OwnedFd, Errno> {
        // SAFETY: takes three numbers; a success is a new descriptor of ours.
        unsafe {
            let result = libc::syscall(libc::SYS_pidfd_getfd, self.0.as_raw_fd(), number, 0);
            Errno::result(result).map(|fd| OwnedFd::from_raw_fd(fd as RawFd))
        }
    }

    /// Sends a signal; 0 only asks whether that would be possible.
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal(2)`: `ESRCH` when it is gone.
    pub fn send_signal(&self, signal: i32) -> Result<(), Errno> {
        self.send(signal, 0)
    }

    /// Sends a signal to the process group that it leads, where it is the process `pid`; one that has ended is no error.
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal(2)` or `kill(2)`.
    pub fn signal_led_group(&self, pid: i32, signal: i32) -> Result<(), Errno> {
        match self.send(signal, PIDFD_SIGNAL_PROCESS_GROUP) {
            // Before Linux 6.9.
            Err(Errno::EINVAL) => self.signal_group_by_number(pid, signal),
            Err(Errno::ESRCH) => Ok(()),
            result => result,
        }
    }

    /// The number is the group's at least as long as its leader was not waited for, which is looked at first.
    fn signal_group_by_number(&self, pid: i32, signal: i32) -> Result<(), Errno> {
        match self.send(0, 0) {
            Err(Errno::ESRCH) => Ok(()),
            // SAFETY: takes numbers.
            Ok(()) => Errno::result(unsafe { libc::kill(-pid, signal) }).map(drop),
            Err(errno) => Err(errno),
        }
    }

    fn send(&self, signal: i32, flags: u32) -> Result<(), Errno> {
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: without a siginfo the call takes numbers only.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.0.as_raw_fd(),
                signal,
                no_info,
                flags,
            )
        };
        Errno::result(result).map(drop)
    }

    /// The same; one that has ended needs no signal any more, and is no error.
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal(2)`.
    pub fn signal_if_there(&self, signal: i32) -> Result<(), Errno> {
        match self.send_signal(signal) {
            Err(Errno::ESRCH) => Ok(()),
            result => result,
        }
    }

    /// Whether it has ended, be it waited for or not.
    ///
    /// # Errors
    /// The errno of `poll(2)`.
    pub fn has_exited(&self) -> Result<bool, Errno> {
        let mut fds = [nix::poll::PollFd::new(
            self.0.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::ZERO).map(|ready| ready > 0)
    }

    /// Collects how a child of ours ended; `None` while it runs. Also for children that send no signal at their end.
    ///
    /// # Errors
    /// The errno of `waitid(2)`: `ECHILD` when it is not a child of ours, or was collected.
    pub fn collect(&self) -> Result<Option<Ended>, Errno> {
        self.wait(0)
    }

    /// How a child of ours ended, which stays to be collected; `None` while it runs.
    ///
    /// # Errors
    /// The errno of `waitid(2)`: `ECHILD` when it is not a child of ours, or was collected.
    pub fn look_at_end(&self) -> Result<Option<Ended>, Errno> {
        self.wait(libc::WNOWAIT)
    }

    fn wait(&self, more: i32) -> Result<Option<Ended>, Errno> {
        // SAFETY: all zeroes is a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let options = libc::WEXITED | libc::WNOHANG | libc::__WALL | more;
        // SAFETY: the kernel writes one siginfo_t to a live one.
        let result = unsafe {
            libc::waitid(
                libc::P_PIDFD,
                self.0.as_raw_fd() as libc::id_t,
                &raw mut info,
                options,
            )
        };
        Errno::result(result)?;
        // SAFETY: waitid fills the fields of SIGCHLD, or leaves the zeroes.
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        Ok(match (pid, info.si_code) {
            (0, _) => None,
            (_, libc::CLD_EXITED) => Some(Ended::Exited(status)),
            _ => Some(Ended::Signaled(status)),
        })
    }
}

fn open(number: i32, flags: u32) -> Result<Pidfd, Errno> {
    // SAFETY: takes two numbers; a success is a new descriptor of ours.
    unsafe {
        let result = libc::syscall(libc::SYS_pidfd_open, number, flags);
        Errno::result(result).map(|fd| Pidfd(OwnedFd::from_raw_fd(fd as RawFd)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[test]
    fn a_group_is_signalled_with_its_leader_with_and_without_the_flag() {
        // Two processes, each of which holds the pipe.
        let two = || {
            let child = Command::new("sh")
                .args(["-c", "sleep 1000 & echo; wait"])
                .stdout(Stdio::piped())
                .process_group(0)
                .spawn()
                .unwrap();
            let pidfd = Pidfd::open(child.id() as i32).unwrap();
            (child, pidfd)
        };
        type Send = fn(&Pidfd, i32, i32) -> Result<(), Errno>;
        for send in [
            Pidfd::signal_led_group as Send,
            Pidfd::signal_group_by_number,
        ] {
            let (mut child, pidfd) = two();
            let pid = child.id() as i32;
            let mut stdout = child.stdout.take().unwrap();
            std::io::Read::read_exact(&mut stdout, &mut [0]).unwrap();
            send(&pidfd, pid, libc::SIGKILL).unwrap();
            // At its end when both have ended.
            assert_eq!(std::io::Read::read(&mut stdout, &mut [0]).unwrap(), 0);
            child.wait().unwrap();
            assert_eq!(send(&pidfd, pid, libc::SIGKILL), Ok(()));
        }
    }

    #[test]
    fn the_end_of_a_child_is_seen_and_collected() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pidfd = Pidfd::open(child.id() as i32).unwrap();
        assert_eq!(pidfd.has_exited(), Ok(false));
        assert_eq!(pidfd.collect(), Ok(None));
        pidfd.send_signal(libc::SIGKILL).unwrap();
        let mut fds = [nix::poll::PollFd::new(
            pidfd.as_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE).unwrap();
        assert_eq!(pidfd.has_exited(), Ok(true));
        assert_eq!(
            pidfd.look_at_end(),
            Ok(Some(Ended::Signaled(libc::SIGKILL)))
        );
        assert_eq!(pidfd.collect(), Ok(Some(Ended::Signaled(libc::SIGKILL))));
        assert_eq!(pidfd.collect(), Err(Errno::ECHILD));
        assert_eq!(pidfd.send_signal(0), Err(Errno::ESRCH));
        assert_eq!(pidfd.signal_if_there(libc::SIGTERM), Ok(()));
        assert!(child.wait().is_err(), "it was collected already");
    }

    #[test]
    fn a_descriptor_of_a_child_can_be_duplicated() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(writer))
            .spawn()
            .unwrap();
        let pidfd = Pidfd::open(child.id() as i32).unwrap();
        let copy = pidfd.get_fd(1).unwrap();
        assert_eq!(pidfd.get_fd(999).unwrap_err(), Errno::EBADF);
        nix::unistd::write(&copy, b"hello").unwrap();
        let mut buffer = [0; 5];
        nix::unistd::read(&reader, &mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn a_thread_has_a_descriptor_of_its_own() {
        let tid = std::thread::spawn(|| {
            let tid = nix::unistd::gettid().as_raw();
            assert_eq!(Pidfd::open(tid).unwrap_err(), Errno::ENOENT);
            let thread = Pidfd::open_thread(tid).unwrap();
            assert_eq!(thread.has_exited(), Ok(false));
            tid
        })
        .join()
        .unwrap();
        assert!(tid > 0);
    }
}
