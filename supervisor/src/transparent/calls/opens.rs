//! Calls that open files.

use super::Class::Open;
use super::{Base, Call, Wish, call};
use crate::policy::Access;
use crate::transparent::failure::Failure;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::CString;

/// Which file to open, in the words of the child.
#[derive(Debug, Clone)]
pub(in crate::transparent) struct Target {
    /// What a relative path is relative to.
    pub base: Base,
    /// As spelled.
    pub path: CString,
    /// How.
    pub how: Opening,
}

/// How a file is to be opened: what the kernel makes of the arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transparent) struct Opening {
    /// Access mode and flags; none that the kernel would ignore.
    pub flags: OFlag,
    /// With which permissions it is created.
    pub mode: u32,
    /// `RESOLVE_*` of `openat2(2)`.
    pub resolve: u64,
}

/// `O_LARGEFILE`, which 64-bit libraries have as 0.
#[cfg(target_arch = "x86_64")]
const LARGEFILE: i32 = 0o100_000;
/// `O_LARGEFILE`, which 64-bit libraries have as 0.
#[cfg(target_arch = "aarch64")]
const LARGEFILE: i32 = 0o400_000;

/// `O_ASYNC` at an open: known and ignored.
const ASYNC: i32 = 0o20_000;

/// The bit of `O_TMPFILE` that is its own (`__O_TMPFILE`).
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;

/// `VALID_OPEN_FLAGS` (linux/fcntl.h): `open` ignores the others, `openat2` does not take them.
const KNOWN: i32 = libc::O_ACCMODE
    | libc::O_CREAT
    | libc::O_EXCL
    | libc::O_NOCTTY
    | libc::O_TRUNC
    | libc::O_APPEND
    | libc::O_NONBLOCK
    | libc::O_SYNC
    | libc::O_DSYNC
    | ASYNC
    | libc::O_DIRECT
    | LARGEFILE
    | libc::O_DIRECTORY
    | libc::O_NOFOLLOW
    | libc::O_NOATIME
    | libc::O_CLOEXEC
    | libc::O_PATH
    | TMPFILE;

/// What counts with `O_PATH` (`O_PATH_FLAGS`).
const WITH_PATH: i32 = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_PATH | libc::O_CLOEXEC;

/// Every `RESOLVE_*` that there is (linux/openat2.h).
const RESOLVE: u64 = 0x3f;
/// Two of them that exclude each other.
const BENEATH_AND_IN_ROOT: u64 = libc::RESOLVE_BENEATH | libc::RESOLVE_IN_ROOT;
/// `RESOLVE_CACHED` (linux/openat2.h, 5.12).
const CACHED: u64 = 0x20;

impl Opening {
    /// As `open(2)` and `openat(2)` understand it.
    fn lenient(flags: i32, mode: u32) -> Result<Self, Failure> {
        let flags = flags & KNOWN;
        let flags = match flags & libc::O_PATH {
            0 => flags,
            _ => flags & WITH_PATH,
        };
        let mode = match flags & (libc::O_CREAT | TMPFILE) {
            0 => 0,
            _ => mode & 0o7777,
        };
        Self::checked(flags, mode, 0)
    }

    /// As `openat2(2)` understands it.
    fn strict(flags: u64, mode: u64, resolve: u64) -> Result<Self, Failure> {
        let invalid = || Err(Errno::EINVAL.into());
        let Ok(flags) = i32::try_from(flags) else {
            return invalid();
        };
        let makes = flags & (libc::O_CREAT | TMPFILE) != 0;
        let with_path = flags & libc::O_PATH != 0;
        if flags & !KNOWN != 0
            || resolve & !RESOLVE != 0
            || resolve & BENEATH_AND_IN_ROOT == BENEATH_AND_IN_ROOT
            || mode & !0o7777 != 0
            || (mode != 0 && !makes)
            || (with_path && flags & !WITH_PATH != 0)
        {
            return invalid();
        }
        let changes = libc::O_TRUNC | libc::O_CREAT | TMPFILE;
        if resolve & CACHED != 0 && flags & changes != 0 {
            return Err(Errno::EAGAIN.into());
        }
        Self::checked(flags, mode as u32, resolve)
    }

    fn checked(flags: i32, mode: u32, resolve: u64) -> Result<Self, Failure> {
        let opening = Self {
            flags: OFlag::from_bits_retain(flags & !LARGEFILE & !ASYNC),
            mode,
            resolve,
        };
        let both = libc::O_CREAT | libc::O_DIRECTORY;
        if flags & both == both {
            return Err(Errno::EINVAL.into());
        }
        let temporary = flags & libc::O_TMPFILE;
        if temporary & TMPFILE != 0
            && (temporary != libc::O_TMPFILE || !opening.access().contains(Access::WRITE))
        {
            return Err(Errno::EINVAL.into());
        }
        if flags & libc::O_PATH == 0 && flags & libc::O_ACCMODE == libc::O_ACCMODE {
            let why = "asks neither to read nor to write, but to send requests to a driver";
            return Err(Failure::Refused(Errno::EACCES, why));
        }
        if mode & (libc::S_ISUID | libc::S_ISGID) != 0 {
            let why = "a file is never made set-user-ID or set-group-ID";
            return Err(Failure::Refused(Errno::EPERM, why));
        }
        Ok(opening)
    }

    /// Whether all of these flags are set.
    pub fn has(self, flags: OFlag) -> bool {
        self.flags.contains(flags)
    }

    /// Whether what is not there is made.
    pub fn creates(self) -> bool {
        self.has(OFlag::O_CREAT)
    }

    /// Whether a file without a name is made in a directory.
    pub fn is_temporary(self) -> bool {
        self.flags.bits() & TMPFILE != 0
    }

