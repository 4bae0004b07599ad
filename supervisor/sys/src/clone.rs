//! `clone(2)` onto a stack of the caller's, sharing memory.
//!
//! Nothing is copied: no page tables, no descriptors when `CLONE_FILES` is given. The price is that the new process must
//! behave as a thread would: no allocation, no lock, no `errno` ([`crate::raw`]).

use crate::raw_syscall;
use nix::errno::Errno;
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;

/// What the new process runs. It must end by `exit_group` or `execve`, never by returning.
pub type Entry = unsafe extern "C" fn(*mut c_void) -> !;

/// A stack for a process that shares our memory, with an inaccessible page below it.
#[derive(Debug)]
pub struct Stack {
    base: NonNull<c_void>,
    length: usize,
}

// SAFETY: the mapping is plain memory that belongs to this value alone; any thread may use or unmap it.
unsafe impl Send for Stack {}
// SAFETY: a shared reference gives no access to the memory, only its address.
unsafe impl Sync for Stack {}

impl Stack {
    const GUARD: usize = 4096;

    /// Maps a stack of `size` bytes, rounded up to pages.
    ///
    /// # Errors
    /// The errno of `mmap` or `mprotect`.
    pub fn new(size: usize) -> Result<Self, Errno> {
        let length = size.next_multiple_of(4096) + Self::GUARD;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory that exists.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let stack = Self {
            base: NonNull::new(base).ok_or(Errno::ENOMEM)?,
            length,
        };
        // SAFETY: the first page of the mapping just made; nobody uses it.
        let result = unsafe { libc::mprotect(base, Self::GUARD, libc::PROT_NONE) };
        Errno::result(result)?;
        Ok(stack)
    }

    /// The address just above the stack, aligned to 16 bytes: where a stack pointer starts.
    fn top(&self) -> usize {
        self.base.as_ptr() as usize + self.length
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, is ours alone, and whoever ran on it is gone: `clone_on` demands it.
        unsafe { libc::munmap(self.base.as_ptr(), self.length) };
    }
}

/// Clones the caller. The new process runs `entry(argument)` on `stack`; the caller gets its pid.
/// With `CLONE_PIDFD` in `flags` the pidfd is written to `pidfd` before either process goes on.
///
/// # Errors
/// The errno of `clone(2)`.
///
/// # Safety
/// `entry` must be sound when it runs at the same time as everything that shares memory with it: it may not allocate, lock,
/// use the C library, or return. `argument` and what it points to, and `stack`, must live until the new process is gone or
/// has executed another program. `flags` must contain `CLONE_VM` and no `CLONE_SETTLS`, `CLONE_CHILD_*` or `CLONE_PARENT_SETTID`.
pub unsafe fn clone_on(
    stack: &Stack,
    flags: c_int,
    entry: Entry,
    argument: *mut c_void,
    pidfd: *mut c_int,
) -> Result<i32, Errno> {
    // SAFETY: the caller's promises are those that are asked for.
    let result = unsafe { clone_raw(stack.top(), flags as usize, entry, argument, pidfd) };
    crate::raw::check(result).map(|pid| pid as i32)
}

/// What the kernel answers to the caller; the new process runs `entry` and never comes here.
///
/// # Safety
/// As for [`clone_on`]; `top` is the end of its stack.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_raw(
    top: usize,
    flags: usize,
    entry: Entry,
    argument: *mut c_void,
    pidfd: *mut c_int,
) -> isize {
    let result: isize;
    // SAFETY: clone(2) on x86-64 takes flags, stack, parent_tid (here: pidfd), child_tid, tls. The child starts behind the
    // same instruction with rax = 0 and the new stack, which is 16-byte aligned as `call` wants it. It finds entry and argument
    // in registers, which clone copies, and never comes back here. In the caller only rax, rcx and r11 change.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") flags,
            in("rsi") top,
            in("rdx") pidfd,
            in("r10") 0usize,
            in("r8") 0usize,
            in("r12") argument,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// What the kernel answers to the caller; the new process runs `entry` and never comes here.
///
/// # Safety
/// As for [`clone_on`]; `top` is the end of its stack.
#[cfg(target_arch = "aarch64")]
unsafe fn clone_raw(
    top: usize,
    flags: usize,
    entry: Entry,
    argument: *mut c_void,
    pidfd: *mut c_int,
) -> isize {
    let result: isize;
    // SAFETY: clone(2) on arm64 takes flags, stack, parent_tid (here: pidfd), tls, child_tid. The child starts behind the
    // same instruction with x0 = 0 and the new, 16-byte aligned stack. It finds entry and argument in registers, which clone
    // copies, and never comes back here. In the caller only x0 changes.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x9",
            "blr x10",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone,
            inlateout("x0") flags as isize => result,
            in("x1") top,
            in("x2") pidfd,
            in("x3") 0usize,
            in("x4") 0usize,
            in("x9") argument,
            in("x10") entry,
        );
    }
    result
}

/// Has the calling process killed when the thread that made it dies. For a process that shares our memory: system calls alone.
///
/// # Errors
/// The errno of `prctl(2)`; `ECONNABORTED` when `parent` is dead already.
pub(crate) fn die_with(parent: c_int) -> Result<(), Errno> {
    // SAFETY: takes numbers; about this process only.
    unsafe {
        raw_syscall!(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG,
            libc::SIGKILL,
            0,
            0,
            0
        )
    }?;
    // It may have died before that.
    // SAFETY: takes nothing.
    match unsafe { raw_syscall!(libc::SYS_getppid) }? == parent as usize {
        true => Ok(()),
        false => Err(Errno::ECONNABORTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::Pid;
    use std::sync::atomic::{AtomicU32, Ordering};

    unsafe extern "C" fn store_and_exit(argument: *mut c_void) -> ! {
        // SAFETY: the test passes a live AtomicU32.
        let cell = unsafe { &*(argument as *const AtomicU32) };
        cell.store(7, Ordering::SeqCst);
        loop {
            // SAFETY: exit_group takes a status and ends this process only.
            let _ended = unsafe { crate::raw_syscall!(libc::SYS_exit_group, 3) };
        }
    }

    #[test]
    fn the_clone_shares_memory_and_exits_alone() {
        let stack = Stack::new(16384).unwrap();
        let cell = AtomicU32::new(0);
        // SAFETY: the entry only stores to an atomic and exits; stack and cell live until it was waited for.
        let pid = unsafe {
            clone_on(
                &stack,
                libc::CLONE_VM | libc::SIGCHLD,
                store_and_exit,
                &raw const cell as *mut c_void,
                std::ptr::null_mut(),
            )
        }
        .unwrap();
        assert_eq!(
            waitpid(Pid::from_raw(pid), None),
            Ok(WaitStatus::Exited(Pid::from_raw(pid), 3))
        );
        assert_eq!(cell.load(Ordering::SeqCst), 7);
    }
}
