//! What a decision yields. A denial is a value; an error would mean that we could not find out.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::access::Access;
use super::origin::Origin;
use protocol::Scope;

/// The answer to "may this be done?".
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Yes, and by which rule.
    Allow(Allowed),
    /// Only if the approver agrees.
    Ask(Question),
    /// No, and why.
    Deny(Denial),
}

impl Verdict {
    /// Whether the answer is yes, of whatever kind.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// Both must agree: a denial beats a question, a question beats a yes.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny(denial), _) | (_, Self::Deny(denial)) => Self::Deny(denial),
            (Self::Ask(first), Self::Ask(second)) => Self::Ask(Question {
                rule: first.rule,
                ttl: shorter(first.ttl, second.ttl),
                scope: shorter(first.scope, second.scope),
                lasts: first.lasts && second.lasts,
                budget: shorter(first.budget, second.budget),
            }),
            (Self::Ask(question), Self::Allow(allowed))
            | (Self::Allow(allowed), Self::Ask(question)) => Self::Ask(Question {
                rule: question.rule,
                ttl: shorter(question.ttl, allowed.ttl),
                scope: question.scope,
                lasts: question.lasts,
                budget: shorter(question.budget, allowed.budget),
            }),
            (Self::Allow(first), Self::Allow(second)) => {
                // The rule that costs more to use is the one worth naming.
                let (named, other) = if second.mechanism > first.mechanism {
                    (second, first)
                } else {
                    (first, second)
                };
                Self::Allow(Allowed {
                    rule: named.rule,
                    ttl: shorter(named.ttl, other.ttl),
                    budget: shorter(named.budget, other.budget),
                    mechanism: named.mechanism,
                })
            }
        }
    }
}

fn shorter<T: Ord>(first: Option<T>, second: Option<T>) -> Option<T> {
    match (first, second) {
        (Some(first), Some(second)) => Some(first.min(second)),
        (first, second) => first.or(second),
    }
}

/// A yes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The rule that says so.
    pub rule: Origin,
    /// How long a grant lasts; `None`: as long as the child.
    pub ttl: Option<Duration>,
    /// How many grants this rule may give in one run.
    pub budget: Option<u32>,
    /// What makes it so.
    pub mechanism: Mechanism,
}

impl Allowed {
    /// Whether it holds as long as the child lives, however often it is used. Everything else somebody must keep count of.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.ttl.is_none() && self.budget.is_none()
    }
}

/// A yes that the approver must give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The rule that says to ask.
    pub rule: Origin,
    /// How long at most a yes holds; `None`: as long as the child.
    pub ttl: Option<Duration>,
    /// For whom at most a yes speaks; `None`: for all of the session.
    pub scope: Option<Scope>,
    /// A yes without a word about that holds for longer than this once.
    pub lasts: bool,
    /// How many grants this rule may give in one run.
    pub budget: Option<u32>,
}

/// A no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The rule that denies; `None`: no rule allows it.
    pub rule: Option<Origin>,
    /// What was refused; `None` for what is not a file access.
    pub access: Option<Access>,
    /// Why.
    pub reason: Reason,
}

protocol::listed! {
    /// Why something is refused.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Reason {
        /// Nothing allows it, and what is not allowed is denied.
        NoRule,
        /// A rule denies it, and a denial always wins.
        Rule,
        /// A rule would allow executing it, but the kernel could not be given that right here (a denial lies
        /// inside the same tree, or the file appeared later), and nobody can execute on the child's behalf.
        NotNative,
        /// It may be written here and there, but under its new name more could be done with it, or other names in it would be denied.
        /// What the kernel says of another file system is right here, too (`EXDEV`): programs then copy.
        WouldGain,
        /// The socket belongs to a service that acts outside every sandbox, and no rule names it with
        /// `unconfined_peer = true`.
        UnconfinedPeer,
        /// Of this machine's own ports the rule allows those that the session itself listens on, and this is none.
        NotOwn,
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.rule, self.reason) {
            (Some(rule), Reason::Rule) => match rule.rule() {
                Some(text) => write!(f, "denied by {rule}: {text}"),
                None => write!(f, "denied by {rule}"),
            },
            (Some(rule), Reason::NotNative) => write!(
                f,
                "{rule} would allow it, but a denial inside that tree keeps the kernel from granting exec"
            ),
            (Some(rule), Reason::WouldGain) => write!(
                f,
                "{rule} does not say the same of its new name: it can be copied, not moved or linked"
            ),
            (Some(rule), Reason::NotOwn) => {
                write!(f, "{rule} allows only what the session itself listens on")
            }
            (_, Reason::UnconfinedPeer) => f.write_str(
                "the service behind this socket acts outside the sandbox; a rule must name it with unconfined_peer = true",
            ),
            (_, _) => f.write_str("no rule allows it"),
        }
    }
}

protocol::listed! {
    /// What enforces an answer, cheapest first.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub enum Mechanism {
        /// The kernel alone, with nobody asked.
        Landlock,
        /// The supervisor connects on the child's behalf.
        ConnectDoor,
        /// The supervisor hands over a descriptor or does it itself, at each call or on request over its socket.
        Broker,
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Landlock => "kernel",
            Self::ConnectDoor => "connect door",
            Self::Broker => "supervisor",
        })
    }
}
