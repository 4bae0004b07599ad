//! What a program sends: private mirrors of its text, and the types that are built from them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::path::RequestedPath;
use crate::response::{Code, Refused, SupervisorResponse};
use crate::{Error, MAX_FDS, VERSION, brief, frame};

/// The longest reason for a request, in bytes.
pub const MAX_WHY: usize = 1024;

/// The longest name of a client, in bytes.
pub const MAX_CLIENT: usize = 64;

/// One message of a program to its supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SupervisorMessage {
    /// Asks which version is spoken. Never required.
    Hello(Hello),
    /// Asks for a file.
    Open(OpenRequest),
    /// Says that this many descriptors travel on this frame.
    Fd(usize),
}

/// A greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Correlates the answer.
    pub id: u64,
    /// What the client calls itself; for the operator's eyes only.
    pub client: Option<String>,
}

/// A request for one open file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// Correlates the answer; never twice by one sender on one connection.
    pub id: u64,
    /// What is to be opened.
    pub path: RequestedPath,
    /// What the descriptor shall be good for.
    pub access: Access,
    /// How it shall be opened.
    pub flags: OpenFlags,
    /// Whether it may, or must, be made.
    pub create: Create,
    /// Its permissions if it is made, before the umask.
    pub mode: u32,
    /// What the program gives as its reason: text of a stranger, to be shown escaped.
    pub why: Option<String>,
}

/// What a descriptor is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Both.
    ReadWrite,
}

impl Access {
    /// Whether it reads.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadWrite)
    }

    /// Whether it writes.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::ReadWrite)
    }
}

/// Whether a file may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Create {
    /// It must be there.
    No,
    /// It is made when it is not there: `O_CREAT`.
    Yes,
    /// It must not be there: `O_CREAT|O_EXCL`.
    New,
}

/// A set of the flags that `open` has besides access and creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenFlags(u8);

impl OpenFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every write goes to the end: `O_APPEND`.
    pub const APPEND: Self = Self(1);
    /// The content is cut off: `O_TRUNC`.
    pub const TRUNCATE: Self = Self(2);
    /// Only a directory will do: `O_DIRECTORY`.
    pub const DIRECTORY: Self = Self(4);
    /// A symbolic link at the end of the path is not followed: `O_NOFOLLOW`.
    pub const NOFOLLOW: Self = Self(8);
    /// Neither the open nor what follows waits: `O_NONBLOCK`.
    pub const NONBLOCK: Self = Self(16);

    /// Each flag with its word.
    const WORDS: [(Self, FlagWord); 5] = [
        (Self::APPEND, FlagWord::Append),
        (Self::TRUNCATE, FlagWord::Truncate),
        (Self::DIRECTORY, FlagWord::Directory),
        (Self::NOFOLLOW, FlagWord::Nofollow),
        (Self::NONBLOCK, FlagWord::Nonblock),
    ];

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn words(self) -> Vec<FlagWord> {
        let held = Self::WORDS.iter().filter(|(flag, _)| self.contains(*flag));
        held.map(|(_, word)| *word).collect()
    }

    fn of(words: &[FlagWord]) -> Self {
        let named = Self::WORDS.iter().filter(|(_, word)| words.contains(word));
        named.fold(Self::NONE, |set, (flag, _)| set.union(*flag))
    }
}

/// A request that cannot be considered, with what can be said to its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Rejected {
    /// The id of the request, where one could be read.
    pub id: Option<u64>,
    /// [`Code::BadRequest`] or [`Code::Unsupported`].
    pub code: Code,
    /// What is wrong with it; may quote the stranger.
    pub detail: String,
}

impl From<Rejected> for SupervisorResponse {
    fn from(rejected: Rejected) -> Self {
        Self::Refused(Refused {
            id: rejected.id,
            code: rejected.code,
            errno: rejected.code.usual_errno(),
            rule: None,
            detail: Some(rejected.detail),
        })
    }
}

impl SupervisorMessage {
    /// The id that its answer will carry.
    #[must_use]
    pub fn id(&self) -> Option<u64> {
        match self {
            Self::Hello(hello) => Some(hello.id),
            Self::Open(open) => Some(open.id),
            Self::Fd(_) => None,
        }
    }

