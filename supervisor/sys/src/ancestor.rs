//! What the kernel may leave to ancestors alone (Yama, `kernel.yama.ptrace_scope`), asked of one where we are none.
//!
//! A process that is no ancestor of those whom it serves has somebody installed here who is. Whoever is refused what it may not do itself
//! asks them: for a descriptor, never for bytes. Without such a one the kernel's refusal stands.

use nix::errno::Errno;
use std::fmt::Debug;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};

/// An ancestor.
pub trait Ancestor: Debug + Send + Sync {
    /// Opens the memory of a thread to be read. Whose number that is must be looked at again afterwards.
    ///
    /// # Errors
    /// The kernel's, to them; `EPERM` when they are gone.
    fn memory(&self, thread: i32) -> Result<OwnedFd, Errno>;

    /// A duplicate of a descriptor of that process.
    ///
    /// # Errors
    /// The kernel's, to them; `EPERM` when they are gone.
    fn descriptor(&self, process: BorrowedFd<'_>, number: i32) -> Result<OwnedFd, Errno>;
}

static ASKED: RwLock<Option<Arc<dyn Ancestor>>> = RwLock::new(None);

/// Has this one asked from now on.
pub fn install(ancestor: Arc<dyn Ancestor>) {
    *ASKED.write().unwrap_or_else(PoisonError::into_inner) = Some(ancestor);
}

/// What came of it; where the kernel does not permit it to us, what comes of asking.
pub(crate) fn or_ask<T>(
    done: Result<T, Errno>,
    ask: impl FnOnce(&dyn Ancestor) -> Result<T, Errno>,
) -> Result<T, Errno> {
    match done {
        Err(Errno::EPERM) => {
            let asked = ASKED.read().unwrap_or_else(PoisonError::into_inner);
            // Nobody waits for the lock while they answer.
            let asked = asked.as_ref().map(Arc::clone);
            asked.map_or(Err(Errno::EPERM), |ancestor| ask(&*ancestor))
        }
        done => done,
    }
}
