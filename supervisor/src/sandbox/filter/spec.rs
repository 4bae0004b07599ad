//! What a filter is made from: values only, no policy and no kernel.

use super::calls::Arch;
use super::rule::{Action, Row};

/// Everything about a filter that is not the same for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterSpec {
    /// Whose numbers and whose `seccomp_data.arch`.
    pub arch: Arch,
    /// The sockets that may be made. Stream and seqpacket pairs of AF_UNIX always may.
    pub sockets: Vec<Socket>,
    /// Who answers the calls that a policy decides.
    pub answers: Answers,
    /// What may be done to processes of the same domain.
    pub ptrace: Ptrace,
    /// What `memfd_create` may make.
    pub anonymous_files: AnonymousFiles,
    /// Whether Landlock keeps signals inside.
    pub signals: Signals,
    /// Facilities that are refused unless they are named here.
    pub allow: Vec<Facility>,
}

/// A kind of socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// Stream sockets over IPv4 and IPv6 with protocol TCP.
    Tcp,
    /// Datagram sockets over IPv4 and IPv6 with protocol UDP. What is sent where is then nobody's decision.
    Udp,
    /// AF_UNIX, stream and seqpacket. Only where `connect` is notified: Landlock lets every pathname socket be connected to.
    UnixStream,
    /// AF_NETLINK, protocol NETLINK_ROUTE: lists interfaces and addresses of the host.
    NetlinkRoute,
}

/// Who answers the calls that a policy decides, group by group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// Writing mode, owner, times, attributes. Refused: EPERM. Allowed is a weakening: Landlock does not cover it.
    pub metadata: Answer,
    /// `connect`. Refused: EACCES. Allowed leaves it to Landlock, which knows TCP ports.
    pub connect: Answer,
    /// `bind`. Refused: EACCES. Allowed leaves it to Landlock, which knows TCP ports and pathname sockets, but not abstract names.
    pub bind: Answer,
    /// `listen`, which gives an unbound TCP socket a port that Landlock is not asked about. Refused: EACCES.
    pub listen: Answer,
    /// `fork`, `vfork`, `clone`. Refused: EAGAIN.
    pub processes: Answer,
    /// Priority, scheduling, affinity and limits of a task given by number. Refused: EPERM. The number may be that of one's own
    /// thread, as `pthread_setaffinity_np` gives it, and a filter cannot tell: refused, that fails too, while 0 always
    /// means oneself and works. Allowed, any process of the user can be given another priority or affinity.
    /// The arguments that say whom are scalars; of the scheduling calls and `prlimit64` the values are in memory.
    pub others: Answer,
    /// `inotify_add_watch`. Refused: EACCES. Allowed lets changes be seen wherever the file modes allow reading.
    pub watches: Answer,
    /// Every open that yields more than a place (O_PATH), whatever it is for. Allowed leaves it to Landlock. Refused: EACCES,
    /// under which hardly anything runs.
    pub reads: Answer,
    /// Opens that write, make or truncate, and the calls that make, remove and move entries. Allowed leaves it to Landlock.
    /// Refused: EACCES.
    pub writes: Answer,
    /// `landlock_restrict_self`. Allowed where nobody opens on the caller's behalf what the caller would then be refused. Refused:
    /// EPERM.
    pub domains: Answer,
}

/// Who answers a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The filter: the call goes on to the kernel.
    Allow,
    /// The filter: the call is an error.
    Refuse,
    /// The supervisor, by user notification.
    Notify,
}

impl Answer {
    /// The row of a group, which says how it is refused, as this one answers it; none when it is allowed.
    pub(super) fn applied_to(self, row: Row) -> Option<Row> {
        match self {
            Self::Allow => None,
            Self::Refuse => Some(row),
            Self::Notify => Some(Row {
                then: Action::Notify,
                ..row
            }),
        }
    }
}

/// What may be done to other processes by `ptrace` and its kin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ptrace {
    /// Nothing.
    Refused,
    /// What Landlock lets through: processes of the same domain or one below it.
    OwnDomain,
}

/// What `memfd_create` may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnonymousFiles {
    /// Any file, also one that can be executed, which Landlock would not refuse.
    Any,
    /// Only files that are sealed against execution.
    NotExecutable,
}

/// Whether signals that a descriptor causes (fcntl(2), F_SETOWN) stay inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// Landlock scopes them, and these with them.
    Scoped,
    /// It does not: owners of signals may not be set.
    Unscoped,
}

/// A facility of the kernel that is refused unless named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facility {
    /// Keys and keyrings (keyrings(7)), which the sandbox would share with its user's session.
    Keyrings,
    /// Shared memory, semaphores and queues of System V, which the sandbox would share with the host.
    SysvIpc,
    /// POSIX message queues, which the sandbox would share with the host.
    MessageQueues,
    /// `perf_event_open`.
    PerfEvents,
    /// `userfaultfd`, which holds the kernel at a page for as long as a program likes.
    Userfaultfd,
}

impl FilterSpec {
    /// The strictest filter under which a program without a network can run: nobody answers, so what a policy would decide is refused.
    pub fn strictest(arch: Arch) -> Self {
        Self {
            arch,
            sockets: Vec::new(),
            answers: Answers {
                metadata: Answer::Refuse,
                connect: Answer::Refuse,
                bind: Answer::Refuse,
                listen: Answer::Refuse,
                processes: Answer::Allow,
                others: Answer::Refuse,
                watches: Answer::Refuse,
                reads: Answer::Allow,
                writes: Answer::Allow,
                domains: Answer::Allow,
            },
            ptrace: Ptrace::Refused,
            anonymous_files: AnonymousFiles::NotExecutable,
            signals: Signals::Unscoped,
            allow: Vec::new(),
        }
    }

    /// Whether a call is ever notified, that is whether the program must be installed with a listener.
    pub fn needs_listener(&self) -> bool {
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
        } = self.answers;
        [
            metadata, connect, bind, listen, processes, others, watches, reads, writes, domains,
        ]
        .contains(&Answer::Notify)
    }
}
