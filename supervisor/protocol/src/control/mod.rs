//! What is said to the daemon, and what it says: verbs, answers, and events that nobody asked for one by one.

mod event;
mod status;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{self, AnswerLine, Numbered, Unanswerable};
use crate::{Error, Scope, lines};

pub use crate::answer::Answer as ControlResponse;
pub use event::{Decision, Ended, Event, Numbering};
pub use status::{
    Ancestor, AutoRestart, DaemonStatus, DesiredState, Finding, Grant, Handed, LifecycleState,
    LifecycleStatus, LogChunk, LogStream, Question, SCHEMA, Severity, Status, StopReason,
    WorkerStatus,
};

/// The version of this part of the protocol.
pub const VERSION: u32 = 1;

/// What can be asked of the daemon.
///
/// Where a request has a `worker`, that is the id of a worker, or a kind, which means all workers of that kind; left
/// out, it means all workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// The first request of every connection.
    Hello {
        /// The version that the client speaks.
        version: u32,
        /// What the client calls itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
    },
    /// Wants workers to run. Answered with [`Workers`] when they are ready, or cannot be.
    Start {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// Further variables of their environment, which their policy has to let through: from their next start on, in the place of
        /// those that were said before, and until others are said. They are kept on disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        env: Option<BTreeMap<String, String>>,
        /// How long the answer may take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
    /// Wants workers not to run. Answered with [`Workers`] when their processes are gone.
    Stop {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// How long they have from SIGTERM to SIGKILL.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grace_ms: Option<u64>,
    },
    /// Stops and starts them.
    Restart {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// As with `stop`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grace_ms: Option<u64>,
    },
    /// Gives a job to a free worker. Answered with [`JobAnswer`] when it is done or wants input.
    Run {
        /// Which; of several, one that is free.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// What is to be done.
        job: Value,
        /// How long the worker may take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
        /// How long it may wait for a free worker; left out: not at all, `busy` at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue_ms: Option<u64>,
        /// The session's name, as in the requests to a worker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sid: Option<String>,
    },
    /// Goes on with a session, at the worker that has it. Answered with [`JobAnswer`].
    Continue {
        /// The session.
        sid: String,
        /// What it waits for; left out: asks for its result, again if need be.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
        /// How long the worker may take.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
    },
    /// Asks for [`Status`]: the daemon, and as many workers as fit on a line.
    Status {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// Those that come after this one: `more` of the answer before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// From the answer on, which is a [`Subscribed`], events are sent on this connection.
    Subscribe {
        /// Also those that came after this number, as far as the daemon still has them; those it has not are said to
        /// be `lagged`. Only for numbers of the same `daemon`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    /// Has workers that end started again, with delays and up to a limit. It is kept on disk, and stands over what the pool file says.
    EnableAutoRestart {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// How; what is left out is as the pool file has it.
        #[serde(default)]
        config: AutoRestart,
    },
    /// Has them stay ended.
    DisableAutoRestart {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
    },
    /// Asks what is wanted: [`DesiredStates`].
    GetDesiredState {
        /// Of which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// Those that come after this one: `more` of the answer before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// Asks how one worker is: [`LifecycleStatus`]. Of several, the state that most wants attention.
    GetLifecycleStatus {
        /// Which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
    },
    /// Asks whether this machine and account can do all that is wanted: [`Findings`].
    ValidateSetup {},
    /// Asks which questions wait for the operator: [`Questions`].
    Questions {},
    /// Says yes to one.
    Approve {
        /// Its number.
        question: u64,
        /// For how long the same needs no new question; 0: this once. Left out, and never longer than: as the rule says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remember_ms: Option<u64>,
        /// As long as the worker's process lives, if the rule does not say less.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        for_session: bool,
        /// For whom the yes speaks, if that is not more than the rule says; left out: as the rule says. Where neither says how long: as
        /// long as the worker's process lives.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<Scope>,
    },
    /// Says no to one.
    Refuse {
        /// Its number.
        question: u64,
        /// And to the same whenever it is asked again, as long as the worker's process lives.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        for_session: bool,
    },
    /// Asks for what was agreed to and still holds: [`Grants`].
    Grants {
        /// Of which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
    },
    /// Takes back what was agreed to: one by its number, or all of a path and below it, or all. Answered with [`Grants`], as they were:
    /// what they say was handed out stays with who has it.
    Revoke {
        /// The number of one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grant: Option<u64>,
        /// An absolute path.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// Everything.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        all: bool,
        /// Of a path or of everything: of which workers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// Whoever asks again is asked about again. Otherwise they are refused, as long as the worker's process lives and this daemon
        /// does.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ask_again: bool,
    },
    /// Reads the pool file again. Workers whose part of it changed are restarted.
    Reload {},
    /// Has the next daemon take over, from this file; left out, from the file this one was started from.
    Upgrade {
        /// The file, an absolute path.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        executable: Option<String>,
    },
    /// Ends the daemon.
    Shutdown {
        /// Whether the workers go on, to be found by the next one.
        #[serde(default)]
        keep_workers: bool,
    },
    /// Asks for what workers wrote: [`LogChunk`].
    Logs {
        /// Which: one.
        worker: String,
        /// What they wrote to.
        #[serde(default)]
        stream: LogStream,
        /// From this place on: `next` of the answer before. Left out: the last `lines`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
        /// How many of the last lines; left out, as many as fit on a line of this protocol.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines: Option<u32>,
    },
}

impl ControlRequest {
    /// The words of the requests.
    pub const VERBS: &[&str] = &[
        "hello",
        "start",
        "stop",
        "restart",
        "run",
        "continue",
        "status",
        "subscribe",
        "enable_auto_restart",
        "disable_auto_restart",
        "get_desired_state",
        "get_lifecycle_status",
        "validate_setup",
        "questions",
        "approve",
        "refuse",
        "grants",
        "revoke",
        "reload",
        "upgrade",
        "shutdown",
        "logs",
    ];

    /// Reads a line.
    ///
    /// # Errors
    /// What is to be answered.
    pub fn decode(line: &[u8]) -> Result<Numbered<Self>, Unanswerable> {
        answer::decode(line, Self::VERBS)
    }
}

impl Numbered<ControlRequest> {
    /// Appends it as a line.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; `out` is then as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        lines::append(out, self)
    }
}

/// One line of the daemon.
#[derive(Clone, Debug, PartialEq)]
pub enum FromDaemon {
    /// The answer to a request.
    Answer(ControlResponse),
    /// Something that happened.
    Event(Numbering<Event>),
}

impl FromDaemon {
    /// Reads a line.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(line: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Mirror {
            Event(Numbering<Event>),
            Answer(AnswerLine),
        }
        if !answer::is_object(line) {
            return Err(Error::malformed("a line that is no object"));
        }
        match serde_json::from_slice(line).map_err(Error::malformed)? {
            Mirror::Event(event) => Ok(Self::Event(event)),
            Mirror::Answer(answer) => answer.build().map(Self::Answer),
        }
    }
}

