//! Another program, stopped between two of its system calls.

use nix::errno::Errno;
use std::ffi::c_long;

/// How a system call is marked among stops (`PTRACE_O_TRACESYSGOOD`).
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// `struct ptrace_syscall_info` (linux/ptrace.h), as much of it as is looked at here.
#[repr(C)]
#[derive(Default)]
struct Info {
    op: u8,
    arch: u32,
    instruction: u64,
    stack: u64,
    words: [u64; 8],
}

/// `PTRACE_SYSCALL_INFO_ENTRY`.
const ENTRY: u8 = 1;
const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;

/// Where a traced thread stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Before a call of that number; the second is its second argument.
    Before(i64, u64),
    /// After one.
    After,
}

/// A thread that runs from call to call. Let go when dropped. Only the thread that began this can go on with it.
pub struct Traced(i32);

impl Traced {
    /// Takes hold of the first thread of a child of ours.
    pub fn seize(pid: i32) -> Result<Self, Errno> {
        ptrace(
            libc::PTRACE_SEIZE,
            pid,
            0,
            libc::PTRACE_O_TRACESYSGOOD as usize,
        )?;
        let traced = Self(pid);
        ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0)?;
        traced.wait()?;
        Ok(traced)
    }

    /// Runs to the next call, or to the end of this one.
    pub fn step(&self) -> Result<Stop, Errno> {
        let mut signal = 0;
        loop {
            ptrace(libc::PTRACE_SYSCALL, self.0, 0, signal as usize)?;
            let status = self.wait()?;
            // A stop that is not for a signal has its reason above it.
            signal = match (libc::WSTOPSIG(status), status >> 16) {
                (SYSCALL_STOP, _) => break,
                (signal, 0) => signal,
                _ => 0,
            };
        }
        let mut info = Info::default();
        ptrace(
            PTRACE_GET_SYSCALL_INFO,
            self.0,
            size_of::<Info>(),
            &raw mut info as usize,
        )?;
        Ok(match info.op {
            ENTRY => Stop::Before(info.words[0] as i64, info.words[2]),
            _ => Stop::After,
        })
    }

    fn wait(&self) -> Result<i32, Errno> {
        let mut status = 0;
        // SAFETY: writes one number to a live one.
        Errno::result(unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) })?;
        match libc::WIFSTOPPED(status) {
            true => Ok(status),
            false => panic!("what was traced ended: {status:x}"),
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // Gone, or ours to let go.
        let _gone = ptrace(libc::PTRACE_DETACH, self.0, 0, 0);
    }
}

fn ptrace(request: u32, pid: i32, address: usize, data: usize) -> Result<c_long, Errno> {
    // SAFETY: of the requests made here one writes, to a structure that lives and is as large as `address` says.
    Errno::result(unsafe { libc::ptrace(request, pid, address, data) })
}