    /// How many descriptors must travel on the frame.
    #[must_use]
    pub fn fds(&self) -> usize {
        match self {
            Self::Hello(_) | Self::Open(_) => 0,
            Self::Fd(count) => *count,
        }
    }

    /// Reads the text of a frame.
    ///
    /// # Errors
    /// A [`Rejected`] that can be sent back; the connection can still be used.
    pub fn decode(text: &[u8]) -> Result<Self, Rejected> {
        let mirror: Mirror<'_> =
            serde_json::from_slice(text).map_err(|error| rejected(text, error))?;
        let id = mirror.id;
        mirror.build().map_err(|detail| Rejected {
            id,
            code: Code::BadRequest,
            detail: brief(&detail),
        })
    }

    /// Appends the message as a frame.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; `out` is then as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        frame::append(out, &Mirror::of(self))
    }
}

/// Says why a text is no request, as far as the text itself allows.
fn rejected(text: &[u8], error: serde_json::Error) -> Rejected {
    /// What every version has. Unknown fields are no error here: the text is already rejected.
    #[derive(Deserialize)]
    struct Head<'a> {
        v: Option<u64>,
        id: Option<u64>,
        #[serde(borrow)]
        kind: Option<Cow<'a, str>>,
    }
    let Ok(head) = serde_json::from_slice::<Head<'_>>(text) else {
        return Rejected {
            id: None,
            code: Code::BadRequest,
            detail: brief(&error.to_string()),
        };
    };
    let known = |kind: &Cow<'_, str>| ["hello", "open", "fd"].contains(&kind.as_ref());
    let (code, detail) = match head {
        Head { v: Some(v), .. } if v != u64::from(VERSION) => (
            Code::Unsupported,
            format!("version {v}, where {VERSION} is spoken"),
        ),
        Head {
            kind: Some(kind), ..
        } if !known(&kind) => (Code::Unsupported, format!("a request of kind `{kind}`")),
        _ => (Code::BadRequest, error.to_string()),
    };
    Rejected {
        id: head.id,
        code,
        detail: brief(&detail),
    }
}

/// The text of every kind of request. What a kind does not have must be absent.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mirror<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    kind: Option<Kind>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    path: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    path_b64: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<Vec<AccessWord>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<FlagWord>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create: Option<Create>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    why: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    client: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fds: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Hello,
    Open,
    Fd,
}

/// The one version: a number that is 1.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
struct Version;

