//! The calls: what each is given, and which are not made.

use libc::c_long;

/// What an argument is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A descriptor.
    Fd,
    /// A directory that a path is seen from.
    Base,
    Path,
    /// Of `open(2)`.
    Flags,
    Mode,
    /// Of calls whose names end in `at`.
    AtFlags,
    /// Memory to read from or to write to.
    Memory,
    Size,
    /// A number that many calls know.
    Small,
    /// A user or a group.
    Owner,
    /// The name of an attribute.
    Attribute,
    /// The address of a socket.
    Address,
    /// How long a structure is.
    Length,
    /// `struct open_how`.
    How,
    /// `struct iovec`.
    Vector,
    /// `struct msghdr`.
    Message,
    /// A request of `ioctl(2)`.
    Request,
    /// A task, never a group of them and never all.
    Task,
    Signal,
    /// Whatever it is.
    Any,
}

use Kind::*;

/// Calls that are made most of the time, with what they want.
pub const KNOWN: &[(c_long, &[Kind])] = &[
    (libc::SYS_openat, &[Base, Path, Flags, Mode]),
    (libc::SYS_openat, &[Base, Path, Flags, Mode]),
    (libc::SYS_openat2, &[Base, Path, How, Length]),
    (libc::SYS_mkdirat, &[Base, Path, Mode]),
    (libc::SYS_mknodat, &[Base, Path, Mode, Small]),
    (libc::SYS_unlinkat, &[Base, Path, AtFlags]),
    (libc::SYS_renameat2, &[Base, Path, Base, Path, Small]),
    (libc::SYS_linkat, &[Base, Path, Base, Path, AtFlags]),
    (libc::SYS_symlinkat, &[Path, Base, Path]),
    (libc::SYS_truncate, &[Path, Size]),
    (libc::SYS_ftruncate, &[Fd, Size]),
    (libc::SYS_fallocate, &[Fd, Small, Small, Size]),
    (libc::SYS_fchmodat, &[Base, Path, Mode]),
    (sys::metadata::SYS_FCHMODAT2, &[Base, Path, Mode, AtFlags]),
    (libc::SYS_fchmod, &[Fd, Mode]),
    (libc::SYS_fchownat, &[Base, Path, Owner, Owner, AtFlags]),
    (libc::SYS_fchown, &[Fd, Owner, Owner]),
    (libc::SYS_utimensat, &[Base, Path, Memory, AtFlags]),
    (libc::SYS_setxattr, &[Path, Attribute, Memory, Size, Small]),
    (libc::SYS_lsetxattr, &[Path, Attribute, Memory, Size, Small]),
    (libc::SYS_fsetxattr, &[Fd, Attribute, Memory, Size, Small]),
    (libc::SYS_removexattr, &[Path, Attribute]),
    (libc::SYS_lremovexattr, &[Path, Attribute]),
    (libc::SYS_fremovexattr, &[Fd, Attribute]),
    (
        sys::metadata::SYS_SETXATTRAT,
        &[Base, Path, AtFlags, Attribute, Memory, Length],
    ),
    (
        sys::metadata::SYS_REMOVEXATTRAT,
        &[Base, Path, AtFlags, Attribute],
    ),
    (
        sys::metadata::SYS_FILE_SETATTR,
        &[Base, Path, Memory, Length, AtFlags],
    ),
    (libc::SYS_getxattr, &[Path, Attribute, Memory, Size]),
    (libc::SYS_listxattr, &[Path, Memory, Size]),
    (libc::SYS_inotify_init1, &[Small]),
    (libc::SYS_inotify_add_watch, &[Fd, Path, Any]),
    (libc::SYS_chdir, &[Path]),
    (libc::SYS_fchdir, &[Fd]),
    (libc::SYS_chroot, &[Path]),
    (libc::SYS_read, &[Fd, Memory, Size]),
    (libc::SYS_pread64, &[Fd, Memory, Size, Small]),
    (libc::SYS_readv, &[Fd, Vector, Small]),
    (libc::SYS_write, &[Fd, Memory, Size]),
    (libc::SYS_pwrite64, &[Fd, Memory, Size, Small]),
    (libc::SYS_writev, &[Fd, Vector, Small]),
    (libc::SYS_sendfile, &[Fd, Fd, Memory, Size]),
    (libc::SYS_splice, &[Fd, Memory, Fd, Memory, Size, Small]),
    (libc::SYS_tee, &[Fd, Fd, Size, Small]),
    (libc::SYS_vmsplice, &[Fd, Vector, Small, Small]),
    (
        libc::SYS_copy_file_range,
        &[Fd, Memory, Fd, Memory, Size, Small],
    ),
    (libc::SYS_dup, &[Fd]),
    (libc::SYS_dup3, &[Fd, Fd, Flags]),
    (libc::SYS_fcntl, &[Fd, Small, Any]),
    (libc::SYS_ioctl, &[Fd, Request, Memory]),
    (libc::SYS_close, &[Fd]),
    (libc::SYS_lseek, &[Fd, Small, Small]),
    (libc::SYS_getdents64, &[Fd, Memory, Size]),
    (libc::SYS_readlinkat, &[Base, Path, Memory, Size]),
    (libc::SYS_statx, &[Base, Path, AtFlags, Any, Memory]),
    (libc::SYS_faccessat2, &[Base, Path, Small, AtFlags]),
    (
        libc::SYS_name_to_handle_at,
        &[Base, Path, Memory, Memory, AtFlags],
    ),
    (libc::SYS_open_by_handle_at, &[Fd, Memory, Flags]),
    (libc::SYS_flock, &[Fd, Small]),
    (libc::SYS_mmap, &[Any, Size, Small, Small, Fd, Small]),
    (libc::SYS_memfd_create, &[Attribute, Small]),
    (libc::SYS_socket, &[Small, Small, Small]),
    (libc::SYS_socketpair, &[Small, Small, Small, Memory]),
    (libc::SYS_connect, &[Fd, Address, Length]),
    (libc::SYS_bind, &[Fd, Address, Length]),
    (libc::SYS_listen, &[Fd, Small]),
    (libc::SYS_accept4, &[Fd, Memory, Memory, Flags]),
    (libc::SYS_sendto, &[Fd, Memory, Size, Any, Address, Length]),
    (libc::SYS_sendmsg, &[Fd, Message, Any]),
    (
        libc::SYS_recvfrom,
        &[Fd, Memory, Size, Small, Memory, Memory],
    ),
    (libc::SYS_recvmsg, &[Fd, Message, Small]),
    (libc::SYS_setsockopt, &[Fd, Small, Small, Memory, Size]),
    (libc::SYS_getsockopt, &[Fd, Small, Small, Memory, Memory]),
    (libc::SYS_pipe2, &[Memory, Flags]),
    (libc::SYS_mount, &[Path, Path, Attribute, Any, Memory]),
    (libc::SYS_umount2, &[Path, Small]),
    (libc::SYS_open_tree, &[Base, Path, AtFlags]),
    (libc::SYS_move_mount, &[Base, Path, Base, Path, Small]),
    (libc::SYS_pidfd_open, &[Task, Small]),
    (libc::SYS_pidfd_getfd, &[Fd, Fd, Small]),
    (libc::SYS_pidfd_send_signal, &[Fd, Signal, Memory, Small]),
    (libc::SYS_kill, &[Task, Signal]),
    (libc::SYS_tkill, &[Task, Signal]),
    (libc::SYS_tgkill, &[Task, Task, Signal]),
    (libc::SYS_rt_sigqueueinfo, &[Task, Signal, Memory]),
    (libc::SYS_rt_tgsigqueueinfo, &[Task, Task, Signal, Memory]),
    (libc::SYS_ptrace, &[Small, Task, Memory, Memory]),
    (
        libc::SYS_process_vm_readv,
        &[Task, Vector, Small, Vector, Small, Small],
    ),
    (
        libc::SYS_process_vm_writev,
        &[Task, Vector, Small, Vector, Small, Small],
    ),
    (libc::SYS_prlimit64, &[Task, Small, Memory, Memory]),
    (libc::SYS_landlock_add_rule, &[Fd, Small, Memory, Small]),
    (libc::SYS_fanotify_mark, &[Fd, Small, Any, Base, Path]),
    (libc::SYS_umask, &[Mode]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, &[Path, Flags, Mode]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, &[Path, Mode]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, &[Path, Mode]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, &[Path, Mode, Small]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, &[Path]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, &[Path]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, &[Path, Path]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, &[Path, Path]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, &[Path, Path]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, &[Path, Mode]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chown, &[Path, Owner, Owner]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lchown, &[Path, Owner, Owner]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utime, &[Path, Memory]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utimes, &[Path, Memory]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_futimesat, &[Base, Path, Memory]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_renameat, &[Base, Path, Base, Path]),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_dup2, &[Fd, Fd]),
];

