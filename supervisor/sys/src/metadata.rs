//! What is known about a located file, and changes of its mode, owner, times and attributes: through a descriptor that may
//! be `O_PATH`, so that what is changed is what was located, whatever its name means by then.

use nix::errno::Errno;
use std::cell::Cell;
use std::ffi::{CStr, CString, c_int, c_long};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `fchmodat2(2)`, since Linux 6.6; the same number on every architecture, in libc's tables not on all of them.
pub const SYS_FCHMODAT2: c_long = 452;
/// `setxattrat(2)`, since Linux 6.13.
pub const SYS_SETXATTRAT: c_long = 463;
/// `removexattrat(2)`, since Linux 6.13.
pub const SYS_REMOVEXATTRAT: c_long = 466;
/// `file_setattr(2)`, since Linux 6.17.
pub const SYS_FILE_SETATTR: c_long = 469;
/// `statmount(2)`, since Linux 6.8.
const SYS_STATMOUNT: c_long = 457;

/// What the kernel says about a file without asking a server that might not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The device that holds it, as `st_dev` has it.
    pub dev: u64,
    /// Its number there.
    pub ino: u64,
    /// Type and permissions.
    pub mode: u32,
    /// How many names it has.
    pub links: u64,
    /// When it was born, in nanoseconds; 0 where the file system does not say.
    pub born: u64,
    /// The mount it was reached through; never used again for another one. 0 where the kernel cannot say (before 6.8).
    pub mount: u64,
}

impl Facts {
    /// Whether it is of that type (`libc::S_IF*`).
    pub fn is(&self, kind: u32) -> bool {
        self.mode & libc::S_IFMT == kind
    }
}

/// Looks at an open file. Never waits for a file server: what is cached is good enough, since a file's identity and type
/// do not change.
///
/// # Errors
/// The errno of `statx(2)`.
pub fn facts(fd: BorrowedFd<'_>) -> Result<Facts, Errno> {
    facts_at(
        fd.as_raw_fd(),
        c"",
        libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
    )
}

/// Looks at what has a name, and follows no link at its end.
///
/// # Errors
/// The errno of `statx(2)`.
pub fn facts_of(path: &CStr) -> Result<Facts, Errno> {
    facts_at(
        libc::AT_FDCWD,
        path,
        libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT,
    )
}

fn facts_at(directory: c_int, path: &CStr, flags: c_int) -> Result<Facts, Errno> {
    let wanted = libc::STATX_TYPE
        | libc::STATX_MODE
        | libc::STATX_INO
        | libc::STATX_NLINK
        | libc::STATX_BTIME
        | libc::STATX_MNT_ID_UNIQUE;
    let mut raw = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path ends; the kernel writes one struct statx to memory of that size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_statx,
            directory,
            path.as_ptr(),
            flags,
            wanted,
            raw.as_mut_ptr(),
        )
    };
    Errno::result(result)?;
    // SAFETY: all zeroes is a valid struct statx, and the kernel filled it.
    let raw = unsafe { raw.assume_init() };
    let born = match raw.stx_mask & libc::STATX_BTIME {
        0 => 0,
        _ => u64::try_from(raw.stx_btime.tv_sec)
            .unwrap_or(0)
            .saturating_mul(1_000_000_000)
            .saturating_add(raw.stx_btime.tv_nsec.into()),
    };
    let has_mount = raw.stx_mask & libc::STATX_MNT_ID_UNIQUE != 0;
    Ok(Facts {
        dev: libc::makedev(raw.stx_dev_major, raw.stx_dev_minor),
        ino: raw.stx_ino,
        mode: u32::from(raw.stx_mode),
        links: raw.stx_nlink.into(),
        born,
        mount: if has_mount { raw.stx_mnt_id } else { 0 },
    })
}

/// The magic number of the file system behind a mount ([`Facts::mount`]), again without asking any server.
///
/// # Errors
/// The errno of `statmount(2)`: `ENOSYS` before 6.8, `ENOENT` when it is not mounted (any more) where we can see it.
pub fn file_system_of(mount: u64) -> Result<i64, Errno> {
    /// `struct mnt_id_req` in its first version.
    #[repr(C)]
    struct Request {
        size: u32,
        spare: u32,
        mnt_id: u64,
        param: u64,
    }
    /// The beginning of `struct statmount`; what was not asked for stays away.
    #[repr(C)]
    struct Answer {
        size: u32,
        mnt_opts: u32,
        mask: u64,
        sb_dev_major: u32,
        sb_dev_minor: u32,
        sb_magic: u64,
        rest: [u64; 61],
    }
    const STATMOUNT_SB_BASIC: u64 = 1;
    let request = Request {
        size: size_of::<Request>() as u32,
        spare: 0,
        mnt_id: mount,
        param: STATMOUNT_SB_BASIC,
    };
    let mut answer = MaybeUninit::<Answer>::zeroed();
    // SAFETY: the kernel reads `size` bytes of the request and writes at most the size of the answer; both are live.
    let result = unsafe {
        libc::syscall(
            SYS_STATMOUNT,
            &raw const request,
            answer.as_mut_ptr(),
            size_of::<Answer>(),
            0,
        )
    };
    Errno::result(result)?;
    // SAFETY: all zeroes is a valid Answer, and the kernel filled its beginning.
    let answer = unsafe { answer.assume_init() };
    if answer.mask & STATMOUNT_SB_BASIC == 0 {
        return Err(Errno::ENOSYS);
    }
    Ok(answer.sb_magic as i64)
}

