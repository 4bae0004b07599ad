//! What the approver agreed to, for as long as its rule says.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::board::Hold;
use super::descent::Identity;
use super::locate::{Located, Object, id_of};
use super::peer::Asker;
use crate::audit::Answerer;
use crate::policy::{Access, FileId, Origin, Question};
use protocol::Scope;

/// More is forgotten, the oldest first.
const MOST: usize = 64;

/// What a yes is good for beyond this once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    /// For whom.
    pub scope: Scope,
    /// How long; `None`: all that is left of the session.
    pub length: Option<Duration>,
}

impl Term {
    /// As the approver said, but for no longer and for nobody else than the rule says. `None`: for this once.
    pub fn of(hold: Hold, scope: Option<Scope>, asks: &Question) -> Option<Self> {
        let said = scope.unwrap_or(Scope::Session);
        let whom = said.min(asks.scope.unwrap_or(Scope::Session));
        let length = match hold {
            Hold::AsRuled if !asks.lasts && scope.is_none() => return None,
            Hold::AsRuled | Hold::Session => asks.ttl,
            Hold::For(wanted) => Some(asks.ttl.map_or(wanted, |ttl| ttl.min(wanted))),
        };
        let is_something = whom > Scope::Once && length.is_none_or(|length| !length.is_zero());
        is_something.then_some(Self {
            scope: whom,
            length,
        })
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
    whom: Whom,
    /// `None`: as long as the session lasts.
    until: Option<Instant>,
    pub by: Option<Answerer>,
}

/// For whom it speaks.
#[derive(Debug)]
enum Whom {
    Process(Identity),
    Subtree(Identity),
    All,
}

impl Whom {
    /// `None`: for nobody who could be told from others.
    fn of(scope: Scope, asker: &Asker) -> Option<Self> {
        match scope {
            Scope::Once => None,
            Scope::Process => asker.identity().map(Self::Process),
            Scope::Subtree => asker.identity().map(Self::Subtree),
            Scope::Session => Some(Self::All),
        }
    }

    fn includes(&self, asker: &Asker) -> bool {
        let is = |test: &dyn Fn(&Identity) -> bool| asker.identity().as_ref().is_some_and(test);
        match self {
            Self::Process(process) => is(&|asker| asker.is(process)),
            Self::Subtree(above) => is(&|asker| asker.is_below(above)),
            Self::All => true,
        }
    }

    fn is_gone(&self) -> bool {
        match self {
            Self::Process(process) | Self::Subtree(process) => !process.lives(),
            Self::All => false,
        }
    }
}

impl Approval {
    /// How much longer it holds; `None`: as long as the session lasts.
    pub fn left(&self) -> Option<Duration> {
        let until = self.until?;
        Some(until.saturating_duration_since(Instant::now()))
    }

    /// For whom it speaks.
    pub fn scope(&self) -> Scope {
        match self.whom {
            Whom::Process(_) => Scope::Process,
            Whom::Subtree(_) => Scope::Subtree,
            Whom::All => Scope::Session,
        }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now()) || self.whom.is_gone()
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
        asker: &Asker,
        by: Option<Answerer>,
    ) {
        let Object::There { fd, facts } = &located.object else {
            return;
        };
        let until = match term.length {
            None => None,
            Some(length) => match Instant::now().checked_add(length) {
                Some(until) => Some(until),
                None => return,
            },
        };
        let Some(whom) = Whom::of(term.scope, asker) else {
            return;
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
            whom,
            until,
            by,
        });
    }

    /// The approver's word for just this, if it still holds: the object under the name that was shown.
    pub fn find(
        &self,
        located: &Located,
        access: Access,
        rule: &Origin,
        asker: &Asker,
    ) -> Option<&Approval> {
        let subject = located.subject();
        let holds = |approval: &&Approval| {
            !approval.is_over()
                && Some(approval.id) == subject.object
                && approval.path == subject.path
                && approval.access.contains(access)
                && approval.rule == *rule
                && approval.whom.includes(asker)
        };
        let approvals = self.0.iter().filter(holds);
        approvals.max_by_key(|approval| (approval.until.is_none(), approval.until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outlasts_its_rule_nor_speaks_for_more_and_what_no_rule_bounds_may_hold_for_the_session()
     {
        let seconds = Duration::from_secs;
        let all = Scope::Session;
        let held = |scope, length: Option<u64>| Some((scope, length.map(seconds)));
        for (hold, said, (ttl, scope), expected) in [
            (Hold::AsRuled, None, (None, None), None),
            (Hold::AsRuled, None, (Some(600), None), held(all, Some(600))),
            (Hold::AsRuled, None, (None, Some(all)), held(all, None)),
            (
                Hold::AsRuled,
                None,
                (Some(600), Some(Scope::Process)),
                held(Scope::Process, Some(600)),
            ),
            (Hold::AsRuled, None, (None, Some(Scope::Once)), None),
            (Hold::AsRuled, Some(Scope::Once), (Some(600), None), None),
            (
                Hold::AsRuled,
                Some(Scope::Subtree),
                (None, None),
                held(Scope::Subtree, None),
            ),
            (
                Hold::AsRuled,
                Some(Scope::Session),
                (None, Some(Scope::Process)),
                held(Scope::Process, None),
            ),
            (
                Hold::Session,
                Some(Scope::Process),
                (Some(600), Some(Scope::Subtree)),
                held(Scope::Process, Some(600)),
            ),
            (Hold::Session, None, (None, Some(Scope::Once)), None),
            (Hold::For(seconds(0)), None, (Some(600), None), None),
            (
                Hold::For(seconds(60)),
                None,
                (Some(600), None),
                held(all, Some(60)),
            ),
            (
                Hold::For(seconds(6000)),
                None,
                (Some(600), None),
                held(all, Some(600)),
            ),
            (
                Hold::For(seconds(60)),
                None,
                (None, None),
                held(all, Some(60)),
            ),
            (Hold::Session, None, (Some(600), None), held(all, Some(600))),
            (Hold::Session, None, (None, None), held(all, None)),
        ] {
            let asks = Question {
                rule: Origin::flag("--ask"),
                ttl: ttl.map(seconds),
                scope,
                lasts: ttl.is_some() || scope.is_some_and(|scope| scope > Scope::Once),
                budget: None,
            };
            let term = Term::of(hold, said, &asks).map(|term| (term.scope, term.length));
            assert_eq!(term, expected, "{hold:?} {said:?} {asks:?}");
        }
    }
}
