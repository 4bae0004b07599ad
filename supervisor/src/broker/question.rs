//! What the approver is told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::{Create, OpenFlags, Scope, control};
use serde::Serialize;

use super::approver::Wanted;
use super::board::Hold;
use super::claim::{Claim, Purpose};
use super::locate::{Located, Object};
use super::peer::{Ancestor, Asker};
use super::remembered::Term;
use crate::audit::{Bytes, Printable};
use crate::policy::{Access, Origin, Question as Asks};

/// A longer name of a program is not told to who answers over the control socket.
pub(super) const LONGEST_PROGRAM: usize = 1024;

/// So many of the processes that started the one that asks are told over the control socket, each with a name no longer than this.
const TOLD_ANCESTORS: usize = 4;
const LONGEST_ANCESTOR: usize = 256;

/// So much of what the program itself says is shown at a terminal.
const SHOWN_WHY: usize = 240;

/// Whatever the child has done to the screen, or is in the middle of: what comes behind this can be read. An open sequence ends; the
/// margins are the screen's, and the cursor stays where it was; no insertion, lines that wrap, what is written is shown at once;
/// letters are letters, in the usual colours, and those are the terminal's.
const PLAIN: &str = concat!(
    "\u{18}\u{1b}\\",
    "\u{1b}7\u{1b}[?69l\u{1b}[r\u{1b}8",
    "\u{1b}[4l\u{1b}[?7h\u{1b}[?2026l",
    "\u{1b}(B\u{f}\u{1b}[0m",
    "\u{1b}]104\u{1b}\\\u{1b}]110\u{1b}\\\u{1b}]111\u{1b}\\",
);
/// Nothing stands below the cursor.
const CLEAR: &str = "\u{1b}[J";

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
    /// Who started whoever asks, and so on, as far as they are in the sandbox.
    ancestors: Vec<Ancestor>,
    uid: u32,
    why: Option<String>,
    rule: Origin,
    /// For whom a yes speaks that says no more, and how long; `None`: for the rest of the session.
    scope: Scope,
    ttl: Option<Duration>,
    /// A yes for longer than this once can be remembered: it is about an object that is there.
    can_last: bool,
    /// For whom a yes for the rest of the session speaks, where that is more than one that says nothing about it.
    for_longer: Option<Scope>,
    /// For whom such a yes speaks, whether that is more or not.
    at_most: Option<Scope>,
    is_file: bool,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ancestors: Vec<Told<'a>>,
    why: Option<&'a str>,
    rule: &'a Origin,
    scope: Scope,
    ttl_ms: Option<u64>,
    timeout_ms: u64,
}

/// One of those who started the one that asks.
#[derive(Serialize)]
struct Told<'a> {
    pid: i32,
    exe: Option<Bytes<'a>>,
}

