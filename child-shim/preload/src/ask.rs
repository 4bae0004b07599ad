//! Asking for one file, in the middle of a program that does not know of it.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::panic::catch_unwind;

use child_shim::{Code, Error, OpenOptions};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::doors::{Found, found};
use crate::path::absolute;

/// The permissions that a file may have.
const MODE: libc::mode_t = 0o7777;

thread_local! {
    /// Whether this thread is asking: what it opens meanwhile, for us or in a signal handler, is
    /// not asked for.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a call failed because something forbids it.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::EACCES | Errno::EPERM)
}

/// The file that the C library refused with `native`, if the supervisor grants it; else what to say.
pub(crate) fn instead(
    native: Errno,
    at: RawFd,
    path: &CStr,
    flags: c_int,
    mode: libc::mode_t,
) -> Result<OwnedFd, Errno> {
    let Some(doors) = found() else {
        return Err(native);
    };
    let Some(_asking) = Asking::begin() else {
        return Err(native);
    };
    // A panic must not get into a program that knows nothing of panics.
    let asked = catch_unwind(|| ask(doors, at, path, flags, mode));
    match asked {
        Ok(Ok(fd)) => Ok(lowest(fd, flags)),
        Ok(Err(error)) => Err(said(&error).unwrap_or(native)),
        Err(_) => Err(native),
    }
}

fn ask(
    doors: &Found,
    at: RawFd,
    path: &CStr,
    flags: c_int,
    mode: libc::mode_t,
) -> Result<OwnedFd, Error> {
    // Where no file can be made, no mode was given.
    let mode = match flags & libc::O_CREAT {
        0 => 0,
        _ => mode & MODE,
    };
    let options = OpenOptions::from_c(flags, mode)?;
    let path = absolute(at, path).ok_or(Error::Native(Errno::EACCES))?;
    doors.ask(|client| Ok(client.request(&path, &options)?.fd))
}

/// What the kernel said to the supervisor about a file that this program may have. A refusal is what
/// the program has heard already.
fn said(error: &Error) -> Option<Errno> {
    match error {
        Error::Refused(refused) if matches!(refused.code, Code::Failed | Code::NoSuchFile) => {
            Some(Errno::from_raw(refused.errno))
        }
        _ => None,
    }
}

/// The same file with the lowest free number, which is what `open` gives, and open across exec
/// unless it was asked to be closed.
fn lowest(fd: OwnedFd, flags: c_int) -> OwnedFd {
    let is_closed = flags & libc::O_CLOEXEC != 0;
    let duplicate = match is_closed {
        true => FcntlArg::F_DUPFD_CLOEXEC(0),
        false => FcntlArg::F_DUPFD(0),
    };
    if let Ok(number) = fcntl(&fd, duplicate) {
        // SAFETY: the call has just made this descriptor, which nobody else owns.
        let other = unsafe { OwnedFd::from_raw_fd(number) };
        if number < fd.as_raw_fd() {
            return other;
        }
    }
    if !is_closed {
        // It fails for no open descriptor.
        let _set = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty()));
    }
    fd
}

/// While it is there, the thread asks, and is not cancelled: cancelling would unwind through us.
struct Asking {
    cancel_state: c_int,
}

// SAFETY: this is how POSIX declares it.
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

/// The same in every C library of Linux.
const PTHREAD_CANCEL_DISABLE: c_int = 1;

impl Asking {
    fn begin() -> Option<Self> {
        if ASKING.replace(true) {
            return None;
        }
        let mut cancel_state = 0;
        // SAFETY: the state is one of the two, and `cancel_state` is ours to write.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &raw mut cancel_state) };
        Some(Self { cancel_state })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut disabled = 0;
        // SAFETY: the state is one that the function gave, and `disabled` is ours to write.
        unsafe { pthread_setcancelstate(self.cancel_state, &raw mut disabled) };
        ASKING.set(false);
    }
}
