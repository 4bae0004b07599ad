//! What is recorded.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use protocol::Scope;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::policy::{Access, Mechanism, Origin, Reason};

/// One line of the log. The end of the run is [`Log::finish`](super::Log::finish).
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A run starts.
    Start(Start<'a>),
    /// Something was asked of the supervisor.
    Decision(Decision<'a>),
}

impl Event<'_> {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Decision(_) => "decision",
        }
    }
}

/// Bytes that a stranger chose. Text where they are UTF-8, else `{"b64": …}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> From<&'a Path> for Bytes<'a> {
    fn from(path: &'a Path) -> Self {
        Self(path.as_os_str().as_bytes())
    }
}

impl<'a> From<&'a OsStr> for Bytes<'a> {
    fn from(text: &'a OsStr) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a str> for Bytes<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return serializer.serialize_str(text);
        }
        let engine = &base64::engine::general_purpose::STANDARD;
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("b64", &base64::Engine::encode(engine, self.0))?;
        map.end()
    }
}

/// The start of a run: what was asked for, and what is really in force.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Start<'a> {
    /// The session's name.
    pub session: &'a str,
    /// The supervisor's version.
    pub version: &'a str,
    /// The supervisor's process.
    pub pid: u32,
    /// The user that everything runs as.
    pub uid: u32,
    /// The command and its arguments, as far as [`Start::fit`] let them in.
    pub argv: Vec<Bytes<'a>>,
    /// How many further arguments there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub argv_more: usize,
    /// Where the command starts.
    pub directory: Bytes<'a>,
    /// The policies, the operator's first.
    pub policies: Vec<Named<'a>>,
    /// The kernel's release.
    pub kernel: Bytes<'a>,
    /// The version of Landlock's interface; 0: none.
    pub landlock_abi: u32,
    /// The errata of Landlock that this kernel has fixed, a bit each.
    pub landlock_errata: u32,
    /// What confines the run, and what is lacking.
    pub layers: Vec<Layer<'a>>,
    /// The rules that grant so often and no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<String>,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl<'a> Start<'a> {
    /// The arguments that fit into a record, and how many do not: a command line can be longer than any log line
    /// should be.
    #[must_use]
    pub fn fit(argv: &'a [std::ffi::OsString]) -> (Vec<Bytes<'a>>, usize) {
        const ROOM: usize = 16 * 1024;
        let mut left = ROOM;
        let kept: Vec<Bytes<'a>> = argv
            .iter()
            .map(|argument| Bytes::from(argument.as_os_str()))
            .take_while(|argument| {
                let fits = argument.0.len() < left;
                left = left.saturating_sub(argument.0.len() + 1);
                fits
            })
            .collect();
        let more = argv.len() - kept.len();
        (kept, more)
    }
}

/// A policy and what it was when it was read.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Named<'a> {
    /// The file or preset, as the operator named it.
    pub name: Bytes<'a>,
    /// The SHA-256 hash of its text.
    #[serde(serialize_with = "displayed")]
    pub sha256: super::Digest,
}

/// One layer of confinement.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Layer<'a> {
    /// Its name, as `best_effort` spells it where it can stand there.
    pub name: &'a str,
    /// Whether it is in force.
    pub state: State,
    /// What more is to be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
}

protocol::listed! {
    /// Whether a layer is in force.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum State {
        /// As the policy wants it.
        Enforced,
        /// Only in part, and the policy allows that.
        Weakened,
        /// Not at all, and the policy allows that.
        Missing,
        /// The policy does not want it.
        Unused,
    }
}

/// Who asked: the kernel's word.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Who<'a> {
    /// The process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// The program it runs, where that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<Bytes<'a>>,
}

/// Who answered a question: the kernel's word about who connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Answerer {
    /// The process.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
}

protocol::listed! {
    /// Which way the request came.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Door {
        /// Over the supervisor's socket.
        Socket,
        /// A system call that the kernel handed to the supervisor.
        Call,
        /// None: the kernel refused a system call alone, as it wrote down itself, or to whoever started the command.
        Kernel,
    }
}

/// One question to the supervisor and its answer. A request that the approver is asked about has two records: that it
/// was asked, and what came of it.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Decision<'a> {
    /// The way it came.
    pub door: Door,
    /// The operation, such as `open` or `fchmodat`.
    pub call: &'a str,
    /// Who asked.
    #[serde(flatten)]
    pub who: Who<'a>,
    /// The request's number on its connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The object that was located, and is what the decision is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Bytes<'a>>,
    /// Its second name: where it was to be moved or linked, what a symbolic link was to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Bytes<'a>>,
    /// The name the child gave, where it differs or nothing was located.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Bytes<'a>>,
    /// The network address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The rights asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The flags of an open.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "flags")]
    pub flags: Option<OFlag>,
    /// What was answered.
    pub answer: Answer,
    /// The code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// The errno of a refusal.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "named")]
    pub errno: Option<Errno>,
    /// Why the policy says no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The rule that decided; of a denial also what it says, as `without` names it.
    #[serde(flatten, serialize_with = "ruled")]
    pub rule: Option<&'a Origin>,
    /// What makes it so: of a grant what gives it, of a refusal what refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<Mechanism>,
    /// Of what an approver agreed to: for whom that speaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How long the grant was said to last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<u64>,
    /// The child's own reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<Bytes<'a>>,
    /// Who was asked over the control socket and said so, or took it back there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<Answerer>,
    /// The supervisor's explanation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
}