/// Calls that are not made, and why: they end a process or leave it waiting, or make it another, and so nothing would come of it.
pub const NOT_MADE: &[(c_long, &str)] = &[
    (libc::SYS_exit, "ends it"),
    (libc::SYS_exit_group, "ends it"),
    (libc::SYS_execve, "makes it another program"),
    (libc::SYS_execveat, "makes it another program"),
    (libc::SYS_rt_sigreturn, "jumps to wherever the stack says"),
    (libc::SYS_clone, "both would go on, on one stack"),
    (libc::SYS_clone3, "both would go on, on one stack"),
    (
        libc::SYS_rt_sigaction,
        "its alarm, which ends calls that wait, would be another's",
    ),
    (libc::SYS_rt_sigprocmask, "its alarm would not be heard"),
    (libc::SYS_setitimer, "its alarm would be another"),
    (libc::SYS_rt_sigsuspend, "waits with its alarm blocked"),
    (libc::SYS_rt_sigtimedwait, "takes its alarm away"),
    (libc::SYS_ppoll, "waits with its alarm blocked"),
    (libc::SYS_pselect6, "waits with its alarm blocked"),
    (libc::SYS_epoll_pwait, "waits with its alarm blocked"),
    (libc::SYS_epoll_pwait2, "waits with its alarm blocked"),
    (libc::SYS_seccomp, "no call would come through any more"),
    (
        libc::SYS_sched_setscheduler,
        "it would get no processor where others want one",
    ),
    (
        libc::SYS_sched_setattr,
        "it would get no processor where others want one",
    ),
    (
        libc::SYS_setpriority,
        "it would get no processor where others want one",
    ),
    (
        libc::SYS_sched_setaffinity,
        "it would get no processor where others want one",
    ),
    (
        libc::SYS_sync,
        "everybody's disks: it lasts, and has nothing to do with it",
    ),
    (libc::SYS_syncfs, "likewise"),
    (libc::SYS_munmap, "takes away the memory that it works in"),
    (libc::SYS_mremap, "likewise"),
    (libc::SYS_mprotect, "likewise"),
    (libc::SYS_pkey_mprotect, "likewise"),
    (libc::SYS_brk, "likewise"),
    (
        libc::SYS_set_tid_address,
        "the kernel would write there at its end",
    ),
    (libc::SYS_set_robust_list, "likewise"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_pause, "waits"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_alarm, "its alarm would be another"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_fork, "both would go on"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_vfork, "both would go on, on one stack"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_arch_prctl, "takes away where its variables are"),
];

/// The number behind the last that Linux knew when this was written.
pub const BEHIND_LAST: usize = 476;

/// Whether it may be given anything. Where a wrong number means all processes of the machine, not one of them is chosen at random.
pub fn may_be_strange(number: c_long) -> bool {
    let sends = [
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_tgkill,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_tgsigqueueinfo,
    ];
    !sends.contains(&number)
}

pub fn is_made(number: c_long) -> bool {
    NOT_MADE.iter().all(|(not, _)| *not != number)
}
