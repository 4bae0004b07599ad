//! Making, removing, moving and linking names in directories that were located; setting the length of a located file.
//!
//! A name is one component, perhaps with slashes behind it. None of these calls follows it: a symbolic link of that name is the
//! entry itself. What follows the directory is the kernel's to look up when the call is made.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, truncate, unlinkat};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What is removed by a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// An empty directory.
    Directory,
    /// Anything else.
    Other,
}

/// Makes a directory. `mode` is subject to the thread's umask.
///
/// # Errors
/// The errno of `mkdirat(2)`.
pub fn make_directory(directory: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<(), Errno> {
    mkdirat(directory, name, Mode::from_bits_retain(mode))
}

/// Makes a file, a FIFO or a socket: never a device, whatever `mode` says. The permissions in it are subject to the thread's
/// umask.
///
/// # Errors
/// The errno of `mknodat(2)`; `EPERM` for a device.
pub fn make_node(directory: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<(), Errno> {
    if matches!(mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK) {
        return Err(Errno::EPERM);
    }
    let kind = SFlag::from_bits_retain(mode & libc::S_IFMT);
    mknodat(
        directory,
        name,
        kind,
        Mode::from_bits_retain(mode & 0o7777),
        0,
    )
}

/// Removes a name.
///
/// # Errors
/// The errno of `unlinkat(2)`.
pub fn remove(directory: BorrowedFd<'_>, name: &CStr, kind: Removal) -> Result<(), Errno> {
    let flag = match kind {
        Removal::Directory => UnlinkatFlags::RemoveDir,
        Removal::Other => UnlinkatFlags::NoRemoveDir,
    };
    unlinkat(directory, name, flag)
}

/// Moves what has one name to another, or has two change places; `flags` as in `renameat2(2)`.
///
/// # Errors
/// The errno of `renameat2(2)`.
pub fn rename(
    from: (BorrowedFd<'_>, &CStr),
    to: (BorrowedFd<'_>, &CStr),
    flags: u32,
) -> Result<(), Errno> {
    // SAFETY: both names are live and end; the rest is numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            from.0.as_raw_fd(),
            from.1.as_ptr(),
            to.0.as_raw_fd(),
            to.1.as_ptr(),
            flags,
        )
    };
    Errno::result(result).map(drop)
}

/// Gives a located object another name; a symbolic link itself, not what it leads to.
///
/// # Errors
/// The errno of `linkat(2)`.
pub fn link(object: BorrowedFd<'_>, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    // The magic link leads to the object itself, and the walk ends there.
    let path = by_number(object);
    linkat(
        AT_FDCWD,
        path.as_str(),
        directory,
        name,
        AtFlags::AT_SYMLINK_FOLLOW,
    )
}

/// Makes a symbolic link.
///
/// # Errors
/// The errno of `symlinkat(2)`.
pub fn symlink(target: &CStr, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    symlinkat(target, directory, name)
}

/// Sets the length of a located file. Waits while somebody else holds a lease on it.
///
/// # Errors
/// The errno of `truncate(2)`.
pub fn set_length(object: BorrowedFd<'_>, length: i64) -> Result<(), Errno> {
    loop {
        match truncate(by_number(object).as_str(), length) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

fn by_number(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openat2::{Lookup, locate};
    use nix::fcntl::OFlag;
    use std::fs;
    use std::os::fd::{AsFd, OwnedFd};
    use std::path::{Path, PathBuf};

    struct Place(PathBuf, OwnedFd);

    impl Place {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("entries-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            let fd = find(&path);
            Self(path, fd)
        }

        fn fd(&self) -> BorrowedFd<'_> {
            self.1.as_fd()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn find(path: &Path) -> OwnedFd {
        locate(None, path, OFlag::O_NOFOLLOW, Lookup::Full).unwrap()
    }

    #[test]
    fn names_are_never_followed() {
        let place = Place::new("follow");
        let at = |name: &str| place.0.join(name);
        fs::create_dir(at("directory")).unwrap();
        symlink(c"directory", place.fd(), c"link").unwrap();
        symlink(c"nowhere", place.fd(), c"dangling").unwrap();
        for name in [
            c"link",
            c"link/",
            c"dangling",
            c"dangling/",
            c"..",
            c".",
            c"/",
        ] {
            assert_eq!(
                make_directory(place.fd(), name, 0o700),
                Err(Errno::EEXIST),
                "{name:?}"
            );
        }
        assert_eq!(
            remove(place.fd(), c"link", Removal::Directory),
            Err(Errno::ENOTDIR)
        );
        assert_eq!(
            remove(place.fd(), c"link/", Removal::Other),
            Err(Errno::ENOTDIR)
        );
        remove(place.fd(), c"link", Removal::Other).unwrap();
        assert!(at("directory").is_dir() && !at("nowhere").exists());
        let moved = (place.fd(), c"moved");
        rename((place.fd(), c"dangling"), moved, 0).unwrap();
        assert_eq!(fs::read_link(at("moved")).unwrap(), Path::new("nowhere"));
        link(find(&at("moved")).as_fd(), place.fd(), c"again").unwrap();
        assert_eq!(fs::read_link(at("again")).unwrap(), Path::new("nowhere"));
    }

    #[test]
    fn what_was_located_is_linked_and_cut_whatever_its_name_means_by_then() {
        let place = Place::new("located");
        let at = |name: &str| place.0.join(name);
        fs::write(at("a"), "first").unwrap();
        let located = find(&at("a"));
        fs::rename(at("a"), at("b")).unwrap();
        fs::write(at("a"), "second").unwrap();
        link(located.as_fd(), place.fd(), c"c").unwrap();
        set_length(located.as_fd(), 2).unwrap();
        assert_eq!(fs::read_to_string(at("c")).unwrap(), "fi");
        assert_eq!(fs::read_to_string(at("a")).unwrap(), "second");
        assert_eq!(set_length(place.fd(), 0), Err(Errno::EISDIR));
    }

    #[test]
    fn no_device_is_made() {
        let place = Place::new("device");
        for kind in [libc::S_IFCHR, libc::S_IFBLK] {
            assert_eq!(make_node(place.fd(), c"a", kind | 0o600), Err(Errno::EPERM));
        }
        for (name, kind) in [(c"b", libc::S_IFIFO), (c"c", libc::S_IFSOCK), (c"d", 0)] {
            make_node(place.fd(), name, kind | 0o600).unwrap();
        }
        assert_eq!(fs::read_dir(&place.0).unwrap().count(), 3);
    }
}
