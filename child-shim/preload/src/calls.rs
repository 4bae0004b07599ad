//! The functions that stand before those of the C library.
//!
//! `open` and `openat` take their mode only where it is needed. Here it is always taken: on the
//! machines that Linux runs on, an integer that was passed as one of a variable number of arguments lies
//! where a named one would, and one that was not passed is a number like any other, which nobody looks at.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, RawFd};

use libc::{AT_FDCWD, FILE, O_CREAT, O_TRUNC, O_WRONLY, mode_t};
use nix::errno::Errno;

use crate::ask::{instead, is_refusal};
use crate::real::Real;
use crate::stream;

type Open = unsafe extern "C-unwind" fn(*const c_char, c_int, ...) -> c_int;
type OpenAt = unsafe extern "C-unwind" fn(c_int, *const c_char, c_int, ...) -> c_int;
type Checked = unsafe extern "C-unwind" fn(*const c_char, c_int) -> c_int;
type CheckedAt = unsafe extern "C-unwind" fn(c_int, *const c_char, c_int) -> c_int;
type Create = unsafe extern "C-unwind" fn(*const c_char, mode_t) -> c_int;
type OpenStream = unsafe extern "C-unwind" fn(*const c_char, *const c_char) -> *mut FILE;

/// What `fopen` makes files with.
const EVERYBODY: mode_t = 0o666;

/// Defines functions, each of which calls the one of the C library, and then asks for what that was refused.
macro_rules! before {
    ($(
        $name:ident: $kind:ty = $names:expr,
        ($($argument:ident: $type:ty),*) => ($($passed:expr),*), asks $at:expr, $path:ident, $flags:expr, $mode:expr;
    )*) => { $(
        /// As the function of the C library that has this name.
        ///
        /// # Safety
        /// As that one.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($($argument: $type),*) -> c_int {
            static REAL: Real = Real::new(&$names);
            let before = Errno::last_raw();
            let address = REAL.address();
            if address.is_null() {
                return failed(Errno::ENOSYS);
            }
            // SAFETY: it is the function with one of these names, whose type is known; the caller
            // promises what that one needs.
            let native = unsafe { transmute::<*mut c_void, $kind>(address)($($passed),*) };
            if native != -1 || !is_refusal(Errno::last()) {
                return native;
            }
            // SAFETY: the caller promises that the path is a string. (One that the kernel could
            // not read is not refused, but an error of its own.)
            unsafe { opened(before, $at, $path, $flags, $mode) }
        }
    )* };
}

before! {
    open: Open = [c"open"],
    (path: *const c_char, flags: c_int, mode: mode_t) => (path, flags, mode), asks AT_FDCWD, path, flags, mode;
    open64: Open = [c"open64", c"open"],
    (path: *const c_char, flags: c_int, mode: mode_t) => (path, flags, mode), asks AT_FDCWD, path, flags, mode;
    openat: OpenAt = [c"openat"],
    (at: c_int, path: *const c_char, flags: c_int, mode: mode_t) => (at, path, flags, mode), asks at, path, flags, mode;
    openat64: OpenAt = [c"openat64", c"openat"],
    (at: c_int, path: *const c_char, flags: c_int, mode: mode_t) => (at, path, flags, mode), asks at, path, flags, mode;
    creat: Create = [c"creat"],
    (path: *const c_char, mode: mode_t) => (path, mode), asks AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode;
    creat64: Create = [c"creat64", c"creat"],
    (path: *const c_char, mode: mode_t) => (path, mode), asks AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode;
    // What `open` is called where programs are compiled to check themselves.
    __open_2: Checked = [c"__open_2", c"open"],
    (path: *const c_char, flags: c_int) => (path, flags), asks AT_FDCWD, path, flags, 0;
    __open64_2: Checked = [c"__open64_2", c"open64", c"open"],
    (path: *const c_char, flags: c_int) => (path, flags), asks AT_FDCWD, path, flags, 0;
    __openat_2: CheckedAt = [c"__openat_2", c"openat"],
    (at: c_int, path: *const c_char, flags: c_int) => (at, path, flags), asks at, path, flags, 0;
    __openat64_2: CheckedAt = [c"__openat64_2", c"openat64", c"openat"],
    (at: c_int, path: *const c_char, flags: c_int) => (at, path, flags), asks at, path, flags, 0;
}

/// As the function of the C library that has this name.
///
/// # Safety
/// As that one.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fopen(path: *const c_char, mode: *const c_char) -> *mut FILE {
    static REAL: Real = Real::new(&[c"fopen"]);
    // SAFETY: the caller promises what the function needs.
    unsafe { stream_opened(&REAL, path, mode) }
}

/// As the function of the C library that has this name.
///
/// # Safety
/// As that one.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn fopen64(path: *const c_char, mode: *const c_char) -> *mut FILE {
    static REAL: Real = Real::new(&[c"fopen64", c"fopen"]);
    // SAFETY: the caller promises what the function needs.
    unsafe { stream_opened(&REAL, path, mode) }
}

/// The number of the file that the C library has just failed to open, if it is granted; else -1 and the error.
/// `before` is the error that the program had before.
///
/// # Safety
/// `path` points to a string that ends in NUL.
unsafe fn opened(before: i32, at: RawFd, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let native = Errno::last();
    // SAFETY: by the caller's promise.
    match instead(native, at, unsafe { CStr::from_ptr(path) }, flags, mode) {
        Ok(fd) => {
            Errno::set_raw(before);
            fd.into_raw_fd()
        }
        Err(errno) => failed(errno),
    }
}

/// The stream, from the C library or from the supervisor.
///
/// # Safety
/// `real` is one of the `fopen` family, and `path` and `mode` are what that needs.
unsafe fn stream_opened(real: &Real, path: *const c_char, mode: *const c_char) -> *mut FILE {
    let before = Errno::last_raw();
    let address = real.address();
    if address.is_null() {
        Errno::ENOSYS.set();
        return std::ptr::null_mut();
    }
    // SAFETY: by the caller's promise.
    let native = unsafe { transmute::<*mut c_void, OpenStream>(address)(path, mode) };
    let errno = Errno::last();
    if !native.is_null() || !is_refusal(errno) {
        return native;
    }
    // SAFETY: both are strings: the function has read them.
    let (name, letters) = unsafe { (CStr::from_ptr(path), CStr::from_ptr(mode)) };
    let granted = match stream::flags(letters) {
        Some(flags) => instead(errno, AT_FDCWD, name, flags, EVERYBODY),
        None => Err(errno),
    };
    let errno = match granted {
        Ok(fd) => {
            // SAFETY: the descriptor is open, and `mode` is a string.
            let stream = unsafe { libc::fdopen(fd.as_raw_fd(), mode) };
            if !stream.is_null() {
                // It belongs to the stream now.
                let _number = fd.into_raw_fd();
                Errno::set_raw(before);
                return stream;
            }
            Errno::last()
        }
        Err(errno) => errno,
    };
    errno.set();
    std::ptr::null_mut()
}

fn failed(errno: Errno) -> c_int {
    errno.set();
    -1
}
