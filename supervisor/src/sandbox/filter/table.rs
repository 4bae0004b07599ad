//! The table: what is refused, notified or excepted, under which condition, and why.
//!
//! A line reads: calls, tests of arguments (all must hold), answer, reason. Order counts only among lines that name the same
//! call: the first that applies is the answer, and without one the call is allowed. EPERM is the answer unless programs know a
//! better one: ENOSYS where they fall back when a kernel has no such call, EAFNOSUPPORT for families of sockets.

use super::calls::*;
use super::rule::{Action, Row, Test, int, long, named};
use super::spec::{AnonymousFiles, Answer, Answers, Facility, FilterSpec, Ptrace, Signals, Socket};
use super::values::*;
use nix::errno::Errno;

/// The rows that apply under `spec`, in order.
pub fn table(spec: &FilterSpec) -> Vec<Row> {
    let mut rows = ALWAYS.to_vec();
    for (facility, refused) in FACILITIES {
        if !spec.allow.contains(facility) {
            rows.extend_from_slice(refused);
        }
    }
    rows.extend_from_slice(match spec.ptrace {
        Ptrace::Refused => PTRACE_REFUSED,
        Ptrace::OwnDomain => PTRACE_OF_OWN_DOMAIN,
    });
    rows.extend_from_slice(match spec.anonymous_files {
        AnonymousFiles::NotExecutable => SEALED_FILES,
        AnonymousFiles::Any => &[],
    });
    rows.extend_from_slice(match spec.signals {
        Signals::Unscoped => OWNERS_OF_SIGNALS,
        Signals::Scoped => &[],
    });
    if spec.needs_listener() {
        rows.extend_from_slice(LISTENER);
    }
    rows.extend_from_slice(REQUESTS);
    for (kind, of_the_kind) in SOCKETS.iter().chain(OTHER_SOCKETS) {
        if spec.sockets.contains(kind) {
            rows.extend_from_slice(of_the_kind);
        }
    }
    rows.extend_from_slice(OTHER_FAMILIES);
    let Answers {
        metadata,
        connect,
        bind,
        listen,
        processes,
        others,
        watches,
        reads,
        writes,
        domains,
    } = spec.answers;
    // Where every open is asked about, those that write are among them.
    let writing_opens = match reads {
        Answer::Allow => writes,
        Answer::Refuse | Answer::Notify => Answer::Allow,
    };
    for (answer, group) in [
        (metadata, METADATA),
        (connect, CONNECTIONS),
        (bind, NAMES),
        (listen, LISTENING),
        (processes, PROCESSES),
        (others, OTHERS),
        (watches, WATCHES),
        (reads, OPENS),
        (writing_opens, WRITING_OPENS),
        (writes, ENTRIES),
        (domains, DOMAINS),
    ] {
        rows.extend(group.iter().filter_map(|row| answer.applied_to(*row)));
    }
    rows
}

const ALLOW: Action = Action::Allow;
const EACCES: Action = Action::Refuse(Errno::EACCES);
const EAFNOSUPPORT: Action = Action::Refuse(Errno::EAFNOSUPPORT);
const EAGAIN: Action = Action::Refuse(Errno::EAGAIN);
const ENOSYS: Action = Action::Refuse(Errno::ENOSYS);
const EPERM: Action = Action::Refuse(Errno::EPERM);
const EPROTONOSUPPORT: Action = Action::Refuse(Errno::EPROTONOSUPPORT);

macro_rules! rows {
    ($(
        [$($call:ident)*]
        $($width:ident($arg:literal) $(& $mask:ident)? $among:ident $($value:ident)|+),*
        => $then:ident $why:literal;
    )*) => {
        &[$(Row {
            calls: &[$($call),*],
            when: &[$($width($arg)$(.bits($mask as u64))?.$among(named![$($value),+])),*] as &[Test],
            then: $then,
            why: $why,
        }),*]
    };
}

const NAMESPACES: u32 = CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET;

/// All flags of unshare(2) but those for what the threads of one process share.
const BEYOND_THREADS: u64 =
    !((CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_VM | CLONE_SIGHAND | CLONE_THREAD) as u64);

