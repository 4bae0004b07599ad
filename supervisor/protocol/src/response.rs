//! What the supervisor sends.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Error, MAX_FDS, VERSION, frame};

/// One message of a supervisor to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupervisorResponse {
    /// The answer to a greeting.
    Welcome(Welcome),
    /// The file, on this frame.
    Granted(Granted),
    /// No file, and why.
    Refused(Refused),
    /// Says that this many descriptors travel on this frame.
    Fd(usize),
}

/// What the supervisor speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The id of the greeting.
    pub id: u64,
}

/// A grant. Its descriptors travel on its frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The id of the request.
    pub id: u64,
    /// How many descriptors.
    pub fds: usize,
    /// How long the same request will be granted again without a new decision. What was
    /// granted stays open all the same: an open file cannot be taken back.
    pub expires: Option<Duration>,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The id of the request, where one could be read.
    pub id: Option<u64>,
    /// Why.
    pub code: Code,
    /// What `open` would have said: a Linux error number.
    pub errno: i32,
    /// Where the rule that refuses is written.
    pub rule: Option<String>,
    /// More about it, for a person.
    pub detail: Option<String>,
}

crate::listed! {
    /// Why a request is refused. The words are stable.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Code {
        /// The policy denies it, or nothing in it allows it.
        Denied = "denied",
        /// The operator was asked and said no, or could not be asked.
        AskRefused = "ask_refused",
        /// The operator was asked and did not answer in time.
        AskTimeout = "ask_timeout",
        /// The policy would allow it, but it is not there.
        NoSuchFile = "no_such_file",
        /// The policy allows it, but the kernel does not; `errno` says why.
        Failed = "failed",
        /// The request breaks the protocol.
        BadRequest = "bad_request",
        /// The id was used before by the same sender on the same connection.
        Replayed = "replayed",
        /// The version or the kind of the request is not known here.
        Unsupported = "unsupported",
        /// Too much was asked for: a budget of the rule, or of the connection, is used up.
        Limit = "limit",
        /// The supervisor cannot do it now: it is ending, or cannot record the grant.
        Unavailable = "unavailable",
    }
}

impl Code {
    /// The Linux error number that goes with it where the kernel gave none: EACCES for what was
    /// decided, ENOENT, EIO, EINVAL, EPROTONOSUPPORT, ENOBUFS, EAGAIN.
    #[must_use]
    pub const fn usual_errno(self) -> i32 {
        match self {
            Self::Denied | Self::AskRefused | Self::AskTimeout => 13,
            Self::NoSuchFile => 2,
            Self::Failed => 5,
            Self::BadRequest | Self::Replayed => 22,
            Self::Unsupported => 93,
            Self::Limit => 105,
            Self::Unavailable => 11,
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SupervisorResponse {
    /// The id of the request that this answers.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        match self {
            Self::Welcome(welcome) => Some(welcome.id),
            Self::Granted(granted) => Some(granted.id),
            Self::Refused(refused) => refused.id,
            Self::Fd(_) => None,
        }
    }

    /// How many descriptors must travel on the frame.
    #[must_use]
    pub fn fds(&self) -> usize {
        match self {
            Self::Granted(granted) => granted.fds,
            Self::Fd(count) => *count,
            Self::Welcome(_) | Self::Refused(_) => 0,
        }
    }

    /// Reads the text of a frame.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn decode(text: &[u8]) -> Result<Self, Error> {
        let mirror: Mirror<'_> = serde_json::from_slice(text).map_err(Error::malformed)?;
        mirror.build().map_err(Error::malformed)
    }

    /// Appends the message as a frame.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; `out` is then as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        frame::append(out, &Mirror::of(self))
    }
}

/// The text of every kind of answer. A later supervisor may say more than we know: that is no
/// error, since whoever sent it is trusted.
#[derive(Default, Serialize, Deserialize)]
struct Mirror<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<Decision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_frame: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fds: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<i32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    rule: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Welcome,
    Granted,
    Refused,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Fd,
}

impl<'a> Mirror<'a> {
    fn of(message: &'a SupervisorResponse) -> Self {
        match message {
            SupervisorResponse::Welcome(welcome) => Self {
                id: Some(welcome.id),
                decision: Some(Decision::Welcome),
                v: Some(VERSION),
                max_frame: Some(frame::MAX),
                ..Self::default()
            },
            SupervisorResponse::Granted(granted) => Self {
                id: Some(granted.id),
                decision: Some(Decision::Granted),
                fds: Some(granted.fds),
                expires_ms: granted
                    .expires
                    .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                ..Self::default()
            },
            SupervisorResponse::Refused(refused) => Self {
                id: refused.id,
                decision: Some(Decision::Refused),
                code: Some(refused.code),
                errno: Some(refused.errno),
                rule: refused.rule.as_deref().map(Cow::Borrowed),
                detail: refused.detail.as_deref().map(Cow::Borrowed),
                ..Self::default()
            },
            SupervisorResponse::Fd(count) => Self {
                kind: Some(Kind::Fd),
                fds: Some(*count),
                ..Self::default()
            },
        }
    }

    fn build(self) -> Result<SupervisorResponse, &'static str> {
        match (self.decision, self.kind) {
            (Some(Decision::Welcome), None) => self.welcome(),
            (Some(Decision::Granted), None) => Ok(SupervisorResponse::Granted(Granted {
                id: self.id.ok_or("missing field `id`")?,
                fds: self.travelling()?,
                expires: self.expires_ms.map(Duration::from_millis),
            })),
            (Some(Decision::Refused), None) => Ok(SupervisorResponse::Refused(Refused {
                id: self.id,
                code: self.code.ok_or("missing field `code`")?,
                errno: match self.errno {
                    Some(errno @ 1..=4095) => errno,
                    Some(_) => return Err("`errno` is no error number"),
                    None => return Err("missing field `errno`"),
                },
                rule: self.rule.map(Cow::into_owned),
                detail: self.detail.map(Cow::into_owned),
            })),
            (None, Some(Kind::Fd)) => Ok(SupervisorResponse::Fd(self.travelling()?)),
            (None, None) => Err("missing field `decision`"),
            (Some(_), Some(_)) => Err("both `decision` and `kind`"),
        }
    }

    fn welcome(&self) -> Result<SupervisorResponse, &'static str> {
        let id = self.id.ok_or("missing field `id`")?;
        if self.v != Some(VERSION) {
            return Err("a version that was not asked for");
        }
        Ok(SupervisorResponse::Welcome(Welcome { id }))
    }

    fn travelling(&self) -> Result<usize, &'static str> {
        match self.fds {
            Some(count @ 1..=MAX_FDS) => Ok(count),
            Some(_) => Err("`fds` is out of range"),
            None => Err("missing field `fds`"),
        }
    }
}
