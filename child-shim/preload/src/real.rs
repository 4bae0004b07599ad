//! The functions of the C library that ours stand before.

use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

/// A function, found when it is first called.
pub(crate) struct Real {
    /// Its names, the best first: not every C library has all.
    names: &'static [&'static CStr],
    found: AtomicPtr<c_void>,
}

impl Real {
    pub(crate) const fn new(names: &'static [&'static CStr]) -> Self {
        Self {
            names,
            found: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Where it is; null where there is none.
    pub(crate) fn address(&self) -> *mut c_void {
        let found = self.found.load(Ordering::Relaxed);
        if !found.is_null() {
            return found;
        }
        for name in self.names {
            // SAFETY: the name ends in NUL, and RTLD_NEXT is the handle for what comes after this
            // library. Threads that search at once find the same.
            let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
            if !found.is_null() {
                self.found.store(found, Ordering::Relaxed);
                return found;
            }
        }
        std::ptr::null_mut()
    }
}
