//! What the approver is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::{Create, OpenFlags, Scope, control};
use serde::Serialize;

use super::board::Hold;
use super::claim::{Claim, Purpose};
use super::locate::{Located, Object};
use super::peer::Asker;
use super::remembered::Term;
use crate::audit::{Bytes, Printable};
use crate::policy::{Access, Origin, Question as Asks};

/// A longer name of a program is not told to who answers over the control socket.
pub(super) const LONGEST_PROGRAM: usize = 1024;

/// Two names are told only if together they are no longer than one can be: whatever a question is about fits on a line.
const LONGEST_NAMES: usize = 4096;

/// Whether whoever answers can be shown all that is to become of which names.
pub(super) fn can_be_shown(located: &Located, claim: &Claim) -> bool {
    let to = claim.to.as_ref().map_or(0, |to| to.as_os_str().len());
    to == 0 || to + located.path().as_os_str().len() <= LONGEST_NAMES
}

/// A claim that the approver must agree to: all that is known about it, none of it a stranger's word but `why`.
#[derive(Clone, Debug)]
pub(super) struct Question {
    path: PathBuf,
    access: Access,
    makes: bool,
    truncates: bool,
    /// What is done to it, where it is not opened: in a word or two, and by which call.
    does: Option<(&'static str, &'static str)>,
    /// Its second name.
    to: Option<PathBuf>,
    asker: Asker,
    uid: u32,
    why: Option<String>,
    rule: Origin,
    /// For whom a yes speaks that says no more, and how long; `None`: for the rest of the session.
    scope: Scope,
    ttl: Option<Duration>,
}

/// A question for a program. Bytes that are no text are `{"b64": …}`.
#[derive(Serialize)]
struct Message<'a> {
    v: u32,
    path: Bytes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Bytes<'a>>,
    access: Access,
    creates: bool,
    truncates: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    call: Option<&'a str>,
    pid: i32,
    uid: u32,
    exe: Option<Bytes<'a>>,
    why: Option<&'a str>,
    rule: &'a Origin,
    scope: Scope,
    ttl_ms: Option<u64>,
    timeout_ms: u64,
}

impl Question {
    pub fn new(located: &Located, claim: &Claim, asker: &Asker, asks: &Asks) -> Self {
        let term = Term::of(Hold::AsRuled, None, asks);
        Self {
            path: located.path().to_owned(),
            access: claim.access,
            makes: claim.create != Create::No && matches!(located.object, Object::New { .. }),
            truncates: claim.has(OpenFlags::TRUNCATE),
            does: match (claim.purpose, claim.call) {
                (Purpose::Deed(what), Some(call)) => Some((what, call)),
                _ => None,
            },
            to: claim.to.clone(),
            asker: asker.clone(),
            uid: asker.who().uid,
            why: claim.why.clone(),
            rule: asks.rule.clone(),
            scope: term.map_or(Scope::Once, |term| term.scope),
            ttl: term.and_then(|term| term.length),
        }
    }

    /// One line of JSON.
    pub fn message(&self, timeout: Duration) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(&Message {
            v: 1,
            path: Bytes::from(self.path.as_path()),
            to: self.to.as_deref().map(Bytes::from),
            access: self.access,
            creates: self.makes,
            truncates: self.truncates,
            call: self.does.map(|(_, call)| call),
            pid: self.asker.pid,
            uid: self.uid,
            exe: self.asker.exe.as_deref().map(Bytes::from),
            why: self.why.as_deref(),
            rule: &self.rule,
            scope: self.scope,
            ttl_ms: self.ttl.map(millis),
            timeout_ms: millis(timeout),
        })?;
        line.push(b'\n');
        Ok(line)
    }

    /// As it is told to those who answer over the control socket, who have so long left.
    pub fn for_operator(&self, number: u64, worker: &str, left: Duration) -> control::Question {
        // Whatever a question is about fits on a line.
        let program = self.asker.exe.as_deref();
        let program = program.filter(|path| path.as_os_str().len() <= LONGEST_PROGRAM);
        control::Question {
            question: number,
            worker: worker.to_owned(),
            access: match (self.does, self.makes, self.truncates) {
                (Some((what, call)), ..) => format!("{what} ({call})"),
                (None, true, _) => format!("create and {}", verbs(self.access)),
                (None, false, true) => format!("empty and {}", verbs(self.access)),
                (None, false, false) => verbs(self.access).to_owned(),
            },
            object: text(&self.path),
            to: self.to.as_deref().map(text),
            pid: u32::try_from(self.asker.pid).ok(),
            program: program.map(text),
            rule: Some(self.rule.to_string()),
            why: self.why.clone(),
            scope: Some(self.scope),
            holds_ms: self.ttl.map(millis),
            remaining_ms: Some(millis(left)),
        }
    }

    /// A few lines for a person. What strangers chose cannot drive the terminal.
    pub fn text(&self) -> String {
        let program = match &self.asker.exe {
            Some(exe) => Printable::from(exe.as_path()).to_string(),
            None => "a program that cannot be named".to_owned(),
        };
        let act = match (self.does, self.makes, self.truncates) {
            (Some((what, call)), ..) => format!("{what} ({call})"),
            (None, true, _) => format!("create, and {},", verbs(self.access)),
            (None, false, true) => format!("empty, and {},", verbs(self.access)),
            (None, false, false) => verbs(self.access).to_owned(),
        };
        let mut lines = vec![
            String::new(),
            format!(
                "supervise: {program} (pid {}) asks to {act}",
                self.asker.pid
            ),
            format!("    {}", Printable::from(self.path.as_path())),
        ];
        if let Some(to) = &self.to {
            lines.push(format!("    to {}", Printable::from(to.as_path())));
        }
        if let Some(why) = &self.why {
            // It says so itself; that makes it no truer.
            lines.push(format!("  it says: \"{}\"", Printable::from(why.as_str())));
        }
        lines.extend(self.holds());
        lines.push(format!("  rule: {}", self.rule));
        // The child may have set up the terminal so that a new line does not begin at its left.
        lines.join("\r\n") + "\r\n"
    }
}

impl Question {
    /// What a yes means beyond this once.
    fn holds(&self) -> Option<String> {
        let whom = match self.scope {
            Scope::Once => return None,
            Scope::Process => "for this process",
            Scope::Subtree => "for this process and what it starts",
            Scope::Session => "for all of this run",
        };
        Some(match self.ttl {
            Some(ttl) => format!("  a yes holds for {} s, {whom}", ttl.as_secs()),
            None => format!("  a yes holds {whom}"),
        })
    }
}

/// The line in which the answer is typed.
pub(super) fn prompt(timeout: Duration) -> String {
    format!(
        "Allow it? y and Enter allow, anything else refuses, and so do {} s: ",
        timeout.as_secs()
    )
}

/// As text, whatever it is.
pub(super) fn text(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_owned(),
        None => Printable::from(path).to_string(),
    }
}

pub(super) fn verbs(access: Access) -> &'static str {
    if access.contains(Access::READ | Access::WRITE) {
        "read and write"
    } else if access.contains(Access::WRITE) {
        "write"
    } else {
        "read"
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