const ALWAYS: &[Row] = rows! {
    // Ways around the filter itself.
    [IO_URING_SETUP IO_URING_ENTER IO_URING_REGISTER]
        => ENOSYS "does inside the kernel what it is asked for, past every filter";
    [CLONE3]
        => ENOSYS "its flags are in memory, where a filter cannot see them; C libraries fall back to clone";

    // Namespaces and mounts. A user namespace gives back all capabilities inside it, and with them most of the kernel.
    [CLONE] int(0) & NAMESPACES is_not UNSET
        => EPERM "new namespaces";
    [UNSHARE] long(0) & BEYOND_THREADS is_not UNSET
        => EPERM "new namespaces; what threads share may be unshared";
    [SETNS]
        => EPERM "somebody's namespace";
    [MOUNT UMOUNT2 PIVOT_ROOT CHROOT MOVE_MOUNT OPEN_TREE OPEN_TREE_ATTR FSOPEN FSCONFIG FSMOUNT FSPICK MOUNT_SETATTR]
        => EPERM "changes what a path means (CVE-2021-41133)";
    [NAME_TO_HANDLE_AT OPEN_BY_HANDLE_AT]
        => EPERM "opens by inode, past every path (the container escape called shocker)";

    // Other processes.
    [PIDFD_GETFD]
        => EPERM "takes another's descriptors, the listener among them";
    [KCMP PROCESS_MADVISE]
        => EPERM "looks into another process, disturbs its memory";
    [MIGRATE_PAGES MOVE_PAGES] int(0) is_not SELF
        => EPERM "moves another's memory";
    [SETPRIORITY] int(0) is_not PRIO_PROCESS
        => EPERM "a process group or all of a user's processes: the caller's have members outside";
    [IOPRIO_SET] int(0) is_not IOPRIO_WHO_PROCESS
        => EPERM "a process group or all of a user's processes: the caller's have members outside";
    [PRLIMIT64] int(1) is RLIMIT_RTTIME, long(2) is_not NULL
        => EPERM "this limit says which session a process belongs to";
    [SETRLIMIT] int(0) is RLIMIT_RTTIME
        => EPERM "this limit says which session a process belongs to";
    [PRCTL] int(0) is PR_SET_MM
        => EPERM "replaces what /proc says of the process: its program and arguments";
    [PERSONALITY] int(0) is_not PER_LINUX|PER_QUERY
        => EPERM "turns off address randomisation, makes what is readable executable";

    // Files, in ways that Landlock is not asked about.
    [FCNTL] int(1) is F_SETLEASE|F_SETDELEG
        => EPERM "a lease on a readable file makes everybody's opens wait, for up to /proc/sys/fs/lease-break-time";
    [FCNTL] int(1) is F_NOTIFY
        => EPERM "watches a directory, by signal";
    [RENAMEAT2] int(4) & RENAME_WHITEOUT is_not UNSET
        => EPERM "makes a character device, which Landlock is not asked about";
    // (What openat2 is asked for lies in memory; Landlock decides what it may read and write, and no more than that.)
    [OPEN] int(1) & O_ACCMODE is O_NEITHER
        => EACCES "asks neither to read nor to write, so Landlock is not asked; the driver of a device is";
    [OPENAT] int(2) & O_ACCMODE is O_NEITHER
        => EACCES "asks neither to read nor to write, so Landlock is not asked; the driver of a device is";
    [OPEN] int(1) & MAKES_A_FILE is_not UNSET, int(2) & SET_ID is_not UNSET
        => EPERM "a program that others run as this user";
    [OPENAT] int(2) & MAKES_A_FILE is_not UNSET, int(3) & SET_ID is_not UNSET
        => EPERM "a program that others run as this user";
    [CREAT MKNOD] int(1) & SET_ID is_not UNSET
        => EPERM "a program that others run as this user";
    [MKNODAT] int(2) & SET_ID is_not UNSET
        => EPERM "a program that others run as this user";
    [FANOTIFY_INIT FANOTIFY_MARK]
        => EPERM "watches whole file systems, and can hold up their users";
    [MEMFD_SECRET]
        => ENOSYS "memory that nobody who decides about a call can read; ENOSYS as where it is disabled";

    // The machine. Most of these want a capability that no child holds; they are not even asked for here. adjtimex and
    // clock_adjtime also read, and what they would set is in memory: they are left to that capability.
    [BPF]
        => EPERM "programs inside the kernel";
    [KEXEC_LOAD KEXEC_FILE_LOAD INIT_MODULE FINIT_MODULE DELETE_MODULE]
        => EPERM "code for the kernel";
    [REBOOT SWAPON SWAPOFF ACCT QUOTACTL QUOTACTL_FD SETTIMEOFDAY CLOCK_SETTIME SETHOSTNAME SETDOMAINNAME VHANGUP IOPL IOPERM]
        => EPERM "administration of the machine";
    [SYSLOG]
        => EPERM "the kernel's log";
    [MODIFY_LDT]
        => ENOSYS "16-bit segments, a source of kernel holes; ENOSYS as where it is not compiled in";
    [_SYSCTL CREATE_MODULE GET_KERNEL_SYMS QUERY_MODULE NFSSERVCTL GETPMSG PUTPMSG AFS_SYSCALL TUXCALL SECURITY VSERVER
     EPOLL_CTL_OLD EPOLL_WAIT_OLD LOOKUP_DCOOKIE SYSFS USELIB]
        => ENOSYS "no longer there, or for nobody";

    // The network: what connects without connect(2), or sends packets elsewhere than it says.
    [SENDTO SENDMMSG] int(3) & MSG_FASTOPEN is_not UNSET
        => EPERM "connects; Landlock is not asked";
    [SENDMSG] int(2) & MSG_FASTOPEN is_not UNSET
        => EPERM "connects; Landlock is not asked";
    [SETSOCKOPT] int(1) is SOL_TCP, int(2) is TCP_FASTOPEN_CONNECT|TCP_ULP
        => EPERM "a later write connects; another protocol on the same socket";
    [SETSOCKOPT] int(1) is SOL_SOCKET, int(2) is SO_BINDTODEVICE|SO_BINDTOIFINDEX|SO_MARK
        => EPERM "another way than the routes say";
    [SETSOCKOPT] int(1) is SOL_IP, int(2) is IP_OPTIONS
        => EPERM "source routes";
    [SETSOCKOPT] int(1) is SOL_IPV6, int(2) is IPV6_RTHDR|IPV6_RTHDRDSTOPTS|IPV6_2292RTHDR|IPV6_2292PKTOPTIONS
        => EPERM "routing headers";
    [SETSOCKOPT GETSOCKOPT] int(1) is SOL_SCTP
        => EPERM "SCTP connects by socket options, by SCTP_SOCKOPT_CONNECTX3 even in getsockopt";
};