/// The same, asked for once for each of the mounts that were met last: the number of a mount is never used again. It may not be
/// mounted any more.
///
/// # Errors
/// As for [`file_system_of`].
pub fn file_system_remembered(mount: u64) -> Result<i64, Errno> {
    thread_local! {
        static SEEN: Cell<[(u64, i64); 4]> = const { Cell::new([(0, 0); 4]) };
    }
    let mut seen = SEEN.get();
    if let Some((_, magic)) = seen
        .iter()
        .find(|(number, _)| *number == mount && mount != 0)
    {
        return Ok(*magic);
    }
    let magic = file_system_of(mount)?;
    seen.rotate_right(1);
    seen[0] = (mount, magic);
    SEEN.set(seen);
    Ok(magic)
}

/// The name under which this process reaches the object behind one of its descriptors.
fn by_number(fd: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("digits hold no NUL")
}

/// `chmod` of the object. Of a symbolic link: `EOPNOTSUPP`, as the kernel has it.
///
/// # Errors
/// The errno of `fchmodat2(2)`.
pub fn set_mode(fd: BorrowedFd<'_>, mode: u32) -> Result<(), Errno> {
    // SAFETY: the path is empty and ends; the rest is numbers.
    let result = unsafe {
        libc::syscall(
            SYS_FCHMODAT2,
            fd.as_raw_fd(),
            c"".as_ptr(),
            mode,
            libc::AT_EMPTY_PATH,
        )
    };
    match Errno::result(result) {
        Err(Errno::ENOSYS) => {
            let path = by_number(fd);
            // SAFETY: the path is live and ends.
            Errno::result(unsafe { libc::chmod(path.as_ptr(), mode) }).map(drop)
        }
        other => other.map(drop),
    }
}

/// `chown` of the object, symbolic links too; `u32::MAX` leaves an id as it is.
///
/// # Errors
/// The errno of `fchownat(2)`.
pub fn set_owner(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), Errno> {
    // SAFETY: the path is empty and ends; the rest is numbers. The raw call, because the C library may shorten ids.
    let result = unsafe {
        libc::syscall(
            libc::SYS_fchownat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            uid,
            gid,
            libc::AT_EMPTY_PATH,
        )
    };
    Errno::result(result).map(drop)
}

/// Sets access and modification time, symbolic links' too; `None` is now for both.
///
/// # Errors
/// The errno of `utimensat(2)`.
pub fn set_times(fd: BorrowedFd<'_>, times: Option<[libc::timespec; 2]>) -> Result<(), Errno> {
    let pointer = times
        .as_ref()
        .map_or(std::ptr::null(), |both| both.as_ptr());
    // SAFETY: the path is empty and ends; `pointer` is null or points to two live times.
    let result = unsafe {
        libc::syscall(
            libc::SYS_utimensat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            pointer,
            libc::AT_EMPTY_PATH,
        )
    };
    match Errno::result(result) {
        // Before AT_EMPTY_PATH was known here (5.8).
        Err(Errno::EINVAL) => {
            let path = by_number(fd);
            // SAFETY: the path is live and ends; `pointer` as above.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_utimensat,
                    libc::AT_FDCWD,
                    path.as_ptr(),
                    pointer,
                    0,
                )
            };
            Errno::result(result).map(drop)
        }
        other => other.map(drop),
    }
}

/// Has an inotify instance tell of changes to the object, and returns the number of the watch. A symbolic link is the object
/// itself, whatever `mask` says.
///
/// # Errors
/// The errno of `inotify_add_watch(2)`.
pub fn watch(instance: BorrowedFd<'_>, object: BorrowedFd<'_>, mask: u32) -> Result<i32, Errno> {
    let path = by_number(object);
    let mask = mask & !libc::IN_DONT_FOLLOW;
    // SAFETY: the path is live and ends; the rest is numbers. The magic link is followed to the object itself.
    let result = unsafe { libc::inotify_add_watch(instance.as_raw_fd(), path.as_ptr(), mask) };
    Errno::result(result)
}

