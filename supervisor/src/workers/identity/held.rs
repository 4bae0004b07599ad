//! A process that is held by its pidfd, and what `/proc` says of it.

use super::clock;
use super::executable::Executable;
use super::machine::errno;
use super::{DaemonProcess, Field, Mismatch};
use crate::launch::Exit;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use sys::pidfd::{Ended, Pidfd};
use sys::pidfs;

/// By what the kernel knew the recorded process again. The first that it has is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rung {
    /// Its file handle opened it, and can open no other (Linux 6.14).
    Handle,
    /// Its number opened a process with the recorded inode, which no other has during this boot (6.9).
    Inode,
    /// Its number opened a process that was started in the recorded tick of the clock: there are a hundred in a second.
    StartTicks,
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Handle => "handle",
            Self::Inode => "inode",
            Self::StartTicks => "start-time",
        })
    }
}

/// A process, held: whatever becomes of its number, this is it.
#[derive(Debug)]
pub struct Held {
    pidfd: Pidfd,
    pid: i32,
    inode: Option<u64>,
}

impl Held {
    /// Opens the recorded process again.
    ///
    /// # Errors
    /// [`Mismatch`]
    pub fn reopen(record: &DaemonProcess) -> Result<(Self, Rung), Mismatch> {
        let unknown = |operation| Mismatch::unknown(Field::Process, operation);
        let by_handle = match record.pidfs_handle.map(|handle| handle.open()) {
            Some(Err(Errno::ESTALE)) => return Err(gone(record.pid)),
            Some(opened) => opened.map_err(unknown("open_by_handle_at"))?,
            None => None,
        };
        let (pidfd, rung) = match by_handle {
            Some(pidfd) => (pidfd, Rung::Handle),
            None => by_number(record)?,
        };
        let held = Self::of_own(pidfd, record.pid)?;
        match held.pid == record.pid {
            true => Ok((held, rung)),
            false => Err(Mismatch::Pid {
                recorded: record.pid,
                found: held.pid,
            }),
        }
    }

    /// Holds a process that the caller has by its pidfd.
    ///
    /// # Errors
    /// [`Mismatch`] when it has ended.
    pub fn of(pidfd: &Pidfd) -> Result<Self, Mismatch> {
        let copy = pidfd.as_fd().try_clone_to_owned().map_err(errno);
        let copy = copy.map_err(Mismatch::unknown(Field::Process, "dup"))?;
        Self::of_own(Pidfd::from(copy), 0)
    }

    /// `recorded` is what an error calls it.
    fn of_own(pidfd: Pidfd, recorded: i32) -> Result<Self, Mismatch> {
        let inode = pidfs::inode(pidfd.as_fd());
        let inode = inode.map_err(Mismatch::unknown(Field::Process, "fstat a pidfd"))?;
        let held = Self {
            pidfd,
            pid: recorded,
            inode,
        };
        held.alive()?;
        let pid = match pidfs::info(held.as_fd()) {
            Ok(Some(info)) => info.pid,
            // It has ended since, or the kernel tells it elsewhere only.
            _ => held.pid_of_descriptor()?,
        };
        held.alive()?;
        Ok(Self { pid, ..held })
    }

    /// What the kernel says of the descriptor itself: `/proc/self/fdinfo`.
    fn pid_of_descriptor(&self) -> Result<i32, Mismatch> {
        use std::os::fd::AsRawFd;
        let unknown = Mismatch::unknown(Field::Pid, "read fdinfo of a pidfd");
        let path = format!("/proc/self/fdinfo/{}", self.pidfd.as_fd().as_raw_fd());
        let text = std::fs::read_to_string(path).map_err(errno);
        let text = text.map_err(&unknown)?;
        let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        let pid = pid.and_then(|pid| pid.trim().parse().ok());
        match pid {
            Some(pid @ 1..) => Ok(pid),
            _ => {
                self.alive()?;
                Err(unknown(Errno::ESRCH))
            }
        }
    }

