//! Tasks that share what processes usually have for themselves, frames that no signal made, and memory in all its kinds.

use crate::arguments::Arguments;
#[cfg(target_arch = "x86_64")]
use crate::arguments::misused;
use crate::files::{AT_FDCWD, open, owned};
use crate::{Answer, call};
use nix::errno::Errno;
use std::ffi::{CStr, CString};
#[cfg(target_arch = "x86_64")]
use std::io::Write;
use std::os::fd::AsRawFd;

pub fn act(name: &str, arguments: &mut Arguments) -> Option<Answer> {
    Some(match name {
        "in-a-sharer" => in_a_sharer(arguments),
        "forged-frame" => forged_frame(&arguments.path()),
        "forged-mode" => forged_mode(),
        "load" => load(&arguments.path()),
        // `eat-… MEBIBYTES`: as many as there are, or how far it came and why.
        "eat-shared" => many(arguments.number(), || {
            mapped(libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_POPULATE)
        }),
        "eat-remapped" => many(arguments.number(), remapped),
        "eat-memfd" => eat_memfd(arguments.number()),
        "eat-files" => eat_files(&arguments.path(), arguments.number()),
        _ => return None,
    })
}

const SHARED: [(&str, i64); 3] = [
    ("files", libc::CLONE_FILES as i64),
    ("fs", libc::CLONE_FS as i64),
    ("vm", libc::CLONE_VM as i64),
];

/// What a sharer does, and what came of it.
struct Errand {
    act: String,
    path: CString,
    answer: i64,
}

/// `in-a-sharer WHAT ACT PATH`: another process that shares `files`, `fs`, `vm` or several does one of `open` (to read, and the
/// number is the answer), `chdir`, `chmod` (to 666), and ends. Only with `vm` what came of it is known.
fn in_a_sharer(arguments: &mut Arguments) -> Answer {
    let flags = arguments.flags(&SHARED) as i32;
    let mut errand = Errand {
        act: arguments.text(),
        path: arguments.path(),
        answer: -1,
    };
    extern "C" fn run(errand: *mut libc::c_void) -> i32 {
        // SAFETY: this is the structure below, whose owner waits until this task has ended.
        let errand = unsafe { &mut *errand.cast::<Errand>() };
        let path = errand.path.as_ptr();
        let result = match errand.act.as_str() {
            "open" => call!(libc::SYS_openat, AT_FDCWD, path, libc::O_RDONLY, 0),
            "chdir" => call!(libc::SYS_chdir, path),
            "chmod" => call!(libc::SYS_fchmodat, AT_FDCWD, path, 0o666),
            _ => Err(Errno::ENOSYS),
        };
        errand.answer = result.unwrap_or_else(|errno| -(errno as i64));
        i32::from(errand.answer < 0)
    }
    let mut stack = vec![0u128; 8192];
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: the stack is large enough for a few system calls and is freed after the task has ended, as is the errand.
    let task = Errno::result(unsafe {
        libc::clone(
            run,
            top.cast(),
            flags | libc::SIGCHLD,
            (&raw mut errand).cast(),
        )
    })?;
    let mut status = 0i32;
    call!(libc::SYS_wait4, task, &raw mut status, 0, 0)?;
    // Written by somebody else, behind the compiler's back.
    // SAFETY: it is a live field.
    let answer = unsafe { std::ptr::read_volatile(&raw const errand.answer) };
    match (flags & libc::CLONE_VM != 0, status) {
        (true, _) if answer < 0 => Err(Errno::from_raw(-answer as i32)),
        (true, _) => Ok(answer.to_string()),
        (false, 0) => Ok(String::new()),
        (false, status) => Ok(format!("status {status:x}")),
    }
}

/// `forged-frame PATH`: has rt_sigreturn(2) set every register, so that the next thing that happens is openat(2) of the path.
/// The last act of its process.
#[cfg(target_arch = "x86_64")]
fn forged_frame(path: &CStr) -> Answer {
    let path = path.as_ptr() as i64;
    let call = [
        libc::SYS_openat,
        AT_FDCWD as i64,
        path,
        libc::O_RDONLY as i64,
    ];
    // 0x33: the code segment of 64-bit programs.
    forge(after_the_frame as *const () as i64, 0x33, call)
}

/// `forged-mode`: the frame says that the program is one of 32 bits. It ends its process with 42 by the old ABI.
#[cfg(target_arch = "x86_64")]
fn forged_mode() -> Answer {
    // int 0x80, where an address of 32 bits reaches it.
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    let protection = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let code = call!(libc::SYS_mmap, 0, 4096, protection, flags, -1i64, 0)?;
    // SAFETY: the page was just mapped and can be written.
    unsafe { std::ptr::copy_nonoverlapping([0xcdu8, 0x80, 0xf4].as_ptr(), code as *mut u8, 3) };
    // exit of i386 is 1; its first argument is in rbx.
    forge(code, 0x23, [1, 0, 0, 42])
}

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".globl probe_after_the_frame",
    "probe_after_the_frame:",
    "syscall",
    "mov rdi, rax",
    "and rsp, -16",
    "call {landed}",
    "ud2",
    landed = sym landed,
);

// SAFETY: it is what stands above, and is never called by this name.
#[cfg(target_arch = "x86_64")]
unsafe extern "C" {
    #[link_name = "probe_after_the_frame"]
    fn after_the_frame();
}

