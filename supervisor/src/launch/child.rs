//! Between the clone and the exec: the code that runs as the child on the supervisor's memory.
//!
//! The child, as the [`guardian`](super::guardian) that it is cloned by, is a process that shares memory and thread-local storage
//! with a running supervisor. Both make raw system calls only: no allocation, no lock, no C library, no panic. Everything they use
//! was prepared in [`Plan`]; all they say goes into [`Report`]. Above the floor, unsafe code stands in these two files alone.
#![allow(unsafe_code, reason = "raw system calls between clone and exec")]

use super::Step;
use super::plan::{Image, Parent, Plan, Report, Shared, State};
use nix::errno::Errno;
use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use sys::caps;
use sys::raw_syscall;

/// Enough for the raw code of guardian and child in a build without optimisation.
const STACK: usize = 32 * 1024;

/// A stack for one of them.
pub(super) fn make_stack() -> Result<sys::clone::Stack, (&'static str, Errno)> {
    sys::clone::Stack::new(STACK).map_err(|errno| ("stack", errno))
}

/// Clones a child that becomes a child of our own parent. Returns when it has executed, or failed: the report says how far it came.
///
/// # Errors
/// What could not be done, and the kernel's reason. Then there is no child.
pub(super) fn clone_kept(shared: &Shared) -> Result<(i32, OwnedFd), (&'static str, Errno)> {
    let flags = libc::CLONE_VM
        | libc::CLONE_VFORK
        | libc::CLONE_FILES
        | libc::CLONE_PIDFD
        | libc::CLONE_PARENT
        | libc::SIGCHLD;
    let mask = sys::signals::block_all().map_err(|errno| ("signal mask", errno))?;
    let mut pidfd = -1;
    let argument = std::ptr::from_ref(shared).cast_mut().cast();
    // SAFETY: `child` keeps the rules that clone_on states. This thread is suspended until the child has executed or is gone
    // (VFORK), so stack and Shared live as long as they are used; other threads only read atomics.
    let cloned = unsafe {
        sys::clone::clone_on(&shared.child_stack, flags, child, argument, &raw mut pidfd)
    };
    let restored = sys::signals::restore(mask);
    let pid = cloned.map_err(|errno| ("child", errno))?;
    // SAFETY: the kernel made this descriptor for us (CLONE_PIDFD), and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    restored.map_err(|errno| ("signal mask", errno))?;
    Ok((pid, pidfd))
}

/// The listener that the child's filter has put into our table, if it has come that far. To be asked once.
pub(super) fn take_listener(report: &Report) -> Option<OwnedFd> {
    take(&report.listener)
}