/// What is refused unless it is named.
const FACILITIES: &[(Facility, &[Row])] = &[
    (Facility::Keyrings, KEYRINGS),
    (Facility::PerfEvents, PERF_EVENTS),
    (Facility::Userfaultfd, USERFAULTS),
    (Facility::SysvIpc, SYSV_IPC),
    (Facility::MessageQueues, MESSAGE_QUEUES),
];

const KEYRINGS: &[Row] = rows! {
    [ADD_KEY REQUEST_KEY KEYCTL]
        => EPERM "keyrings are the user's, not the sandbox's";
};

const PERF_EVENTS: &[Row] = rows! {
    [PERF_EVENT_OPEN]
        => EPERM "a large surface, and a view of other processes";
};

const USERFAULTS: &[Row] = rows! {
    [USERFAULTFD]
        => EPERM "stretches every race with the kernel at will";
};

const SYSV_IPC: &[Row] = rows! {
    [SHMGET SHMAT SHMCTL SHMDT SEMGET SEMOP SEMTIMEDOP SEMCTL MSGGET MSGSND MSGRCV MSGCTL]
        => ENOSYS "objects of the whole host, guarded by their mode only; ENOSYS as where it is not compiled in";
};

const MESSAGE_QUEUES: &[Row] = rows! {
    [MQ_OPEN MQ_UNLINK MQ_TIMEDSEND MQ_TIMEDRECEIVE MQ_NOTIFY MQ_GETSETATTR]
        => ENOSYS "objects of the whole host, guarded by their mode only; ENOSYS as where it is not compiled in";
};

const PTRACE_REFUSED: &[Row] = rows! {
    [PTRACE PROCESS_VM_READV PROCESS_VM_WRITEV]
        => EPERM "another's memory and registers";
};

const PTRACE_OF_OWN_DOMAIN: &[Row] = rows! {
    [PTRACE] int(0) is PTRACE_SETOPTIONS|PTRACE_SEIZE, int(3) & PTRACE_O_SUSPEND_SECCOMP is_not UNSET
        => EPERM "takes the filter off a traced process (CVE-2022-30594)";
};

const SEALED_FILES: &[Row] = rows! {
    [MEMFD_CREATE] int(1) & MFD_NOEXEC_SEAL is UNSET
        => EACCES "executable files that Landlock does not know; EACCES as the kernel has it with vm.memfd_noexec=2";
};

const OWNERS_OF_SIGNALS: &[Row] = rows! {
    [FCNTL] int(1) is F_SETOWN|F_SETOWN_EX|F_SETSIG
        => EPERM "a descriptor that sends any signal to any process";
    [IOCTL] int(1) is FIOSETOWN|SIOCSPGRP
        => EPERM "a descriptor that sends a signal to any process";
};