/// What the call of a forged frame returned.
#[cfg(target_arch = "x86_64")]
extern "C" fn landed(result: i64) -> ! {
    let line = match Errno::result(if result < 0 { -1 } else { result }) {
        Ok(_) => "ok\n".to_owned(),
        Err(_) => format!("errno {:?}\n", Errno::from_raw(-result as i32)),
    };
    let _unheard = std::io::stdout().write_all(line.as_bytes());
    std::process::exit(0);
}

/// Returns from a signal into other code, with another code segment and other registers: number and three arguments, the last in
/// rbx as well.
#[cfg(target_arch = "x86_64")]
fn forge(code: i64, segment: i64, words: [i64; 4]) -> Answer {
    use std::sync::atomic::{AtomicI64, Ordering};
    static FRAME: [AtomicI64; 6] = [const { AtomicI64::new(0) }; 6];
    for (at, word) in FRAME.iter().zip([code, segment].into_iter().chain(words)) {
        at.store(word, Ordering::SeqCst);
    }
    extern "C" fn handle(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let [code, segment, number, first, second, third] =
            FRAME.each_ref().map(|word| word.load(Ordering::SeqCst));
        // SAFETY: the kernel gives every handler the frame that it will return by.
        let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
        for (register, value) in [
            (libc::REG_RIP, code),
            (libc::REG_RAX, number),
            (libc::REG_RDI, first),
            (libc::REG_RSI, second),
            (libc::REG_RDX, third),
            (libc::REG_RBX, third),
        ] {
            registers[register as usize] = value;
        }
        // The code segment is the low word of this one.
        let segments = &mut registers[libc::REG_CSGSFS as usize];
        *segments = *segments & !0xffff | segment;
    }
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the structure is live; the handler only writes to its own frame.
    Errno::result(unsafe {
        libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut())
    })?;
    // SAFETY: takes a number. What runs next is the code above, which ends the process.
    Errno::result(unsafe { libc::raise(libc::SIGUSR2) })?;
    misused("the frame was not returned by")
}

#[cfg(not(target_arch = "x86_64"))]
fn forged_frame(_: &CStr) -> Answer {
    Err(Errno::ENOSYS)
}

#[cfg(not(target_arch = "x86_64"))]
fn forged_mode() -> Answer {
    Err(Errno::ENOSYS)
}

/// `load LIBRARY`: as a program does that has plug-ins.
fn load(path: &CStr) -> Answer {
    // SAFETY: the library is one of the system's, copied; what it does when it is loaded it does for every program.
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    if !handle.is_null() {
        return Ok(String::new());
    }
    // SAFETY: after a failure this is a text, which is copied before the next call.
    let why = unsafe { CStr::from_ptr(libc::dlerror()) }.to_string_lossy();
    Err(match why.contains("Permission denied") {
        true => Errno::EACCES,
        false => Errno::ENOEXEC,
    })
}

fn many(count: i64, mut one: impl FnMut() -> Result<(), Errno>) -> Answer {
    for had in 0..count {
        if let Err(error) = one() {
            return Ok(format!("{had} then {error:?}"));
        }
    }
    Ok(count.to_string())
}

const MEBIBYTE: usize = 1 << 20;

fn mapped(flags: i32) -> Result<(), Errno> {
    mapping(flags).map(drop)
}

fn mapping(flags: i32) -> Result<i64, Errno> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    call!(libc::SYS_mmap, 0, MEBIBYTE, protection, flags, -1i64, 0)
}

/// A mapping whose pages were moved elsewhere, and which is still there: it can be filled again.
fn remapped() -> Result<(), Errno> {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_DONTUNMAP;
    let old = mapping(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE)?;
    call!(libc::SYS_mremap, old, MEBIBYTE, MEBIBYTE, flags, 0)?;
    // SAFETY: the old mapping has not gone, and can be written.
    unsafe { std::ptr::write_bytes(old as *mut u8, 1, MEBIBYTE) };
    Ok(())
}

/// One file without a name, filled.
fn eat_memfd(mebibytes: i64) -> Answer {
    const MFD_NOEXEC_SEAL: i32 = 8;
    static BLOCK: [u8; MEBIBYTE] = [1; MEBIBYTE];
    let name = c"probe".as_ptr();
    let memory = owned(call!(libc::SYS_memfd_create, name, MFD_NOEXEC_SEAL))?;
    many(mebibytes, || {
        let mut left = BLOCK.as_slice();
        while !left.is_empty() {
            let fd = memory.as_raw_fd();
            let written = call!(libc::SYS_write, fd, left.as_ptr(), left.len())?;
            left = &left[written as usize..];
        }
        Ok(())
    })
}

/// `eat-files DIRECTORY COUNT`: that many files with nothing in them.
fn eat_files(directory: &CStr, count: i64) -> Answer {
    let directory = open(directory, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut number = 0;
    many(count, || {
        number += 1;
        let name = CString::new(format!("f{number}")).map_err(|_| Errno::EINVAL)?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL;
        owned(call!(
            libc::SYS_openat,
            directory.as_raw_fd(),
            name.as_ptr(),
            flags,
            0o600
        ))
        .map(drop)
    })
}