    /// Whether a symbolic link at the end of the path stands for its target.
    pub fn follows(self) -> bool {
        !self.has(OFlag::O_NOFOLLOW) && !self.has(OFlag::O_CREAT | OFlag::O_EXCL)
    }

    /// Whether the walk must stay below (or inside) what it begins at.
    pub fn is_contained(self) -> bool {
        self.resolve & BENEATH_AND_IN_ROOT != 0
    }

    /// The rights to a file that is there. (What is made takes the right to write, whatever it is then opened for.)
    pub fn access(self) -> Access {
        if self.has(OFlag::O_PATH) {
            return Access::NONE;
        }
        let access = match self.flags & OFlag::O_ACCMODE {
            OFlag::O_RDONLY => Access::READ,
            OFlag::O_WRONLY => Access::WRITE,
            _ => Access::READ | Access::WRITE,
        };
        match self.has(OFlag::O_TRUNC) {
            true => access | Access::WRITE,
            false => access,
        }
    }
}

pub(super) static TABLE: &[Call] = &[
    call(libc::SYS_openat, "openat", Open, |r| {
        let how = Opening::lenient(r.int(2), r.unsigned(3))?;
        target(base(r.int(0)), r.path(1)?, how)
    }),
    call(libc::SYS_openat2, "openat2", Open, |r| {
        // `struct open_how`: flags, mode, resolve (64 bits each).
        let how = r.structure(2, r.size(3), 24)?;
        if how[24..].iter().any(|byte| *byte != 0) {
            return Err(Errno::E2BIG.into());
        }
        let word =
            |at: usize| u64::from_ne_bytes(how[8 * at..8 * at + 8].try_into().expect("8 bytes"));
        let how = Opening::strict(word(0), word(1), word(2))?;
        target(base(r.int(0)), r.path(1)?, how)
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_open, "open", Open, |r| {
        let how = Opening::lenient(r.int(1), r.unsigned(2))?;
        target(Base::WorkingDirectory, r.path(0)?, how)
    }),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_creat, "creat", Open, |r| {
        let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
        let how = Opening::lenient(flags, r.unsigned(1))?;
        target(Base::WorkingDirectory, r.path(0)?, how)
    }),
];

fn base(number: i32) -> Base {
    match number {
        libc::AT_FDCWD => Base::WorkingDirectory,
        number => Base::Descriptor(number),
    }
}

fn target(base: Base, path: CString, how: Opening) -> Result<Wish, Failure> {
    Ok(Wish::Open(Target { base, path, how }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(result: Result<Opening, Failure>) -> Errno {
        match result {
            Err(Failure::Native(errno)) => errno,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn open_ignores_what_it_does_not_know_and_openat2_refuses_it() {
        let unknown = 0o100_000_000;
        let opening = Opening::lenient(libc::O_WRONLY | unknown, 0o7_0777).unwrap();
        assert_eq!(opening.flags, OFlag::O_WRONLY);
        assert_eq!(opening.mode, 0);
        let strict = |flags: i32, mode, resolve| Opening::strict(flags as u64, mode, resolve);
        assert_eq!(errno(strict(unknown, 0, 0)), Errno::EINVAL);
        assert_eq!(errno(strict(-1, 0, 0)), Errno::EINVAL);
        assert_eq!(errno(strict(libc::O_RDONLY, 0o600, 0)), Errno::EINVAL);
        assert_eq!(errno(strict(libc::O_CREAT, 0o10_0600, 0)), Errno::EINVAL);
        assert_eq!(errno(strict(libc::O_RDONLY, 0, 0x40)), Errno::EINVAL);
        assert_eq!(errno(strict(libc::O_RDONLY, 0, 0x18)), Errno::EINVAL);
        assert_eq!(errno(strict(libc::O_CREAT, 0o600, CACHED)), Errno::EAGAIN);
        let path = libc::O_PATH | libc::O_RDWR;
        assert_eq!(errno(strict(path, 0, 0)), Errno::EINVAL);
        assert_eq!(Opening::lenient(path, 0).unwrap().access(), Access::NONE);
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused_as_the_kernel_does() {
        let lenient = |flags| errno(Opening::lenient(flags, 0o600));
        assert_eq!(lenient(libc::O_CREAT | libc::O_DIRECTORY), Errno::EINVAL);
        assert_eq!(lenient(TMPFILE | libc::O_RDWR), Errno::EINVAL);
        assert_eq!(lenient(libc::O_TMPFILE | libc::O_RDONLY), Errno::EINVAL);
        let temporary = Opening::lenient(libc::O_TMPFILE | libc::O_RDWR, 0o600).unwrap();
        assert!(temporary.is_temporary() && !temporary.creates());
    }

    #[test]
    fn what_no_open_may_ask_for_is_refused() {
        let driver = Opening::lenient(libc::O_ACCMODE, 0);
        assert!(matches!(driver, Err(Failure::Refused(Errno::EACCES, _))));
        let program = Opening::strict((libc::O_CREAT | libc::O_WRONLY) as u64, 0o4755, 0);
        assert!(matches!(program, Err(Failure::Refused(Errno::EPERM, _))));
    }

    #[test]
    fn rights_follow_from_mode_and_flags() {
        let access = |flags| Opening::lenient(flags, 0o600).unwrap().access();
        let both = Access::READ | Access::WRITE;
        assert_eq!(access(libc::O_RDONLY), Access::READ);
        assert_eq!(access(libc::O_WRONLY), Access::WRITE);
        assert_eq!(access(libc::O_RDWR), both);
        assert_eq!(access(libc::O_RDONLY | libc::O_TRUNC), both);
        assert_eq!(access(libc::O_WRONLY | libc::O_CREAT), Access::WRITE);
    }
}
