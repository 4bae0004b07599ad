//! What is said to a worker, and what it says: jobs, sessions, and how it does.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{self, Numbered, Unanswerable};
use crate::{Error, lines};

pub use crate::answer::Answer as PoolResponse;

/// The version of this part of the protocol.
pub const VERSION: u32 = 1;

/// The characters of a session's name: 128 random bits in hex.
pub const SID: usize = 32;

/// What can be asked of a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolRequest {
    /// The first request of every connection.
    Handshake {
        /// The version that the client speaks.
        version: u32,
    },
    /// Begins a session with a job. Answered when the job is done, or wants input.
    Run {
        /// What is to be done: the worker's own matter.
        job: Value,
        /// After so long the answer is `deadline` and the job is told to stop.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
        /// How long it may wait for a free worker. For the daemon; a worker by itself has no queue.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue_ms: Option<u64>,
        /// The session's name, chosen by who wants to ask for it again after losing the connection; else the worker
        /// chooses one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sid: Option<String>,
    },
    /// Goes on with a session that waits for input; without input, asks for its result.
    Continue {
        /// The session.
        sid: String,
        /// What it waits for. Left out: waits for a job that runs and answers what it came to, again if need be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
        /// As with `run`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
    /// Asks how the worker does.
    Status {
        /// Whether with the sessions that are over.
        #[serde(default)]
        include_history: bool,
    },
    /// Asks the worker to end.
    Shutdown {},
}

impl PoolRequest {
    /// The words of the requests.
    pub const VERBS: &[&str] = &["handshake", "run", "continue", "status", "shutdown"];

    /// Reads a line.
    ///
    /// # Errors
    /// What is to be answered.
    pub fn decode(line: &[u8]) -> Result<Numbered<Self>, Unanswerable> {
        answer::decode(line, Self::VERBS)
    }
}

impl Numbered<PoolRequest> {
    /// Appends it as a line.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; `out` is then as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        lines::append(out, self)
    }
}

/// Whether a text is the name of a session.
#[must_use]
pub fn is_sid(text: &str) -> bool {
    text.len() == SID
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The data of the answer to [`PoolRequest::Handshake`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that is spoken.
    pub version: u32,
    /// What the worker calls itself.
    #[serde(default)]
    pub service: String,
    /// The version of that.
    #[serde(default)]
    pub service_version: String,
}

/// The data of the answer to [`PoolRequest::Run`] and [`PoolRequest::Continue`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// The session.
    pub sid: String,
    /// Whether it is over.
    pub state: SessionState,
    /// What the job came to, or what it wants to know.
    #[serde(default)]
    pub output: Value,
}

crate::listed! {
    /// How a session is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum SessionState {
        /// At work.
        Running,
        /// It wants input.
        Waiting,
        /// Over, with a result.
        Done,
        /// Over, without one.
        Failed,
        /// A word that this version does not know.
        #[serde(other)]
        Unknown,
    }
}

crate::listed! {
    /// How a worker is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Occupation {
        /// It would take a job.
        Idle,
        /// A job runs.
        Running,
        /// A job was told to stop, and has not.
        Cancelling,
        /// It takes no more jobs and ends.
        Stopping,
        /// A word that this version does not know.
        #[serde(other)]
        Unknown,
    }
}

/// The data of the answer to [`PoolRequest::Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// What it does.
    pub state: Occupation,
    /// The session whose job runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<SessionStatus>,
    /// The sessions that want input.
    #[serde(default)]
    pub waiting: Vec<SessionStatus>,
    /// Jobs that ended since the worker began, however they did.
    #[serde(default)]
    pub jobs: u64,
    /// How long it has had nothing to do, in milliseconds; 0 while a job runs.
    #[serde(default)]
    pub idle_ms: u64,
    /// After how long of that it ends by itself; 0 for never.
    #[serde(default)]
    pub idle_timeout_ms: u64,
    /// With `include_history`: the sessions that are over and whose results can still be asked for, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<SessionStatus>>,
}

/// One session, in a [`PoolStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Its name.
    pub sid: String,
    /// How it is.
    pub state: SessionState,
    /// How long it has been so, in milliseconds.
    #[serde(default)]
    pub for_ms: u64,
}
