//! What requests on lines have in common: a number that the client chose, one verb, and an answer with that number.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, brief, lines};

/// A request under its number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbered<R> {
    /// Chosen by the client; comes back with the answer.
    pub id: u64,
    /// What is asked.
    pub req: R,
}

/// A request that cannot be considered: the answer to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .fault.message)]
pub struct Unanswerable {
    /// Its number, where one could be read.
    pub id: Option<u64>,
    /// [`FaultCode::UnknownRequest`] or [`FaultCode::BadRequest`].
    pub fault: Fault,
}

/// Reads a request. Fields that are not known are passed over: a later client may say more.
///
/// # Errors
/// An [`Unanswerable`]; the connection can still be used.
pub(crate) fn decode<R: DeserializeOwned>(
    line: &[u8],
    verbs: &[&str],
) -> Result<Numbered<R>, Unanswerable> {
    if !is_object(line) {
        let fault = Fault::new(FaultCode::BadRequest, "a line that is no object");
        return Err(Unanswerable { id: None, fault });
    }
    serde_json::from_slice(line).map_err(|error| unanswerable(line, verbs, &error))
}

/// Whether a line, if it is JSON at all, is an object. A list of the fields in their order would do for the parser.
pub(crate) fn is_object(line: &[u8]) -> bool {
    line.trim_ascii_start().first() == Some(&b'{')
}

/// Says why a line is no request, as far as the line itself allows.
fn unanswerable(line: &[u8], verbs: &[&str], error: &serde_json::Error) -> Unanswerable {
    #[derive(Deserialize)]
    struct Head {
        id: Option<u64>,
        #[serde(default)]
        req: Value,
    }
    let head = serde_json::from_slice(line).unwrap_or(Head {
        id: None,
        req: Value::Null,
    });
    // A verb without a body may come as its bare word, from whoever does not know better.
    let verb = match &head.req {
        Value::Object(fields) if fields.len() == 1 => fields.keys().next().cloned(),
        Value::String(word) => Some(word.clone()),
        _ => None,
    };
    let fault = match verb {
        Some(verb) if !verbs.contains(&verb.as_str()) => Fault::new(
            FaultCode::UnknownRequest,
            format!("there is no request `{verb}`"),
        ),
        _ => Fault::new(FaultCode::BadRequest, error.to_string()),
    };
    Unanswerable { id: head.id, fault }
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Fault {
    /// The kind; programs decide by it.
    pub code: FaultCode,
    /// More, for a person. May quote a stranger.
    #[serde(default)]
    pub message: String,
    /// With [`FaultCode::VersionMismatch`]: the version that the client named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<u32>,
    /// With [`FaultCode::VersionMismatch`]: the version that is spoken here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<u32>,
    /// The session that it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
}

impl Fault {
    /// One with a message, which is cut where it is long.
    #[must_use]
    pub fn new(code: FaultCode, message: impl AsRef<str>) -> Self {
        Self {
            code,
            message: brief(message.as_ref()),
            client: None,
            server: None,
            sid: None,
        }
    }

    /// The client speaks `client`, and here `server` is spoken.
    #[must_use]
    pub fn version_mismatch(client: u32, server: u32) -> Self {
        Self {
            client: Some(client),
            server: Some(server),
            ..Self::new(
                FaultCode::VersionMismatch,
                format!("version {client}, where {server} is spoken"),
            )
        }
    }

    /// The same, about a session.
    #[must_use]
    pub fn of_session(mut self, sid: impl Into<String>) -> Self {
        self.sid = Some(sid.into());
        self
    }
}

macro_rules! fault_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// The kinds of [`Fault`]. The words are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum FaultCode {
            $($(#[doc = $doc])+ $name,)+
            /// A word that this version does not know.
            #[serde(other)]
            Unknown,
        }

        impl FaultCode {
            /// Every code that can be sent.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                    Self::Unknown => "unknown",
                }
            }
        }
    };
}

