//! Calls that a supervisor answers in the kernel's place: everything about them that could differ.

use crate::arguments::{Arguments, misused};
use crate::files::{AT_FDCWD, magic_link, open, owned};
use crate::{Answer, call};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

// Numbers that are the same on every architecture, some newer than libc's tables.
const SYS_FCHMODAT2: i64 = 452;
const SYS_SETXATTRAT: i64 = 463;
const SYS_REMOVEXATTRAT: i64 = 466;
const SYS_FILE_SETATTR: i64 = 469;

/// No descriptor; no change of an id.
const NONE: i32 = -1;

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "oddities" => oddities(&arguments.path(), &arguments.path()),
        "nameless" => nameless(&arguments.text(), &arguments.path()),
        "thread-view" => thread_view(arguments),
        "storm" => storm(&arguments.path(), arguments.number()),
        _ => return None,
    })
}

/// `oddities FILE DIRECTORY`: the faults and corners of every call, one errno each. FILE is in the working directory and of the
/// caller; in DIRECTORY there may be anything.
fn oddities(file: &CStr, directory: &CStr) -> Answer {
    let mut said = Vec::new();
    let mut say = |what: &str, result: Result<i64, Errno>| {
        said.push(match result {
            Ok(value) => format!("{what}={value}"),
            Err(errno) => format!("{what}={errno:?}"),
        });
    };
    let path = file.as_ptr();
    let base = open(directory, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let base = base.as_raw_fd();
    let held = open(file, libc::O_RDONLY)?;
    let only = open(file, libc::O_PATH)?;
    let long = CString::new(vec![b'a'; 5000]).map_err(|_| Errno::EINVAL)?;
    let name = CString::new(vec![b'b'; 300]).map_err(|_| Errno::EINVAL)?;
    let below = CString::new([file.to_bytes(), b"/x"].concat()).map_err(|_| Errno::EINVAL)?;
    let slash = CString::new([file.to_bytes(), b"/"].concat()).map_err(|_| Errno::EINVAL)?;
    let up =
        CString::new([b"../".as_slice(), file.to_bytes()].concat()).map_err(|_| Errno::EINVAL)?;
    let then = [1_000_000_000i64, 0, 1_000_000_000, 0];
    let omit = [0i64, libc::UTIME_OMIT, 0, libc::UTIME_OMIT];
    let wrong = [0i64, 2_000_000_000, 0, 0];
    let nowhere = 16usize;

    let chmod = |base: i32, path: *const std::ffi::c_char, mode: u32| {
        call!(libc::SYS_fchmodat, base, path, mode)
    };
    say("mode-null", chmod(AT_FDCWD, std::ptr::null(), 0o600));
    say(
        "mode-fault",
        call!(libc::SYS_fchmodat, AT_FDCWD, nowhere, 0o600),
    );
    say("mode-empty", chmod(AT_FDCWD, c"".as_ptr(), 0o600));
    say("mode-long", chmod(AT_FDCWD, long.as_ptr(), 0o600));
    say("mode-absent", chmod(AT_FDCWD, c"absent".as_ptr(), 0o600));
    say(
        "mode-absent-below",
        chmod(AT_FDCWD, c"absent/x".as_ptr(), 0o600),
    );
    say("mode-below", chmod(AT_FDCWD, below.as_ptr(), 0o600));
    say("mode-slash", chmod(AT_FDCWD, slash.as_ptr(), 0o600));
    say("mode-relative", chmod(AT_FDCWD, path, 0o640));
    say("mode-up", chmod(base, up.as_ptr(), 0o641));
    say("mode-base-is-file", chmod(held.as_raw_fd(), path, 0o600));
    say("mode-no-base", chmod(999, path, 0o600));
    say("mode-negative-base", chmod(-5, path, 0o600));
    say("mode-high-bits", chmod(AT_FDCWD, path, 0xffff_0000 | 0o600));
    say(
        "mode-proc",
        chmod(AT_FDCWD, magic_link(&only).as_ptr(), 0o602),
    );
    say("mode-dev-fd", {
        let spelled =
            CString::new(format!("/dev/fd/{}", held.as_raw_fd())).map_err(|_| Errno::EINVAL)?;
        chmod(AT_FDCWD, spelled.as_ptr(), 0o604)
    });
    say(
        "mode-dev-fd-absent",
        chmod(AT_FDCWD, c"/dev/fd/999".as_ptr(), 0o600),
    );
    let chmod2 = |base: i32, path: *const std::ffi::c_char, flags: i32| {
        call!(SYS_FCHMODAT2, base, path, 0o600, flags)
    };
    say("mode2-flags", chmod2(AT_FDCWD, path, 0x4000));
    say(
        "mode2-itself",
        chmod2(only.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH),
    );
    say(
        "mode2-null",
        chmod2(only.as_raw_fd(), std::ptr::null(), libc::AT_EMPTY_PATH),
    );
    say(
        "mode2-closed",
        chmod2(999, c"".as_ptr(), libc::AT_EMPTY_PATH),
    );
    say("fmode-closed", call!(libc::SYS_fchmod, 999, 0o600));
    say("fmode-negative", call!(libc::SYS_fchmod, NONE, 0o600));
    say(
        "fmode-path-only",
        call!(libc::SYS_fchmod, only.as_raw_fd(), 0o600),
    );

    let chown = |base: i32, path: *const std::ffi::c_char, flags: i32| {
        call!(libc::SYS_fchownat, base, path, NONE, NONE, flags)
    };
    say("owner-flags", chown(AT_FDCWD, path, 1));
    say("owner-base", chown(base, c"..".as_ptr(), 0));
    say(
        "owner-itself",
        chown(only.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH),
    );
    say(
        "owner-cwd",
        chown(AT_FDCWD, c"".as_ptr(), libc::AT_EMPTY_PATH),
    );
    say("owner-empty", chown(AT_FDCWD, c"".as_ptr(), 0));
    say(
        "owner-other",
        call!(libc::SYS_fchownat, AT_FDCWD, path, 12345, NONE, 0),
    );
    say(
        "fowner-path-only",
        call!(libc::SYS_fchown, only.as_raw_fd(), NONE, NONE),
    );

    let times = |base: i32, path: *const std::ffi::c_char, times: *const i64, flags: i32| {
        call!(libc::SYS_utimensat, base, path, times, flags)
    };
    say("times-now", times(AT_FDCWD, path, std::ptr::null(), 0));
    say(
        "times-omit-absent",
        times(AT_FDCWD, c"absent".as_ptr(), omit.as_ptr(), 0),
    );
    say("times-wrong", times(AT_FDCWD, path, wrong.as_ptr(), 0));
    say(
        "times-fault",
        call!(libc::SYS_utimensat, AT_FDCWD, path, nowhere, 0),
    );
    say(
        "times-null-path",
        times(AT_FDCWD, std::ptr::null(), then.as_ptr(), 0),
    );
    say(
        "times-null-flags",
        times(held.as_raw_fd(), std::ptr::null(), then.as_ptr(), 0x100),
    );
    say(
        "times-held",
        times(held.as_raw_fd(), std::ptr::null(), then.as_ptr(), 0),
    );
    say(
        "times-path-only",
        times(only.as_raw_fd(), std::ptr::null(), then.as_ptr(), 0),
    );
    say(
        "times-itself",
        times(
            only.as_raw_fd(),
            c"".as_ptr(),
            then.as_ptr(),
            libc::AT_EMPTY_PATH,
        ),
    );
    say("times-flags", times(AT_FDCWD, path, then.as_ptr(), 0x4000));

    let set = |name: *const std::ffi::c_char, value: *const u8, size: usize, flags: i32| {
        call!(libc::SYS_setxattr, path, name, value, size, flags)
    };
    let value = b"value";
    say("xattr-flags", set(c"user.a".as_ptr(), value.as_ptr(), 5, 8));
    say("xattr-no-name", set(c"".as_ptr(), value.as_ptr(), 5, 0));
    say("xattr-long-name", set(name.as_ptr(), value.as_ptr(), 5, 0));
    say(
        "xattr-null-name",
        set(std::ptr::null(), value.as_ptr(), 5, 0),
    );
    say(
        "xattr-huge",
        set(c"user.a".as_ptr(), value.as_ptr(), 65537, 0),
    );
    say(
        "xattr-fault",
        call!(libc::SYS_setxattr, path, c"user.a".as_ptr(), nowhere, 5, 0),
    );
    say(
        "xattr-nothing",
        set(c"user.a".as_ptr(), std::ptr::null(), 0, 0),
    );
    say(
        "xattr-create",
        set(c"user.a".as_ptr(), value.as_ptr(), 5, libc::XATTR_CREATE),
    );
    say(
        "xattr-replace",
        set(c"user.b".as_ptr(), value.as_ptr(), 5, libc::XATTR_REPLACE),
    );
    say(
        "xattr-space",
        set(c"nothing.a".as_ptr(), value.as_ptr(), 5, 0),
    );
    say(
        "xattr-trusted",
        set(c"trusted.a".as_ptr(), value.as_ptr(), 5, 0),
    );
    say(
        "xattr-capability",
        set(c"security.capability".as_ptr(), value.as_ptr(), 5, 0),
    );
    say(
        "xattr-absent",
        call!(
            libc::SYS_setxattr,
            c"absent".as_ptr(),
            c"user.a".as_ptr(),
            value.as_ptr(),
            5,
            0
        ),
    );
    say(
        "fxattr-path-only",
        call!(
            libc::SYS_fsetxattr,
            only.as_raw_fd(),
            c"user.a".as_ptr(),
            value.as_ptr(),
            5,
            0
        ),
    );
    say(
        "unset-absent",
        call!(libc::SYS_removexattr, path, c"user.z".as_ptr()),
    );
    say(
        "funset",
        call!(libc::SYS_fremovexattr, held.as_raw_fd(), c"user.a".as_ptr()),
    );
    let given = [value.as_ptr() as u64, 5, 7];
    let setat = |base: i32, path: *const std::ffi::c_char, flags: i32, size: usize| {
        call!(
            SYS_SETXATTRAT,
            base,
            path,
            flags,
            c"user.c".as_ptr(),
            given.as_ptr(),
            size
        )
    };
    say("xattrat-small", setat(AT_FDCWD, path, 0, 8));
    say("xattrat-large", setat(AT_FDCWD, path, 0, 5000));
    say("xattrat-newer", setat(AT_FDCWD, path, 0, 24));
    say("xattrat-flags", setat(AT_FDCWD, path, 0x4000, 16));
    say("xattrat", setat(AT_FDCWD, path, 0, 16));
    say(
        "xattrat-itself",
        setat(only.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH, 16),
    );
    say(
        "unsetat-null",
        call!(
            SYS_REMOVEXATTRAT,
            held.as_raw_fd(),
            0,
            libc::AT_EMPTY_PATH,
            c"user.c".as_ptr()
        ),
    );
    let attributes = [0u64; 3];
    let setattr = |base: i32, path: *const std::ffi::c_char, size: usize, flags: i32| {
        call!(
            SYS_FILE_SETATTR,
            base,
            path,
            attributes.as_ptr(),
            size,
            flags
        )
    };
    say("attr-small", setattr(AT_FDCWD, path, 8, 0));
    say("attr-large", setattr(AT_FDCWD, path, 5000, 0));
    say("attr-flags", setattr(AT_FDCWD, path, 24, 1));
    say("attr", setattr(AT_FDCWD, path, 24, 0));
    say(
        "attr-itself",
        setattr(held.as_raw_fd(), c"".as_ptr(), 24, libc::AT_EMPTY_PATH),
    );
    legacy(path, &mut say, nowhere);
    Ok(said.join(" "))
}

#[cfg(target_arch = "x86_64")]
fn legacy(
    path: *const std::ffi::c_char,
    say: &mut impl FnMut(&str, Result<i64, Errno>),
    nowhere: usize,
) {
    let micro = [1_000_000_000i64, 999_999, 1_000_000_000, 0];
    let wrong = [0i64, 1_000_000, 0, 0];
    say("utime-fault", call!(libc::SYS_utime, path, nowhere));
    say("utime-now", call!(libc::SYS_utime, path, 0));
    say("utimes", call!(libc::SYS_utimes, path, micro.as_ptr()));
    say(
        "utimes-wrong",
        call!(libc::SYS_utimes, path, wrong.as_ptr()),
    );
    say(
        "futimesat-null",
        call!(libc::SYS_futimesat, AT_FDCWD, 0, micro.as_ptr()),
    );
    say(
        "futimesat-closed",
        call!(libc::SYS_futimesat, 999, 0, micro.as_ptr()),
    );
}

#[cfg(not(target_arch = "x86_64"))]
fn legacy(_: *const std::ffi::c_char, _: &mut impl FnMut(&str, Result<i64, Errno>), _: usize) {}

/// `nameless KIND FILE`: changes the mode of something that has no name (any more). FILE is unlinked where it is used.
fn nameless(kind: &str, file: &CStr) -> Answer {
    let mut ends = [0i32; 2];
    let mut pipe = || call!(libc::SYS_pipe2, ends.as_mut_ptr(), 0).map(|_| (ends[0], ends[1]));
    let unlinked = |flags: i32| {
        let fd = open(file, flags)?;
        call!(libc::SYS_unlinkat, AT_FDCWD, file.as_ptr(), 0).map(|_| fd)
    };
    let fd = match kind {
        "unlinked-read" => unlinked(libc::O_RDONLY)?,
        "unlinked-written" => unlinked(libc::O_RDWR)?,
        "memfd" => owned(call!(libc::SYS_memfd_create, c"x".as_ptr(), 0))?,
        "pipe-read" => owned(pipe().map(|(read, _)| i64::from(read)))?,
        "pipe-write" => owned(pipe().map(|(_, write)| i64::from(write)))?,
        "tmpfile" => owned(call!(
            libc::SYS_openat,
            AT_FDCWD,
            file.as_ptr(),
            libc::O_TMPFILE | libc::O_RDWR,
            0o600
        ))?,
        _ => misused("there is no such kind"),
    };
    call!(libc::SYS_fchmod, fd.as_raw_fd(), 0o640)?;
    let mut stat = [0u64; 32];
    call!(libc::SYS_fstat, fd.as_raw_fd(), stat.as_mut_ptr()).map(|_| String::new())
}

/// `thread-view DIRECTORY NAME`: a thread with a working directory and descriptors of its own changes the mode of NAME: by its
/// own directory, and by a number that means a file of the same name in the common directory to everybody else.
fn thread_view(arguments: &mut Arguments) -> Answer {
    let (directory, name) = (arguments.path(), arguments.path());
    let common = open(&name, libc::O_RDONLY)?;
    let number = common.as_raw_fd();
    let act = || {
        call!(libc::SYS_unshare, libc::CLONE_FS | libc::CLONE_FILES)?;
        call!(libc::SYS_chdir, directory.as_ptr())?;
        call!(libc::SYS_fchmodat, AT_FDCWD, name.as_ptr(), 0o641)?;
        let own = call!(libc::SYS_openat, AT_FDCWD, name.as_ptr(), libc::O_RDONLY, 0)?;
        call!(libc::SYS_dup3, own, number, 0)?;
        call!(libc::SYS_fchmod, number, 0o642)?;
        let other = c"/proc/thread-self/cwd/other";
        call!(libc::SYS_fchmodat, AT_FDCWD, other.as_ptr(), 0o643).map(|_| String::new())
    };
    std::thread::scope(|scope| scope.spawn(act).join().unwrap_or(Err(Errno::EIO)))
}

/// `storm FILE COUNT`: changes the mode of a file that often, while a handled signal arrives all the time.
fn storm(file: &CStr, count: i64) -> Answer {
    static ARRIVED: AtomicU32 = AtomicU32::new(0);
    extern "C" fn handle(_: i32) {
        ARRIVED.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as extern "C" fn(i32) as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler only counts; the structure is live.
    Errno::result(unsafe {
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut())
    })?;
    // Every 100 microseconds, for as long as this process lives.
    let every = [0i64, 100, 0, 100];
    call!(libc::SYS_setitimer, libc::ITIMER_REAL, every.as_ptr(), 0)?;
    for _ in 0..count {
        call!(libc::SYS_fchmodat, AT_FDCWD, file.as_ptr(), 0o640)?;
    }
    let never = [0i64; 4];
    call!(libc::SYS_setitimer, libc::ITIMER_REAL, never.as_ptr(), 0)?;
    match ARRIVED.load(Ordering::Relaxed) {
        0 => misused("no signal arrived"),
        _ => Ok(String::new()),
    }
}
