//! Why the daemon did not do what it was asked.

use protocol::{Fault, FaultCode};

/// Why the daemon did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no connection. Said at once: nothing waits for one, but for a `start` that has a deadline.
    #[error("the daemon cannot be reached: {0}")]
    IpcUnavailable(String),
    /// The daemon speaks another version than this client.
    #[error("version {client} of the client, version {server} of the daemon")]
    VersionMismatch {
        /// What this client speaks.
        client: u32,
        /// What the daemon speaks.
        server: u32,
    },
    /// The answer did not come in time. One that comes later is passed over.
    #[error("no answer in time")]
    Timeout,
    /// The daemon does not know this request: it is an older one.
    #[error("{0}")]
    UnknownRequest(String),
    /// The daemon refused.
    #[error("{0}")]
    Refused(Fault),
    /// The answer is not what the request is answered with.
    #[error("not an answer: {0}")]
    Malformed(String),
    /// The request is longer than a line may be.
    #[error("the request is too long")]
    TooLarge,
}

impl ControlError {
    /// What those are told who ask while there is no connection for this reason: that there is none, unless there will be none as long as
    /// this client and this daemon are what they are.
    pub(super) fn into_absence(self) -> Self {
        match self {
            Self::VersionMismatch { .. } | Self::IpcUnavailable(_) => self,
            other => Self::IpcUnavailable(other.to_string()),
        }
    }

    /// The words of [`code`](Self::code) that no daemon sends: there is no connection, no answer in time, or no answer to that.
    pub const OWN: [&'static str; 3] = ["ipcUnavailable", "timeout", "malformed"];

    /// A stable word, for programs and for user interfaces.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::IpcUnavailable(_) => Self::OWN[0],
            Self::VersionMismatch { .. } => FaultCode::VersionMismatch.as_str(),
            Self::Timeout => Self::OWN[1],
            Self::UnknownRequest(_) => FaultCode::UnknownRequest.as_str(),
            Self::Refused(fault) => fault.code.as_str(),
            Self::Malformed(_) => Self::OWN[2],
            Self::TooLarge => FaultCode::TooLarge.as_str(),
        }
    }
}

impl From<Fault> for ControlError {
    fn from(fault: Fault) -> Self {
        match (fault.code, fault.client, fault.server) {
            (FaultCode::VersionMismatch, Some(client), Some(server)) => {
                Self::VersionMismatch { client, server }
            }
            (FaultCode::UnknownRequest, ..) => Self::UnknownRequest(fault.message),
            _ => Self::Refused(fault),
        }
    }
}
