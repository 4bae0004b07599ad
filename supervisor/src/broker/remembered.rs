//! What the approver agreed to, for as long as its rule says.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::board::Hold;
use super::descent::Identity;
use super::ledger::{Pages, Revocation, Slip, Terms};
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

/// Approvals that still hold, and what is refused since they were taken back.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    approvals: Vec<Approval>,
    /// Each is the act of an operator.
    refused: Vec<Kept>,
}

#[derive(Debug)]
pub(super) struct Approval {
    kept: Kept,
    pub terms: Terms,
    /// Where others list it and take it back, if there is such a place.
    pub slip: Option<Arc<Slip>>,
}

/// What it is about.
#[derive(Debug)]
struct Kept {
    /// Held open, so that its number means nothing else meanwhile.
    _object: OwnedFd,
    id: FileId,
    path: PathBuf,
    rule: Origin,
    /// Who took it back.
    by: Option<Answerer>,
}

impl Kept {
    /// Whether it is this object or this name, for this rule.
    fn touches(&self, located: &Located, rule: &Origin) -> bool {
        let subject = located.subject();
        (Some(self.id) == subject.object || self.path == subject.path) && self.rule == *rule
    }
}

impl Approval {
    fn speaks_for(&self, asker: &Asker) -> bool {
        let is = |test: &dyn Fn(&Identity, &Identity) -> bool| {
            let (asker, process) = (asker.identity(), self.terms.process.as_ref());
            asker
                .zip(process)
                .is_some_and(|(one, other)| test(&one, other))
        };
        match self.terms.scope {
            Scope::Once => false,
            Scope::Process => is(&Identity::is),
            Scope::Subtree => is(&Identity::is_below),
            Scope::Session => true,
        }
    }
}

/// What was taken back, and how often a descriptor was handed out under it.
pub(super) struct TakenBack {
    pub terms: Terms,
    pub revocation: Revocation,
    pub handed: u64,
}

impl Remembered {
    /// Keeps an approval, in `pages` too. Only of what is there: a name says nothing about what will stand there later. What was
    /// taken back before is agreed to now.
    pub fn keep(
        &mut self,
        located: &Located,
        terms: Terms,
        pages: Option<&Pages>,
    ) -> Option<Arc<Slip>> {
        let Object::There { fd, facts } = &located.object else {
            return None;
        };
        let is_for_one = matches!(terms.scope, Scope::Process | Scope::Subtree);
        if is_for_one && terms.process.is_none() {
            return None;
        }
        // Without a descriptor to hold it, it will be asked for again.
        let object = fd.try_clone().ok()?;
        let slip = match pages {
            Some(pages) => Some(pages.enter(terms.clone())?),
            None => None,
        };
        self.refused
            .retain(|kept| !kept.touches(located, &terms.rule));
        self.approvals.retain(|approval| !approval.terms.is_over());
        if self.approvals.len() >= MOST {
            self.approvals.remove(0);
        }
        self.approvals.push(Approval {
            kept: Kept {
                _object: object,
                id: id_of(facts),
                path: terms.path.clone(),
                rule: terms.rule.clone(),
                by: None,
            },
            terms,
            slip: slip.clone(),
        });
        slip
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
            let Approval { kept, terms, .. } = approval;
            Some(kept.id) == subject.object
                && kept.path == subject.path
                && terms.access.contains(access)
                && kept.rule == *rule
                && !terms.is_over()
                && approval.speaks_for(asker)
        };
        let approvals = self.approvals.iter().filter(holds);
        approvals.max_by_key(|approval| (approval.terms.until.is_none(), approval.terms.until))
    }

    /// Who took back what was agreed to about this.
    pub fn refuses(&self, located: &Located, rule: &Origin) -> Option<Answerer> {
        let mut refused = self.refused.iter();
        refused.find(|kept| kept.touches(located, rule))?.by
    }

    /// Does what operators said since this was last asked.
    pub fn take_back(&mut self) -> Vec<TakenBack> {
        let revoked = self.approvals.extract_if(.., |approval| {
            let slip = approval.slip.as_ref();
            slip.is_some_and(|slip| slip.revoked().is_some())
        });
        let revoked: Vec<Approval> = revoked.collect();
        let mut taken = Vec::new();
        for Approval { kept, terms, slip } in revoked {
            let Some((slip, revocation)) =
                slip.and_then(|slip| slip.revoked().map(|how| (slip, how)))
            else {
                continue;
            };
            if revocation.refuses {
                let by = Some(revocation.by);
                self.refused.push(Kept { by, ..kept });
            }
            let handed = slip.handed();
            taken.push(TakenBack {
                terms,
                revocation,
                handed,
            });
        }
        taken
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
