//! Why there is no handle, or why it could not do what was asked.

use super::super::identity::Mismatch;
use nix::errno::Errno;
use protocol::probe;
use std::path::PathBuf;

/// Why there is no handle of a worker, or why it could not do what was asked. Each says which field or step it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No process that runs here now is the recorded one.
    #[error(transparent)]
    Identity(#[from] Mismatch),
    /// Whoever answers did not prove to be the worker.
    #[error("probe: {0}")]
    Probe(#[from] ProbeFailure),
    /// Nobody answers at the endpoint.
    #[error("connect: {}: {errno}", path.display())]
    Connect {
        /// The endpoint.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
    /// What answers is not the recorded process, by the word of the kernel.
    #[error("verify pid: {0}")]
    VerifyPid(Impostor),
    /// The worker lives, although it was told to end.
    #[error("shutdown: process {pid} still lives")]
    ShutdownTimeout {
        /// Its number.
        pid: i32,
    },
}

impl Error {
    /// The field that did not hold, or the step that failed.
    #[must_use]
    pub fn field(&self) -> String {
        match self {
            Self::Identity(mismatch) => mismatch.field().to_string(),
            Self::Probe(failure) => failure.field().to_owned(),
            Self::Connect { .. } => "endpoint".to_owned(),
            Self::VerifyPid(impostor) => impostor.field().to_owned(),
            Self::ShutdownTimeout { .. } => "process".to_owned(),
        }
    }

    /// Whether the recorded process is surely no more.
    #[must_use]
    pub fn is_death(&self) -> bool {
        matches!(self, Self::Identity(mismatch) if mismatch.is_death())
    }
}

/// Who answered instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Impostor {
    /// The kernel does not say who sent the answer.
    #[error("the sender of the answer is unknown")]
    Unknown,
    /// Another process.
    #[error("process {found} answers, and not {expected}")]
    Other {
        /// The recorded process.
        expected: i32,
        /// Who answered.
        found: i32,
    },
    /// Another process, that had the same number.
    #[error("another process {pid} answers")]
    SameNumber {
        /// The number of both.
        pid: i32,
    },
    /// Another user.
    #[error("user {found} answers, and not {expected}")]
    User {
        /// The recorded user.
        expected: u32,
        /// Who answered.
        found: u32,
    },
}

impl Impostor {
    fn field(&self) -> &'static str {
        match self {
            Self::Unknown | Self::Other { .. } => "pid",
            Self::SameNumber { .. } => "process",
            Self::User { .. } => "user",
        }
    }
}

/// Why an answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFailure {
    /// The deadline is over.
    #[error("deadline: no answer in time")]
    Silent,
    /// The connection ended before the answer.
    #[error("answer: the connection was closed")]
    Closed,
    /// The connection ended within a line.
    #[error("answer: {length} bytes, and no end of the line")]
    Short {
        /// How much came.
        length: usize,
    },
    /// A line is too long.
    #[error("answer: a line of more than {} bytes", probe::MAX_LINE)]
    Oversized,
    /// A line is not the one that had to come.
    #[error("answer: {detail}")]
    Malformed {
        /// What is wrong with it; may quote the worker.
        detail: String,
    },
    /// More came than was asked for.
    #[error("answer: {length} bytes more than were asked for")]
    Surplus {
        /// How many.
        length: usize,
    },
    /// The worker speaks another version of the probe.
    #[error("version of the probe: {theirs}, where {} is spoken", probe::VERSION)]
    Version {
        /// What it speaks.
        theirs: u32,
    },
    /// It is another life of the worker.
    #[error("instance: another one than was recorded")]
    Instance,
    /// The worker takes itself for another process.
    #[error("pidfs inode: {found}, where {expected} was recorded")]
    PidfsInode {
        /// The process that was found.
        expected: u64,
        /// What the worker says.
        found: u64,
    },
    /// The number that the worker must use once is our own.
    #[error("nonce: our own came back")]
    Nonce,
    /// The number that the worker must use once was used before.
    #[error("nonce: used before")]
    Replayed,
    /// The worker does not know the secret, or means another endpoint, boot or probe.
    #[error("code: wrong")]
    Code,
    /// It is another service.
    #[error("service name: `{found}`, and not `{expected}`")]
    ServiceName {
        /// What was asked for.
        expected: String,
        /// What the worker says.
        found: String,
    },
    /// It is another version of the service.
    #[error("service version: `{found}`, and not `{expected}`")]
    ServiceVersion {
        /// What was asked for.
        expected: String,
        /// What the worker says.
        found: String,
    },
    /// There is an endpoint, and no secret was recorded.
    #[error("secret: none was recorded")]
    NoSecret,
    /// A system call failed.
    #[error("{operation}: {errno}")]
    Io {
        /// Which.
        operation: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl ProbeFailure {
    fn field(&self) -> &'static str {
        match self {
            Self::Silent => "deadline",
            Self::Closed
            | Self::Short { .. }
            | Self::Oversized
            | Self::Malformed { .. }
            | Self::Surplus { .. } => "answer",
            Self::Version { .. } => "version of the probe",
            Self::Instance => "instance",
            Self::PidfsInode { .. } => "pidfs inode",
            Self::Nonce | Self::Replayed => "nonce",
            Self::Code => "code",
            Self::ServiceName { .. } => "service name",
            Self::ServiceVersion { .. } => "service version",
            Self::NoSecret => "secret",
            Self::Io { operation, .. } => operation,
        }
    }
}

impl From<probe::Error> for ProbeFailure {
    fn from(error: probe::Error) -> Self {
        match error {
            probe::Error::TooLong => Self::Oversized,
            probe::Error::Version { theirs } => Self::Version { theirs },
            malformed @ probe::Error::Malformed { .. } => Self::Malformed {
                detail: malformed.to_string(),
            },
        }
    }
}
