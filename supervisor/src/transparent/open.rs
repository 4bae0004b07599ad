//! Opening what was found, as the caller would have: with its flags and under its umask.

use super::calls::Opening;
use super::failure::Failure;
use super::locate::Located;
use super::target::Found;
use super::thread::Thread;
use crate::broker::{Patience, is_ours_alone, umask};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::fstat;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use sys::making::Making;
use sys::metadata;
use sys::openat2;

/// Whether an open lasts until somebody opens the other end.
pub(super) fn waits_for_another(located: &Located, how: Opening) -> bool {
    let is_fifo = located.facts.is(libc::S_IFIFO);
    let is_half = how.flags & OFlag::O_ACCMODE != OFlag::O_RDWR;
    is_fifo && is_half && !how.has(OFlag::O_NONBLOCK)
}

/// What of an open's flags goes to the kernel when the located object is opened.
const PASSED: OFlag = OFlag::O_ACCMODE
    .union(OFlag::O_APPEND)
    .union(OFlag::O_TRUNC)
    .union(OFlag::O_DIRECT)
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_DSYNC)
    .union(OFlag::O_SYNC)
    .union(OFlag::O_NOATIME);

/// With which flags the kernel opens it for us: the caller's, and no terminal becomes ours.
pub(super) fn flags_of(how: Opening) -> OFlag {
    (how.flags & PASSED) | OFlag::O_NOCTTY
}

/// Flags that the broker does not know.
pub(super) const BEYOND_THE_BROKER: OFlag = OFlag::O_DIRECT
    .union(OFlag::O_DSYNC)
    .union(OFlag::O_SYNC)
    .union(OFlag::O_NOATIME);

/// Those flags of an open file that `F_SETFL` sets: all of them are to be as the caller wants them.
const SETTABLE: OFlag = OFlag::O_APPEND
    .union(OFlag::O_DIRECT)
    .union(OFlag::O_NOATIME);

/// Opens what was found, as the caller would have.
///
/// # Errors
/// The errno of `open(2)`. `EEXIST` when what was to be made is there by now, made by somebody else.
pub(super) fn open(
    thread: Thread,
    found: &Found,
    how: Opening,
    native: bool,
    patience: Patience,
) -> Result<OwnedFd, Errno> {
    let mut flags = flags_of(how);
    if patience == Patience::None || how.has(OFlag::O_NONBLOCK) {
        flags |= OFlag::O_NONBLOCK;
    }
    let fd = match found {
        Found::New { parent, name, .. } => {
            let making = Making::File(flags, how.mode);
            make_under_its_umask(thread, making, parent.fd.as_fd(), name)?
        }
        Found::There(directory) if how.is_temporary() => {
            // `O_EXCL`: it never gets a name.
            flags |= how.flags & OFlag::O_EXCL;
            let making = Making::Unnamed(flags, how.mode);
            make_under_its_umask(thread, making, directory.fd.as_fd(), c".")?
        }
        Found::There(located) => {
            suits(thread, located, how, native)?;
            openat2::reopen(located.fd.as_fd(), flags)?
        }
    };
    if flags.contains(OFlag::O_NONBLOCK) && !how.has(OFlag::O_NONBLOCK) {
        fcntl(&fd, FcntlArg::F_SETFL(how.flags & SETTABLE))?;
    }
    Ok(fd)
}

/// Opens a file that an earlier supervisor may have made for the same call, empty as it is, whatever its mode lets whom do: who makes
/// a file has it open.
///
/// # Errors
/// The errno of what fails; `EEXIST` for a file that is none which was just made.
pub(super) fn open_own(located: &Located, how: Opening) -> Result<OwnedFd, Errno> {
    let facts = fstat(&located.fd)?;
    let is_new = facts.st_size == 0 && facts.st_nlink == 1;
    if !is_new || facts.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(Errno::EEXIST);
    }
    let flags = flags_of(how) | OFlag::O_NONBLOCK;
    let fd = match openat2::reopen(located.fd.as_fd(), flags) {
        Err(Errno::EACCES) => {
            let mode = facts.st_mode & 0o7777;
            metadata::set_mode(located.fd.as_fd(), mode | 0o600)?;
            let opened = openat2::reopen(located.fd.as_fd(), flags);
            metadata::set_mode(located.fd.as_fd(), mode)?;
            opened?
        }
        opened => opened?,
    };
    if !how.has(OFlag::O_NONBLOCK) {
        fcntl(&fd, FcntlArg::F_SETFL(how.flags & SETTABLE))?;
    }
    Ok(fd)
}

fn make_under_its_umask(
    thread: Thread,
    making: Making,
    directory: BorrowedFd<'_>,
    name: &CStr,
) -> Result<OwnedFd, Errno> {
    let mask = thread.umask().map_err(Failure::errno)?;
    let made = umask::make_under(mask, making, directory, name)?;
    made.ok_or(Errno::EIO)
}

/// Says no to what the kernel would refuse by what the object is, and to devices that mean something else to us than to the
/// caller.
pub(super) fn suits(
    thread: Thread,
    located: &Located,
    how: Opening,
    native: bool,
) -> Result<(), Errno> {
    if how.has(OFlag::O_CREAT | OFlag::O_EXCL) {
        return Err(Errno::EEXIST);
    }
    match located.facts.mode & libc::S_IFMT {
        libc::S_IFLNK => Err(Errno::ELOOP),
        libc::S_IFSOCK => Err(Errno::ENXIO),
        // The raw disk below every file of the policy.
        libc::S_IFBLK if !native => Err(Errno::EACCES),
        libc::S_IFCHR => {
            let device = fstat(&located.fd)?.st_rdev;
            match (libc::major(device), libc::minor(device)) {
                // The terminal of whoever opens it: ours, and the caller's as long as it has not left our session.
                (5, 0) if native && is_in_our_session(thread) => Ok(()),
                (5, 0) => Err(Errno::ENXIO),
                _ if native => Ok(()),
                // Only where a rule names them.
                _ if is_ours_alone(device) => Err(Errno::EACCES),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn is_in_our_session(thread: Thread) -> bool {
    let of = |pid| nix::unistd::getsid(pid).ok();
    of(Some(nix::unistd::Pid::from_raw(thread.0))).is_some_and(|session| Some(session) == of(None))
}