    /// Its number, in the pid namespace of this process. For `/proc` and for people.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The inode of its pidfd; `None` before Linux 6.9.
    #[must_use]
    pub fn inode(&self) -> Option<u64> {
        self.inode
    }

    /// Its pidfd: the one thing that signals go through.
    #[must_use]
    pub fn pidfd(&self) -> &Pidfd {
        &self.pidfd
    }

    /// That it has not ended.
    ///
    /// # Errors
    /// [`Mismatch::Exited`]
    pub fn alive(&self) -> Result<(), Mismatch> {
        let exited = self.pidfd.has_exited();
        match exited.map_err(Mismatch::unknown(Field::Process, "poll a pidfd"))? {
            false => Ok(()),
            true => Err(Mismatch::Exited {
                pid: self.pid,
                exit: self.exit(),
            }),
        }
    }

    /// How it ended: told to everybody once its parent has collected it (Linux 6.15), to its parent always, and until it is collected to
    /// whoever may trace it.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        let told = pidfs::ended(self.as_fd()).ok().flatten();
        let ended = told
            .or_else(|| self.pidfd.look_at_end().ok().flatten())
            .or_else(|| self.end_uncollected())?;
        Some(match ended {
            Ended::Exited(code) => Exit::Code(code),
            Ended::Signaled(signal) => Exit::Signal(signal),
        })
    }

    /// How it ended, as long as nobody has collected it: the last field of proc_pid_stat(5).
    fn end_uncollected(&self) -> Option<Ended> {
        let directory = format!("/proc/{}", self.pid);
        let text = std::fs::read_to_string(format!("{directory}/stat")).ok()?;
        // Who may not know it reads 0, and may not follow this link either, which leads nowhere now.
        let link = readlinkat(AT_FDCWD, format!("{directory}/cwd").as_str());
        if link != Err(Errno::ENOENT) {
            return None;
        }
        // Not collected: its number was still its own.
        self.pidfd.send_signal(0).ok()?;
        let mut fields = text.rsplit_once(") ")?.1.split_whitespace();
        if fields.next() != Some("Z") {
            return None;
        }
        let status: i32 = fields.nth(48)?.parse().ok()?;
        Some(match status & 0x7f {
            0 => Ended::Exited(status >> 8 & 0xff),
            signal => Ended::Signaled(signal),
        })
    }

    /// Its directory in `/proc`.
    pub(super) fn proc(&self) -> Result<ProcDir<'_>, Mismatch> {
        ProcDir::open(self)
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// The process of the recorded number, if it is the recorded one as far as the kernel can tell. The time of its start is looked at
/// later, on every rung.
fn by_number(record: &DaemonProcess) -> Result<(Pidfd, Rung), Mismatch> {
    let unknown = |operation| Mismatch::unknown(Field::Process, operation);
    let pid = record.pid;
    let pidfd = match Pidfd::open(pid) {
        Err(Errno::ESRCH) => return Err(Mismatch::Gone { pid }),
        // The number of a thread of some process.
        Err(Errno::ENOENT | Errno::EINVAL) => return Err(Mismatch::Recycled { pid }),
        opened => opened.map_err(unknown("pidfd_open"))?,
    };
    let found = pidfs::inode(pidfd.as_fd()).map_err(unknown("fstat a pidfd"))?;
    match (record.pidfs_inode, found) {
        (Some(recorded), Some(found)) if recorded == found => Ok((pidfd, Rung::Inode)),
        (Some(_), Some(_)) => Err(Mismatch::Recycled { pid }),
        _ => Ok((pidfd, Rung::StartTicks)),
    }
}

/// Whether somebody else has the number of a process that is gone. For the message only.
fn gone(pid: i32) -> Mismatch {
    match Pidfd::open(pid) {
        Err(Errno::ESRCH) => Mismatch::Gone { pid },
        _ => Mismatch::Recycled { pid },
    }
}

