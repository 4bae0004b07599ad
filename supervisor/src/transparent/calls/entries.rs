//! Calls that make, remove and move names, and the one that sets the length of a file by its name.

use super::Class::Entry;
use super::{Base, Call, Place, Wish, call, path};
use crate::transparent::failure::Failure;
use crate::transparent::registers::Registers;
use nix::errno::Errno;
use std::ffi::CString;
use sys::entries::Removal;

/// What is to become of which names, in the words of the child.
#[derive(Debug, Clone)]
pub(in crate::transparent) enum Act {
    /// A file is to have this length.
    SetLength(Place, i64),
    /// A new directory, or file of that type, with these permissions.
    Make(Spot, Node),
    /// A name is to be removed.
    Remove(Spot, Removal),
    /// What has the first name is to have the second; flags of `renameat2(2)`.
    Move(Spot, Spot, u32),
    /// An object is to have this name too.
    Link(Place, Spot),
    /// A symbolic link: what it says, and its name.
    Symlink(CString, Spot),
}

/// What is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transparent) enum Node {
    /// A directory, with these permissions.
    Directory(u32),
    /// Something else: type and permissions.
    Other(u32),
}

/// A name that is not looked up to its end, in the words of the child.
#[derive(Debug, Clone)]
pub(in crate::transparent) struct Spot {
    /// What a relative one is relative to.
    pub base: Base,
    /// As spelled. What ails it counts when its turn comes: of two names the first is looked up first.
    pub path: Result<CString, Failure>,
}

pub(super) static TABLE: &[Call] = &[
    call(libc::SYS_truncate, "truncate", Entry, |r| match r.long(1) {
        ..0 => Err(Errno::EINVAL.into()),
        length => Ok(Wish::Entry(Act::SetLength(path(r, true)?, length))),
    }),
    call(libc::SYS_mkdirat, "mkdirat", Entry, |r| {
        make(spot_at(r, 0, 1), Node::Directory(r.mode(2)))
    }),
    call(libc::SYS_mknodat, "mknodat", Entry, |r| {
        node(|| spot_at(r, 0, 1), r.mode_and_type(2))
    }),
    call(libc::SYS_unlinkat, "unlinkat", Entry, |r| {
        let kind = match r.int(2) {
            0 => Removal::Other,
            libc::AT_REMOVEDIR => Removal::Directory,
            _ => return Err(Errno::EINVAL.into()),
        };
        Ok(Wish::Entry(Act::Remove(spot_at(r, 0, 1), kind)))
    }),
    call(libc::SYS_renameat, "renameat", Entry, |r| {
        rename(|| (spot_at(r, 0, 1), spot_at(r, 2, 3)), 0)
    }),
    call(libc::SYS_renameat2, "renameat2", Entry, |r| {
        rename(|| (spot_at(r, 0, 1), spot_at(r, 2, 3)), r.unsigned(4))
    }),
    call(libc::SYS_linkat, "linkat", Entry, |r| {
        let flags = r.int(4);
        if flags & !(libc::AT_SYMLINK_FOLLOW | libc::AT_EMPTY_PATH) != 0 {
            return Err(Errno::EINVAL.into());
        }
        let nofollow = match flags & libc::AT_SYMLINK_FOLLOW {
            0 => libc::AT_SYMLINK_NOFOLLOW,
            _ => 0,
        };
        let object = super::at(r, 0, 1, flags & libc::AT_EMPTY_PATH | nofollow)?;
        Ok(Wish::Entry(Act::Link(object, spot_at(r, 2, 3))))
    }),
    call(libc::SYS_symlinkat, "symlinkat", Entry, |r| {
        symlink(r, || spot_at(r, 1, 2))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_mkdir, "mkdir", Entry, |r| {
        make(spot(r, 0), Node::Directory(r.mode(1)))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_mknod, "mknod", Entry, |r| {
        node(|| spot(r, 0), r.mode_and_type(1))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_unlink, "unlink", Entry, |r| {
        Ok(Wish::Entry(Act::Remove(spot(r, 0), Removal::Other)))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_rmdir, "rmdir", Entry, |r| {
        Ok(Wish::Entry(Act::Remove(spot(r, 0), Removal::Directory)))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_rename, "rename", Entry, |r| {
        rename(|| (spot(r, 0), spot(r, 1)), 0)
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_link, "link", Entry, |r| {
        Ok(Wish::Entry(Act::Link(path(r, false)?, spot(r, 1))))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_symlink, "symlink", Entry, |r| {
        symlink(r, || spot(r, 1))
    }),
];

/// The name in a register, relative to the working directory.
#[cfg(target_arch = "x86_64")]
fn spot(r: &Registers, path: usize) -> Spot {
    Spot {
        base: Base::WorkingDirectory,
        path: r.path(path),
    }
}

/// The name in a register, relative to the descriptor in another.
fn spot_at(r: &Registers, base: usize, path: usize) -> Spot {
    Spot {
        base: Base::of(r.int(base)),
        path: r.path(path),
    }
}

fn make(spot: Spot, node: Node) -> Result<Wish, Failure> {
    Ok(Wish::Entry(Act::Make(spot, node)))
}

/// What the kernel looks at before the name, and what the filter refuses by registers alone.
fn node(spot: impl FnOnce() -> Spot, mode: u32) -> Result<Wish, Failure> {
    match mode & libc::S_IFMT {
        0 | libc::S_IFREG | libc::S_IFIFO | libc::S_IFSOCK | libc::S_IFCHR | libc::S_IFBLK => {}
        libc::S_IFDIR => return Err(Errno::EPERM.into()),
        _ => return Err(Errno::EINVAL.into()),
    }
    if mode & (libc::S_ISUID | libc::S_ISGID) != 0 {
        let why = "a file is never made set-user-ID or set-group-ID";
        return Err(Failure::Refused(Errno::EPERM, why));
    }
    make(spot(), Node::Other(mode))
}

fn rename(spots: impl FnOnce() -> (Spot, Spot), flags: u32) -> Result<Wish, Failure> {
    let is_either = flags & (libc::RENAME_NOREPLACE | libc::RENAME_WHITEOUT) != 0;
    match flags {
        flags if flags > 7 || is_either && flags & libc::RENAME_EXCHANGE != 0 => {
            Err(Errno::EINVAL.into())
        }
        flags if flags & libc::RENAME_WHITEOUT != 0 => {
            let why = "it would leave a device behind";
            Err(Failure::Refused(Errno::EPERM, why))
        }
        flags => {
            let (from, to) = spots();
            Ok(Wish::Entry(Act::Move(from, to, flags)))
        }
    }
}

/// What it says, of which the kernel wants to know nothing but that it is a path, is the first argument.
fn symlink(r: &Registers, spot: impl FnOnce() -> Spot) -> Result<Wish, Failure> {
    let target = r.path(0)?;
    match target.is_empty() {
        true => Err(Errno::ENOENT.into()),
        false => Ok(Wish::Entry(Act::Symlink(target, spot()))),
    }
}
