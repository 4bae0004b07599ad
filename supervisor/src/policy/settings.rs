//! What a policy says beside file rules: ports, limits, processes, the broker.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::access::Access;
use super::origin::Origin;
use super::subject::FileId;

/// A right that the kernel is told to grant, on an object and all below it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NativeGrant {
    /// Canonical path of the object. Whoever opens it must not follow a symbolic link in any component, and
    /// must find `object`.
    pub path: PathBuf,
    /// The object that was decided on; `None` for a directory that `make` is about to create.
    #[serde(skip)]
    pub object: Option<FileId>,
    /// Directories and files take different rights.
    pub is_dir: bool,
    /// What is granted.
    pub access: Access,
    /// A device file: its ioctls come with it.
    pub device: bool,
    /// No rule names it: it stood beside what is denied. If it is gone when it is opened, there is nothing to grant.
    #[serde(skip)]
    pub listed: bool,
    /// The rule that grants it.
    pub origin: Origin,
}

impl NativeGrant {
    /// Whether what it grants may be executed and not read, which the kernel cannot tell apart: it reads what it executes.
    #[must_use]
    pub fn executes_only(&self) -> bool {
        self.access.contains(Access::EXEC) && !self.access.contains(Access::READ)
    }
}

/// The TCP ports that the kernel can be told to allow, whatever the address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortRules {
    /// Every port.
    Any,
    /// These, and no other.
    Ports(BTreeSet<u16>),
}

impl PortRules {
    /// No port at all.
    #[must_use]
    pub fn none() -> Self {
        Self::Ports(BTreeSet::new())
    }

    /// Whether a port is among them.
    #[must_use]
    pub fn contains(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Ports(ports) => ports.contains(&port),
        }
    }

    /// What both allow.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Any, rules) | (rules, Self::Any) => rules.clone(),
            (Self::Ports(first), Self::Ports(second)) => {
                Self::Ports(first.intersection(second).copied().collect())
            }
        }
    }
}

/// Datagrams over IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Udp {
    /// No UDP socket can be made.
    None,
    /// UDP to anybody: nothing finer can be enforced.
    Any,
}

/// What `$TMPDIR` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tmp {
    /// No temporary directory.
    None,
    /// A fresh directory of this run, removed at its end.
    Private,
    /// The system's own `/tmp`.
    Shared,
}

/// Bounds of a run. `None`: unbounded by us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Time on the wall until everything is killed and the exit status is 124.
    #[serde(serialize_with = "seconds")]
    pub wall: Option<Duration>,
    /// Processor time.
    #[serde(serialize_with = "seconds")]
    pub cpu: Option<Duration>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Tasks alive at a time.
    pub processes: Option<u64>,
    /// Descriptors open at a time.
    pub open_files: Option<u64>,
    /// Bytes of the largest file that can be written.
    pub file_size: Option<u64>,
}

impl Limits {
    /// The tighter of the two, for each limit.
    #[must_use]
    pub fn tighter(&self, other: &Self) -> Self {
        fn least<T: Ord + Copy>(first: Option<T>, second: Option<T>) -> Option<T> {
            [first, second].into_iter().flatten().min()
        }
        Self {
            wall: least(self.wall, other.wall),
            cpu: least(self.cpu, other.cpu),
            memory: least(self.memory, other.memory),
            processes: least(self.processes, other.processes),
            open_files: least(self.open_files, other.open_files),
            file_size: least(self.file_size, other.file_size),
        }
    }
}

/// What the processes of the run may keep and do to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessRules {
    /// Capabilities that are not dropped, by name without `CAP_`, upper case.
    pub keep_caps: BTreeSet<String>,
    /// Whether processes of the run may trace one another.
    pub ptrace_own: bool,
    /// Whether the run lasts until the last descendant of the command has ended; else they are killed when it ends.
    pub orphans_awaited: bool,
    /// Whether the command gets a terminal of its own where its caller has one.
    pub own_terminal: bool,
}

/// How questions are answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BrokerRules {
    /// Who answers.
    pub approver: Approver,
    /// After which a question is answered with no.
    #[serde(serialize_with = "seconds_of")]
    pub timeout: Duration,
    /// How opens of programs that do not ask come to the supervisor.
    pub transparent: Transparent,
}

/// How the opens of a program that knows nothing of the supervisor come to it, where the kernel could not be told all that the policy
/// allows. Whichever it is, nothing is allowed that the policy does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transparent {
    /// The kernel hands them over, or else, where it cannot, a library that the program preloads asks.
    Auto,
    /// The kernel hands them over, or the run does not start.
    Notify,
    /// A library that the program preloads asks, after the kernel refused.
    Preload,
    /// They do not: what the kernel was not told of is had over the socket only.
    None,
}

impl Transparent {
    /// As policies write them.
    pub(super) const NAMES: [(&'static str, Self); 4] = [
        ("auto", Self::Auto),
        ("notify", Self::Notify),
        ("preload", Self::Preload),
        ("none", Self::None),
    ];
}

/// Who answers a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approver {
    /// Every question is answered with no.
    Deny,
    /// Every question is answered with yes. For tests of policies.
    Allow,
    /// The person at the controlling terminal.
    Terminal,
    /// Operators of the daemon that keeps the command, over its control socket.
    Control,
    /// A program: the question on its standard input, the answer its exit status.
    Command(Vec<String>),
}

/// The layers of enforcement that the policy lets a kernel lack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct BestEffort(pub(super) BTreeSet<String>);

impl BestEffort {
    /// The weakenings that a policy can name, and what each means.
    pub const NAMES: [(&'static str, &'static str); 7] = [
        ("ioctl", "ioctls on devices need no right"),
        ("limits", "limits hold for each process only"),
        (
            "metadata",
            "mode, owner, times and attributes are not guarded",
        ),
        ("net", "TCP ports are not confined"),
        ("scope", "signals and abstract sockets are not scoped"),
        ("truncate", "files that may not be written can be truncated"),
        ("unix", "connects to Unix sockets are refused as a whole"),
    ];

    /// Whether this layer may be missing.
    #[must_use]
    pub fn allows(&self, layer: &str) -> bool {
        self.0.contains(layer)
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Something the operator should know, though it stops nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The rule it is about, when it is about one.
    pub origin: Option<Origin>,
    /// What is the matter, in one sentence.
    pub message: String,
    /// Whether it is worth saying at every start; `check` says everything.
    pub at_start: bool,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

fn seconds<S: serde::Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    value.map(|value| value.as_secs_f64()).serialize(to)
}

fn seconds_of<S: serde::Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    value.as_secs_f64().serialize(to)
}