fault_codes! {
    /// The version that was named is not spoken here; the connection is closed.
    VersionMismatch = "version_mismatch",
    /// Something was asked before the handshake; the connection is closed.
    HandshakeRequired = "handshake_required",
    /// The verb is not known here.
    UnknownRequest = "unknown_request",
    /// The request is not as specified.
    BadRequest = "bad_request",
    /// The line, or what would have to be answered, is too long. After a line that is, the connection is closed.
    TooLarge = "too_large",
    /// The client may not ask for that.
    Forbidden = "forbidden",
    /// There is no free worker, or this one is at work.
    Busy = "busy",
    /// There is no such session, or it is forgotten.
    SessionNotFound = "session_not_found",
    /// A session of that name is there.
    SessionExists = "session_exists",
    /// The time that was given is over.
    Deadline = "deadline",
    /// The work was done and failed, or could not be done; the message says why.
    Failed = "failed",
    /// The worker ended while it was at work on that.
    WorkerGone = "worker_gone",
    /// A worker could not be started; the message says why.
    Spawn = "spawn",
    /// What is recorded about workers cannot be read.
    RegistryCorrupted = "registry_corrupted",
    /// There is no worker of that name.
    UnknownWorker = "unknown_worker",
    /// There is no such question, any more or at all.
    UnknownQuestion = "unknown_question",
    /// Nothing that was agreed to has this number, any more or at all.
    UnknownGrant = "unknown_grant",
    /// It cannot be done in this state: the worker is blocked, or gave up.
    Blocked = "blocked",
    /// Too much is under way: connections, sessions or queued jobs.
    Limit = "limit",
    /// Not now: whoever was asked is ending.
    Unavailable = "unavailable",
}

impl std::fmt::Display for FaultCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer to a request: its data, or why there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Answer {
    /// The number of the request; `None` for a line that had none that could be read.
    pub id: Option<u64>,
    /// What came of it.
    pub outcome: Result<Value, Fault>,
}

/// The text of an answer.
#[derive(Serialize, Deserialize)]
pub(crate) struct AnswerLine {
    #[serde(default)]
    id: Option<u64>,
    ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Fault>,
}

impl AnswerLine {
    pub(crate) fn build(self) -> Result<Answer, Error> {
        let outcome = match (self.ok, self.error) {
            (true, None) => Ok(self.data.unwrap_or(Value::Null)),
            (false, Some(fault)) => Err(fault),
            (true, Some(_)) => return Err(Error::malformed("`ok` with an `error`")),
            (false, None) => return Err(Error::malformed("missing field `error`")),
        };
        Ok(Answer {
            id: self.id,
            outcome,
        })
    }
}

impl Answer {
    /// That a request was done.
    pub fn done(id: u64, data: Value) -> Self {
        Self {
            id: Some(id),
            outcome: Ok(data),
        }
    }

    /// That it was not.
    pub fn refused(id: impl Into<Option<u64>>, fault: Fault) -> Self {
        Self {
            id: id.into(),
            outcome: Err(fault),
        }
    }

    /// Whether the request was done.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.outcome.is_ok()
    }

    /// What came of it.
    #[must_use]
    pub fn data(&self) -> Option<&Value> {
        self.outcome.as_ref().ok()
    }

    /// Why nothing did.
    #[must_use]
    pub fn error(&self) -> Option<&Fault> {
        self.outcome.as_ref().err()
    }

    /// Reads a line.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(line: &[u8]) -> Result<Self, Error> {
        if !is_object(line) {
            return Err(Error::malformed("a line that is no object"));
        }
        let mirror: AnswerLine = serde_json::from_slice(line).map_err(Error::malformed)?;
        mirror.build()
    }

    /// Appends it as a line. What is too long for one becomes a [`FaultCode::TooLarge`] under the same number.
    pub fn encode(self, out: &mut Vec<u8>) {
        let id = self.id;
        let (data, error) = match self.outcome {
            Ok(data) => (Some(data), None),
            Err(fault) => (None, Some(fault)),
        };
        let mirror = AnswerLine {
            id,
            ok: error.is_none(),
            data,
            error,
        };
        append(out, id, &mirror);
    }

    /// The same as [`done`](Self::done) and [`encode`](Self::encode), of data that are not a [`Value`] yet: to make them one costs more
    /// than all the rest.
    pub fn encode_done(id: u64, data: &impl Serialize, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Done<'a, T> {
            id: u64,
            ok: bool,
            data: &'a T,
        }
        append(out, Some(id), &Done { id, ok: true, data });
    }
}

/// Appends the line of an answer, or that it is too long for one.
fn append(out: &mut Vec<u8>, id: Option<u64>, line: &impl Serialize) {
    if let Err(error) = lines::append(out, line) {
        let fault = Fault::new(FaultCode::TooLarge, error.to_string());
        let mirror = AnswerLine {
            id,
            ok: false,
            data: None,
            error: Some(fault),
        };
        // A number and a short text fit on a line.
        lines::append(out, &mirror).unwrap_or_default();
    }
}

impl From<Unanswerable> for Answer {
    fn from(unanswerable: Unanswerable) -> Self {
        Self::refused(unanswerable.id, unanswerable.fault)
    }
}
