//! One supervised launch, with nothing in it but system calls.

use crate::must;
use crate::plan::Plan;
use nix::errno::Errno;
use std::ffi::{CString, OsStr, OsString, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};
use sys::clone::{Stack, clone_on};
use sys::raw_syscall;

/// What guardian and child see of the supervisor's memory.
struct Shared {
    plan_filter: Vec<u64>,
    ruleset: c_int,
    events: c_int,
    directory: c_int,
    program: c_int,
    channel: c_int,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    child_stack: Stack,
    child: AtomicI32,
    listener: AtomicI32,
    status: AtomicI32,
}

pub fn launch(plan: &OsStr, command: &[OsString]) -> ExitCode {
    let plan = Plan::read(plan);
    let words: Vec<CString> = command.iter().map(|word| text(word.as_bytes())).collect();
    let environment: Vec<CString> = std::env::vars_os()
        .map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect();
    let state = std::env::var_os("XDG_STATE_HOME").expect("XDG_STATE_HOME is set");
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").expect("XDG_RUNTIME_DIR is set");
    let temporary = std::env::var_os("TMPDIR").expect("TMPDIR is set");

    // Signals are taken from a descriptor.
    let signals: u64 = 0x0802_5a07; // HUP INT QUIT USR1 USR2 TERM CONT TSTP WINCH …
    must!(
        libc::SYS_rt_sigprocmask,
        libc::SIG_BLOCK,
        &raw const signals,
        0,
        8
    );
    let signal_fd = must!(
        libc::SYS_signalfd4,
        -1i32,
        &raw const signals,
        8,
        libc::SFD_CLOEXEC | libc::SFD_NONBLOCK
    );
    must!(libc::SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);

    // The session's place: a locked directory with a record in it, and the private temporary directory.
    let mut id = [0u8; 8];
    must!(libc::SYS_getrandom, id.as_mut_ptr(), id.len(), 0);
    let id = format!("{:016x}", u64::from_ne_bytes(id));
    let place = join(&runtime, &id);
    must!(libc::SYS_mkdirat, libc::AT_FDCWD, place.as_ptr(), 0o700);
    let held = open(&place, libc::O_RDONLY | libc::O_DIRECTORY);
    must!(libc::SYS_flock, held, libc::LOCK_EX | libc::LOCK_NB);
    let mark = join(&runtime, &format!("{id}/session"));
    write_new(&mark, id.as_bytes());
    let tmp = join(&temporary, &format!("supervise-floor-{id}"));
    must!(libc::SYS_mkdirat, libc::AT_FDCWD, tmp.as_ptr(), 0o700);

    let ruleset = ruleset(&plan);
    let program = open(&words[0], libc::O_PATH);
    let directory = open(c".", libc::O_PATH | libc::O_DIRECTORY);
    let events = must!(
        libc::SYS_eventfd2,
        0,
        libc::EFD_CLOEXEC | libc::EFD_NONBLOCK
    );
    let channel = channel();

    // What cannot be recorded does not run.
    let audit = log(&state, plan.record());

    let shared = Shared {
        plan_filter: plan.filter(),
        ruleset: ruleset as c_int,
        events: events as c_int,
        directory: directory as c_int,
        program: program as c_int,
        channel: channel[1],
        argv: pointers(&words),
        envp: pointers(&environment),
        child_stack: Stack::new(16384).expect("a stack"),
        child: AtomicI32::new(0),
        listener: AtomicI32::new(0),
        status: AtomicI32::new(0),
    };
    let stack = Stack::new(16384).expect("a stack");
    let mut pidfd = -1;
    let all = u64::MAX;
    must!(
        libc::SYS_rt_sigprocmask,
        libc::SIG_SETMASK,
        &raw const all,
        0,
        8
    );
    let argument = std::ptr::from_ref(&shared).cast_mut().cast();
    let flags = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_PIDFD;
    // SAFETY: `guardian` makes raw system calls only and never returns; `shared` and `stack` live until it was waited for, below.
    let guardian = unsafe { clone_on(&stack, flags, guardian, argument, &raw mut pidfd) };
    guardian.expect("a guardian");
    must!(
        libc::SYS_rt_sigprocmask,
        libc::SIG_SETMASK,
        &raw const signals,
        0,
        8
    );

    wait_for(&[events as c_int]);
    must!(libc::SYS_close, channel[1]);
    // Whoever serves has no more capabilities than the child.
    let (header, none) = ([0x2008_0522u32, 0], [0u32; 6]);
    must!(libc::SYS_capset, header.as_ptr(), none.as_ptr());
    let listener = shared.listener.load(Ordering::Acquire);
    must!(libc::SYS_ioctl, listener, 0x4008_2104u64, 1); // SECCOMP_IOCTL_NOTIF_SET_FLAGS: wake on the same processor
    wait_for(&[
        pidfd,
        events as c_int,
        listener,
        channel[0],
        signal_fd as c_int,
    ]);
    let mut info = [0u64; 16];
    must!(
        libc::SYS_waitid,
        libc::P_PIDFD,
        pidfd,
        info.as_mut_ptr(),
        libc::WEXITED | libc::__WALL,
        0
    );

    must!(
        libc::SYS_write,
        audit,
        plan.record().as_ptr(),
        plan.record().len() / 2
    );
    must!(libc::SYS_unlinkat, libc::AT_FDCWD, mark.as_ptr(), 0);
    must!(
        libc::SYS_unlinkat,
        libc::AT_FDCWD,
        place.as_ptr(),
        libc::AT_REMOVEDIR
    );
    must!(
        libc::SYS_unlinkat,
        libc::AT_FDCWD,
        tmp.as_ptr(),
        libc::AT_REMOVEDIR
    );
    ExitCode::from(shared.status.load(Ordering::Acquire) as u8)
}

