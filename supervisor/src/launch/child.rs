//! Between the clones and the exec: the code that runs as guardian and as child on the supervisor's memory.
//!
//! Both are processes that share memory and thread-local storage with a running supervisor. They make raw system calls only:
//! no allocation, no lock, no C library, no panic. Everything they use was prepared in [`Plan`]; all they say goes into
//! [`Report`]. This is the one file above the floor where unsafe code stands.
#![allow(unsafe_code, reason = "raw system calls between clone and exec")]

use super::plan::{Image, Parent, Plan, Report, Shared, State};
use super::{Orphans, Step};
use nix::errno::Errno;
use std::ffi::c_void;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use sys::caps;
use sys::raw_syscall;

/// Tells the guardian that its parent died. Blocked, and waited for.
const PARENT_DIED: i32 = libc::SIGUSR1;
/// Tells the guardian that the supervisor wants the end.
const END: i32 = libc::SIGUSR2;

/// Enough for the raw code of guardian and child in a build without optimisation.
const STACK: usize = 32 * 1024;

/// A stack for one of them.
pub(super) fn make_stack() -> Result<sys::clone::Stack, (&'static str, Errno)> {
    sys::clone::Stack::new(STACK).map_err(|errno| ("stack", errno))
}

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
fn take(number: &AtomicI32) -> Option<OwnedFd> {
    let number = number.swap(0, Ordering::AcqRel);
    // SAFETY: 0 was the initial value (and is what a taken one is set to); anything else is a number that the kernel chose
    // for a new descriptor of this table, of which nobody else knows.
    (number > 0).then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// `struct sigaction` as the kernel has it; all zeroes is SIG_DFL.
#[repr(C)]
struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
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
    if let Err(errno) = prepare_guardian(plan) {
        fail(report, Step::Guardian, errno);
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
        // stopped. Failure leaves the guardian where it was, which costs only that.
        // SAFETY: no arguments.
        let _left = unsafe { raw_syscall!(libc::SYS_setsid) };
    } else {
        report.state.store(State::Failed as u32, Ordering::Release);
    }
    announce(plan);
    watch(plan, report)
}

fn prepare_guardian(plan: &Plan) -> Result<(), Errno> {
    let default = KernelAction {
        handler: 0,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
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

fn fail(report: &Report, step: Step, errno: Errno) {
    report.step.store(step as u32, Ordering::Release);
    report.errno.store(errno as i32, Ordering::Release);
    report.state.store(State::Failed as u32, Ordering::Release);
}

/// Wakes the supervisor.
fn announce(plan: &Plan) {
    let one: u64 = 1;
    // SAFETY: eight bytes of a live value; an eventfd takes exactly these. A full counter (EAGAIN) already wakes the reader.
    let _written =
        unsafe { raw_syscall!(libc::SYS_write, plan.events.as_raw_fd(), &raw const one, 8) };
}

fn exit() -> ! {
    loop {
        // SAFETY: ends this process only; it shares no thread group with the supervisor.
        let _ended = unsafe { raw_syscall!(libc::SYS_exit_group, 0) };
    }
}

/// The guardian's life after the launch.
fn watch(plan: &Plan, report: &Report) -> ! {
    let wait_for: u64 = bit(libc::SIGCHLD) | bit(PARENT_DIED) | bit(END);
    loop {
        match reap(plan, report) {
            Children::None => exit(),
            Children::Some => {}
        }
        let ended = report.state.load(Ordering::Acquire) != State::Running as u32;
        if ended {
            report.left.store(1, Ordering::Release);
        }
        if ended && matches!(plan.orphans, Orphans::Kill) || must_end(plan, report) {
            kill_all(report);
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
fn kill_all(report: &Report) -> ! {
    loop {
        kill_listed(report);
        match wait(libc::WEXITED) {
            Ok(Some(change)) => {
                note(report, change);
            }
            Ok(None) | Err(Errno::EINTR) => {}
            Err(_) => exit(),
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

/// The child: takes the steps in order, then executes the program.
///
/// # Safety
/// As for [`guardian`], whose only child this is at that time, suspended until we execute or exit.
unsafe extern "C" fn child(argument: *mut c_void) -> ! {
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
    let default = KernelAction {
        handler: 0,
        flags: 0,
        restorer: 0,
        mask: 0,
    };
    let ignore = KernelAction {
        handler: libc::SIG_IGN,
        flags: 0,
        restorer: 0,
        mask: 0,
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
