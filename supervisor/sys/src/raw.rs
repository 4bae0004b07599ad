//! System calls without a C library: nothing here touches `errno`.
//!
//! The guardian and the child run on the memory of the supervisor (`CLONE_VM`) and share its thread-local storage, where
//! the C library keeps `errno`. A wrapper of the C library would write there while the supervisor reads it. These do not.

use nix::errno::Errno;
use std::ffi::c_long;

/// Makes a system call with up to six arguments and returns what the kernel returned: a value, or a negated errno.
///
/// # Safety
/// As for the call itself: pointers must be valid for what the kernel does with them, and what the call changes (file
/// descriptors, memory, signals) must be the caller's to change.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn syscall(number: c_long, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the x86-64 system call convention (syscall(2)): number in rax, arguments in rdi, rsi, rdx, r10, r8, r9;
    // rcx and r11 are clobbered, the result is in rax. The red zone is not touched by the kernel. The rest is the caller's promise.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r9") args[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Makes a system call with up to six arguments and returns what the kernel returned: a value, or a negated errno.
///
/// # Safety
/// As for the call itself: pointers must be valid for what the kernel does with them, and what the call changes (file
/// descriptors, memory, signals) must be the caller's to change.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub unsafe fn syscall(number: c_long, args: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the arm64 system call convention (syscall(2)): number in x8, arguments in x0 to x5, the result in x0. The
    // rest is the caller's promise.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") args[0] as isize => result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x5") args[5],
            options(nostack),
        );
    }
    result
}

/// Splits what the kernel returned into a value or an errno.
///
/// # Errors
/// The errno that the kernel returned.
#[inline(always)]
pub fn check(result: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&result) {
        Err(Errno::from_raw((-result) as i32))
    } else {
        Ok(result as usize)
    }
}

/// A system call that returns a value or an errno, arguments given one by one and widened to registers.
#[macro_export]
macro_rules! raw_syscall {
    ($number:expr $(, $arg:expr)* $(,)?) => {{
        let given = [$($arg as usize),*];
        let mut args = [0usize; 6];
        let mut at = 0;
        while at < given.len() {
            args[at] = given[at];
            at += 1;
        }
        $crate::raw::check($crate::raw::syscall($number, args))
    }};
}