/// The data of the answer to [`ControlRequest::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version that is spoken.
    pub version: u32,
    /// What the daemon calls itself, with its version.
    #[serde(default)]
    pub server: String,
    /// Another one for each daemon: numbers of events are its own.
    #[serde(default)]
    pub daemon: String,
}

/// The data of the answers to `start`, `stop` and `restart`: how those workers are now. With very many, those that
/// are not as was asked come first, and what does not fit on a line is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workers {
    /// The workers.
    pub workers: Vec<WorkerStatus>,
}

/// The data of the answers to `run` and `continue`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobAnswer {
    /// The worker that has the session.
    pub worker: String,
    /// What it said.
    #[serde(flatten)]
    pub ran: crate::pool::Ran,
}

/// The data of the answer to `subscribe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribed {
    /// The number of the last event there was.
    pub seq: u64,
}

/// The data of the answer to `get_desired_state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DesiredStates {
    /// Of each worker, as far as they fit on a line.
    pub workers: Vec<DesiredState>,
    /// There are more: ask for those `after` this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
}

/// The data of the answer to `validate_setup`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// What was found; empty when all is well.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// Notes something, if it is so: under a stable word, with what to do about it.
    pub fn note(
        &mut self,
        is_so: bool,
        code: &str,
        severity: Severity,
        message: String,
        fix: &str,
    ) {
        if is_so {
            self.findings.push(Finding {
                code: code.to_owned(),
                severity,
                message,
                fix: Some(fix.to_owned()),
            });
        }
    }
}

/// The data of the answers to `grants` and `revoke`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grants {
    /// What holds, or held until now, the oldest first.
    pub grants: Vec<Grant>,
    /// How many more there are, which do not fit on a line.
    #[serde(default)]
    pub more: u64,
}

/// The data of the answer to `questions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Questions {
    /// Those that wait, the oldest first.
    pub questions: Vec<Question>,
    /// How many more there are, which do not fit on a line: they come when these are answered.
    #[serde(default)]
    pub more: u64,
}
