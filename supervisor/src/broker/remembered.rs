//! What the approver agreed to, for as long as its rule says.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::board::Hold;
use super::locate::{Located, Object, id_of};
use crate::audit::Answerer;
use crate::policy::{Access, FileId, Origin, Question};

/// More is forgotten, the oldest first.
const MOST: usize = 64;

/// How long something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Term {
    For(Duration),
    Session,
}

impl Term {
    /// As the approver said, but no longer than the rule says. `None`: this once.
    pub fn of(hold: Hold, ruled: Option<Duration>) -> Option<Self> {
        let wanted = match hold {
            Hold::AsRuled => ruled,
            Hold::For(wanted) => Some(ruled.map_or(wanted, |ruled| ruled.min(wanted))),
            Hold::Session if ruled.is_none() => return Some(Self::Session),
            Hold::Session => ruled,
        };
        wanted.filter(|wanted| !wanted.is_zero()).map(Self::For)
    }

    /// `None`: all that is left of the session.
    pub fn length(self) -> Option<Duration> {
        match self {
            Self::For(length) => Some(length),
            Self::Session => None,
        }
    }
}

/// Approvals that still hold.
#[derive(Debug, Default)]
pub(super) struct Remembered(Vec<Approval>);

#[derive(Debug)]
pub(super) struct Approval {
    /// Held open, so that its number means nothing else meanwhile.
    _object: OwnedFd,
    id: FileId,
    path: PathBuf,
    access: Access,
    rule: Origin,
    /// `None`: as long as the session lasts.
    until: Option<Instant>,
    pub by: Option<Answerer>,
}

impl Approval {
    /// How much longer it holds; `None`: as long as the session lasts.
    pub fn left(&self) -> Option<Duration> {
        let until = self.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl Remembered {
    /// Keeps an approval. Only of what is there: a name says nothing about what will stand there later.
    pub fn keep(
        &mut self,
        located: &Located,
        access: Access,
        question: &Question,
        term: Term,
        by: Option<Answerer>,
    ) {
        let Object::There { fd, facts } = &located.object else {
            return;
        };
        let until = match term {
            Term::Session => None,
            Term::For(length) => match Instant::now().checked_add(length) {
                Some(until) => Some(until),
                None => return,
            },
        };
        // Without a descriptor to hold it, it will be asked for again.
        let Ok(object) = fd.try_clone() else { return };
        self.0.retain(|approval| !approval.is_over());
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(Approval {
            _object: object,
            id: id_of(facts),
            path: located.path().to_owned(),
            access,
            rule: question.rule.clone(),
            until,
            by,
        });
    }

    /// The approver's word for just this, if it still holds: the object under the name that was shown.
    pub fn find(&self, located: &Located, access: Access, rule: &Origin) -> Option<&Approval> {
        let subject = located.subject();
        let holds = |approval: &&Approval| {
            !approval.is_over()
                && Some(approval.id) == subject.object
                && approval.path == subject.path
                && approval.access.contains(access)
                && approval.rule == *rule
        };
        let approvals = self.0.iter().filter(holds);
        approvals.max_by_key(|approval| (approval.until.is_none(), approval.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outlasts_its_rule_and_what_no_rule_bounds_may_hold_for_the_session() {
        let seconds = Duration::from_secs;
        for (hold, ruled, expected) in [
            (Hold::AsRuled, None, None),
            (Hold::AsRuled, Some(600), Some(Term::For(seconds(600)))),
            (Hold::For(seconds(0)), Some(600), None),
            (
                Hold::For(seconds(60)),
                Some(600),
                Some(Term::For(seconds(60))),
            ),
            (
                Hold::For(seconds(6000)),
                Some(600),
                Some(Term::For(seconds(600))),
            ),
            (Hold::For(seconds(60)), None, Some(Term::For(seconds(60)))),
            (Hold::Session, Some(600), Some(Term::For(seconds(600)))),
            (Hold::Session, None, Some(Term::Session)),
        ] {
            assert_eq!(
                Term::of(hold, ruled.map(seconds)),
                expected,
                "{hold:?} {ruled:?}"
            );
        }
    }
}
