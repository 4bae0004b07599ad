//! A trapped open at its barest: somebody is told of it, and lets the kernel go on or puts a descriptor into the caller. As much
//! else as must be done for that to mean anything: the path is read once, and whoever is let through is confined by Landlock.
//!
//! And the same with all that a supervisor cannot leave undone, in as few calls as there are for it, without a line of policy: what is
//! above the first is the price of the question, what is above the second is the price of our answer.

use crate::{must, opens};
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

/// What becomes of every open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The kernel goes on with it, whatever it is.
    Continued,
    /// The kernel goes on with it, once it was seen that no symbolic link is on the way: the name is what is decided about.
    Looked,
    /// It is done here, and the descriptor handed over.
    Injected,
    /// The same, once it was seen what it is and what it is called: that is what is decided about, and just that is opened.
    Located,
}

impl Answer {
    /// Whether it is one that means something. Then no file can be emptied that may only be read, which lengthens each walk of
    /// Landlock's to the root; and whoever answers hears others beside the callers.
    fn is_careful(self) -> bool {
        matches!(self, Self::Looked | Self::Located)
    }
}

/// Serves a child whose opens are trapped, and which opens `file` as it is told on standard input.
pub fn serve(answer: Answer, file: &OsStr, processes: &OsStr) -> ExitCode {
    let path = CString::new(file.as_bytes()).expect("a path holds no zero byte");
    // The listener appears in the table of both.
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    let mut told = [0i32; 2];
    must!(libc::SYS_pipe2, told.as_mut_ptr(), libc::O_CLOEXEC);
    if must!(libc::SYS_clone, flags, 0, 0, 0, 0) == 0 {
        let listener = confine(Path::new(file), answer);
        must!(libc::SYS_write, told[1], listener.to_ne_bytes().as_ptr(), 8);
        // From here on closing is for this process alone.
        must!(libc::SYS_unshare, libc::CLONE_FILES);
        must!(libc::SYS_close, listener);
        let _ended = opens::open_as_told(file, processes);
        std::process::exit(0);
    }
    let mut listener = [0u8; 8];
    must!(libc::SYS_read, told[0], listener.as_mut_ptr(), 8);
    let listener = i64::from_ne_bytes(listener) as i32;
    // By value. Whoever is woken runs on the same processor.
    must!(libc::SYS_ioctl, listener, 0x4008_2104u64, 1);
    let length = path.as_bytes_with_nul().len();
    let other = must!(libc::SYS_eventfd2, 0, libc::O_CLOEXEC) as i32;
    let own = must!(libc::SYS_open, c"/proc/self/fd".as_ptr(), libc::O_PATH) as i32;
    let heard = [listener, other];
    let heard = &heard[..1 + usize::from(answer.is_careful())];
    while is_ready(heard) {
        if let Some(notification) = receive(listener) {
            match answer {
                Answer::Continued => respond(listener, notification.id, 0, 1),
                Answer::Looked => look(listener, &notification, length),
                Answer::Injected => inject(listener, &notification, length),
                Answer::Located => inject_located(listener, &notification, length, own),
            }
        }
    }
    must!(libc::SYS_wait4, -1i32, 0, 0, 0);
    ExitCode::SUCCESS
}

