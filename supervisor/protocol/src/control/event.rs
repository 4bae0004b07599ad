//! What happens, as the daemon tells everybody who wants to know.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::{LifecycleState, Question, StopReason};
use crate::{Error, lines};

/// An event under its number. A daemon numbers its events from 1 on, for everybody alike, and sends them in that order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbering<E> {
    /// What happened.
    pub event: E,
    /// The number. Of [`Event::Lagged`], that of the last event that was left out.
    pub seq: u64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A worker is ready.
    Started {
        /// Which.
        worker: String,
        /// Its process.
        pid: u32,
        /// Whether an earlier daemon had started it.
        #[serde(default)]
        reattached: bool,
    },
    /// A worker stopped, and its processes are gone. One such event for each time that it ran.
    Stopped {
        /// Which.
        worker: String,
        /// Why.
        reason: StopReason,
    },
    /// Something failed.
    Error {
        /// Of which worker, if of one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// What, for a person.
        message: String,
    },
    /// A worker's state is another one.
    State {
        /// Which.
        worker: String,
        /// How it is now.
        state: LifecycleState,
        /// How often it was started again since it last ran well.
        #[serde(default)]
        restart_attempt: u32,
    },
    /// The process of a worker ended.
    WorkerExited {
        /// Which.
        worker: String,
        /// Its process.
        pid: u32,
        /// How.
        #[serde(flatten)]
        ended: Ended,
    },
    /// Something was granted to a worker that asked.
    Granted(Decision),
    /// Something was refused.
    Refused(Decision),
    /// What was agreed to was taken back.
    Revoked(Decision),
    /// More was decided about a worker, within a second, than is told: its record has it.
    DecisionsUntold {
        /// Of which.
        worker: String,
    },
    /// A question waits for the operator.
    WaitingForApproval(Question),
    /// A question waits no more.
    Settled {
        /// Its number.
        question: u64,
        /// Whether with a yes.
        granted: bool,
    },
    /// The pool file was read again.
    Reloaded {},
    /// Events were left out: the client was slower than they came, or they are too old.
    Lagged {
        /// How many.
        missed: u64,
    },
    /// One that this version does not know.
    #[serde(untagged)]
    Unknown(Value),
}

/// What was decided about what a worker asked for. The object is a stranger's text, to be shown escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Who asked.
    pub worker: String,
    /// What it wanted to do.
    pub access: String,
    /// To what.
    pub object: String,
    /// Where the rule stands that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

/// How a process ended: by itself with a code, or by a signal. Neither is known of one that nobody could wait for, or that was ended
/// because its time was over, or because it could not be served any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that killed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The time that its policy gives it was over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
}

impl Numbering<Event> {
    /// Appends it as a line.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; `out` is then as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        lines::append(out, self)
    }
}