/// A descriptor that the kernel has put into our table for a process that shares it.
pub(super) fn take(number: &AtomicI32) -> Option<OwnedFd> {
    let number = number.swap(0, Ordering::AcqRel);
    // SAFETY: 0 was the initial value (and is what a taken one is set to); anything else is a number that the kernel chose
    // for a new descriptor of this table, of which nobody else knows.
    (number > 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// `struct sigaction` as the kernel has it; all zeroes is SIG_DFL.
#[repr(C)]
pub(super) struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

impl KernelAction {
    /// What the kernel does by itself.
    pub(super) const DEFAULT: Self = Self {
        handler: libc::SIG_DFL,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
}

/// Says how far it came, and why no further.
pub(super) fn fail(report: &Report, step: Step, errno: Errno) {
    report.step.store(step as u32, Ordering::Release);
    report.errno.store(errno as i32, Ordering::Release);
    report.state.store(State::Failed as u32, Ordering::Release);
}

/// The end of guardian or child.
pub(super) fn exit() -> ! {
    loop {
        // SAFETY: ends this process only; it shares no thread group with the supervisor.
        let _ended = unsafe { raw_syscall!(libc::SYS_exit_group, 0) };
    }
}

/// The child: takes the steps in order, then executes the program.
///
/// # Safety
/// As for [`clone_on`](sys::clone::clone_on): `argument` points to a [`Shared`] that outlives this process up to its exec, and whoever
/// cloned it is suspended until we execute or exit.
pub(super) unsafe extern "C" fn child(argument: *mut c_void) -> ! {
    // SAFETY: the caller's promise.
    let shared = unsafe { &*(argument as *const Shared) };
    let (plan, report) = (&shared.plan, &shared.report);
    for (step, take) in STEPS {
        if let Err(errno) = take(plan, report) {
            fail(report, *step, errno);
            exit();
        }
    }
    fail(report, Step::Exec, execute(plan));
    exit()
}

type Take = fn(&Plan, &Report) -> Result<(), Errno>;

/// The order matters:
/// - parent death first, so that nothing below can leave a child without a guardian;
/// - the terminal while nothing is confined, and its descriptor is still the plan's;
/// - limits before capabilities, since raising a hard limit may need one;
/// - the working directory before Landlock, through a descriptor that the parent opened and checked;
/// - capabilities before `no_new_privs` and Landlock, which then need none; the bounding set first, while CAP_SETPCAP is there;
/// - `no_new_privs` before Landlock and seccomp, which demand it of the unprivileged, and after which no exec gains anything;
/// - Landlock before seccomp, so that the filter may forbid what Landlock's own set-up needed;
/// - seccomp while the table of descriptors is still shared: so the listener appears in the supervisor's table, and nothing
///   has to be sent through a call that the filter traps;
/// - then only calls that the filter neither traps nor denies: descriptors and how many there may be, signals, exec.
const STEPS: &[(Step, Take)] = &[
    (Step::ParentDeath, parent_death),
    (Step::OwnSession, own_session),
    (Step::Foreground, own_foreground),
    (Step::Limits, limits),
    (Step::WorkingDirectory, working_directory),
    (Step::Capabilities, capabilities),
    (Step::NoNewPrivileges, no_new_privileges),
    (Step::Landlock, landlock),
    (Step::Seccomp, seccomp),
    (Step::Descriptors, descriptors),
    (Step::StandardStreams, standard_streams),
    (Step::OpenFiles, open_files),
    (Step::Signals, signals),
];

fn parent_death(plan: &Plan, _: &Report) -> Result<(), Errno> {
    let is_fatal = match plan.parent {
        Parent::Guardian => true,
        Parent::Keeper { is_fatal, .. } => is_fatal,
    };
    if is_fatal {
        // SAFETY: scalars only.
        unsafe {
            raw_syscall!(
                libc::SYS_prctl,
                libc::PR_SET_PDEATHSIG,
                libc::SIGKILL,
                0,
                0,
                0
            )?
        };
    }
    // SAFETY: no arguments.
    let parent = unsafe { raw_syscall!(libc::SYS_getppid) }? as i32;
    let is_there = match plan.parent {
        // If the guardian is gone we were given to somebody else: the supervisor or beyond. (It cannot be gone while VFORK suspends
        // it, unless it was killed.)
        Parent::Guardian => parent != plan.supervisor && parent > 1,
        Parent::Keeper { pid, .. } => parent == pid,
    };
    if is_there { Ok(()) } else { Err(Errno::ESRCH) }
}

/// What a keeper watches over has no terminal and gets none: not its keys, and not its end.
fn own_session(plan: &Plan, _: &Report) -> Result<(), Errno> {
    match plan.parent {
        Parent::Guardian => Ok(()),
        // SAFETY: no arguments. A process that was just cloned leads no group, so this cannot fail.
        Parent::Keeper { .. } => unsafe { raw_syscall!(libc::SYS_setsid) }.map(drop),
    }
}

/// A group of its own in the session that the guardian leads, in the foreground of its terminal.
fn own_foreground(plan: &Plan, _: &Report) -> Result<(), Errno> {
    let Some(terminal) = &plan.terminal else {
        return Ok(());
    };
    let inside = terminal.inside.as_raw_fd();
    // SAFETY: numbers, a descriptor that the plan owns, and a live integer that the kernel reads. Every signal is blocked, so that
    // the one that stops who does this from the background is none.
    unsafe {
        raw_syscall!(libc::SYS_setpgid, 0, 0)?;
        let group = raw_syscall!(libc::SYS_getpid)? as i32;
        raw_syscall!(libc::SYS_ioctl, inside, libc::TIOCSPGRP, &raw const group)?;
    }
    Ok(())
}

fn limits(plan: &Plan, _: &Report) -> Result<(), Errno> {
    limit(plan, |resource| resource != sys::process::resource::NOFILE)
}

/// The number of open files is limited last: until it was unshared the table was the supervisor's, whose numbers may be higher than
/// ours may become, the listener's among them.
fn open_files(plan: &Plan, _: &Report) -> Result<(), Errno> {
    limit(plan, |resource| resource == sys::process::resource::NOFILE)
}

fn limit(plan: &Plan, is_meant: fn(u32) -> bool) -> Result<(), Errno> {
    for (resource, limit) in &plan.confinement.limits {
        if !is_meant(*resource) {
            continue;
        }
        // SAFETY: pid 0 is ourselves; the limit is live and of the kernel's layout; no old value is wanted.
        unsafe {
            raw_syscall!(
                libc::SYS_prlimit64,
                0,
                *resource,
                std::ptr::from_ref(limit),
                0
            )?
        };
    }
    Ok(())
}

fn working_directory(plan: &Plan, _: &Report) -> Result<(), Errno> {
    // SAFETY: a descriptor that the plan owns. The working directory is not shared (no CLONE_FS).
    unsafe { raw_syscall!(libc::SYS_fchdir, plan.working_directory.as_raw_fd()) }.map(drop)
}

fn capabilities(plan: &Plan, _: &Report) -> Result<(), Errno> {
    // SAFETY: scalars only.
    unsafe {
        raw_syscall!(
            libc::SYS_prctl,
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0
        )?
    };
    let mut number = 0u8;
    while number < 64 && plan.confinement.shrink_bounding {
        if !plan.confinement.keep_caps.contains(number) {
            // SAFETY: scalars only.
            match unsafe { raw_syscall!(libc::SYS_prctl, libc::PR_CAPBSET_DROP, number, 0, 0, 0) } {
                // Behind the last one that this kernel knows.
                Err(Errno::EINVAL) if number >= caps::NAMED => break,
                result => result?,
            };
        }
        number += 1;
    }
    let mut header = caps::Header {
        version: caps::VERSION_3,
        pid: 0,
    };
    let data = caps::halves(plan.confinement.keep_caps, true);
    // SAFETY: a live header and two live halves of version 3.
    unsafe { raw_syscall!(libc::SYS_capset, &raw mut header, data.as_ptr())? };
    let mut number = 0u8;
    while number < 64 {
        if plan.confinement.keep_caps.contains(number) {
            // SAFETY: scalars only.
            unsafe {
                raw_syscall!(
                    libc::SYS_prctl,
                    libc::PR_CAP_AMBIENT,
                    libc::PR_CAP_AMBIENT_RAISE,
                    number,
                    0,
                    0
                )?
            };
        }
        number += 1;
    }
    Ok(())
}

fn no_new_privileges(_: &Plan, _: &Report) -> Result<(), Errno> {
    // SAFETY: scalars only.
    unsafe { raw_syscall!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.map(drop)
}

fn landlock(plan: &Plan, _: &Report) -> Result<(), Errno> {
    for ruleset in &plan.confinement.rulesets {
        // SAFETY: a ruleset's descriptor, which the plan owns, and flags.
        unsafe {
            raw_syscall!(
                libc::SYS_landlock_restrict_self,
                ruleset.as_raw_fd(),
                plan.confinement.landlock_flags
            )?
        };
    }
    Ok(())
}

fn seccomp(plan: &Plan, report: &Report) -> Result<(), Errno> {
    let program = libc::sock_fprog {
        len: plan.confinement.filter.len() as u16,
        filter: plan.confinement.filter.as_ptr().cast_mut(),
    };
    // SAFETY: a live program of that length, which the kernel copies and does not change.
    let result = unsafe {
        raw_syscall!(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            plan.confinement.filter_flags,
            &raw const program
        )
    }?;
    if plan.confinement.filter_flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
        report.listener.store(result as i32, Ordering::Release);
    }
    Ok(())
}

fn descriptors(plan: &Plan, _: &Report) -> Result<(), Errno> {
    // SAFETY: scalars. From here on the table is ours alone; above `copy_below` nothing was copied.
    unsafe {
        raw_syscall!(
            libc::SYS_close_range,
            plan.copy_below,
            u32::MAX,
            libc::CLOSE_RANGE_UNSHARE
        )
    }
    .map(drop)
}

fn standard_streams(plan: &Plan, _: &Report) -> Result<(), Errno> {
    for (source, target) in &plan.place {
        // SAFETY: descriptors of our own table; sources lie above all targets, so nothing that is still needed is replaced.
        unsafe { raw_syscall!(libc::SYS_dup3, *source, *target, 0)? };
    }
    // SAFETY: scalars. Marks everything that is not passed on, the image among it, to be closed by the exec.
    unsafe {
        raw_syscall!(
            libc::SYS_close_range,
            plan.close_from,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC
        )
    }
    .map(drop)
}

fn signals(plan: &Plan, _: &Report) -> Result<(), Errno> {
    let default = KernelAction::DEFAULT;
    let ignore = KernelAction {
        handler: libc::SIG_IGN,
        ..KernelAction::DEFAULT
    };
    // SAFETY: live actions and a live mask of eight bytes; handlers are not shared (no CLONE_SIGHAND).
    unsafe {
        // The Rust runtime ignores SIGPIPE, and what is ignored stays so over an exec.
        raw_syscall!(
            libc::SYS_rt_sigaction,
            libc::SIGPIPE,
            &raw const default,
            0,
            8
        )?;
        if plan.ignore_sigchld {
            raw_syscall!(
                libc::SYS_rt_sigaction,
                libc::SIGCHLD,
                &raw const ignore,
                0,
                8
            )?;
        }
        raw_syscall!(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const plan.signal_mask,
            0,
            8
        )?;
    }
    Ok(())
}

fn execute(plan: &Plan) -> Errno {
    let (argv, envp) = (plan.argv.as_ptr(), plan.envp.as_ptr());
    let by_number = |number: i32| {
        let flags = libc::AT_EMPTY_PATH;
        // SAFETY: null-terminated arrays of C strings that the plan owns, and a descriptor of our own table.
        unsafe { raw_syscall!(libc::SYS_execveat, number, c"".as_ptr(), argv, envp, flags) }
    };
    let result = match &plan.image {
        Image::Descriptor(fd) => by_number(fd.as_raw_fd()),
        Image::Number(number) => by_number(*number),
        // SAFETY: as above, and a path that the plan owns.
        Image::Path(path) => unsafe { raw_syscall!(libc::SYS_execve, path.as_ptr(), argv, envp) },
    };
    // execve returns only to say why it did not happen.
    result.err().unwrap_or(Errno::ENOEXEC)
}
