//! What is not as recorded.

use crate::audit::Digest;
use crate::launch::Exit;
use nix::errno::Errno;

/// What of a record did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// The machine id.
    Machine,
    /// The boot id.
    Boot,
    /// The pid namespace.
    PidNamespace,
    /// The process itself.
    Process,
    /// Its number.
    Pid,
    /// When it was started.
    StartTime,
    /// Its user.
    User,
    /// Its cgroup.
    Cgroup,
    /// What it executes.
    Executable,
    /// Where it listens.
    Endpoint,
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Machine => "machine id",
            Self::Boot => "boot id",
            Self::PidNamespace => "pid namespace",
            Self::Process => "process",
            Self::Pid => "pid",
            Self::StartTime => "start time",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Executable => "executable",
            Self::Endpoint => "endpoint",
        })
    }
}

/// Why a record is of no process that runs here now, or why that could not be found out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It was recorded on another machine, or on one without a name.
    #[error("machine id: recorded on another machine")]
    Machine,
    /// It was recorded before this machine was last started.
    #[error("boot id: recorded during another boot")]
    Boot,
    /// It was recorded where numbers mean other processes.
    #[error("pid namespace: recorded in another one")]
    PidNamespace,
    /// There is no process of that number.
    #[error("process {pid} is gone")]
    Gone {
        /// The recorded number.
        pid: i32,
    },
    /// The number is another process's now.
    #[error("process {pid} is gone, and another process has its number")]
    Recycled {
        /// The recorded number.
        pid: i32,
    },
    /// The process has ended, and may be waiting to be collected.
    #[error("process {pid} has ended{}", how(*exit))]
    Exited {
        /// Its number.
        pid: i32,
        /// How, where that is told.
        exit: Option<Exit>,
    },
    /// The process has another number than was recorded.
    #[error("pid: {found}, where {recorded} was recorded")]
    Pid {
        /// What was recorded.
        recorded: i32,
        /// What it is.
        found: i32,
    },
    /// The process was started at another time.
    #[error("start time: {found} ticks, where {recorded} were recorded")]
    StartTime {
        /// What was recorded.
        recorded: u64,
        /// What it is.
        found: u64,
    },
    /// The process is another user's.
    #[error("user: {found}, where {recorded} was recorded")]
    User {
        /// Who was recorded.
        recorded: u32,
        /// Whose it is.
        found: u32,
    },
    /// The process is in another cgroup.
    #[error("cgroup: {found}, where {recorded} was recorded")]
    Cgroup {
        /// What was recorded.
        recorded: String,
        /// Where it is.
        found: String,
    },
    /// The process executes something else.
    #[error("executable: {found}, where {recorded} was recorded")]
    Executable {
        /// What was recorded.
        recorded: Digest,
        /// What it executes.
        found: Digest,
    },
    /// What the process executes cannot be read, and the policy wants it read.
    #[error("executable: cannot be read ({errno}), and is required")]
    ExecutableUnreadable {
        /// What the kernel said.
        errno: Errno,
    },
    /// The endpoint that was asked for is not the recorded one.
    #[error("endpoint: {asked}, where {recorded} was recorded")]
    Endpoint {
        /// What was asked for.
        asked: String,
        /// What was recorded.
        recorded: String,
    },
    /// It could not be found out.
    #[error("{field}: cannot be found out: {operation}: {errno}")]
    Unknown {
        /// What was to be found out.
        field: Field,
        /// What failed.
        operation: &'static str,
        /// With what.
        errno: Errno,
    },
}

impl Mismatch {
    /// What did not hold.
    #[must_use]
    pub fn field(&self) -> Field {
        match self {
            Self::Machine => Field::Machine,
            Self::Boot => Field::Boot,
            Self::PidNamespace => Field::PidNamespace,
            Self::Gone { .. } | Self::Recycled { .. } | Self::Exited { .. } => Field::Process,
            Self::Pid { .. } => Field::Pid,
            Self::StartTime { .. } => Field::StartTime,
            Self::User { .. } => Field::User,
            Self::Cgroup { .. } => Field::Cgroup,
            Self::Executable { .. } | Self::ExecutableUnreadable { .. } => Field::Executable,
            Self::Endpoint { .. } => Field::Endpoint,
            Self::Unknown { field, .. } => *field,
        }
    }

    /// Whether that process is surely no more: its record can go.
    #[must_use]
    pub fn is_death(&self) -> bool {
        let gone = matches!(self.field(), Field::Process | Field::Boot);
        gone && !matches!(self, Self::Unknown { .. })
    }

    pub(crate) fn unknown(field: Field, operation: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Unknown {
            field,
            operation,
            errno,
        }
    }
}

fn how(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Code(code)) => format!(" with status {code}"),
        Some(Exit::Signal(signal)) => format!(" by signal {signal}"),
        Some(Exit::Unknown) | None => String::new(),
    }
}
