//! The calling thread, as /proc shows it: its working directory, its descriptors, its process, as whom it makes files.
//!
//! A thread may have a working directory and a table of descriptors of its own, so everything is asked of the *thread*. What
//! was found out this way holds only if the notification is still valid afterwards: numbers of threads are used again.

use super::failure::{Failure, out_of_means, refused};
use crate::policy::Access;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, lstat};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use sys::errand::Maker;
use sys::pidfd::Pidfd;
use sys::process_memory;
use sys::status::Status;

const UNREADABLE_UMASK: Failure =
    Failure::Refused(Errno::EACCES, "the umask of the caller cannot be read");

/// A thread that waits in a trapped call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thread(pub i32);

/// What the thread may do through one of its descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptor {
    flags: i32,
    /// The number of the file behind it; `None` before Linux 5.14.
    pub ino: Option<u64>,
}

impl Descriptor {
    /// What can be done through it.
    pub fn access(self) -> Access {
        match self.flags & libc::O_ACCMODE {
            _ if self.flags & libc::O_PATH != 0 => Access::NONE,
            libc::O_RDONLY => Access::READ,
            libc::O_WRONLY => Access::WRITE,
            libc::O_RDWR => Access::READ | Access::WRITE,
            _ => Access::NONE,
        }
    }

    /// Whether it is closed on exec.
    pub fn is_closed_on_exec(self) -> bool {
        self.flags & libc::O_CLOEXEC != 0
    }

    /// From the text of /proc/PID/fdinfo/N (proc_pid_fdinfo(5)).
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim())
        };
        Some(Self {
            flags: i32::from_str_radix(field("flags:")?, 8).ok()?,
            ino: field("ino:").and_then(|ino| ino.parse().ok()),
        })
    }
}

impl Thread {
    /// Its working directory.
    pub fn working_directory(self) -> Result<OwnedFd, Failure> {
        self.open("cwd").map_err(|errno| match errno {
            Errno::ENOENT => Failure::Native(Errno::ESRCH),
            other => unseen(other),
        })
    }

    /// What lies behind one of its descriptors.
    pub fn behind(self, number: i32) -> Result<OwnedFd, Failure> {
        if number < 0 {
            return Err(Errno::EBADF.into());
        }
        self.open(&format!("fd/{number}"))
            .map_err(|errno| match errno {
                Errno::ENOENT => Errno::EBADF.into(),
                other => unseen(other),
            })
    }

    /// The program that it executes.
    pub fn program(self) -> Result<PathBuf, Errno> {
        self.read("exe")
    }

    /// The name under which its process was started: a script's own, where an interpreter runs it.
    pub fn started_as(self) -> Result<CString, Failure> {
        let path = format!("/proc/{}/auxv", self.0);
        let vector = std::fs::read(path).map_err(|_| Failure::Unreadable)?;
        let mut words = vector.chunks_exact(size_of::<u64>()).map(|word| {
            let word: [u8; size_of::<u64>()] = word.try_into().unwrap_or_default();
            u64::from_ne_bytes(word)
        });
        let mut pairs = std::iter::from_fn(|| Some((words.next()?, words.next()?)));
        let name = pairs.find(|(kind, _)| *kind == libc::AT_EXECFN);
        let (_, address) = name.ok_or(Failure::Unreadable)?;
        let longest = libc::PATH_MAX as usize;
        process_memory::read_c_string(self.0, address, longest).map_err(|_| Failure::Unreadable)
    }

    /// What the kernel calls its working directory.
    pub fn name_of_working_directory(self) -> Result<PathBuf, Errno> {
        self.read("cwd")
    }

    /// What the kernel calls that which lies behind one of its descriptors.
    pub fn name_behind(self, number: i32) -> Result<PathBuf, Errno> {
        self.read(&format!("fd/{number}"))
    }

    fn read(self, name: &str) -> Result<PathBuf, Errno> {
        let link = format!("/proc/{}/{name}", self.0);
        std::fs::read_link(link).map_err(|_| Errno::last())
    }

