//! The face for C: `include/supervise.h`. The only unsafe code of this crate.
#![allow(unsafe_code, reason = "pointers come from C")]

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::{OpenOptions, connect};

/// Whether there is a supervisor to ask: 1, or 0.
#[unsafe(no_mangle)]
pub extern "C" fn supervise_available() -> c_int {
    c_int::from(connect().is_ok())
}

/// As `open(2)`; where that gives `EACCES`, the supervisor is asked.
///
/// # Safety
/// `path` is null or points to a string that ends in NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn supervise_open(
    path: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
) -> c_int {
    // SAFETY: the caller's promise is `given`'s.
    let Some(path) = (unsafe { given(path) }) else {
        return failed(Errno::EFAULT);
    };
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    let opened = match native(path, flags, mode) {
        // What cannot be asked for stays refused.
        Err(Errno::EACCES) => OpenOptions::from_c(flags, mode)
            .map_err(|_| Errno::EACCES)
            .and_then(|options| asked(path, &options)),
        opened => opened,
    };
    answered(opened, flags)
}

/// Asks the supervisor, whatever the kernel would say. `why` may be null.
///
/// # Safety
/// `path` and `why` are each null or point to a string that ends in NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn supervise_request(
    path: *const c_char,
    flags: c_int,
    mode: libc::mode_t,
    why: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise is `given`'s, for both.
    let (path, why) = unsafe { (given(path), given(why)) };
    let Some(path) = path else {
        return failed(Errno::EFAULT);
    };
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    let opened = OpenOptions::from_c(flags, mode)
        .map_err(|error| error.errno())
        .and_then(|options| match why {
            Some(why) => asked(path, &options.why(why.to_string_lossy())),
            None => asked(path, &options),
        });
    answered(opened, flags)
}

fn asked(path: &Path, options: &OpenOptions) -> nix::Result<OwnedFd> {
    let asked = connect().and_then(|client| client.open(path, options));
    asked.map(OwnedFd::from).map_err(|error| error.errno())
}

/// The string at a pointer that may be null.
///
/// # Safety
/// The pointer is null, or points to a string that ends in NUL and outlives the result.
unsafe fn given<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: it is not null, so by the caller's promise it points to a string that ends in NUL.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// The very call that the program would have made.
fn native(path: &Path, flags: c_int, mode: libc::mode_t) -> nix::Result<OwnedFd> {
    use nix::fcntl::OFlag;
    use nix::sys::stat::Mode;
    let flags = OFlag::from_bits_retain(flags | libc::O_CLOEXEC);
    nix::fcntl::open(path, flags, Mode::from_bits_retain(mode))
}

/// Gives the descriptor away, open across exec unless it was asked to be closed.
fn answered(opened: nix::Result<OwnedFd>, flags: c_int) -> c_int {
    let kept = opened.and_then(|fd| {
        if flags & libc::O_CLOEXEC == 0 {
            fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(fd)
    });
    match kept {
        Ok(fd) => fd.into_raw_fd(),
        Err(errno) => failed(errno),
    }
}

fn failed(errno: Errno) -> c_int {
    errno.set();
    -1
}