/// Lets this process read only where the file is and below, and returns a listener for its opens.
fn confine(file: &Path, answer: Answer) -> i64 {
    const READ: u64 = 1 << 2 | 1 << 3;
    const TRUNCATE: u64 = 1 << 14;
    let directory = file.parent().expect("a file lies in a directory");
    let directory =
        CString::new(directory.as_os_str().as_bytes()).expect("a path holds no zero byte");
    must!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    let handled = READ | if answer.is_careful() { TRUNCATE } else { 0 };
    let ruleset = must!(libc::SYS_landlock_create_ruleset, &raw const handled, 8, 0);
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let fd = must!(
        libc::SYS_openat,
        libc::AT_FDCWD,
        directory.as_ptr(),
        flags,
        0
    );
    // `struct landlock_path_beneath_attr` is packed.
    let mut rule = [0u8; 12];
    rule[..8].copy_from_slice(&READ.to_ne_bytes());
    rule[8..].copy_from_slice(&(fd as i32).to_ne_bytes());
    must!(libc::SYS_landlock_add_rule, ruleset, 1, rule.as_ptr(), 0);
    must!(libc::SYS_landlock_restrict_self, ruleset, 0);
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // The number of the call; is it openat?
    let filter = [
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 0, 1, libc::SYS_openat as u32),
        instruction(0x06, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        instruction(0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = [filter.len(), filter.as_ptr() as usize];
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    must!(
        libc::SYS_seccomp,
        libc::SECCOMP_SET_MODE_FILTER,
        flags,
        program.as_ptr()
    )
}

/// Waits for a call on the first of them; false when nobody is left who could make one.
fn is_ready(heard: &[i32]) -> bool {
    let polled = |fd: Option<&i32>| libc::pollfd {
        fd: fd.copied().unwrap_or(-1),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut both = [polled(heard.first()), polled(heard.get(1))];
    must!(libc::SYS_ppoll, both.as_mut_ptr(), heard.len(), 0, 0, 8);
    both[0].revents & libc::POLLIN != 0
}

/// The call that waits; `None`: it was gone again.
fn receive(listener: i32) -> Option<libc::seccomp_notif> {
    // SAFETY: all zeroes is a notification, and what the kernel wants to find there.
    let mut notification: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one notification to a live one.
    let result = unsafe {
        libc::ioctl(
            listener,
            libc::SECCOMP_IOCTL_NOTIF_RECV as _,
            &raw mut notification,
        )
    };
    (result == 0).then_some(notification)
}

fn respond(listener: i32, id: u64, value: i64, flags: u32) {
    let response = libc::seccomp_notif_resp {
        id,
        val: value,
        error: 0,
        flags,
    };
    must!(
        libc::SYS_ioctl,
        listener,
        libc::SECCOMP_IOCTL_NOTIF_SEND,
        &raw const response
    );
}

/// The path that the caller names, which is so long.
fn path_of(notification: &libc::seccomp_notif, length: usize) -> [u8; 4096] {
    let mut path = [0u8; 4096];
    let local = [path.as_mut_ptr() as usize, length];
    let remote = [notification.data.args[1] as usize, length];
    must!(
        libc::SYS_process_vm_readv,
        notification.pid,
        local.as_ptr(),
        1,
        remote.as_ptr(),
        1,
        0
    );
    path
}

fn open(path: &[u8; 4096], flags: i32, resolve: u64) -> i64 {
    let how = [(flags | libc::O_CLOEXEC) as u64, 0, resolve];
    must!(
        libc::SYS_openat2,
        libc::AT_FDCWD,
        path.as_ptr(),
        how.as_ptr(),
        24
    )
}

/// Lets the kernel go on with what is plainly what its path says. What is no directory is refused at the end of the walk: then nothing
/// was opened.
fn look(listener: i32, notification: &libc::seccomp_notif, length: usize) {
    let path = path_of(notification, length);
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let how = [flags as u64, 0, libc::RESOLVE_NO_SYMLINKS];
    // SAFETY: the path ends, and the kernel reads so many bytes of how it is to be opened.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            how.as_ptr(),
            24,
        )
    };
    assert!(opened < 0, "it is a file that is opened");
    respond(listener, notification.id, 0, 1);
}

/// Opens what the caller names, in two steps: a descriptor, then its number as the value of the call.
fn inject(listener: i32, notification: &libc::seccomp_notif, length: usize) {
    let path = path_of(notification, length);
    check(listener, notification);
    let fd = open(&path, libc::O_RDONLY, libc::RESOLVE_NO_MAGICLINKS);
    deliver(listener, notification, fd);
}

/// The same, in one step more: what was found is looked at, and asked for its name, then opened through the descriptor that holds it.
/// A lease that somebody has is not waited for.
fn inject_located(listener: i32, notification: &libc::seccomp_notif, length: usize, own: i32) {
    let path = path_of(notification, length);
    let found = open(&path, libc::O_PATH, libc::RESOLVE_NO_MAGICLINKS);
    let mut facts = std::mem::MaybeUninit::<libc::statx>::uninit();
    let wanted = libc::STATX_TYPE | libc::STATX_INO;
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    must!(
        libc::SYS_statx,
        found,
        c"".as_ptr(),
        flags,
        wanted,
        facts.as_mut_ptr()
    );
    let number = CString::new(found.to_string()).expect("digits hold no zero byte");
    let mut name = [0u8; 4096];
    must!(
        libc::SYS_readlinkat,
        own,
        number.as_ptr(),
        name.as_mut_ptr(),
        name.len()
    );
    check(listener, notification);
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let fd = must!(libc::SYS_openat, own, number.as_ptr(), flags, 0);
    must!(libc::SYS_fcntl, fd, libc::F_SETFL, 0);
    deliver(listener, notification, fd);
    must!(libc::SYS_close, found);
}

/// Whose memory was read is certain only if the caller still waits.
fn check(listener: i32, notification: &libc::seccomp_notif) {
    must!(
        libc::SYS_ioctl,
        listener,
        libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
        &raw const notification.id
    );
}

fn deliver(listener: i32, notification: &libc::seccomp_notif, fd: i64) {
    let added = libc::seccomp_notif_addfd {
        id: notification.id,
        flags: 0,
        srcfd: fd as u32,
        newfd: 0,
        newfd_flags: libc::O_CLOEXEC as u32,
    };
    let number = must!(
        libc::SYS_ioctl,
        listener,
        libc::SECCOMP_IOCTL_NOTIF_ADDFD,
        &raw const added
    );
    respond(listener, notification.id, number, 0);
    must!(libc::SYS_close, fd);
}
