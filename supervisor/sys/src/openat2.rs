//! Opening files by `openat2(2)`, and opening again what an `O_PATH` descriptor holds.

use crate::metadata::{Facts, facts, file_system_remembered};
use crate::own::by_number;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `RESOLVE_CACHED` (linux/openat2.h, 5.12).
const RESOLVE_CACHED: u64 = 0x20;

/// Whether a file server or a disk may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Only what the kernel has in memory: `EAGAIN` where that is not enough. Never waits.
    Cached,
    /// All of it, however long it takes.
    Full,
}

/// Locates a file: an `O_PATH` descriptor for what `path` names, seen from `directory`. No link of `/proc` that leads to
/// wherever some process has something open is followed.
///
/// # Errors
/// The errno of `openat2(2)`: `EAGAIN` when it is not [`Lookup::Full`] that it takes.
pub fn locate(
    directory: Option<BorrowedFd<'_>>,
    path: &Path,
    flags: OFlag,
    lookup: Lookup,
) -> Result<OwnedFd, Errno> {
    locate_within(directory, path, flags, 0, lookup)
}

/// The same, under restrictions: `RESOLVE_*` of `openat2(2)`.
///
/// # Errors
/// As for [`locate`].
pub fn locate_within(
    directory: Option<BorrowedFd<'_>>,
    path: &Path,
    flags: OFlag,
    restrictions: u64,
    lookup: Lookup,
) -> Result<OwnedFd, Errno> {
    let mut resolve =
        ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::from_bits_retain(restrictions);
    if lookup == Lookup::Cached {
        resolve |= ResolveFlag::from_bits_retain(RESOLVE_CACHED);
    }
    let how = OpenHow::new()
        .flags(flags | OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(resolve);
    again(|| openat2(directory.unwrap_or(AT_FDCWD), path, how))
}

/// Makes a regular file of that name, which must not be there, in a located directory, and opens it. `flags` say how;
/// `mode` is subject to the thread's umask.
///
/// # Errors
/// The errno of `openat2(2)`: `EEXIST` when there is anything of that name, a symbolic link included.
pub fn create(
    directory: BorrowedFd<'_>,
    name: &Path,
    flags: OFlag,
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .mode(Mode::from_bits_truncate(mode))
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    again(|| openat2(directory, name, how))
}

/// Makes a regular file without a name on the file system of a located directory (`O_TMPFILE`), and opens it. `flags` say how;
/// `mode` is subject to the thread's umask.
///
/// # Errors
/// The errno of `openat2(2)`: `EOPNOTSUPP` where the file system has no such files.
pub fn create_unnamed(
    directory: BorrowedFd<'_>,
    flags: OFlag,
    mode: u32,
) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_TMPFILE | OFlag::O_CLOEXEC)
        .mode(Mode::from_bits_truncate(mode))
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    again(|| openat2(directory, ".", how))
}

/// Opens just what `fd` holds, whatever its name means by now. The kernel checks permissions as if it were opened by name.
///
/// # Errors
/// The errno of `open(2)`.
pub fn reopen(fd: BorrowedFd<'_>, flags: OFlag) -> Result<OwnedFd, Errno> {
    by_number(fd, |directory, name| {
        again(|| openat(directory, name, flags | OFlag::O_CLOEXEC, Mode::empty()))
    })
}

