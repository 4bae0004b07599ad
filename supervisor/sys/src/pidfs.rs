//! The file system of pidfds: what names a process beyond its number, and tells how it ended.
//!
//! Since Linux 6.9 a pidfd is a file of its own file system, with an inode for each process that no other gets during this boot. Since 6.14
//! there is a file handle of it, from which whoever has it opens that very process again, and no other; 6.13 tells who it is, and 6.15 how it
//! ended, also to those who are not its parent. What a kernel does not have is `None` here, never a guess.

use nix::errno::Errno;
use nix::sys::statfs::{FsType, fstatfs};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::pidfd::{Ended, Pidfd};

/// `PID_FS_MAGIC` (linux/magic.h).
const PID_FS_MAGIC: FsType = FsType(0x5049_4446);

/// `FD_PIDFS_ROOT` (linux/fcntl.h, 6.17): stands for the file system where `open_by_handle_at` wants one of its files.
const FD_PIDFS_ROOT: i32 = -10002;

/// The bytes of a handle; the kernel's own are 8.
const HANDLE_BYTES: usize = 16;

/// A name of one process, good for this boot: only that process is opened by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle {
    kind: i32,
    length: u32,
    bytes: [u8; HANDLE_BYTES],
}

/// `struct file_handle`, with room behind it.
#[repr(C)]
struct FileHandle {
    length: u32,
    kind: i32,
    bytes: [u8; HANDLE_BYTES],
}

impl Handle {
    /// The handle of a process; `None` before Linux 6.14, and where a filter refuses the call.
    ///
    /// # Errors
    /// Another errno of `name_to_handle_at(2)`.
    pub fn of(pidfd: BorrowedFd<'_>) -> Result<Option<Self>, Errno> {
        if inode(pidfd)?.is_none() {
            return Ok(None);
        }
        let mut handle = FileHandle {
            length: HANDLE_BYTES as u32,
            kind: 0,
            bytes: [0; HANDLE_BYTES],
        };
        let mut mount = 0i32;
        // SAFETY: the kernel writes at most `length` bytes behind the header of `handle`, which has that many, and one integer to
        // `mount`; the path is an empty, terminated string. All outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                pidfd.as_raw_fd(),
                c"".as_ptr(),
                &raw mut handle,
                &raw mut mount,
                libc::AT_EMPTY_PATH,
            )
        };
        match Errno::result(result) {
            Ok(_) => Ok(Some(Self {
                kind: handle.kind,
                length: handle.length,
                bytes: handle.bytes,
            })),
            Err(Errno::EOPNOTSUPP | Errno::EOVERFLOW | Errno::ENOSYS | Errno::EPERM) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Opens the process again. `None` where the kernel cannot, or a filter refuses the call.
    ///
    /// # Errors
    /// `ESTALE` when that process is gone, whoever may have its number now; another errno of `open_by_handle_at(2)`.
    pub fn open(&self) -> Result<Option<Pidfd>, Errno> {
        match self.open_on(FD_PIDFS_ROOT) {
            // Before 6.17 it takes a file of that file system: any process will do.
            Err(Errno::EBADF) => {
                let own = Pidfd::open(nix::unistd::getpid().as_raw())?;
                supported(self.open_on(own.as_fd().as_raw_fd()))
            }
            opened => supported(opened),
        }
    }

    fn open_on(&self, mount: i32) -> Result<Pidfd, Errno> {
        let handle = FileHandle {
            length: self.length,
            kind: self.kind,
            bytes: self.bytes,
        };
        // SAFETY: the kernel reads a header and `length` bytes, of which there are never fewer (`parse` and `of` see to it); a success is
        // a new descriptor of ours.
        unsafe {
            let result = libc::syscall(
                libc::SYS_open_by_handle_at,
                mount,
                &raw const handle,
                libc::O_CLOEXEC | libc::O_RDWR,
            );
            let fd = Errno::result(result)?;
            Ok(Pidfd::from(OwnedFd::from_raw_fd(fd as i32)))
        }
    }

    /// The handle that was written as `to_string` gives it.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, digits) = text.split_once(':')?;
        let mut bytes = [0; HANDLE_BYTES];
        let length = digits.len() / 2;
        let is_even = digits.len().is_multiple_of(2) && digits.is_ascii();
        if !is_even || length == 0 || length > HANDLE_BYTES {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..digits.len()).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
        }
        let handle = Self {
            kind: kind.parse().ok()?,
            length: length as u32,
            bytes,
        };
        // One spelling for each: no `+`, no capitals.
        (handle.to_string() == text).then_some(handle)
    }
}

