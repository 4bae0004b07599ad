//! Names, in the ways that programs rarely use: faults, flags, descriptors, threads with a view of their own, and races.

use crate::arguments::Arguments;
use crate::files::{AT_FDCWD, magic_link, open, owned};
use crate::races::{Wavering, against};
use crate::{Answer, call};
use nix::errno::Errno;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, IntoRawFd};

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "entry-faults" => faults(&arguments.path()),
        "link-nameless" => nameless(&arguments.path(), &arguments.text()),
        "entries-of-thread" => of_thread(arguments),
        "race-mkdir" => race_mkdir(arguments),
        "race-mkdir-swap" => race_mkdir_swap(arguments),
        "race-rename" => race_rename(arguments),
        "race-kind" => race_kind(arguments),
        _ => return None,
    })
}

/// No descriptor.
const NONE: i32 = -1;
/// No memory.
const NOWHERE: usize = 16;

/// `entry-faults DIRECTORY`: faults and corners of calls on names, one errno each. The working directory has a `file` and is the
/// caller's; DIRECTORY has one too.
fn faults(directory: &CStr) -> Answer {
    let mut said = Vec::new();
    let mut say = |what: &str, result: Result<i64, Errno>| {
        said.push(match result {
            Ok(value) => format!("{what}={value}"),
            Err(errno) => format!("{what}={errno:?}"),
        });
    };
    let base = open(directory, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let only = open(directory, libc::O_PATH | libc::O_DIRECTORY)?;
    let file = open(c"file", libc::O_RDONLY)?;
    let (base, only, file) = (base.as_raw_fd(), only.as_raw_fd(), file.as_raw_fd());
    let own = format!("/proc/self/fd/{base}/own\0");
    let thread = format!("/proc/thread-self/fd/{only}/thread\0");

    let mkdir =
        |base: i32, path: *const std::ffi::c_char| call!(libc::SYS_mkdirat, base, path, 0o755);
    say("mkdir-null", mkdir(AT_FDCWD, std::ptr::null()));
    say(
        "mkdir-fault",
        call!(libc::SYS_mkdirat, AT_FDCWD, NOWHERE, 0o755),
    );
    say("mkdir-empty-nowhere", mkdir(999, c"".as_ptr()));
    say("mkdir-closed", mkdir(999, c"a".as_ptr()));
    say("mkdir-negative", mkdir(-5, c"a".as_ptr()));
    say("mkdir-in-file", mkdir(file, c"a".as_ptr()));
    say("mkdir-in-base", mkdir(base, c"a".as_ptr()));
    say("mkdir-in-path-only", mkdir(only, c"b".as_ptr()));
    say("mkdir-again", mkdir(only, c"a/".as_ptr()));
    say("mkdir-up", mkdir(only, c"../from-above".as_ptr()));
    say("mkdir-own", mkdir(999, own.as_ptr().cast()));
    say("mkdir-thread", mkdir(999, thread.as_ptr().cast()));
    say(
        "mkdir-set-ids",
        call!(libc::SYS_mkdirat, base, c"c".as_ptr(), 0o7777),
    );
    say(
        "mkdir-high-bits",
        call!(libc::SYS_mkdirat, base, c"d".as_ptr(), 0xffff_0700u32),
    );

    let mknod = |name: &CStr, mode: u32| call!(libc::SYS_mknodat, base, name.as_ptr(), mode, 0);
    say("mknod-directory", mknod(c"n1", libc::S_IFDIR | 0o600));
    say("mknod-link", mknod(c"n2", libc::S_IFLNK | 0o600));
    say("mknod-unknown", mknod(c"n3", 0o170_000));
    say("mknod-nothing", mknod(c"n4", 0o640));
    say("mknod-file", mknod(c"n5", libc::S_IFREG | 0o666));
    say("mknod-sticky", mknod(c"n6", libc::S_IFIFO | 0o1666));
    say(
        "mknod-null",
        call!(libc::SYS_mknodat, base, 0, libc::S_IFREG, 0),
    );
    say(
        "mknod-null-directory",
        call!(libc::SYS_mknodat, base, 0, libc::S_IFDIR, 0),
    );

    let unlink = |base: i32, path: *const std::ffi::c_char, flags: i32| {
        call!(libc::SYS_unlinkat, base, path, flags)
    };
    say("unlink-flags", unlink(AT_FDCWD, std::ptr::null(), 1));
    say("unlink-both", unlink(base, c"n5".as_ptr(), 0x1201));
    say("unlink-null", unlink(AT_FDCWD, std::ptr::null(), 0));
    say("unlink-in-base", unlink(base, c"n5".as_ptr(), 0));
    say("unlink-directory", unlink(base, c"a".as_ptr(), 0));
    say(
        "rmdir-in-base",
        unlink(base, c"a".as_ptr(), libc::AT_REMOVEDIR),
    );
    say(
        "rmdir-base",
        unlink(base, c".".as_ptr(), libc::AT_REMOVEDIR),
    );
    say(
        "rmdir-fault",
        call!(libc::SYS_unlinkat, base, NOWHERE, libc::AT_REMOVEDIR),
    );

    let rename =
        |from: (i32, *const std::ffi::c_char), to: (i32, *const std::ffi::c_char), flags: u32| {
            call!(libc::SYS_renameat2, from.0, from.1, to.0, to.1, flags)
        };
    let (here, there) = ((AT_FDCWD, c"file".as_ptr()), (base, c"moved".as_ptr()));
    let null = std::ptr::null();
    say("rename-flags", rename((NONE, null), (NONE, null), 8));
    say("rename-either", rename((NONE, null), (NONE, null), 3));
    say(
        "rename-whiteout-exchange",
        rename((NONE, null), (NONE, null), 6),
    );
    say(
        "rename-null-absent",
        rename((AT_FDCWD, null), (999, c"x".as_ptr()), 0),
    );
    say(
        "rename-absent-above-null",
        rename((AT_FDCWD, c"no/x".as_ptr()), (AT_FDCWD, null), 0),
    );
    say(
        "rename-absent-null",
        rename((AT_FDCWD, c"no".as_ptr()), (AT_FDCWD, null), 0),
    );
    say("rename-to-closed", rename(here, (999, c"x".as_ptr()), 0));
    say("rename-to-file", rename(here, (file, c"x".as_ptr()), 0));
    say("rename-between", rename(here, there, 0));
    say("rename-back", rename(there, here, libc::RENAME_NOREPLACE));
    say(
        "rename-over",
        rename((only, c"n4".as_ptr()), here, libc::RENAME_NOREPLACE),
    );
    say(
        "renameat",
        call!(
            libc::SYS_renameat,
            only,
            c"n4".as_ptr(),
            base,
            c"n7".as_ptr()
        ),
    );

    let link =
        |from: (i32, *const std::ffi::c_char), to: (i32, *const std::ffi::c_char), flags: i32| {
            call!(libc::SYS_linkat, from.0, from.1, to.0, to.1, flags)
        };
    let second = |name: &'static CStr| (base, name.as_ptr());
    say(
        "link-flags",
        link((NONE, null), (NONE, null), libc::AT_SYMLINK_NOFOLLOW),
    );
    say("link-null", link((AT_FDCWD, null), (AT_FDCWD, null), 0));
    say(
        "link-absent-null",
        link((AT_FDCWD, c"no".as_ptr()), (AT_FDCWD, null), 0),
    );
    say("link-to-null", link(here, (AT_FDCWD, null), 0));
    say("link-between", link(here, second(c"l1"), 0));
    say("link-empty", link((file, c"".as_ptr()), second(c"l2"), 0));
    say(
        "link-itself",
        link((file, c"".as_ptr()), second(c"l2"), libc::AT_EMPTY_PATH),
    );
    say(
        "link-itself-closed",
        link((999, c"".as_ptr()), second(c"l3"), libc::AT_EMPTY_PATH),
    );
    say(
        "link-cwd",
        link((AT_FDCWD, c"".as_ptr()), second(c"l4"), libc::AT_EMPTY_PATH),
    );
    say(
        "link-directory",
        link((base, c"".as_ptr()), second(c"l5"), libc::AT_EMPTY_PATH),
    );
    say(
        "link-apart",
        link((AT_FDCWD, c"/proc/version".as_ptr()), second(c"l6"), 0),
    );

    let symlink = |to: *const std::ffi::c_char, path: *const std::ffi::c_char| {
        call!(libc::SYS_symlinkat, to, base, path)
    };
    say("symlink-null", symlink(null, null));
    say("symlink-empty", symlink(c"".as_ptr(), c"s1".as_ptr()));
    say("symlink-to-null", symlink(c"x".as_ptr(), null));
    say(
        "symlink",
        symlink(c"/anything/at all".as_ptr(), c"s2".as_ptr()),
    );
    say(
        "symlink-in-file",
        call!(libc::SYS_symlinkat, c"x".as_ptr(), file, c"s3".as_ptr()),
    );

    let truncate =
        |path: *const std::ffi::c_char, length: i64| call!(libc::SYS_truncate, path, length);
    say("truncate-negative-null", truncate(null, -1));
    say("truncate-null", truncate(null, 0));
    say("truncate-empty", truncate(c"".as_ptr(), 0));
    say("truncate-least", truncate(c"file".as_ptr(), i64::MIN));
    say("truncate-most", truncate(c"file".as_ptr(), i64::MAX));
    say("truncate-longer", truncate(c"file".as_ptr(), 100_000));
    Ok(said.join(" "))
}

/// `link-nameless NAME HOW`: a name for a file that has none. HOW is how the descriptor was opened and by what it is linked.
fn nameless(name: &CStr, how: &str) -> Answer {
    let tmpfile = |flags: i32| {
        let flags = flags | libc::O_TMPFILE;
        owned(call!(
            libc::SYS_openat,
            AT_FDCWD,
            c".".as_ptr(),
            flags,
            0o600
        ))
    };
    let (fd, by) = match how {
        "written,magic" => (tmpfile(libc::O_RDWR)?, "magic"),
        "written,itself" => (tmpfile(libc::O_WRONLY)?, "itself"),
        "exclusive,magic" => (tmpfile(libc::O_RDWR | libc::O_EXCL)?, "magic"),
        "read,magic" => {
            let written = tmpfile(libc::O_RDWR)?;
            (open(&magic_link(&written), libc::O_RDONLY)?, "magic")
        }
        "unlinked,magic" => {
            let fd = open(c"file", libc::O_RDWR)?;
            call!(libc::SYS_unlinkat, AT_FDCWD, c"file".as_ptr(), 0)?;
            (fd, "magic")
        }
        _ => crate::arguments::misused("there is no such way"),
    };
    let magic = magic_link(&fd);
    let (base, path, flags) = match by {
        "magic" => (AT_FDCWD, magic.as_ptr(), libc::AT_SYMLINK_FOLLOW),
        _ => (fd.as_raw_fd(), c"".as_ptr(), libc::AT_EMPTY_PATH),
    };
    call!(libc::SYS_linkat, base, path, AT_FDCWD, name.as_ptr(), flags).map(|_| String::new())
}

/// `entries-of-thread DIRECTORY NAME`: a thread with a working directory and descriptors of its own makes and moves names there.
fn of_thread(arguments: &mut Arguments) -> Answer {
    let (directory, name) = (arguments.path(), arguments.path());
    let common = open(c".", libc::O_PATH | libc::O_DIRECTORY)?.into_raw_fd();
    let act = || {
        call!(libc::SYS_unshare, libc::CLONE_FS | libc::CLONE_FILES)?;
        call!(libc::SYS_chdir, directory.as_ptr())?;
        call!(libc::SYS_umask, 0o077)?;
        call!(libc::SYS_mkdirat, AT_FDCWD, name.as_ptr(), 0o777)?;
        // To this thread, that number is its own directory.
        let own = open(&name, libc::O_PATH | libc::O_DIRECTORY)?;
        call!(libc::SYS_dup3, own.as_raw_fd(), common, 0)?;
        call!(libc::SYS_mkdirat, common, c"inner".as_ptr(), 0o777)?;
        let own = c"/proc/thread-self/cwd/moved";
        call!(
            libc::SYS_renameat2,
            common,
            c"inner".as_ptr(),
            AT_FDCWD,
            own.as_ptr(),
            0
        )
        .map(|_| String::new())
    };
    std::thread::scope(|scope| scope.spawn(act).join().unwrap_or(Err(Errno::EIO)))
}

/// How often an attempt came to what must not be, succeeded, failed; `attempt` says whether it came to that.
fn tally(tries: i64, mut attempt: impl FnMut() -> Result<bool, Errno>) -> Answer {
    let [mut hit, mut allowed, mut refused] = [0; 3];
    for _ in 0..tries {
        match attempt() {
            Ok(true) => hit += 1,
            Ok(false) => allowed += 1,
            Err(_) => refused += 1,
        }
    }
    Ok(format!("hit={hit} allowed={allowed} refused={refused}"))
}

fn is_there(path: &CStr) -> bool {
    call!(libc::SYS_faccessat, AT_FDCWD, path.as_ptr(), libc::F_OK).is_ok()
}

fn rmdir(path: &CStr) -> Result<i64, Errno> {
    call!(
        libc::SYS_unlinkat,
        AT_FDCWD,
        path.as_ptr(),
        libc::AT_REMOVEDIR
    )
}

fn rename(from: &CStr, to: *const u8, flags: u32) -> Result<i64, Errno> {
    call!(
        libc::SYS_renameat2,
        AT_FDCWD,
        from.as_ptr(),
        AT_FDCWD,
        to,
        flags
    )
}

/// `race-mkdir ALLOWED FORBIDDEN TRIES`: makes a directory whose name is rewritten all the time.
fn race_mkdir(arguments: &mut Arguments) -> Answer {
    let (allowed, forbidden) = (arguments.path(), arguments.path());
    let tries = arguments.number();
    let name = Wavering::new(bytes(&allowed), bytes(&forbidden));
    let attempt = || {
        call!(libc::SYS_mkdirat, AT_FDCWD, name.cells.as_ptr(), 0o700)?;
        rmdir(&allowed).map_or_else(|_| Ok(is_there(&forbidden)), |_| Ok(false))
    };
    against(|| name.waver(), || tally(tries, attempt))
}

/// `race-mkdir-swap ONE OTHER PATH ALLOWED FORBIDDEN TRIES`: makes the directory PATH while two names on the way change places,
/// so that it is ALLOWED or FORBIDDEN.
fn race_mkdir_swap(arguments: &mut Arguments) -> Answer {
    let (one, other, path) = (arguments.path(), arguments.path(), arguments.path());
    let (allowed, forbidden) = (arguments.path(), arguments.path());
    let tries = arguments.number();
    let exchange = || rename(&one, other.as_ptr().cast(), libc::RENAME_EXCHANGE);
    // A race that cannot be run proves nothing.
    exchange()?;
    let attempt = || {
        call!(libc::SYS_mkdirat, AT_FDCWD, path.as_ptr(), 0o700)?;
        rmdir(&allowed).map_or_else(|_| Ok(is_there(&forbidden)), |_| Ok(false))
    };
    against(|| exchange().map_or((), drop), || tally(tries, attempt))
}

/// `race-rename FROM ALLOWED FORBIDDEN TRIES`: moves a file to a name that is rewritten all the time, and back.
fn race_rename(arguments: &mut Arguments) -> Answer {
    let (from, allowed, forbidden) = (arguments.path(), arguments.path(), arguments.path());
    let tries = arguments.number();
    let to = Wavering::new(bytes(&allowed), bytes(&forbidden));
    let attempt = || {
        rename(&from, to.cells.as_ptr().cast(), 0)?;
        rename(&allowed, from.as_ptr().cast(), 0)
            .map_or_else(|_| Ok(is_there(&forbidden)), |_| Ok(false))
    };
    against(|| to.waver(), || tally(tries, attempt))
}

/// `race-kind FILE DIRECTORY TO FORBIDDEN TRIES`: moves a file, which may be where it goes, while it changes places with a directory,
/// which may not: FORBIDDEN would be in it.
fn race_kind(arguments: &mut Arguments) -> Answer {
    let (file, directory) = (arguments.path(), arguments.path());
    let (to, forbidden) = (arguments.path(), arguments.path());
    let tries = arguments.number();
    let exchange = || rename(&file, directory.as_ptr().cast(), libc::RENAME_EXCHANGE);
    exchange().and_then(|_| exchange())?;
    let attempt = || {
        rename(&file, to.as_ptr().cast(), 0)?;
        let is_hit = is_there(&forbidden);
        while rename(&to, file.as_ptr().cast(), libc::RENAME_NOREPLACE) == Err(Errno::EINTR) {}
        Ok(is_hit)
    };
    against(|| exchange().map_or((), drop), || tally(tries, attempt))
}

fn bytes(path: &CStr) -> Vec<u8> {
    path.to_bytes_with_nul().to_vec()
}