const LISTENER: &[Row] = rows! {
    [IOCTL] int(1) & REQUEST_TYPE is SECCOMP_REQUESTS
        => EPERM "answers notifications, which is the supervisor's alone";
};

const REQUESTS: &[Row] = rows! {
    [IOCTL] int(1) is TIOCSTI|TIOCLINUX
        => EPERM "types into the terminal for the user (CVE-2017-5226, CVE-2023-1523, CVE-2023-28100)";
    [IOCTL] int(1) is TIOCSETD|TIOCCONS|TIOCSSERIAL|TIOCVHANGUP
        => EPERM "another line discipline, the console's output, the port, the end of everybody on the terminal";
    [IOCTL] int(1) is TIOCEXCL
        => EPERM "nobody else can open the terminal any more, not even to answer a question";
    [IOCTL] int(1) & REQUEST_GROUP is KD_REQUESTS|VT_REQUESTS
        => EPERM "the console's keyboard map, font, mode and switching";

    // Requests to file systems: they work on descriptors opened for reading, Landlock is not asked, and some make, snapshot or
    // delete whole trees. So these are a list of what may be.
    [IOCTL] int(1) is FICLONE|FICLONERANGE|FIDEDUPERANGE|FS_IOC_GETFLAGS|FS_IOC32_GETFLAGS|FS_IOC_FSGETXATTR|FS_IOC_FIEMAP
        |FS_IOC_GETFSLABEL|FS_IOC_MEASURE_VERITY
        => ALLOW "writes only what is open for writing, or only tells";
    [IOCTL] int(1) & REQUEST_TYPE is EXT_REQUESTS|XFS_REQUESTS|BTRFS_REQUESTS|BCACHEFS_REQUESTS|F2FS_REQUESTS
        => EPERM "inode flags, verity, encryption, preallocation, subvolumes: through any readable descriptor";
    [IOCTL] int(1) is FS_IOC_SETVERSION|FS_IOC32_SETVERSION|FAT_IOCTL_SET_ATTRIBUTES|OCFS2_IOC_REFLINK
        => EPERM "attributes through any readable descriptor; a copy by path";
};

/// What a kind of socket, when it is named, allows.
const SOCKETS: &[(Socket, &[Row])] = &[
    (Socket::Tcp, TCP),
    (Socket::Udp, UDP),
    (Socket::UnixStream, UNIX_STREAM),
    (Socket::NetlinkRoute, ROUTE),
];

const TCP: &[Row] = rows! {
    [SOCKET] int(0) is AF_INET|AF_INET6, int(1) & SOCK_TYPE_MASK is SOCK_STREAM, int(2) is IPPROTO_IP|IPPROTO_TCP
        => ALLOW "TCP; not MPTCP and SMC, whose connections Landlock does not see";
};

const UDP: &[Row] = rows! {
    [SOCKET] int(0) is AF_INET|AF_INET6, int(1) & SOCK_TYPE_MASK is SOCK_DGRAM, int(2) is IPPROTO_IP|IPPROTO_UDP
        => ALLOW "UDP; not ICMP";
};

const UNIX_STREAM: &[Row] = rows! {
    [SOCKET] int(0) is AF_UNIX, int(1) & SOCK_TYPE_MASK is SOCK_STREAM|SOCK_SEQPACKET
        => ALLOW "what is sent goes where connect led";
};

const ROUTE: &[Row] = rows! {
    [SOCKET] int(0) is AF_NETLINK, int(1) & SOCK_TYPE_MASK is SOCK_RAW|SOCK_DGRAM, int(2) is NETLINK_ROUTE
        => ALLOW "lists interfaces and addresses";
};

/// The rest of a family of which a kind was named: an answer that says more than that the family is unknown.
const OTHER_SOCKETS: &[(Socket, &[Row])] = &[
    (Socket::Tcp, OTHER_STREAMS),
    (Socket::Udp, OTHER_IP),
    (Socket::UnixStream, OTHER_UNIX),
    (Socket::NetlinkRoute, OTHER_NETLINK),
];

const OTHER_STREAMS: &[Row] = rows! {
    [SOCKET] int(0) is AF_INET|AF_INET6, int(1) & SOCK_TYPE_MASK is SOCK_STREAM
        => EPROTONOSUPPORT "MPTCP, SCTP, SMC; programs that try them first go on with TCP";
    [SOCKET] int(0) is AF_INET|AF_INET6
        => EPERM "raw packets; datagrams, which go anywhere without a connect";
};

const OTHER_IP: &[Row] = rows! {
    [SOCKET] int(0) is AF_INET|AF_INET6
        => EPERM "raw packets, ICMP; streams where TCP is not allowed";
};