impl Question {
    pub fn new(located: &Located, claim: &Claim, asker: &Asker, asks: &Asks) -> Self {
        let can_last = !claim.is_once && matches!(located.object, Object::There { .. });
        let term = Term::of(Hold::AsRuled, None, asks).filter(|_| can_last);
        let longest = Term::of(Hold::Session, None, asks).filter(|_| can_last);
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
            ancestors: asker.ancestors(),
            uid: asker.who().uid,
            why: claim.why.clone(),
            rule: asks.rule.clone(),
            scope: term.map_or(Scope::Once, |term| term.scope),
            ttl: term.and_then(|term| term.length),
            can_last,
            for_longer: longest
                .filter(|longest| term != Some(*longest))
                .map(|longest| longest.scope),
            at_most: longest.map(|longest| longest.scope),
            is_file: matches!(&located.object, Object::There { facts, .. } if facts.is(libc::S_IFREG)),
        }
    }

    /// The object.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a yes is one for this once.
    pub fn is_once(&self) -> bool {
        self.scope == Scope::Once
    }

    /// For whom a yes can be one for longer, if it is said to be.
    pub fn for_longer(&self) -> Option<&'static str> {
        self.for_longer.map(whom)
    }

    /// What a policy would have to allow, where it can say that at all: an open of something that is there.
    pub fn wanted(&self) -> Option<Wanted> {
        (self.can_last && self.does.is_none()).then(|| Wanted {
            path: self.path.clone(),
            access: self.access,
            is_file: self.is_file,
        })
    }

    /// In a few words, such as `read /etc/passwd`.
    pub fn summary(&self) -> String {
        format!("{} {}", self.act(), Printable::from(self.path.as_path()))
    }

    fn act(&self) -> String {
        match (self.does, self.makes, self.truncates) {
            (Some((what, call)), ..) => format!("{what} ({call})"),
            (None, true, _) => format!("create and {}", verbs(self.access)),
            (None, false, true) => format!("empty and {}", verbs(self.access)),
            (None, false, false) => verbs(self.access).to_owned(),
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
            ancestors: self.ancestors.iter().map(Told::from).collect(),
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
            access: self.act(),
            object: text(&self.path),
            to: self.to.as_deref().map(text),
            pid: u32::try_from(self.asker.pid).ok(),
            program: program.map(text),
            ancestors: self
                .ancestors
                .iter()
                .take(TOLD_ANCESTORS)
                .map(|ancestor| control::Ancestor {
                    pid: u32::try_from(ancestor.pid).unwrap_or_default(),
                    program: ancestor
                        .exe
                        .as_deref()
                        .filter(|path| path.as_os_str().len() <= LONGEST_ANCESTOR)
                        .map(text),
                })
                .collect(),
            rule: Some(self.rule.to_string()),
            why: self.why.clone(),
            scope: Some(self.scope),
            holds_ms: self.ttl.map(millis),
            at_most: self.at_most,
            remaining_ms: Some(millis(left)),
        }
    }

    /// A few lines for a person. What strangers chose cannot drive the terminal.
    pub fn text(&self) -> String {
        let program = match &self.asker.exe {
            Some(exe) => Printable::from(exe.as_path()).to_string(),
            None => "a program that cannot be named".to_owned(),
        };
        let mut lines = vec![
            PLAIN.to_owned(),
            format!(
                "{CLEAR}supervise: {program} (pid {}) asks to {}",
                self.asker.pid,
                self.act()
            ),
            format!("    {}", Printable::from(self.path.as_path())),
        ];
        if let Some(to) = &self.to {
            lines.push(format!("    to {}", Printable::from(to.as_path())));
        }
        if !self.ancestors.is_empty() {
            let ancestors: Vec<_> = self.ancestors.iter().map(ToString::to_string).collect();
            lines.push(format!("  started by: {}", ancestors.join(", by ")));
        }
        if let Some(why) = &self.why {
            // It says so itself; that makes it no truer.
            let shown: String = why.chars().take(SHOWN_WHY).collect();
            let rest = if shown.len() < why.len() { " …" } else { "" };
            lines.push(format!(
                "  it says: \"{}\"{rest}",
                Printable::from(shown.as_str())
            ));
        }
        lines.extend(self.holds());
        lines.push(format!("  rule: {}", self.rule));
        // The child may have set up the terminal so that a new line does not begin at its left.
        lines.join("\r\n") + "\r\n"
    }
}

impl<'a> From<&'a Ancestor> for Told<'a> {
    fn from(ancestor: &'a Ancestor) -> Self {
        Self {
            pid: ancestor.pid,
            exe: ancestor.exe.as_deref().map(Bytes::from),
        }
    }
}

impl Question {
    /// What a yes means beyond this once.
    fn holds(&self) -> Option<String> {
        let whom = (!self.is_once()).then(|| whom(self.scope))?;
        Some(match self.ttl {
            Some(ttl) => format!("  a yes holds for {} s, {whom}", ttl.as_secs()),
            None => format!("  a yes holds {whom}"),
        })
    }
}

fn whom(scope: Scope) -> &'static str {
    match scope {
        Scope::Once => "for this once",
        Scope::Process => "for this process",
        Scope::Subtree => "for this process and what it starts",
        Scope::Session => "for all of this run",
    }
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
