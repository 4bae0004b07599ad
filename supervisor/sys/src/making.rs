//! Making files, under an umask that need not be ours.
//!
//! The umask belongs to all threads of a process that did not say otherwise, and in many a container they must not say so
//! (`unshare(2)` is refused there). To change it would be to change it for everybody, for as long as a file server takes to make a
//! file. So where a thread has none of its own a process makes the file, which lives for this one call: it shares memory and
//! descriptors with us, but not working directory and umask, and the caller sleeps until it is gone, as it would in the call.

use crate::clone::{Stack, clone_on, die_with};
use crate::pidfd::Pidfd;
use crate::raw_syscall;
use crate::{entries, openat2};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::ffi::{CStr, OsStr, c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

/// What is to be made, with which mode, of which the umask takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// A directory.
    Directory(u32),
    /// A file, a FIFO or a socket; type and permissions.
    Node(u32),
    /// A regular file that is not there, opened so.
    File(OFlag, u32),
    /// A regular file without a name, opened so; the name is not looked at.
    Unnamed(OFlag, u32),
}

/// A few system calls.
const STACK: usize = 16 * 1024;

impl Making {
    /// Makes it in a directory, under the umask of this thread. What is opened is returned.
    ///
    /// # Errors
    /// The errno of `mkdirat(2)`, `mknodat(2)` or `openat2(2)`.
    pub fn make(self, directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>, Errno> {
        let path = Path::new(OsStr::from_bytes(name.to_bytes()));
        match self {
            Self::Directory(mode) => entries::make_directory(directory, name, mode).map(|()| None),
            Self::Node(mode) => entries::make_node(directory, name, mode).map(|()| None),
            Self::File(flags, mode) => openat2::create(directory, path, flags, mode).map(Some),
            Self::Unnamed(flags, mode) => openat2::create_unnamed(directory, flags, mode).map(Some),
        }
    }

    /// The same under this umask, whatever that of this thread is, which stays as it is for all who share it.
    ///
    /// # Errors
    /// As for [`Making::make`], or what prevented the process from being made.
    pub fn make_under(
        self,
        umask: u32,
        directory: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<Option<OwnedFd>, Errno> {
        if let Self::Node(mode) = self
            && matches!(mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK)
        {
            return Err(Errno::EPERM);
        }
        let (flags, mode, resolve) = self.how();
        // SAFETY: all zeroes is a valid open_how.
        let mut how: libc::open_how = unsafe { std::mem::zeroed() };
        (how.flags, how.mode, how.resolve) = (flags, mode, resolve);
        let task = Task {
            supervisor: std::process::id() as c_int,
            umask,
            making: self,
            directory: directory.as_raw_fd(),
            name: match self {
                Self::Unnamed(..) => c".",
                _ => name,
            },
            how,
            answer: AtomicI32::new(NONE_YET),
        };
        let stack = Stack::new(STACK)?;
        let mut pidfd: c_int = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_PIDFD;
        let argument: *const Task<'_> = &raw const task;
        // SAFETY: `run` makes system calls only and ends by exit. The task and the stack live until it is gone: it is waited for
        // below. Only an atomic in it is written. No flag is forbidden.
        unsafe {
            clone_on(
                &stack,
                flags,
                run,
                argument.cast_mut().cast(),
                &raw mut pidfd,
            )
        }?;
        // SAFETY: CLONE_PIDFD stored a new descriptor, which is ours.
        let process = Pidfd::from(unsafe { OwnedFd::from_raw_fd(pidfd) });
        while !has_gone(&process) {}
        let _collected = process.collect();
        match (task.answer.load(Ordering::Acquire), self) {
            (NONE_YET, _) => Err(Errno::ECONNABORTED),
            (errno @ ..0, _) => Err(Errno::from_raw(-errno)),
            (_, Self::Directory(_) | Self::Node(_)) => Ok(None),
            (fd, Self::File(..) | Self::Unnamed(..)) => {
                // SAFETY: the process opened it in the table that we share, and nobody else knows of it.
                Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
            }
        }
    }

    /// What `openat2(2)` is told.
    fn how(self) -> (u64, u64, u64) {
        let beneath = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
        let (flags, mode) = match self {
            Self::Directory(mode) | Self::Node(mode) => return (0, mode.into(), 0),
            Self::File(flags, mode) => (
                flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW,
                mode,
            ),
            Self::Unnamed(flags, mode) => (flags | OFlag::O_TMPFILE, mode),
        };
        let flags = (flags | OFlag::O_CLOEXEC).bits() as u32;
        (flags.into(), (mode & 0o7777).into(), beneath)
    }
}

/// The answer before there is one.
const NONE_YET: i32 = i32::MIN;

/// What the process is told, and where it leaves its answer: a descriptor, 0, or a negated errno. Shared memory.
struct Task<'a> {
    supervisor: c_int,
    umask: u32,
    making: Making,
    directory: c_int,
    name: &'a CStr,
    how: libc::open_how,
    answer: AtomicI32,
}

/// Waits for the end of a process that has nothing more to do.
fn has_gone(process: &Pidfd) -> bool {
    let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    !matches!(poll(&mut fds, PollTimeout::NONE), Err(Errno::EINTR))
}

unsafe extern "C" fn run(argument: *mut c_void) -> ! {
    // SAFETY: `make_under` passes a task that outlives this process.
    let task = unsafe { &*argument.cast::<Task<'_>>() };
    let answer = match perform(task) {
        Ok(value) => value as i32,
        Err(errno) => -(errno as i32),
    };
    task.answer.store(answer, Ordering::Release);
    loop {
        // SAFETY: ends this process only.
        let _ended = unsafe { raw_syscall!(libc::SYS_exit_group, 0) };
    }
}

/// System calls only: the memory is the supervisor's.
fn perform(task: &Task<'_>) -> Result<usize, Errno> {
    // A file server may keep it for long: then it must not outlive who waits for it.
    die_with(task.supervisor)?;
    // SAFETY: takes a number. This process does not share its umask (no CLONE_FS).
    unsafe { raw_syscall!(libc::SYS_umask, task.umask) }?;
    let (directory, name) = (task.directory, task.name.as_ptr());
    loop {
        let made = match task.making {
            // SAFETY: the name is live and ends in 0.
            Making::Directory(mode) => unsafe {
                raw_syscall!(libc::SYS_mkdirat, directory, name, mode)
            },
            // SAFETY: the same.
            Making::Node(mode) => unsafe {
                raw_syscall!(libc::SYS_mknodat, directory, name, mode, 0)
            },
            Making::File(..) | Making::Unnamed(..) => {
                let how = &raw const task.how;
                let size = size_of::<libc::open_how>();
                // SAFETY: the same, and `how` is live and of that size.
                unsafe { raw_syscall!(libc::SYS_openat2, directory, name, how, size) }
            }
        };
        match made {
            Err(Errno::EINTR) if matches!(task.making, Making::File(..) | Making::Unnamed(..)) => {}
            made => return made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    use std::path::PathBuf;
    use std::sync::atomic::AtomicBool;

    fn own() -> u32 {
        Status::own().unwrap().umask().unwrap()
    }

    struct Place(PathBuf, fs::File);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("making-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            let directory = fs::File::open(&path).unwrap();
            Self(path, directory)
        }

        fn mode(&self, name: &str) -> u32 {
            let found = fs::symlink_metadata(self.0.join(name)).unwrap();
            found.mode() & 0o7777
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn what_is_made_is_what_it_would_be_under_that_umask() {
        let place = Place::new("kinds");
        let directory = place.1.as_fd();
        let before = own();
        let make = |making: Making, name: &CStr| making.make_under(0o027, directory, name);
        assert!(make(Making::Directory(0o777), c"d").unwrap().is_none());
        assert!(
            make(Making::Node(libc::S_IFIFO | 0o666), c"p")
                .unwrap()
                .is_none()
        );
        let file = make(Making::File(OFlag::O_RDWR, 0o666), c"f").unwrap();
        let mut file = fs::File::from(file.unwrap());
        std::io::Write::write_all(&mut file, b"content").unwrap();
        assert_eq!(fs::read(place.0.join("f")).unwrap(), b"content");
        assert_eq!(
            ["d", "p", "f"].map(|name| place.mode(name)),
            [0o750, 0o640, 0o640]
        );
        let kind = fs::symlink_metadata(place.0.join("p")).unwrap().file_type();
        assert!(kind.is_fifo());
        let flags = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, libc::FD_CLOEXEC);
        if let Ok(unnamed) = make(Making::Unnamed(OFlag::O_RDWR, 0o666), c"ignored") {
            let unnamed = fs::File::from(unnamed.unwrap()).metadata().unwrap();
            assert_eq!((unnamed.mode() & 0o7777, unnamed.nlink()), (0o640, 0));
        }
        for (making, name, errno) in [
            (Making::Directory(0o777), c"d", Errno::EEXIST),
            (Making::File(OFlag::O_RDWR, 0o666), c"f", Errno::EEXIST),
            (Making::File(OFlag::O_RDWR, 0o666), c"../x", Errno::EXDEV),
            (Making::Node(libc::S_IFCHR | 0o666), c"c", Errno::EPERM),
            (Making::Node(libc::S_IFIFO), c"none/p", Errno::ENOENT),
        ] {
            assert_eq!(make(making, name).err(), Some(errno), "{making:?} {name:?}");
        }
        assert_eq!(own(), before);
    }

    #[test]
    fn each_has_an_umask_of_its_own_and_nobody_elses_changes() {
        let place = Place::new("many");
        let before = own();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut seen = 0;
                while !is_over.load(Ordering::Relaxed) || seen == 0 {
                    assert_eq!(own(), before);
                    seen += 1;
                }
            });
            let makers = [0o022, 0o077, 0o0, 0o027].map(|mask: u32| {
                let place = &place;
                scope.spawn(move || {
                    for number in 0..200 {
                        let name = format!("{mask:o}-{number}");
                        let name_c = CString::new(name.clone()).unwrap();
                        let making = Making::File(OFlag::O_WRONLY, 0o666);
                        let made = making.make_under(mask, place.1.as_fd(), &name_c);
                        assert!(made.unwrap().is_some());
                        assert_eq!(place.mode(&name), 0o666 & !mask);
                    }
                })
            });
            for maker in makers {
                maker.join().unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
            watch.join().unwrap();
        });
    }
}