/// The kind, a colon, and the bytes in hexadecimal digits.
impl std::fmt::Display for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.kind)?;
        let bytes = &self.bytes[..self.length as usize];
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A filter's refusal is a kernel that does not have the call.
fn supported(opened: Result<Pidfd, Errno>) -> Result<Option<Pidfd>, Errno> {
    match opened {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::EBADF | Errno::ENOSYS | Errno::EPERM | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The inode of a process, which no other gets during this boot; `None` before Linux 6.9, when all pidfds had the same.
///
/// # Errors
/// The errno of `fstatfs(2)` or `fstat(2)`.
pub fn inode(pidfd: BorrowedFd<'_>) -> Result<Option<u64>, Errno> {
    if fstatfs(pidfd)?.filesystem_type() != PID_FS_MAGIC {
        return Ok(None);
    }
    let inode = nix::sys::stat::fstat(pidfd)?.st_ino;
    Ok(Some(inode))
}

/// The inode of the calling process; 0 where it cannot be told.
pub fn own_inode() -> u64 {
    let own = Pidfd::open(nix::unistd::getpid().as_raw());
    own.and_then(|own| inode(own.as_fd()))
        .ok()
        .flatten()
        .unwrap_or(0)
}

/// What the kernel tells about a process (`PIDFD_GET_INFO`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Its number, as this process sees it.
    pub pid: i32,
    /// Its real user.
    pub uid: u32,
    /// The cgroup it is in, by the number that is also the inode of the cgroup's directory; `None` where it is not told.
    pub cgroup: Option<u64>,
}

/// `struct pidfd_info` in its first form (linux/pidfd.h).
#[repr(C)]
#[derive(Default)]
struct RawInfo {
    mask: u64,
    cgroup: u64,
    pid: u32,
    tgid: u32,
    ppid: u32,
    ruid: u32,
    rgid: u32,
    euid: u32,
    egid: u32,
    suid: u32,
    sgid: u32,
    fsuid: u32,
    fsgid: u32,
    exit_code: i32,
}

const PIDFD_INFO_PID: u64 = 1 << 0;
const PIDFD_INFO_CREDS: u64 = 1 << 1;
const PIDFD_INFO_CGROUPID: u64 = 1 << 2;
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `PIDFD_GET_INFO`: `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: u64 = 3 << 30 | (size_of::<RawInfo>() as u64) << 16 | 0xff << 8 | 11;

/// Who a living process is; `None` before Linux 6.13.
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn info(pidfd: BorrowedFd<'_>) -> Result<Option<Info>, Errno> {
    let wanted = PIDFD_INFO_PID | PIDFD_INFO_CREDS | PIDFD_INFO_CGROUPID;
    Ok(ask(pidfd, wanted)?.map(|raw| Info {
        pid: raw.tgid as i32,
        uid: raw.ruid,
        cgroup: (raw.mask & PIDFD_INFO_CGROUPID != 0).then_some(raw.cgroup),
    }))
}

/// How a process ended, whoever was its parent; `None` before Linux 6.15, and as long as it was not collected by its parent.
///
/// # Errors
/// The errno of the `ioctl(2)`.
pub fn ended(pidfd: BorrowedFd<'_>) -> Result<Option<Ended>, Errno> {
    let raw = match ask(pidfd, PIDFD_INFO_EXIT) {
        Err(Errno::ESRCH) => None,
        raw => raw?,
    };
    let told = raw.filter(|raw| raw.mask & PIDFD_INFO_EXIT != 0);
    Ok(told.map(|raw| match raw.exit_code & 0x7f {
        0 => Ended::Exited(raw.exit_code >> 8 & 0xff),
        signal => Ended::Signaled(signal),
    }))
}

fn ask(pidfd: BorrowedFd<'_>, mask: u64) -> Result<Option<RawInfo>, Errno> {
    let mut raw = RawInfo {
        mask,
        ..RawInfo::default()
    };
    // SAFETY: the request's number says that the kernel reads and writes a `struct pidfd_info` of this size, and `raw` is one.
    let result = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, &raw mut raw) };
    match Errno::result(result) {
        Ok(_) => Ok(Some(raw)),
        Err(Errno::ENOTTY | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    fn child() -> (Child, Pidfd) {
        let child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pidfd = Pidfd::open(child.id() as i32).unwrap();
        (child, pidfd)
    }

    /// What the kernel does not have, said aloud.
    fn lacks<T>(what: &str, answer: Option<T>) -> Option<T> {
        if answer.is_none() {
            println!("SKIP this kernel has no {what}");
            assert!(std::env::var_os("SUPERVISE_MUST_WORK").is_none());
        }
        answer
    }

    #[test]
    fn a_handle_opens_its_process_and_no_other_and_none_when_it_is_gone() {
        let (mut child, pidfd) = child();
        let Some(handle) = lacks("handles of pidfds", Handle::of(pidfd.as_fd()).unwrap()) else {
            return;
        };
        let again = Handle::parse(&handle.to_string()).unwrap();
        assert_eq!(again, handle);
        let opened = again.open().unwrap().unwrap();
        assert_eq!(inode(opened.as_fd()), inode(pidfd.as_fd()));
        assert_ne!(inode(opened.as_fd()).unwrap(), Some(own_inode()));
        assert_ne!(own_inode(), 0);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(handle.open().unwrap_err(), Errno::ESTALE);
        for text in ["", "1", "1:", "1:0", "1:zz", "01:00", "1:0A", "1:+1"] {
            assert_eq!(Handle::parse(text), None, "{text}");
        }
    }

    #[test]
    fn who_a_process_is_and_how_it_ended_is_told_to_everybody() {
        let (mut child, pidfd) = child();
        let Some(told) = lacks("PIDFD_GET_INFO", info(pidfd.as_fd()).unwrap()) else {
            return;
        };
        assert_eq!(told.pid, child.id() as i32);
        assert_eq!(told.uid, nix::unistd::getuid().as_raw());
        assert_eq!(ended(pidfd.as_fd()), Ok(None), "it lives");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(info(pidfd.as_fd()), Err(Errno::ESRCH));
        let Some(how) = lacks("PIDFD_INFO_EXIT", ended(pidfd.as_fd()).unwrap()) else {
            return;
        };
        assert_eq!(how, Ended::Signaled(libc::SIGKILL));
    }

    #[test]
    fn a_descriptor_that_is_no_pidfd_has_no_inode_of_a_process() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(inode(file.as_fd()), Ok(None));
        assert_eq!(Handle::of(file.as_fd()), Ok(None));
    }
}
