//! An open that waits for somebody, and that can be given up without leaving anything behind.
//!
//! Its process shares the supervisor's table of descriptors, so one that is killed just when its open came to an end would leave
//! a descriptor there that nobody knows of; and whoever opened the other end of a FIFO would have met nobody. So the open is
//! interrupted by a signal, as the kernel would do it for the child: it ends with a descriptor or with `EINTR`, never with both. A
//! signal that comes before the open began would be lost: so the name is taken away first, and what begins then finds nothing.

use crate::raw_syscall;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::{c_int, c_ulong};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicU8, Ordering};

/// What interrupts it. One that nobody notices who has no handler for it.
pub(super) const INTERRUPTION: c_int = libc::SIGURG;

/// No descriptor.
const NONE: i32 = -1;

/// What is to be opened, how, and what came of it. Shared memory.
#[derive(Debug)]
pub(super) struct Opening {
    /// A name that ends in 0; an empty one as soon as it is given up.
    path: Vec<AtomicU8>,
    flags: c_int,
    opened: AtomicI32,
}

/// `struct sigaction` of the kernel, which is not that of the C library.
#[repr(C)]
struct Action {
    handler: extern "C" fn(c_int),
    flags: c_ulong,
    restorer: usize,
    mask: u64,
}

/// That there is a handler is all that it takes: without `SA_RESTART` the call ends with `EINTR`.
extern "C" fn interrupted(_signal: c_int) {}

/// Where a handler returns to (`SA_RESTORER`), since it is not the C library that set it.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
extern "C" fn restorer() {
    std::arch::naked_asm!("mov eax, {call}", "syscall", "ud2", call = const libc::SYS_rt_sigreturn)
}

/// The kernel has a place of its own to return to.
#[cfg(target_arch = "aarch64")]
const RESTORER: (c_ulong, usize) = (0, 0);

impl Opening {
    /// An open of what `fd` holds.
    pub(super) fn new(fd: BorrowedFd<'_>, flags: OFlag) -> Self {
        let path = format!("/proc/self/fd/{}\0", fd.as_raw_fd());
        Self {
            path: path.bytes().map(AtomicU8::new).collect(),
            flags: (flags | OFlag::O_CLOEXEC).bits(),
            opened: AtomicI32::new(NONE),
        }
    }

    /// From now on it opens nothing that it has not begun to open.
    pub(super) fn withdraw(&self) {
        if let Some(first) = self.path.first() {
            first.store(0, Ordering::Release);
        }
    }

    fn is_withdrawn(&self) -> bool {
        let first = self.path.first();
        first.is_none_or(|first| first.load(Ordering::Acquire) == 0)
    }

    /// What was opened, once. To be asked for when the process is gone.
    pub(super) fn take(&self) -> Option<OwnedFd> {
        let number = self.opened.swap(NONE, Ordering::AcqRel);
        // SAFETY: the process stored there a descriptor that it had opened in the table that we share, and nobody else knows of
        // it; it was taken out, so it gets one owner only.
        (number != NONE).then(|| unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// Opens it. System calls only: the memory is the supervisor's.
    pub(super) fn perform(&self) -> Result<(), Errno> {
        let_interrupt()?;
        loop {
            let path = self.path.as_ptr();
            // SAFETY: the path ends in 0 wherever it is read, and is live. The new descriptor is noted below.
            let opened =
                unsafe { raw_syscall!(libc::SYS_openat, libc::AT_FDCWD, path, self.flags) };
            match opened {
                Ok(number) => {
                    self.opened.store(number as i32, Ordering::Release);
                    return Ok(());
                }
                Err(_) if self.is_withdrawn() => return Err(Errno::EINTR),
                // By whom, is not ours to ask: it was not given up.
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Has this process be interrupted by one signal, and hear of no other that can be held back.
fn let_interrupt() -> Result<(), Errno> {
    #[cfg(target_arch = "x86_64")]
    let (flags, restorer) = (0x0400_0000, restorer as extern "C" fn() as usize);
    #[cfg(target_arch = "aarch64")]
    let (flags, restorer) = RESTORER;
    let action = Action {
        handler: interrupted,
        flags,
        restorer,
        mask: 0,
    };
    let at = &raw const action;
    let size = size_of::<u64>();
    let none: usize = 0;
    // SAFETY: the action is live and laid out as the kernel reads it, with 8 bytes of mask. Handlers are this process's own (no
    // CLONE_SIGHAND); this one does nothing, on a stack that has room for what the kernel saves there.
    unsafe { raw_syscall!(libc::SYS_rt_sigaction, INTERRUPTION, at, none, size) }?;
    let blocked: u64 = !(1 << (INTERRUPTION - 1));
    let at = &raw const blocked;
    // SAFETY: the mask is live and of that size; it is about this process only.
    unsafe { raw_syscall!(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, at, none, size) }?;
    Ok(())
}
