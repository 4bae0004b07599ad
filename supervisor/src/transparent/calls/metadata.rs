//! Calls that change what is known about an object, or that ask to be told of changes.

use super::Class::{Metadata, Watch};
use super::{Base, Call, Place, Wish, at, call, descriptor, itself, known, path};
use crate::policy::Access;
use crate::transparent::failure::Failure;
use crate::transparent::registers::Registers;
use nix::errno::Errno;
use std::ffi::CString;
use sys::metadata::{SYS_FCHMODAT2, SYS_FILE_SETATTR, SYS_REMOVEXATTRAT, SYS_SETXATTRAT};

/// What to change.
#[derive(Debug, Clone)]
pub(in crate::transparent) enum Change {
    /// The permissions.
    Mode(u32),
    /// User and group.
    Owner(u32, u32),
    /// Of access and modification; `None`: now.
    Times(Option<[libc::timespec; 2]>),
    /// One extended attribute.
    SetAttribute {
        name: CString,
        value: Vec<u8>,
        flags: i32,
    },
    /// One extended attribute, away with it.
    RemoveAttribute(CString),
    /// The bytes of a `struct file_attr`.
    FileAttributes(Vec<u8>),
    /// Nothing of it, but to be told of changes: the child's number of an inotify instance, and of what.
    Watch { instance: i32, mask: u32 },
}

impl Change {
    /// The right to the object that it takes.
    pub fn access(&self) -> Access {
        match self {
            Self::Watch { .. } => Access::READ,
            _ => Access::WRITE,
        }
    }
}