impl From<Version> for u32 {
    fn from(Version: Version) -> Self {
        VERSION
    }
}

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        if number == VERSION {
            Ok(Self)
        } else {
            Err(format!("version {number}"))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AccessWord {
    Read,
    Write,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FlagWord {
    Append,
    Truncate,
    Directory,
    Nofollow,
    Nonblock,
}

impl<'a> Mirror<'a> {
    fn of(message: &'a SupervisorMessage) -> Self {
        match message {
            SupervisorMessage::Hello(hello) => Self {
                v: Some(Version),
                id: Some(hello.id),
                kind: Some(Kind::Hello),
                client: hello.client.as_deref().map(Cow::Borrowed),
                ..Self::default()
            },
            SupervisorMessage::Fd(count) => Self {
                kind: Some(Kind::Fd),
                fds: Some(*count),
                ..Self::default()
            },
            SupervisorMessage::Open(open) => {
                let (path, path_b64) = open.path.to_wire();
                Self {
                    v: Some(Version),
                    id: Some(open.id),
                    kind: Some(Kind::Open),
                    path: path.map(Cow::Borrowed),
                    path_b64: path_b64.map(Cow::Owned),
                    access: Some(match open.access {
                        Access::Read => vec![AccessWord::Read],
                        Access::Write => vec![AccessWord::Write],
                        Access::ReadWrite => vec![AccessWord::Read, AccessWord::Write],
                    }),
                    flags: (open.flags != OpenFlags::NONE).then(|| open.flags.words()),
                    create: (open.create != Create::No).then_some(open.create),
                    mode: (open.create != Create::No).then_some(open.mode),
                    why: open.why.as_deref().map(Cow::Borrowed),
                    ..Self::default()
                }
            }
        }
    }

    fn build(self) -> Result<SupervisorMessage, String> {
        match self.kind {
            None => Err("missing field `kind`".to_owned()),
            Some(Kind::Hello) => self.hello(),
            Some(Kind::Open) => self.open(),
            Some(Kind::Fd) => self.fd(),
        }
    }

    fn hello(self) -> Result<SupervisorMessage, String> {
        let Self { id, client, .. } = &self;
        self.has_only(&["v", "id", "client"])?;
        let id = id.ok_or("missing field `id`")?;
        let client = bounded("client", client.as_deref(), MAX_CLIENT)?;
        Ok(SupervisorMessage::Hello(Hello { id, client }))
    }

    fn fd(self) -> Result<SupervisorMessage, String> {
        self.has_only(&["v", "fds"])?;
        match self.fds {
            Some(count @ 1..=MAX_FDS) => Ok(SupervisorMessage::Fd(count)),
            Some(count) => Err(format!(
                "{count} descriptors, where 1 to {MAX_FDS} can travel"
            )),
            None => Err("missing field `fds`".to_owned()),
        }
    }

    fn open(self) -> Result<SupervisorMessage, String> {
        self.has_only(&[
            "v", "id", "path", "access", "flags", "create", "mode", "why",
        ])?;
        let id = self.id.ok_or("missing field `id`")?;
        let words = self.access.as_deref().ok_or("missing field `access`")?;
        let access = match [AccessWord::Read, AccessWord::Write].map(|word| words.contains(&word)) {
            [true, false] => Access::Read,
            [false, true] => Access::Write,
            [true, true] => Access::ReadWrite,
            [false, false] => return Err("`access` names nothing".to_owned()),
        };
        let open = OpenRequest {
            id,
            path: RequestedPath::from_wire(self.path.as_deref(), self.path_b64.as_deref())?,
            access,
            flags: OpenFlags::of(self.flags.as_deref().unwrap_or_default()),
            create: self.create.unwrap_or(Create::No),
            mode: self.mode.unwrap_or(OpenRequest::MODE),
            why: bounded("why", self.why.as_deref(), MAX_WHY)?,
        };
        match open.contradiction() {
            None => Ok(SupervisorMessage::Open(open)),
            Some(contradiction) => Err(contradiction.to_owned()),
        }
    }

    /// That no field is there but those named (and the kind).
    fn has_only(&self, named: &[&str]) -> Result<(), String> {
        let there = [
            ("id", self.id.is_some()),
            ("path", self.path.is_some() || self.path_b64.is_some()),
            ("access", self.access.is_some()),
            ("flags", self.flags.is_some()),
            ("create", self.create.is_some()),
            ("mode", self.mode.is_some()),
            ("why", self.why.is_some()),
            ("client", self.client.is_some()),
            ("fds", self.fds.is_some()),
        ];
        match there
            .iter()
            .find(|(field, there)| *there && !named.contains(field))
        {
            None => Ok(()),
            Some((field, _)) => Err(format!("this kind has no field `{field}`")),
        }
    }
}

impl OpenRequest {
    /// The permissions of a new file when the request does not say: the owner's alone.
    pub const MODE: u32 = 0o600;

    /// What makes the request one that no `open` could fulfil, if anything.
    #[must_use]
    pub fn contradiction(&self) -> Option<&'static str> {
        let changes = self.create != Create::No
            || self.flags.contains(OpenFlags::TRUNCATE)
            || self.flags.contains(OpenFlags::APPEND);
        if changes && !self.access.writes() {
            return Some("creating, truncating and appending need write access");
        }
        if self.flags.contains(OpenFlags::DIRECTORY) && self.access.writes() {
            return Some("a directory can only be read");
        }
        if self.mode > 0o7777 {
            return Some("a mode above 07777");
        }
        None
    }
}

/// A text of at most `most` bytes.
fn bounded(field: &str, text: Option<&str>, most: usize) -> Result<Option<String>, String> {
    match text {
        Some(text) if text.len() > most => Err(format!("`{field}` is longer than {most} bytes")),
        text => Ok(text.map(str::to_owned)),
    }
}
