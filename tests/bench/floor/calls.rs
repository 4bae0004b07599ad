//! A trapped open at its barest: somebody is told of it, and lets the kernel go on or puts a descriptor into the caller. As much
//! else as must be done for that to mean anything: the path is read once, and whoever is let through is confined by Landlock.

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
    /// The kernel goes on with it, once it was seen that no symbolic link is on the way.
    Looked,
    /// It is done here, and the descriptor handed over.
    Injected,
}

/// Serves a child whose opens are trapped, and which opens `file` as it is told on standard input.
pub fn serve(answer: Answer, file: &OsStr, processes: &OsStr) -> ExitCode {
    let path = CString::new(file.as_bytes()).expect("a path holds no zero byte");
    // The listener appears in the table of both.
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    let mut told = [0i32; 2];
    must!(libc::SYS_pipe2, told.as_mut_ptr(), libc::O_CLOEXEC);
    if must!(libc::SYS_clone, flags, 0, 0, 0, 0) == 0 {
        let listener = confine(Path::new(file));
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
    while is_ready(listener) {
        if let Some(notification) = receive(listener) {
            match answer {
                Answer::Continued => respond(listener, notification.id, 0, 1),
                Answer::Looked => look(listener, &notification, length),
                Answer::Injected => inject(listener, &notification, length),
            }
        }
    }
    must!(libc::SYS_wait4, -1i32, 0, 0, 0);
    ExitCode::SUCCESS
}

/// Lets this process read only where the file is and below, and returns a listener for its opens.
fn confine(file: &Path) -> i64 {
    const READ: u64 = 1 << 2 | 1 << 3;
    let directory = file.parent().expect("a file lies in a directory");
    let directory =
        CString::new(directory.as_os_str().as_bytes()).expect("a path holds no zero byte");
    must!(libc::SYS_prctl, libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    let handled = READ;
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

/// Waits for a call; false when nobody is left who could make one.
fn is_ready(listener: i32) -> bool {
    let mut polled = libc::pollfd {
        fd: listener,
        events: libc::POLLIN,
        revents: 0,
    };
    must!(libc::SYS_ppoll, &raw mut polled, 1, 0, 0, 8);
    polled.revents & libc::POLLIN != 0
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

/// Lets the kernel go on with what is plainly what its path says.
fn look(listener: i32, notification: &libc::seccomp_notif, length: usize) {
    let path = path_of(notification, length);
    let fd = open(&path, libc::O_PATH, libc::RESOLVE_NO_SYMLINKS);
    must!(libc::SYS_close, fd);
    respond(listener, notification.id, 0, 1);
}

/// Opens what the caller names, in two steps: a descriptor, then its number as the value of the call.
fn inject(listener: i32, notification: &libc::seccomp_notif, length: usize) {
    let path = path_of(notification, length);
    // Whose memory that was is certain only if the caller still waits.
    must!(
        libc::SYS_ioctl,
        listener,
        libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
        &raw const notification.id
    );
    let fd = open(&path, libc::O_RDONLY, libc::RESOLVE_NO_MAGICLINKS);
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
