//! A record read back: what was asked and what was answered, run by run.

use super::refusals::{Object, Refused, Takes};
use super::verify::{Report, read};
use crate::policy::{Access, Mechanism, Origin, Reason};
use serde::Deserialize;
use std::ffi::OsString;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A run started.
    Start(Started),
    /// Something was decided.
    Decision(Box<Recorded>),
    /// A run ended.
    End(Ended),
}

/// How a run started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The session's name.
    pub session: String,
    /// When, as it was written.
    pub at: String,
    /// The command, as far as it was recorded.
    pub command: Vec<OsString>,
    /// Where it started.
    pub directory: PathBuf,
    /// Its policies by name, the operator's first, each with the hash of its text.
    pub policies: Vec<(OsString, String)>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When, as it was written.
    pub at: String,
    /// How many refusals it counted.
    pub refused: u64,
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// When, as it was written.
    pub at: String,
    /// The operation.
    pub call: String,
    /// Whether it came over the socket, and was no call.
    pub is_request: bool,
    /// Whether the kernel wrote it down, and nobody was asked.
    pub is_the_kernels: bool,
    /// The process that asked.
    pub pid: i32,
    /// Its program, where that was known.
    pub program: Option<PathBuf>,
    /// The object that was located.
    pub path: Option<PathBuf>,
    /// What it was asked for as, where that differs.
    pub asked: Option<PathBuf>,
    /// The network address.
    pub address: Option<SocketAddr>,
    /// The rights that were asked for; `None`: not to a file.
    pub access: Option<Access>,
    /// The flags of an open.
    pub flags: Option<String>,
    /// What was answered: `granted`, `refused` or `asked`.
    pub answer: String,
    /// The errno of a refusal, by name.
    pub errno: Option<String>,
    /// Why the policy said no.
    pub reason: Option<Reason>,
    /// The rule that decided.
    pub rule: Option<Origin>,
    /// What made it so.
    pub mechanism: Option<Mechanism>,
    /// The supervisor's explanation.
    pub detail: String,
}

impl Recorded {
    /// What it was about.
    #[must_use]
    pub fn object(&self) -> Option<Object> {
        Object::of(
            &self.call,
            self.address,
            self.path.clone(),
            self.access.is_some(),
        )
    }

    /// As a refusal of which the policy knows; `None`: it was granted, or was refused for what it is.
    #[must_use]
    pub fn as_refused(&self) -> Option<Refused> {
        let is_by_policy = self.reason.is_some() || self.rule.is_some();
        (self.answer == "refused" && is_by_policy).then_some(())?;
        Some(Refused {
            object: self.object()?,
            access: self.access.unwrap_or(Access::NONE),
            reason: self.reason,
            rule: self.rule.clone(),
            detail: self.detail.clone(),
            program: self.program.clone(),
            by: self.mechanism.into(),
            takes: Takes::of(&self.call, self.is_the_kernels),
            times: 1,
        })
    }
}

/// Shows each good line of a log, in order, and says what the log turned out to be.
///
/// # Errors
/// It cannot be read. What is wrong with it is in the report.
pub fn entries(log: impl Read, mut each: impl FnMut(Entry)) -> io::Result<Report> {
    read(log, |event, line| {
        // A line that is whole is as we wrote it, or as a later version of us did: what cannot be understood is not shown.
        let entry = match event {
            b"start" => serde_json::from_slice(line).map(|start: Start| Entry::Start(start.into())),
            b"decision" => serde_json::from_slice(line)
                .map(|decision: Decision| Entry::Decision(Box::new(decision.into()))),
            b"end" => serde_json::from_slice(line)
                .map(|End { at, refused }| Entry::End(Ended { at, refused })),
            _ => return,
        };
        if let Ok(entry) = entry {
            each(entry);
        }
    })
}

/// Text, or bytes that are none.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Bytes { b64: String },
}

impl From<Text> for OsString {
    fn from(text: Text) -> Self {
        match text {
            Text::Plain(text) => text.into(),
            Text::Bytes { b64 } => {
                let engine = &base64::engine::general_purpose::STANDARD;
                let bytes = base64::Engine::decode(engine, b64);
                Self::from_vec(bytes.unwrap_or_default())
            }
        }
    }
}

fn path(text: Option<Text>) -> Option<PathBuf> {
    text.map(|text| OsString::from(text).into())
}

#[derive(Deserialize)]
struct Start {
    session: String,
    at: String,
    argv: Vec<Text>,
    directory: Text,
    #[serde(default)]
    policies: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Text,
    sha256: String,
}

impl From<Start> for Started {
    fn from(start: Start) -> Self {
        let policies = start.policies.into_iter();
        Self {
            session: start.session,
            at: start.at,
            command: start.argv.into_iter().map(OsString::from).collect(),
            directory: OsString::from(start.directory).into(),
            policies: policies
                .map(|named| (named.name.into(), named.sha256))
                .collect(),
        }
    }
}

#[derive(Deserialize)]
struct End {
    at: String,
    refused: u64,
}

#[derive(Deserialize)]
struct Decision {
    at: String,
    door: String,
    call: String,
    pid: i32,
    exe: Option<Text>,
    path: Option<Text>,
    asked: Option<Text>,
    address: Option<SocketAddr>,
    access: Option<Vec<String>>,
    flags: Option<String>,
    answer: String,
    errno: Option<String>,
    reason: Option<Reason>,
    rule: Option<String>,
    says: Option<String>,
    mechanism: Option<Mechanism>,
    detail: Option<String>,
}

impl From<Decision> for Recorded {
    fn from(decision: Decision) -> Self {
        let rule = decision.rule.as_deref();
        let says = decision.says.as_deref();
        let access = decision.access.map(|names| {
            let rights = names.iter().filter_map(|name| Access::from_name(name));
            rights.fold(Access::NONE, Access::union)
        });
        Self {
            rule: rule.map(|rule| Origin::read(rule, says)),
            at: decision.at,
            call: decision.call,
            is_request: decision.door == "socket",
            is_the_kernels: decision.door == "kernel",
            pid: decision.pid,
            program: path(decision.exe),
            path: path(decision.path),
            asked: path(decision.asked),
            address: decision.address,
            access,
            flags: decision.flags,
            answer: decision.answer,
            errno: decision.errno,
            reason: decision.reason,
            mechanism: decision.mechanism,
            detail: decision.detail.unwrap_or_default(),
        }
    }
}