/// The present name of what `fd` holds; `None` when it has none any more, or none that we can see.
///
/// # Errors
/// The errno of `readlink(2)` or `statx(2)`; `EAGAIN` when it is not [`Lookup::Full`] that it takes; those of `openat2(2)` that say
/// nothing about the name.
pub fn path_of(fd: BorrowedFd<'_>, lookup: Lookup) -> Result<Option<PathBuf>, Errno> {
    let path = by_number(fd, read_link)?;
    if !path.is_absolute() {
        return Ok(None);
    }
    // The kernel says so of a name that is gone; but a file can also be called so.
    if !path.as_os_str().as_bytes().ends_with(b" (deleted)") {
        return Ok(Some(path));
    }
    let held = facts(fd)?;
    if held.links == 0 {
        return Ok(None);
    }
    match locate(None, &path, OFlag::O_NOFOLLOW, lookup) {
        Ok(named) => {
            let named = facts(named.as_fd())?;
            let is_same = (named.dev, named.ino) == (held.dev, held.ino);
            Ok(is_same.then_some(path))
        }
        // That it is not known from memory does not say that it is gone.
        Err(errno @ (Errno::EAGAIN | Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => Err(errno),
        Err(_) => Ok(None),
    }
}

/// Whether operations on a file may wait for a server: everything but the file systems that are known to be served by
/// the kernel alone.
#[must_use]
pub fn may_wait(facts: &Facts) -> bool {
    magic_of(facts).is_none_or(|magic| !is_local(magic))
}

/// Whether a file system of that magic number is known to be served by the kernel alone.
#[must_use]
pub fn is_local(magic: i64) -> bool {
    /// linux/magic.h, and where it is not in there the file system's own header.
    const LOCAL: [i64; 18] = [
        0xEF53,      // ext2, ext3, ext4
        0x5846_5342, // xfs
        0x9123_683E, // btrfs
        0x0102_1994, // tmpfs
        0x8584_58F6, // ramfs
        0x794C_7630, // overlayfs
        0x9FA0,      // procfs
        0x6265_6572, // sysfs
        0x1CD1,      // devpts
        0x7371_7368, // squashfs
        0xE0F5_E1E2, // erofs
        0xF2F5_2010, // f2fs
        0xCA45_1A4E, // bcachefs
        0x2FC1_2FC1, // zfs
        0x4D44,      // vfat
        0x2011_BAB0, // exfat
        0x9660,      // iso9660
        0x6367_7270, // cgroup2
    ];
    LOCAL.contains(&magic)
}

/// Whether a file is on a procfs, wherever that is mounted; `None` where the kernel cannot say.
#[must_use]
pub fn is_procfs(facts: &Facts) -> Option<bool> {
    const PROC_SUPER_MAGIC: i64 = 0x9FA0;
    magic_of(facts).map(|magic| magic == PROC_SUPER_MAGIC)
}

/// When a file was born, where that tells it from another that is given its number later: nobody can set it, and it stays as long as
/// the number does. Else 0.
#[must_use]
pub fn birth(facts: &Facts) -> u64 {
    /// Others let it be set, have it from a server, or change it when they copy a file that is written to.
    const LASTING: [i64; 5] = [
        0xEF53,      // ext4
        0x5846_5342, // xfs
        0x9123_683E, // btrfs
        0x0102_1994, // tmpfs
        0xF2F5_2010, // f2fs
    ];
    match magic_of(facts) {
        Some(magic) if LASTING.contains(&magic) => facts.born,
        _ => 0,
    }
}

fn magic_of(facts: &Facts) -> Option<i64> {
    file_system_remembered(facts.mount).ok()
}

/// What a link says that is no longer than any path may be.
///
/// # Errors
/// The errno of `readlinkat(2)`; `ENAMETOOLONG` where it was cut off.
fn read_link(directory: BorrowedFd<'_>, name: &CStr) -> Result<PathBuf, Errno> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); libc::PATH_MAX as usize];
    // SAFETY: the name is live and ends; the kernel writes at most as many bytes as there is room for.
    let result = unsafe {
        libc::readlinkat(
            directory.as_raw_fd(),
            name.as_ptr(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
        )
    };
    let length = Errno::result(result)? as usize;
    if length == buffer.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    // SAFETY: the kernel has written so many bytes.
    let text = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast(), length) };
    Ok(PathBuf::from(OsStr::from_bytes(text)))
}

fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("openat2-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path.canonicalize().unwrap()
    }

    #[test]
    fn what_was_located_is_opened_whatever_its_name_means_by_then() {
        let place = place("reopen");
        let path = place.join("a");
        fs::write(&path, "first").unwrap();
        let located = locate(None, &path, OFlag::empty(), Lookup::Full).unwrap();
        assert_eq!(
            path_of(located.as_fd(), Lookup::Full),
            Ok(Some(path.clone()))
        );
        fs::rename(&path, place.join("b")).unwrap();
        fs::write(&path, "second").unwrap();
        assert_eq!(
            path_of(located.as_fd(), Lookup::Full),
            Ok(Some(place.join("b")))
        );
        let mut text = String::new();
        let file = reopen(located.as_fd(), OFlag::O_RDONLY).unwrap();
        fs::File::from(file).read_to_string(&mut text).unwrap();
        assert_eq!(text, "first");
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn a_name_that_is_gone_is_told_from_one_that_looks_so() {
        let place = place("deleted");
        let path = place.join("a (deleted)");
        fs::write(&path, "").unwrap();
        let located = locate(None, &path, OFlag::empty(), Lookup::Full).unwrap();
        assert_eq!(
            path_of(located.as_fd(), Lookup::Full),
            Ok(Some(path.clone()))
        );
        fs::remove_file(&path).unwrap();
        assert_eq!(path_of(located.as_fd(), Lookup::Full), Ok(None));
        // Another file, of the name that the kernel makes up for the one that is gone.
        fs::write(place.join("a (deleted) (deleted)"), "").unwrap();
        assert_eq!(path_of(located.as_fd(), Lookup::Full), Ok(None));
        // One that has another name still is not known from memory to have lost this one.
        let (one, other) = (place.join("one"), place.join("other"));
        fs::write(&one, "").unwrap();
        fs::hard_link(&one, &other).unwrap();
        let located = locate(None, &one, OFlag::empty(), Lookup::Full).unwrap();
        fs::remove_file(&one).unwrap();
        assert_eq!(path_of(located.as_fd(), Lookup::Cached), Err(Errno::EAGAIN));
        assert_eq!(path_of(located.as_fd(), Lookup::Full), Ok(None));
        let (pipe, _other) = nix::unistd::pipe().unwrap();
        assert_eq!(path_of(pipe.as_fd(), Lookup::Full), Ok(None));
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn a_copy_of_this_process_finds_its_own_descriptors() {
        let place = place("copy");
        let [one, other] = ["one", "other"].map(|name| place.join(name));
        fs::write(&one, "").unwrap();
        fs::write(&other, "").unwrap();
        let held = fs::File::open(&one).unwrap();
        assert_eq!(path_of(held.as_fd(), Lookup::Full), Ok(Some(one)));
        // SAFETY: the copy does what a thread may do as well, and leaves without running anything of this process.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                let another = fs::File::open(&other).unwrap();
                // SAFETY: both descriptors are open.
                unsafe { libc::dup2(another.as_raw_fd(), held.as_raw_fd()) };
                let is_found = path_of(held.as_fd(), Lookup::Full) == Ok(Some(other));
                // SAFETY: takes a number and ends the copy.
                unsafe { libc::_exit(i32::from(!is_found)) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let ended = nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(ended, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn links_of_open_files_are_not_followed() {
        let own = Path::new("/proc/self/fd/0");
        let found = locate(None, own, OFlag::empty(), Lookup::Full);
        assert_eq!(found.err(), Some(Errno::ELOOP));
    }

    #[test]
    fn what_is_not_in_memory_is_left_to_those_who_can_wait() {
        let place = place("cached");
        let path = place.join("nobody looked for this yet");
        let found = locate(None, &path, OFlag::empty(), Lookup::Cached);
        assert_eq!(found.err(), Some(Errno::EAGAIN));
        let root = locate(None, Path::new("/"), OFlag::empty(), Lookup::Cached).unwrap();
        assert_eq!(
            path_of(root.as_fd(), Lookup::Full),
            Ok(Some(PathBuf::from("/")))
        );
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn a_file_is_made_only_where_there_is_nothing() {
        let place = place("create");
        symlink("elsewhere", place.join("link")).unwrap();
        let directory = locate(None, &place, OFlag::O_DIRECTORY, Lookup::Full).unwrap();
        let made = |name| create(directory.as_fd(), Path::new(name), OFlag::O_WRONLY, 0o600);
        assert_eq!(made("link").err(), Some(Errno::EEXIST));
        made("new").unwrap();
        assert_eq!(made("new").err(), Some(Errno::EEXIST));
        assert!(!place.join("elsewhere").exists());
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn proc_is_known_and_served_by_the_kernel() {
        let proc = locate(None, Path::new("/proc"), OFlag::empty(), Lookup::Full).unwrap();
        let proc = facts(proc.as_fd()).unwrap();
        if proc.mount != 0 {
            assert_eq!(is_procfs(&proc), Some(true));
            assert!(!may_wait(&proc));
        }
        // A mount that nobody knows may do anything.
        assert!(may_wait(&Facts { mount: 0, ..proc }));
    }
}
