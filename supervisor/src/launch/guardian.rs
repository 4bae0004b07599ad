//! The guardian: the process that stands between the supervisor and the child, and ends all of a session when the supervisor dies.
//!
//! Here is the supervisor's end of it, and its own code. That runs as a process of its own on the supervisor's memory, under the
//! rules of [`child`](super::child): raw system calls only, no allocation, no lock, no C library, no panic.
#![allow(
    unsafe_code,
    reason = "raw system calls of a process on the supervisor's memory"
)]

use super::child::{KernelAction, child, exit, fail, make_stack, take, take_listener};
use super::plan::{Plan, Report, Shared, State};
use super::{Orphans, Step};
use nix::errno::Errno;
use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use sys::raw_syscall;

/// Tells the guardian that its parent died. Blocked, and waited for.
const PARENT_DIED: i32 = libc::SIGUSR1;
/// Tells the guardian that the supervisor wants the end.
const END: i32 = libc::SIGUSR2;

/// The supervisor's end of a guardian: the memory it runs on, and its pidfd. Dropping it ends everything that the guardian
/// watches and waits until it is gone; only then is the memory freed.
#[derive(Debug)]
pub(super) struct Guardian {
    shared: Box<Shared>,
    _stack: sys::clone::Stack,
    pidfd: OwnedFd,
    pid: i32,
}

impl Guardian {
    /// Clones a guardian, which at once clones the child.
    ///
    /// # Errors
    /// What could not be done, and the kernel's reason. Then there is neither guardian nor child.
    pub(super) fn start(plan: Plan) -> Result<Self, (&'static str, Errno)> {
        let shared = Box::new(Shared {
            plan,
            report: Report::default(),
            child_stack: make_stack()?,
        });
        let stack = make_stack()?;
        // Inherited by both: no handler of the supervisor's ever runs in them, and the guardian waits for what is blocked.
        let mask = sys::signals::block_all().map_err(|errno| ("signal mask", errno))?;
        let mut pidfd = -1;
        let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PIDFD;
        let argument = std::ptr::from_ref(&*shared).cast_mut().cast();
        // SAFETY: `guardian` keeps the rules that clone_on states. Stack and Shared are freed by the drop of this value only, which
        // first waits for the guardian's end; if the value is leaked they are never freed.
        let cloned =
            unsafe { sys::clone::clone_on(&stack, flags, guardian, argument, &raw mut pidfd) };
        let restored = sys::signals::restore(mask);
        let pid = cloned.map_err(|errno| ("guardian", errno))?;
        // SAFETY: the kernel made this descriptor for us (CLONE_PIDFD), and nobody else knows it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        let guardian = Self {
            shared,
            _stack: stack,
            pidfd,
            pid,
        };
        restored.map_err(|errno| ("signal mask", errno))?;
        Ok(guardian)
    }

    pub(super) fn report(&self) -> &Report {
        &self.shared.report
    }

    pub(super) fn events(&self) -> &OwnedFd {
        &self.shared.plan.events
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// The pidfd of the child and, when the filter has one, its listener: the kernel put both into our table, because guardian and
    /// child share it until the child unshares. Returns them the first time.
    pub(super) fn take_descriptors(&mut self) -> (Option<OwnedFd>, Option<OwnedFd>) {
        (take(&self.report().child_fd), take_listener(self.report()))
    }

    /// Orders the end of everything.
    pub(super) fn end(&self) {
        self.report().end.store(1, Ordering::Release);
        // SAFETY: a pidfd and scalars. ESRCH means that the guardian is gone already.
        let _sent = unsafe {
            raw_syscall!(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                END,
                0,
                0
            )
        };
    }

    /// Waits for the guardian's end and collects it.
    fn join(&self) {
        loop {
            // SAFETY: an all-zero siginfo_t is valid memory for the kernel to fill in.
            let result = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let options = libc::WEXITED | libc::__WALL;
                raw_syscall!(
                    libc::SYS_waitid,
                    libc::P_PIDFD,
                    self.pidfd.as_raw_fd(),
                    &raw mut info,
                    options,
                    0
                )
            };
            match result {
                Err(Errno::EINTR) => {}
                // ECHILD: somebody else in this process collected it. It is gone all the same.
                Ok(_) | Err(_) => return,
            }
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.end();
        self.join();
    }
}