/// Sets an extended attribute, symbolic links' too; `flags` as in `setxattr(2)`.
///
/// # Errors
/// The errno of `setxattr(2)`.
pub fn set_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8], flags: i32) -> Result<(), Errno> {
    let path = by_number(fd);
    // SAFETY: path and name are live and end, the value is live and of that length. The magic link is followed to the object
    // itself; if that is a symbolic link, the walk ends at it.
    let result = unsafe {
        libc::setxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            flags,
        )
    };
    Errno::result(result).map(drop)
}

/// Removes an extended attribute, symbolic links' too.
///
/// # Errors
/// The errno of `removexattr(2)`.
pub fn remove_xattr(fd: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let path = by_number(fd);
    // SAFETY: path and name are live and end.
    let result = unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) };
    Errno::result(result).map(drop)
}

/// Sets the attributes of `struct file_attr`, whose bytes the kernel judges.
///
/// # Errors
/// The errno of `file_setattr(2)`.
pub fn set_file_attributes(fd: BorrowedFd<'_>, attributes: &[u8]) -> Result<(), Errno> {
    let path = by_number(fd);
    // SAFETY: the path is live and ends; the attributes are live and of that length.
    let result = unsafe {
        libc::syscall(
            SYS_FILE_SETATTR,
            libc::AT_FDCWD,
            path.as_ptr(),
            attributes.as_ptr(),
            attributes.len(),
            0,
        )
    };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::{Mode, fstat};
    use std::os::fd::AsFd;

    fn located(path: &std::path::Path) -> std::os::fd::OwnedFd {
        open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW, Mode::empty()).unwrap()
    }

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("sys-metadata-{}-{name}", std::process::id()));
        std::fs::write(&path, b"x").unwrap();
        path
    }

    #[test]
    fn facts_are_those_of_stat() {
        let path = scratch("facts");
        let fd = located(&path);
        let stat = fstat(&fd).unwrap();
        let facts = facts(fd.as_fd()).unwrap();
        assert_eq!((facts.dev, facts.ino), (stat.st_dev, stat.st_ino));
        assert_eq!(facts.mode, stat.st_mode);
        assert!(facts.is(libc::S_IFREG) && !facts.is(libc::S_IFDIR));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_file_system_of_proc_is_proc() {
        let facts = facts(located("/proc/self".as_ref()).as_fd()).unwrap();
        assert_eq!(file_system_of(facts.mount), Ok(libc::PROC_SUPER_MAGIC));
        assert_eq!(file_system_of(u64::MAX), Err(Errno::ENOENT));
        for _ in 0..2 {
            let remembered = file_system_remembered(facts.mount);
            assert_eq!(remembered, Ok(libc::PROC_SUPER_MAGIC));
            assert_eq!(file_system_remembered(u64::MAX), Err(Errno::ENOENT));
        }
    }

    #[test]
    fn what_was_located_is_changed_whatever_its_name_means_now() {
        let path = scratch("renamed");
        let fd = located(&path);
        let elsewhere = path.with_extension("elsewhere");
        std::fs::rename(&path, &elsewhere).unwrap();
        std::fs::write(&path, b"another").unwrap();
        set_mode(path_fd(&fd), 0o641).unwrap();
        let then = libc::timespec {
            tv_sec: 1_000_000_000,
            tv_nsec: 5,
        };
        set_times(path_fd(&fd), Some([then; 2])).unwrap();
        let mine = nix::unistd::geteuid().as_raw();
        set_owner(path_fd(&fd), mine, u32::MAX).unwrap();
        let stat = fstat(&fd).unwrap();
        assert_eq!(stat.st_mode & 0o7777, 0o641);
        assert_eq!((stat.st_mtime, stat.st_mtime_nsec), (1_000_000_000, 5));
        assert_ne!(nix::sys::stat::stat(&path).unwrap().st_mtime, 1_000_000_000);
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(elsewhere).unwrap();
    }

    fn path_fd(fd: &std::os::fd::OwnedFd) -> BorrowedFd<'_> {
        fd.as_fd()
    }

    #[test]
    fn a_symbolic_link_is_changed_itself() {
        let path = scratch("target");
        let link = path.with_extension("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let fd = located(&link);
        let before = nix::sys::stat::stat(&path).unwrap();
        assert_eq!(set_mode(fd.as_fd(), 0o600), Err(Errno::EOPNOTSUPP));
        // User attributes are for files and directories only.
        assert_eq!(set_xattr(fd.as_fd(), c"user.a", b"b", 0), Err(Errno::EPERM));
        let then = libc::timespec {
            tv_sec: 1_000_000_000,
            tv_nsec: 0,
        };
        set_times(fd.as_fd(), Some([then; 2])).unwrap();
        assert_eq!(fstat(&fd).unwrap().st_mtime, 1_000_000_000);
        let after = nix::sys::stat::stat(&path).unwrap();
        assert_eq!(before.st_mtime_nsec, after.st_mtime_nsec);
        std::fs::remove_file(path).unwrap();
        std::fs::remove_file(link).unwrap();
    }
}