    fn open(self, name: &str) -> Result<OwnedFd, Errno> {
        // The magic link leads to the object itself: nothing is resolved by name.
        let path = format!("/proc/{}/{name}", self.0);
        openat(
            AT_FDCWD,
            path.as_str(),
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    }

    /// Whether one of its descriptors was opened with `O_PATH`: the link that stands for it then has no permissions at all. Much
    /// cheaper than [`Thread::descriptor`].
    pub fn is_path_only(self, number: i32) -> Result<bool, Failure> {
        if number < 0 {
            return Err(Errno::EBADF.into());
        }
        let path = format!("/proc/{}/fd/{number}", self.0);
        match lstat(path.as_str()) {
            Ok(link) => Ok(link.st_mode & 0o700 == 0),
            Err(Errno::ENOENT) => Err(Errno::EBADF.into()),
            Err(other) => Err(unseen(other)),
        }
    }

    /// What it may do through one of its descriptors.
    pub fn descriptor(self, number: i32) -> Result<Descriptor, Failure> {
        if number < 0 {
            return Err(Errno::EBADF.into());
        }
        let path = format!("/proc/{}/fdinfo/{number}", self.0);
        let text = std::fs::read_to_string(path).map_err(|error| {
            match Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)) {
                Errno::ENOENT => Errno::EBADF.into(),
                other => unseen(other),
            }
        })?;
        Descriptor::parse(&text).ok_or(refused("a descriptor of the caller cannot be looked at"))
    }

    /// The process it belongs to.
    pub fn process(self) -> Result<i32, Failure> {
        self.status()?
            .process()
            .ok_or(Failure::Native(Errno::ESRCH))
    }

    /// Its umask.
    pub fn umask(self) -> Result<u32, Failure> {
        self.status()?.umask().ok_or(UNREADABLE_UMASK)
    }

    /// As whom it makes files.
    pub fn maker(self) -> Result<Maker, Failure> {
        let status = self.status()?;
        let found = || {
            Some(Maker {
                umask: status.umask()?,
                uid: status.file_user()?,
                gid: status.file_group()?,
            })
        };
        found().ok_or(UNREADABLE_UMASK)
    }

    /// What the kernel says of it.
    pub fn status(self) -> Result<Status, Failure> {
        Status::of(self.0).map_err(|errno| match errno {
            Errno::ENOENT => Errno::ESRCH.into(),
            other => unseen(other),
        })
    }

    /// A descriptor of the process it belongs to, and its number.
    pub fn process_descriptor(self) -> Result<(Pidfd, i32), Failure> {
        let process = self.process()?;
        let pidfd = Pidfd::open(process).map_err(unseen)?;
        Ok((pidfd, process))
    }

    /// A duplicate of one of its descriptors: the very same open file.
    pub fn duplicate(self, number: i32) -> Result<OwnedFd, Failure> {
        let pidfd = match Pidfd::open_thread(self.0) {
            // Before Linux 6.9 only a process can be opened. Its threads share one table, but for the few that unshared it:
            // those get what *their process* has under that number, which the child holds as well.
            Err(Errno::EINVAL) => Pidfd::open(self.process()?),
            other => other,
        }
        .map_err(unseen)?;
        pidfd.get_fd(number).map_err(|errno| match errno {
            Errno::EBADF => Errno::EBADF.into(),
            other => unseen(other),
        })
    }
}

/// A process that made itself unreadable, or that an outer sandbox keeps from us, cannot be served.
fn unseen(errno: Errno) -> Failure {
    match errno {
        Errno::EPERM | Errno::EACCES | Errno::ENOSYS => refused("the caller cannot be looked at"),
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => out_of_means(errno),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    fn own() -> Thread {
        Thread(nix::unistd::gettid().as_raw())
    }

    #[test]
    fn descriptors_are_seen_as_they_were_opened() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let seen = |fd: &OwnedFd| own().descriptor(fd.as_raw_fd()).unwrap();
        assert_eq!(seen(&reader).access(), Access::READ);
        assert_eq!(seen(&writer).access(), Access::WRITE);
        assert!(seen(&writer).ino.is_some());
        let only = own().behind(writer.as_raw_fd()).unwrap();
        let is_path_only = |fd: &OwnedFd| own().is_path_only(fd.as_raw_fd());
        assert_eq!(seen(&only).access(), Access::NONE);
        assert_eq!(is_path_only(&only), Ok(true));
        assert_eq!(is_path_only(&reader), Ok(false));
        assert_eq!(is_path_only(&writer), Ok(false));
        assert_eq!(own().is_path_only(99_999), Err(Errno::EBADF.into()));
        assert!(seen(&only).is_closed_on_exec());
        assert_eq!(own().behind(-1).unwrap_err(), Errno::EBADF.into());
        assert_eq!(own().behind(99_999).unwrap_err(), Errno::EBADF.into());
        assert_eq!(own().descriptor(99_999), Err(Errno::EBADF.into()));
    }

    #[test]
    fn a_thread_knows_its_process() {
        assert_eq!(own().process(), Ok(std::process::id() as i32));
    }

    #[test]
    fn a_thread_knows_what_its_process_was_started_as() {
        assert_eq!(own().program(), Ok(std::env::current_exe().unwrap()));
        let name = own().started_as().unwrap();
        let name = std::path::Path::new(name.to_str().unwrap());
        assert_eq!(name.canonicalize().ok(), own().program().ok());
    }

    #[test]
    fn a_thread_makes_files_as_itself() {
        let maker = own().maker().unwrap();
        assert_eq!(maker.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(maker.gid, nix::unistd::getegid().as_raw());
        assert_eq!(own().umask(), Ok(maker.umask));
    }

    #[test]
    fn what_the_kernel_writes_is_parsed() {
        let text = "pos:\t0\nflags:\t02100001\nmnt_id:\t15\nino:\t1234\n";
        let descriptor = Descriptor::parse(text).unwrap();
        assert_eq!(descriptor.access(), Access::WRITE);
        assert!(descriptor.is_closed_on_exec());
        assert_eq!(descriptor.ino, Some(1234));
        assert_eq!(Descriptor::parse("pos:\t0\n"), None);
    }
}