pub(super) static TABLE: &[Call] = &[
    call(libc::SYS_fchmodat, "fchmodat", Metadata, |r| {
        Ok(change(at(r, 0, 1, 0)?, Change::Mode(r.mode(2))))
    }),
    call(SYS_FCHMODAT2, "fchmodat2", Metadata, |r| {
        Ok(change(at(r, 0, 1, r.int(3))?, Change::Mode(r.mode(2))))
    }),
    call(libc::SYS_fchmod, "fchmod", Metadata, |r| {
        Ok(change(descriptor(r), Change::Mode(r.mode(1))))
    }),
    call(libc::SYS_fchownat, "fchownat", Metadata, |r| {
        let owner = Change::Owner(r.unsigned(2), r.unsigned(3));
        Ok(change(at(r, 0, 1, r.int(4))?, owner))
    }),
    call(libc::SYS_fchown, "fchown", Metadata, |r| {
        let owner = Change::Owner(r.unsigned(1), r.unsigned(2));
        Ok(change(descriptor(r), owner))
    }),
    call(libc::SYS_utimensat, "utimensat", Metadata, |r| {
        let times = timespecs(r, 2)?;
        let omits = |time: &libc::timespec| time.tv_nsec == libc::UTIME_OMIT;
        if times.is_some_and(|both| both.iter().all(omits)) {
            // The kernel does not look at the path then.
            return Ok(Wish::Nothing);
        }
        if r.is_null(1) && r.int(0) != libc::AT_FDCWD {
            return match r.int(3) {
                0 => Ok(change(descriptor(r), Change::Times(times))),
                _ => Err(Errno::EINVAL.into()),
            };
        }
        Ok(change(at(r, 0, 1, r.int(3))?, Change::Times(times)))
    }),
    call(libc::SYS_setxattr, "setxattr", Metadata, |r| {
        let set = set_attribute(r, 1, r.pointer(2), r.size(3), r.int(4))?;
        Ok(change(path(r, true)?, set))
    }),
    call(libc::SYS_lsetxattr, "lsetxattr", Metadata, |r| {
        let set = set_attribute(r, 1, r.pointer(2), r.size(3), r.int(4))?;
        Ok(change(path(r, false)?, set))
    }),
    call(libc::SYS_fsetxattr, "fsetxattr", Metadata, |r| {
        let set = set_attribute(r, 1, r.pointer(2), r.size(3), r.int(4))?;
        Ok(change(descriptor(r), set))
    }),
    call(SYS_SETXATTRAT, "setxattrat", Metadata, |r| {
        // `struct xattr_args`: value (64 bits), size, flags (32 bits each).
        let args = r.structure(4, r.size(5), 16)?;
        if args[16..].iter().any(|byte| *byte != 0) {
            return Err(Errno::E2BIG.into());
        }
        let half =
            |from: usize| u32::from_ne_bytes(args[from..from + 4].try_into().expect("4 bytes"));
        let value = u64::from_ne_bytes(args[..8].try_into().expect("8 bytes"));
        let flags = known(r.int(2))?;
        let set = set_attribute(r, 3, value, half(8) as usize, half(12) as i32)?;
        Ok(change(at_or_null(r, flags)?, set))
    }),
    call(libc::SYS_removexattr, "removexattr", Metadata, |r| {
        let remove = Change::RemoveAttribute(r.attribute_name(1)?);
        Ok(change(path(r, true)?, remove))
    }),
    call(libc::SYS_lremovexattr, "lremovexattr", Metadata, |r| {
        let remove = Change::RemoveAttribute(r.attribute_name(1)?);
        Ok(change(path(r, false)?, remove))
    }),
    call(libc::SYS_fremovexattr, "fremovexattr", Metadata, |r| {
        let remove = Change::RemoveAttribute(r.attribute_name(1)?);
        Ok(change(descriptor(r), remove))
    }),
    call(SYS_REMOVEXATTRAT, "removexattrat", Metadata, |r| {
        let flags = known(r.int(2))?;
        let remove = Change::RemoveAttribute(r.attribute_name(3)?);
        Ok(change(at_or_null(r, flags)?, remove))
    }),
    call(SYS_FILE_SETATTR, "file_setattr", Metadata, |r| {
        let flags = known(r.int(4))?;
        let attributes = r.structure(2, r.size(3), 24)?;
        Ok(change(
            at_or_null(r, flags)?,
            Change::FileAttributes(attributes),
        ))
    }),
    call(
        libc::SYS_inotify_add_watch,
        "inotify_add_watch",
        Watch,
        |r| {
            let mask = r.unsigned(2);
            let place = Place::Path {
                base: Base::WorkingDirectory,
                path: r.path(1)?,
                follow: mask & libc::IN_DONT_FOLLOW == 0,
            };
            let instance = r.int(0);
            Ok(change(place, Change::Watch { instance, mask }))
        },
    ),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_chmod, "chmod", Metadata, |r| {
        Ok(change(path(r, true)?, Change::Mode(r.mode(1))))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_chown, "chown", Metadata, |r| {
        let owner = Change::Owner(r.unsigned(1), r.unsigned(2));
        Ok(change(path(r, true)?, owner))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_lchown, "lchown", Metadata, |r| {
        let owner = Change::Owner(r.unsigned(1), r.unsigned(2));
        Ok(change(path(r, false)?, owner))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_utime, "utime", Metadata, |r| {
        let times = match r.is_null(1) {
            true => None,
            false => Some(r.words::<2>(1)?.map(|seconds| timespec(seconds, 0))),
        };
        Ok(change(path(r, true)?, Change::Times(times)))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_utimes, "utimes", Metadata, |r| {
        let times = timevals(r, 1)?;
        Ok(change(path(r, true)?, Change::Times(times)))
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_futimesat, "futimesat", Metadata, |r| {
        let times = timevals(r, 2)?;
        let place = match r.is_null(1) && r.int(0) != libc::AT_FDCWD {
            true => descriptor(r),
            false => at(r, 0, 1, 0)?,
        };
        Ok(change(place, Change::Times(times)))
    }),
];

fn change(place: Place, change: Change) -> Wish {
    Wish::Change(place, change)
}

/// As [`at`], for the newest calls: to them a null path with `AT_EMPTY_PATH` is an empty one, and a descriptor that stands for
/// itself must be an open file.
fn at_or_null(r: &Registers, flags: i32) -> Result<Place, Failure> {
    let place = match r.is_null(1) && flags & libc::AT_EMPTY_PATH != 0 {
        true => itself(r.int(0)),
        false => at(r, 0, 1, flags)?,
    };
    Ok(match place {
        Place::Descriptor { number, .. } => Place::Descriptor {
            number,
            accepts_path_only: false,
        },
        other => other,
    })
}

fn set_attribute(
    r: &Registers,
    name: usize,
    value: u64,
    size: usize,
    flags: i32,
) -> Result<Change, Failure> {
    if flags & !(libc::XATTR_CREATE | libc::XATTR_REPLACE) != 0 {
        return Err(Errno::EINVAL.into());
    }
    Ok(Change::SetAttribute {
        name: r.attribute_name(name)?,
        value: r.attribute_value(value, size)?,
        flags,
    })
}

fn timespec(seconds: i64, nanoseconds: i64) -> libc::timespec {
    libc::timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    }
}

fn timespecs(r: &Registers, at: usize) -> Result<Option<[libc::timespec; 2]>, Failure> {
    if r.is_null(at) {
        return Ok(None);
    }
    let [a, b, c, d] = r.words::<4>(at)?;
    Ok(Some([timespec(a, b), timespec(c, d)]))
}

/// Microseconds, which the kernel checks before it multiplies them.
#[cfg(target_arch = "x86_64")]
fn timevals(r: &Registers, at: usize) -> Result<Option<[libc::timespec; 2]>, Failure> {
    if r.is_null(at) {
        return Ok(None);
    }
    let [a, b, c, d] = r.words::<4>(at)?;
    if [b, d].iter().any(|part| !(0..1_000_000).contains(part)) {
        return Err(Errno::EINVAL.into());
    }
    Ok(Some([timespec(a, b * 1000), timespec(c, d * 1000)]))
}