const OTHER_UNIX: &[Row] = rows! {
    [SOCKET] int(0) is AF_UNIX
        => EPERM "datagrams (raw is the same here) reach any socket of the host by sendto";
};

const OTHER_NETLINK: &[Row] = rows! {
    [SOCKET] int(0) is AF_NETLINK
        => EPROTONOSUPPORT "other parts of the kernel";
};

const OTHER_FAMILIES: &[Row] = rows! {
    [SOCKET]
        => EAFNOSUPPORT "a family of which nothing was allowed";
    [SOCKETPAIR] int(0) is AF_UNIX, int(1) & SOCK_TYPE_MASK is SOCK_STREAM|SOCK_SEQPACKET
        => ALLOW "a pair talks to itself only";
    [SOCKETPAIR] int(0) is AF_UNIX
        => EPERM "an end of a datagram pair reaches any socket of the host by sendto";
    [SOCKETPAIR]
        => EAFNOSUPPORT "no other family makes pairs of use";
};

// What a policy decides, and how it is refused where nobody asks the policy.

const METADATA: &[Row] = rows! {
    [CHMOD FCHMOD FCHMODAT FCHMODAT2 CHOWN FCHOWN LCHOWN FCHOWNAT UTIME UTIMES FUTIMESAT UTIMENSAT SETXATTR LSETXATTR FSETXATTR
     SETXATTRAT REMOVEXATTR LREMOVEXATTR FREMOVEXATTR REMOVEXATTRAT FILE_SETATTR]
        => EPERM "mode, owner, times, attributes: Landlock is not asked, by path or by descriptor";
};

const CONNECTIONS: &[Row] = rows! {
    [CONNECT]
        => EACCES "Landlock is not asked about pathname sockets, and knows no addresses";
};

const NAMES: &[Row] = rows! {
    [BIND]
        => EACCES "Landlock is not asked about abstract names";
};

const LISTENING: &[Row] = rows! {
    [LISTEN]
        => EACCES "takes a free port when none was bound; Landlock is not asked";
};

const PROCESSES: &[Row] = rows! {
    [FORK VFORK CLONE]
        => EAGAIN "counts against the session's limit";
};

const OTHERS: &[Row] = rows! {
    [SCHED_SETAFFINITY SCHED_SETSCHEDULER SCHED_SETPARAM SCHED_SETATTR] int(0) is_not SELF
        => EPERM "a task by number: a thread of one's own, or any process of the user";
    [SETPRIORITY IOPRIO_SET] int(1) is_not SELF
        => EPERM "a task by number: a thread of one's own, or any process of the user";
    [PRLIMIT64] int(0) is_not SELF, long(2) is_not NULL
        => EPERM "the limits of a task by number; without new ones it only tells";
};

const WATCHES: &[Row] = rows! {
    [INOTIFY_ADD_WATCH]
        => EACCES "tells of every change; Landlock is not asked";
};

// With O_PATH the kernel looks at no other flag but O_DIRECTORY and O_NOFOLLOW, and gives a place that can be neither read nor written.

const OPENS: &[Row] = rows! {
    [OPEN] int(1) & O_PATH is UNSET
        => EACCES "something in its tree is not the kernel's to give";
    [OPENAT] int(2) & O_PATH is UNSET
        => EACCES "something in its tree is not the kernel's to give";
    [CREAT OPENAT2]
        => EACCES "something in its tree is not the kernel's to give; what openat2 asks for is in memory";
};

const WRITING_OPENS: &[Row] = rows! {
    [OPEN] int(1) & O_PATH is UNSET, int(1) & WRITES_OR_MAKES is_not UNSET
        => EACCES "something in its tree is not the kernel's to let change";
    [OPENAT] int(2) & O_PATH is UNSET, int(2) & WRITES_OR_MAKES is_not UNSET
        => EACCES "something in its tree is not the kernel's to let change";
    [CREAT OPENAT2]
        => EACCES "something in its tree is not the kernel's to let change; what openat2 asks for is in memory";
};

const DOMAINS: &[Row] = rows! {
    [LANDLOCK_RESTRICT_SELF]
        => EPERM "whoever opens on the caller's behalf has to know that it wants less";
};

const ENTRIES: &[Row] = rows! {
    [TRUNCATE MKDIR MKDIRAT MKNOD MKNODAT UNLINK UNLINKAT RMDIR RENAME RENAMEAT RENAMEAT2 LINK LINKAT SYMLINK SYMLINKAT]
        => EACCES "something in its tree is not the kernel's to let change";
};
