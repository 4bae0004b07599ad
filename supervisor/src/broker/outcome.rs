//! What came of a claim: one type for the wire and for the record.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use protocol::{Code, Granted, Refused, SupervisorResponse};

use crate::policy::{Denial, Mechanism, Origin, Reason};

/// What came of a claim.
#[derive(Debug)]
#[must_use]
pub enum Outcome {
    /// The file.
    Granted(Grant),
    /// No file, and why.
    Refused(Refusal),
}

/// An open file, to be handed over once.
#[derive(Debug)]
pub struct Grant {
    /// The file.
    pub fd: OwnedFd,
    /// The rule that allows it.
    pub rule: Origin,
    /// What would have allowed it: the kernel, had the child opened it itself, or the broker alone.
    pub mechanism: Mechanism,
    /// How long the same claim will be granted again without a new question. The file itself stays open for as long as
    /// anybody holds it: no call takes an open file back from a process.
    pub expires: Option<Duration>,
}

/// A no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// What `open` would have said.
    pub errno: Errno,
    /// Why the policy says no, where it does.
    pub reason: Option<Reason>,
    /// The rule that refuses, where one does.
    pub rule: Option<Origin>,
    /// More about it, for a person.
    pub detail: Option<Cow<'static, str>>,
}

impl Refusal {
    /// A refusal by no rule.
    #[must_use]
    pub fn new(code: Code, errno: Errno) -> Self {
        Self {
            code,
            errno,
            reason: None,
            rule: None,
            detail: None,
        }
    }

    /// A refusal with the errno that usually goes with its code.
    #[must_use]
    pub fn usual(code: Code) -> Self {
        Self::new(code, Errno::from_raw(code.usual_errno()))
    }

    pub(super) fn explained(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }

    pub(super) fn by(self, rule: Origin) -> Self {
        Self {
            rule: Some(rule),
            ..self
        }
    }

    /// The policy says no.
    pub(super) fn denied(denial: Denial) -> Self {
        let detail = denial.to_string();
        Self {
            code: Code::Denied,
            errno: Errno::EACCES,
            reason: Some(denial.reason),
            rule: denial.rule,
            detail: Some(detail.into()),
        }
    }

    /// The kernel says no.
    pub(super) fn failed(errno: Errno) -> Self {
        let code = match errno {
            Errno::ENOENT | Errno::ENOTDIR => Code::NoSuchFile,
            Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => Code::Limit,
            _ => Code::Failed,
        };
        Self::new(code, errno)
    }
}

impl Outcome {
    /// What cannot be recorded is not granted: the file is closed again.
    pub(super) fn withdrawn(self) -> Self {
        match self {
            Self::Granted(_) => Self::Refused(
                Refusal::usual(Code::Unavailable).explained("the grant could not be recorded"),
            ),
            refused @ Self::Refused(_) => refused,
        }
    }

    /// The answer to the request of that number, and what travels with it.
    #[must_use]
    pub fn into_response(self, id: u64) -> (SupervisorResponse, Vec<OwnedFd>) {
        match self {
            Self::Granted(grant) => {
                let granted = Granted {
                    id,
                    fds: 1,
                    expires: grant.expires,
                };
                (SupervisorResponse::Granted(granted), vec![grant.fd])
            }
            Self::Refused(refusal) => {
                let refused = Refused {
                    id: Some(id),
                    code: refusal.code,
                    errno: refusal.errno as i32,
                    rule: refusal.rule.map(|rule| rule.to_string()),
                    detail: refusal.detail.map(Cow::into_owned),
                };
                (SupervisorResponse::Refused(refused), Vec::new())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_the_wire_what_it_tells_the_record() {
        let rule = Origin::flag("--deny");
        let refusal = Refusal::new(Code::Denied, Errno::EACCES)
            .by(rule)
            .explained("no");
        let (response, fds) = Outcome::Refused(refusal).into_response(7);
        let expected = Refused {
            id: Some(7),
            code: Code::Denied,
            errno: 13,
            rule: Some("--deny flag".to_owned()),
            detail: Some("no".to_owned()),
        };
        assert_eq!(response, SupervisorResponse::Refused(expected));
        assert!(fds.is_empty());
    }

    #[test]
    fn what_is_withdrawn_carries_no_file() {
        let fd = std::fs::File::open("/dev/null").unwrap().into();
        let grant = Grant {
            fd,
            rule: Origin::flag("--read"),
            mechanism: Mechanism::Broker,
            expires: None,
        };
        let (response, fds) = Outcome::Granted(grant).withdrawn().into_response(1);
        assert!(
            matches!(response, SupervisorResponse::Refused(refused) if refused.code == Code::Unavailable)
        );
        assert!(fds.is_empty());
    }
}