/// Parent of the child and of every orphan of the session; ends them all when the supervisor dies or says so.
/// It holds no policy and reads nothing that the child writes.
///
/// # Safety
/// `argument` points to a [`Shared`] that outlives this process; every signal is blocked; the caller cloned this with
/// `CLONE_VM | CLONE_FILES`, on a stack of its own.
unsafe extern "C" fn guardian(argument: *mut c_void) -> ! {
    // SAFETY: the caller's promise.
    let shared = unsafe { &*(argument as *const Shared) };
    let (plan, report) = (&shared.plan, &shared.report);
    let prepared = prepare_guardian(plan).map_err(|errno| (Step::Guardian, errno));
    let prepared =
        prepared.and_then(|()| lead_terminal(plan).map_err(|errno| (Step::OwnTerminal, errno)));
    if let Err((step, errno)) = prepared {
        fail(report, step, errno);
        announce(plan);
        exit();
    }
    let flags =
        libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut child_fd = -1;
    // SAFETY: `child` keeps the rules that clone_on states; the guardian is suspended until it executes or exits (VFORK), so the
    // stack and everything in Shared stay as they are meanwhile; the supervisor only reads atomics.
    match unsafe {
        sys::clone::clone_on(
            &shared.child_stack,
            flags,
            child,
            argument,
            &raw mut child_fd,
        )
    } {
        Err(errno) => fail(report, Step::Clone, errno),
        Ok(pid) => {
            report.child.store(pid, Ordering::Release);
            report.child_fd.store(child_fd, Ordering::Release);
        }
    }
    if report.errno.load(Ordering::Acquire) == 0 {
        report.state.store(State::Running as u32, Ordering::Release);
        // A `kill -9` of the caller's whole process group must leave somebody who cleans up. The child stays in the group: it
        // was cloned before. A session of its own, not only a group: a child whose parent is in another group of its session is
        // what the kernel tells orphaned groups by, and when such a child ends it hangs up on all of a group in which somebody is
        // stopped. Failure leaves the guardian where it was, which costs only that; who leads a session already fails.
        // SAFETY: no arguments.
        let _left = unsafe { raw_syscall!(libc::SYS_setsid) };
    } else {
        report.state.store(State::Failed as u32, Ordering::Release);
    }
    announce(plan);
    watch(plan, report)
}

fn prepare_guardian(plan: &Plan) -> Result<(), Errno> {
    let default = KernelAction::DEFAULT;
    let name = c"guardian";
    // SAFETY: scalars, and pointers to a live action and a live string; each call changes only this process, which shares
    // neither signal handlers nor attributes with the supervisor.
    unsafe {
        raw_syscall!(libc::SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)?;
        raw_syscall!(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG,
            PARENT_DIED,
            0,
            0,
            0
        )?;
        // The parent may have died before that: then nobody will ever tell.
        if raw_syscall!(libc::SYS_getppid)? as i32 != plan.supervisor {
            return Err(Errno::ESRCH);
        }
        // An ignored SIGCHLD, inherited from the caller, would have children reaped behind our back.
        raw_syscall!(
            libc::SYS_rt_sigaction,
            libc::SIGCHLD,
            &raw const default,
            0,
            8
        )?;
        raw_syscall!(libc::SYS_prctl, libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0)?;
    }
    Ok(())
}

/// Where the command has a terminal of its own: leads the session that it controls. The command is to be a group of its own in it,
/// whose parent is in another group of the same session: else the kernel would take it for one that nobody continues, and its
/// terminal could not stop it.
fn lead_terminal(plan: &Plan) -> Result<(), Errno> {
    let Some(terminal) = &plan.terminal else {
        return Ok(());
    };
    let inside = terminal.inside.as_raw_fd();
    // SAFETY: no arguments, then a descriptor that the plan owns and numbers. A process that was just cloned leads no group.
    unsafe {
        raw_syscall!(libc::SYS_setsid)?;
        raw_syscall!(libc::SYS_ioctl, inside, libc::TIOCSCTTY, 0)?;
    }
    Ok(())
}

/// Wakes the supervisor.
fn announce(plan: &Plan) {
    let one: u64 = 1;
    // SAFETY: eight bytes of a live value; an eventfd takes exactly these. A full counter (EAGAIN) already wakes the reader.
    let _written =
        unsafe { raw_syscall!(libc::SYS_write, plan.events.as_raw_fd(), &raw const one, 8) };
}