fn text(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("no zero byte")
}

fn join(directory: &OsStr, name: &str) -> CString {
    text(&[directory.as_bytes(), b"/", name.as_bytes()].concat())
}

fn pointers(words: &[CString]) -> Vec<*const libc::c_char> {
    words
        .iter()
        .map(|word| word.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

fn open(path: &std::ffi::CStr, flags: c_int) -> i64 {
    must!(
        libc::SYS_openat,
        libc::AT_FDCWD,
        path.as_ptr(),
        flags | libc::O_CLOEXEC,
        0
    )
}

fn write_new(path: &std::ffi::CStr, content: &[u8]) {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_APPEND | libc::O_CLOEXEC;
    let fd = must!(
        libc::SYS_openat,
        libc::AT_FDCWD,
        path.as_ptr(),
        flags,
        0o600
    );
    must!(libc::SYS_write, fd, content.as_ptr(), content.len());
    must!(libc::SYS_close, fd);
}

/// Appends to the log that is there, with room for what will come.
fn log(state: &OsStr, record: &[u8]) -> i64 {
    let path = join(state, "floor.jsonl");
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
    let fd = must!(
        libc::SYS_openat,
        libc::AT_FDCWD,
        path.as_ptr(),
        flags,
        0o600
    );
    must!(libc::SYS_flock, fd, libc::LOCK_EX | libc::LOCK_NB);
    let end = must!(libc::SYS_lseek, fd, 0, libc::SEEK_END);
    // The last line holds the hash that the next one continues.
    let mut tail = [0u8; 1024];
    must!(
        libc::SYS_pread64,
        fd,
        tail.as_mut_ptr(),
        tail.len(),
        (end - 1024).max(0)
    );
    must!(
        libc::SYS_fallocate,
        fd,
        libc::FALLOC_FL_KEEP_SIZE,
        end,
        128 << 10
    );
    must!(libc::SYS_write, fd, record.as_ptr(), record.len());
    fd
}

fn ruleset(plan: &Plan) -> i64 {
    // `struct landlock_ruleset_attr`: files, network, scopes.
    let handled = [plan.handled_files(), plan.handled_net(), 3];
    let ruleset = must!(libc::SYS_landlock_create_ruleset, handled.as_ptr(), 24, 0);
    for (access, path) in plan.rules() {
        let fd = must!(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::O_PATH | libc::O_CLOEXEC,
            0
        );
        // `struct landlock_path_beneath_attr` is packed.
        let mut rule = [0u8; 12];
        rule[..8].copy_from_slice(&access.to_ne_bytes());
        rule[8..].copy_from_slice(&(fd as i32).to_ne_bytes());
        must!(libc::SYS_landlock_add_rule, ruleset, 1, rule.as_ptr(), 0);
        must!(libc::SYS_close, fd);
    }
    ruleset
}

/// A socketpair whose one end is told who sends.
fn channel() -> [c_int; 2] {
    const SO_PASSPIDFD: c_int = 76;
    let mut ends = [0; 2];
    must!(
        libc::SYS_socketpair,
        libc::AF_UNIX,
        libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
        0,
        ends.as_mut_ptr()
    );
    let on = 1i32;
    for option in [libc::SO_PASSCRED, SO_PASSPIDFD] {
        must!(
            libc::SYS_setsockopt,
            ends[0],
            libc::SOL_SOCKET,
            option,
            &raw const on,
            4
        );
    }
    ends
}

fn wait_for(fds: &[c_int]) {
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd {
            fd: *fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    must!(libc::SYS_ppoll, polled.as_mut_ptr(), polled.len(), 0, 0, 8);
    let mut count = 0u64;
    // The event descriptor is reset; that another one was ready is no failure.
    // SAFETY: eight bytes of a live value.
    let _reset = unsafe { libc::read(fds[fds.len().min(2) - 1], (&raw mut count).cast(), 8) };
}

fn exit(status: i32) -> ! {
    loop {
        // SAFETY: ends this process only.
        let _ended = unsafe { raw_syscall!(libc::SYS_exit_group, status) };
    }
}

unsafe extern "C" fn guardian(argument: *mut c_void) -> ! {
    // SAFETY: the supervisor passes a live Shared and waits for us.
    let shared = unsafe { &*(argument as *const Shared) };
    // SAFETY: scalars and live values; the clone's entry makes raw system calls only and we are suspended until it executes.
    let result = unsafe { guard(shared, argument) };
    exit(i32::from(result.is_err()));
}

unsafe fn guard(shared: &Shared, argument: *mut c_void) -> Result<(), Errno> {
    let default = [0u64; 4];
    // SAFETY: scalars, live values of the size that each call wants; the caller's promise for the clone.
    unsafe {
        raw_syscall!(libc::SYS_prctl, libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)?;
        raw_syscall!(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG,
            libc::SIGUSR1,
            0,
            0,
            0
        )?;
        raw_syscall!(libc::SYS_getppid)?;
        raw_syscall!(
            libc::SYS_rt_sigaction,
            libc::SIGCHLD,
            default.as_ptr(),
            0,
            8
        )?;
        raw_syscall!(
            libc::SYS_prctl,
            libc::PR_SET_NAME,
            c"guardian".as_ptr(),
            0,
            0,
            0
        )?;
        let flags = libc::CLONE_VM
            | libc::CLONE_VFORK
            | libc::CLONE_FILES
            | libc::CLONE_PIDFD
            | libc::SIGCHLD;
        let mut child_fd = -1;
        let pid = clone_on(
            &shared.child_stack,
            flags,
            child,
            argument,
            &raw mut child_fd,
        )?;
        shared.child.store(pid, Ordering::Release);
        raw_syscall!(libc::SYS_setpgid, 0, 0)?;
        let one = 1u64;
        raw_syscall!(libc::SYS_write, shared.events, &raw const one, 8)?;
        let mut info = [0u64; 16];
        let ended: u64 = 1 << (libc::SIGCHLD - 1);
        raw_syscall!(libc::SYS_rt_sigtimedwait, &raw const ended, 0, 0, 8)?;
        raw_syscall!(
            libc::SYS_waitid,
            libc::P_ALL,
            0,
            info.as_mut_ptr(),
            libc::WEXITED,
            0
        )?;
        shared
            .status
            .store((info[3] & 0xff) as i32, Ordering::Release);
        raw_syscall!(libc::SYS_write, shared.events, &raw const one, 8)?;
    }
    Ok(())
}

unsafe extern "C" fn child(argument: *mut c_void) -> ! {
    // SAFETY: as for the guardian, which passes on what it was given and waits until this process has executed.
    let shared = unsafe { &*(argument as *const Shared) };
    // SAFETY: scalars and live values of the size that each call wants.
    let _refused = unsafe { lock_and_execute(shared) };
    exit(125);
}

unsafe fn lock_and_execute(shared: &Shared) -> Result<(), Errno> {
    let unlimited = [u64::MAX; 2];
    let none = [0u64; 2];
    let (header, no_capability) = ([0x2008_0522u32, 0], [0u32; 6]);
    // `struct sock_fprog`
    let program = [
        shared.plan_filter.len(),
        shared.plan_filter.as_ptr() as usize,
    ];
    let empty_mask = 0u64;
    let default = [0u64; 4];
    // SAFETY: the caller's promise: everything shared is live, and this process may change as it likes.
    unsafe {
        raw_syscall!(
            libc::SYS_prctl,
            libc::PR_SET_PDEATHSIG,
            libc::SIGKILL,
            0,
            0,
            0
        )?;
        raw_syscall!(libc::SYS_getppid)?;
        raw_syscall!(libc::SYS_prlimit64, 0, libc::RLIMIT_CORE, none.as_ptr(), 0)?;
        raw_syscall!(
            libc::SYS_prlimit64,
            0,
            libc::RLIMIT_RTTIME,
            unlimited.as_ptr(),
            0
        )?;
        raw_syscall!(libc::SYS_fchdir, shared.directory)?;
        for capability in 0..=40 {
            raw_syscall!(libc::SYS_prctl, libc::PR_CAPBSET_DROP, capability, 0, 0, 0)?;
        }
        raw_syscall!(
            libc::SYS_prctl,
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_CLEAR_ALL,
            0,
            0,
            0
        )?;
        raw_syscall!(libc::SYS_capset, header.as_ptr(), no_capability.as_ptr())?;
        raw_syscall!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)?;
        raw_syscall!(libc::SYS_landlock_restrict_self, shared.ruleset, 0)?;
        let flags =
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        let listener = raw_syscall!(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            program.as_ptr()
        )?;
        shared.listener.store(listener as i32, Ordering::Release);
        raw_syscall!(
            libc::SYS_close_range,
            64,
            u32::MAX,
            libc::CLOSE_RANGE_UNSHARE
        )?;
        raw_syscall!(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC
        )?;
        raw_syscall!(libc::SYS_dup3, shared.channel, 3, 0)?;
        raw_syscall!(
            libc::SYS_rt_sigaction,
            libc::SIGPIPE,
            default.as_ptr(),
            0,
            8
        )?;
        raw_syscall!(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const empty_mask,
            0,
            8
        )?;
        raw_syscall!(
            libc::SYS_execveat,
            shared.program,
            c"".as_ptr(),
            shared.argv.as_ptr(),
            shared.envp.as_ptr(),
            libc::AT_EMPTY_PATH
        )?;
    }
    Ok(())
}