/// `/proc/PID` of a process that is held. A process has its number as long as it lives: what was opened by the number, or read there,
/// is its own when it is found alive afterwards.
pub(super) struct ProcDir<'a> {
    held: &'a Held,
    directory: OwnedFd,
}

impl<'a> ProcDir<'a> {
    fn open(held: &'a Held) -> Result<Self, Mismatch> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = open(format!("/proc/{}", held.pid).as_str(), flags, Mode::empty());
        held.alive()?;
        let directory = opened.map_err(Mismatch::unknown(Field::Process, "open /proc/PID"))?;
        Ok(Self { held, directory })
    }

    fn open_file(&self, name: &str) -> Result<File, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        openat(&self.directory, name, flags, Mode::empty()).map(File::from)
    }

    fn read(&self, name: &str) -> Result<Result<String, Errno>, Mismatch> {
        let text = self.open_file(name).and_then(|mut file| {
            // Its size is not told. Most of what is asked for here fits.
            let mut text = Vec::with_capacity(4096);
            file.read_to_end(&mut text).map_err(errno)?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        });
        self.held.alive()?;
        Ok(text)
    }

    /// When it was started, in clock ticks since the boot: the 22nd field of proc_pid_stat(5).
    pub fn start_ticks(&self) -> Result<u64, Mismatch> {
        let unknown = Mismatch::unknown(Field::StartTime, "read /proc/PID/stat");
        let text = self.read("stat")?.map_err(&unknown)?;
        // The name stands in parentheses and may hold any character.
        let after_name = text.rsplit_once(") ").map(|(_, rest)| rest);
        let ticks = after_name.and_then(|rest| rest.split(' ').nth(19)?.parse().ok());
        clock::of_the_machine(ticks.ok_or_else(|| unknown(Errno::ENODATA))?)
    }

    /// Its real user.
    pub fn uid(&self) -> Result<u32, Mismatch> {
        let unknown = Mismatch::unknown(Field::User, "read /proc/PID/status");
        let text = self.read("status")?.map_err(&unknown)?;
        let line = text.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uid = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        uid.ok_or_else(|| unknown(Errno::ENODATA))
    }

    /// Its cgroup in the one hierarchy that all systems have.
    pub fn cgroup(&self) -> Result<String, Mismatch> {
        let unknown = Mismatch::unknown(Field::Cgroup, "read /proc/PID/cgroup");
        let text = self.read("cgroup")?.map_err(&unknown)?;
        let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
        unified
            .map(str::to_owned)
            .ok_or_else(|| unknown(Errno::ENODATA))
    }

    /// What it executes: the file itself, whatever has its name, in whichever mount namespace.
    pub fn executable(&self) -> Result<Executable, Mismatch> {
        let file = self.open_file("exe");
        self.held.alive()?;
        let executable = file.and_then(|file| {
            let path = readlinkat(&self.directory, "exe").map(PathBuf::from)?;
            Executable::of(&file, &path)
        });
        self.held.alive()?;
        executable.map_err(|errno| Mismatch::ExecutableUnreadable { errno })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn the_end_of_a_process_can_be_told_before_anybody_has_collected_it() {
        for (script, told) in [
            ("exit 0", Ended::Exited(0)),
            ("exit 7", Ended::Exited(7)),
            ("kill -9 $$", Ended::Signaled(libc::SIGKILL)),
        ] {
            let mut child = Command::new("sh")
                .args(["-c", &format!("read go; {script}")])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let pidfd = Pidfd::open(child.id() as i32).unwrap();
            let held = Held::of(&pidfd).unwrap();
            assert_eq!(held.end_uncollected(), None, "it lives");
            drop(child.stdin.take());
            let mut fds = [nix::poll::PollFd::new(
                held.as_fd(),
                nix::poll::PollFlags::POLLIN,
            )];
            nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE).unwrap();
            assert_eq!(held.end_uncollected(), Some(told), "{script}");
            child.wait().unwrap();
            assert_eq!(held.end_uncollected(), None, "its number is free");
        }
    }
}