/// The guardian's life after the launch.
fn watch(plan: &Plan, report: &Report) -> ! {
    let wait_for: u64 = bit(libc::SIGCHLD) | bit(PARENT_DIED) | bit(END);
    loop {
        match reap(plan, report) {
            Children::None => {
                restore_terminal(plan);
                exit();
            }
            Children::Some => {}
        }
        let ended = report.state.load(Ordering::Acquire) != State::Running as u32;
        if ended {
            report.left.store(1, Ordering::Release);
        }
        if ended && matches!(plan.orphans, Orphans::Kill) || must_end(plan, report) {
            restore_terminal(plan);
            kill_all(report);
            restore_terminal(plan);
            exit();
        }
        // SAFETY: a live set of eight bytes, no information wanted, no deadline. The set's signals are blocked since before this
        // process was cloned, so none is lost between two calls.
        let _signal =
            unsafe { raw_syscall!(libc::SYS_rt_sigtimedwait, &raw const wait_for, 0, 0, 8) };
    }
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

fn must_end(plan: &Plan, report: &Report) -> bool {
    // SAFETY: no arguments.
    let parent = unsafe { raw_syscall!(libc::SYS_getppid) };
    report.end.load(Ordering::Acquire) != 0 || parent != Ok(plan.supervisor as usize)
}

/// Where the supervisor is gone: puts the caller's terminal back, which whatever ended it left it no time for.
fn restore_terminal(plan: &Plan) {
    // SAFETY: no arguments.
    let parent = unsafe { raw_syscall!(libc::SYS_getppid) };
    if parent != Ok(plan.supervisor as usize)
        && let Some(terminal) = &plan.terminal
    {
        // One that has hung up is put right by whoever uses it next.
        let _restored = terminal.outside.restore();
    }
}

enum Children {
    None,
    Some,
}

/// Collects every change of state that waits, without blocking.
fn reap(plan: &Plan, report: &Report) -> Children {
    let mut news = false;
    loop {
        match wait(libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG) {
            Ok(Some(change)) => news |= note(report, change),
            Ok(None) => {
                if news {
                    announce(plan);
                }
                return Children::Some;
            }
            Err(Errno::EINTR) => {}
            // No child is left, and our own end says so: the supervisor needs no second wake-up.
            Err(_) => return Children::None,
        }
    }
}

struct Change {
    pid: i32,
    code: i32,
    status: i32,
}

fn wait(options: i32) -> Result<Option<Change>, Errno> {
    // SAFETY: an all-zero siginfo_t is valid, and is how "nothing yet" is told (waitid(2)); the kernel fills it in; then the
    // fields of the SIGCHLD kind are read, which waitid always gives.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        raw_syscall!(libc::SYS_waitid, libc::P_ALL, 0, &raw mut info, options, 0)?;
        Ok((info.si_pid() != 0).then(|| Change {
            pid: info.si_pid(),
            code: info.si_code,
            status: info.si_status(),
        }))
    }
}

/// Records a change of the child itself. Says whether there was one.
fn note(report: &Report, change: Change) -> bool {
    if change.pid != report.child.load(Ordering::Acquire) {
        return false;
    }
    match change.code {
        libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED => {
            report.code.store(change.code, Ordering::Release);
            report.status.store(change.status, Ordering::Release);
            if report.is(State::Running) {
                report.state.store(State::Ended as u32, Ordering::Release);
            }
        }
        libc::CLD_STOPPED => {
            report.stops.fetch_add(1, Ordering::AcqRel);
            report.stopped.store(change.status, Ordering::Release);
        }
        libc::CLD_CONTINUED => report.stopped.store(0, Ordering::Release),
        _ => return false,
    }
    true
}

/// Kills until no child is left. The children of a killed one become ours (subreaper) and are found in the next round.
/// A pid that the list names cannot be reused meanwhile: only we reap.
fn kill_all(report: &Report) {
    loop {
        kill_listed(report);
        match wait(libc::WEXITED) {
            Ok(Some(change)) => {
                note(report, change);
            }
            Ok(None) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

fn kill_listed(report: &Report) {
    let path = c"/proc/thread-self/children";
    // SAFETY: a live path; the descriptor is closed below.
    let file = unsafe {
        raw_syscall!(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC
        )
    };
    let Ok(file) = file else {
        // No list (CONFIG_PROC_CHILDREN, or no /proc): the child itself is known; it is ours until we have reaped it.
        if report.is(State::Running) {
            kill(report.child.load(Ordering::Acquire));
        }
        return;
    };
    let mut pid: i32 = 0;
    let mut buffer = [0u8; 512];
    loop {
        // SAFETY: the buffer is live and of that length; the descriptor is the one just opened.
        let read = unsafe { raw_syscall!(libc::SYS_read, file, buffer.as_mut_ptr(), buffer.len()) };
        let length = match read {
            Ok(0) | Err(_) => break,
            Ok(length) => length.min(buffer.len()),
        };
        for byte in buffer.iter().take(length) {
            match byte {
                b'0'..=b'9' => {
                    pid = pid
                        .wrapping_mul(10)
                        .wrapping_add(i32::from(byte.wrapping_sub(b'0')))
                }
                _ => {
                    kill(pid);
                    pid = 0;
                }
            }
        }
    }
    kill(pid);
    // SAFETY: closes what was opened above.
    let _closed = unsafe { raw_syscall!(libc::SYS_close, file) };
}

fn kill(pid: i32) {
    // 0 and negative numbers would mean process groups.
    if pid > 1 {
        // SAFETY: scalars; the process is an unreaped child of ours. ESRCH is impossible then, EPERM leaves it to the next round.
        let _sent = unsafe { raw_syscall!(libc::SYS_kill, pid, libc::SIGKILL) };
    }
}