impl<'a> Decision<'a> {
    /// A decision of which only this is known; the rest is filled in by struct update.
    #[must_use]
    pub fn new(door: Door, call: &'a str, who: Who<'a>, answer: Answer) -> Self {
        Self {
            door,
            call,
            who,
            id: None,
            path: None,
            to: None,
            asked: None,
            address: None,
            access: None,
            flags: None,
            answer,
            code: None,
            errno: None,
            reason: None,
            rule: None,
            mechanism: None,
            scope: None,
            expires_ms: None,
            why: None,
            answered_by: None,
            detail: None,
        }
    }
}

/// What was done, of what was allowed and only seen. It stands in the record as the detail of the grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Seen {
    /// A file that is there was opened, or cut.
    Opened,
    /// A directory was opened, to be listed.
    Listed,
    /// A name that was not there was made, or given to something else.
    Made,
    /// The same, of a directory.
    MadeDirectory,
    /// A name was taken away.
    Removed,
    /// Mode, owner, times or attributes were changed, or a change was waited for.
    Changed,
    /// A program began.
    Executed,
    /// Datagrams were to be sent or received.
    Datagrams,
}

impl Seen {
    const ALL: [Self; 8] = [
        Self::Opened,
        Self::Listed,
        Self::Made,
        Self::MadeDirectory,
        Self::Removed,
        Self::Changed,
        Self::Executed,
        Self::Datagrams,
    ];

    /// As the record has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Listed => "listed",
            Self::Made => "made",
            Self::MadeDirectory => "made a directory",
            Self::Removed => "taken away",
            Self::Changed => "changed",
            Self::Executed => "executed",
            Self::Datagrams => "datagrams",
        }
    }

    /// What the record calls so.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|seen| seen.as_str() == name)
    }
}

/// Why an allowed thing is not had of the kernel.
pub const UNTOLD: &str = "a rule allows it, but the kernel was not told so: nothing was there at the start, or not the directory that it stands in; \
                          it can be had over the socket";

/// Why a claim is refused about which an operator took back what was agreed to.
pub const TAKEN_BACK: &str = "the operator took back what was agreed to";

protocol::listed! {
    /// What was answered.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Answer {
        /// Yes.
        Granted,
        /// No.
        Refused,
        /// Not yet: the approver is asked.
        Asked,
        /// No more: an operator took back what an approver had agreed to.
        Revoked,
    }
}

/// The end of a run.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct End {
    pub status: Status,
    /// How many decisions of this run were which.
    #[serde(flatten)]
    pub counts: Counts,
}

/// How many decisions of a run were which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Grants.
    pub granted: u64,
    /// Refusals.
    pub refused: u64,
    /// Questions to the approver.
    pub asked: u64,
    /// What was agreed to and then taken back.
    #[serde(skip_serializing_if = "none")]
    pub revoked: u64,
}

fn none(count: &u64) -> bool {
    *count == 0
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
    /// Its time was up.
    TimedOut,
    /// It never ran, or nobody knows how it ended: the exit status that the supervisor gave instead.
    Failed(i32),
}

fn ruled<S: Serializer>(rule: &Option<&Origin>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    if let Some(rule) = rule {
        map.serialize_entry("rule", rule)?;
        if let Some(name) = rule.name().filter(|name| name.starts_with("deny")) {
            map.serialize_entry("says", &name)?;
        }
    }
    map.end()
}

/// As the manual spells them, the mode of access first.
fn flags<S: Serializer>(flags: &Option<OFlag>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(flags) = *flags else {
        return serializer.serialize_none();
    };
    let mode = match flags & OFlag::O_ACCMODE {
        OFlag::O_WRONLY => "O_WRONLY",
        OFlag::O_RDWR => "O_RDWR",
        _ => "O_RDONLY",
    };
    let others = flags.difference(OFlag::O_ACCMODE);
    // Of two names for one flag the one that is in use.
    let others = others.iter_names().map(|(name, _)| match name {
        "O_NDELAY" => "O_NONBLOCK",
        name => name,
    });
    let names: Vec<_> = std::iter::once(mode).chain(others).collect();
    serializer.serialize_str(&names.join("|"))
}

fn named<S: Serializer>(errno: &Option<Errno>, serializer: S) -> Result<S::Ok, S::Error> {
    match errno {
        Some(errno) => serializer.collect_str(&format_args!("{errno:?}")),
        None => serializer.serialize_none(),
    }
}

fn displayed<S: Serializer, T: std::fmt::Display>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
