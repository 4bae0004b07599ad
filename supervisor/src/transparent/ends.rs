//! What the law says about moves and links, of which both ends count.

use super::deeds::Doer;
use super::law::Law;
use super::locate::Located;
use super::objection::{NAMELESS, Objection, passed};
use super::parents::Entry;
use crate::policy::{Access, Kind, Mechanism, Subject, Verdict};
use nix::errno::Errno;
use std::path::Path;

/// Whose a deed is of which the law says this.
pub(super) fn doer(verdict: Verdict, path: &Path) -> Result<Doer, Objection<'_>> {
    passed(verdict, path).map(|mechanism| match mechanism {
        Mechanism::Landlock => Doer::Caller,
        Mechanism::ConnectDoor | Mechanism::Broker => Doer::Supervisor,
    })
}

/// Whether an object may have this name too.
pub(super) fn judge_link<'a>(
    law: &dyn Law,
    object: &'a Located,
    entry: &'a Entry,
) -> Result<Doer, Objection<'a>> {
    let to = entry.subject();
    let verdict = match (object.subject(), object.held().contains(Access::WRITE)) {
        (Some(from), _) => law.decide_link(&from, &to),
        (None, true) => law.decide_make(&to, Kind::File),
        (None, false) => return Err(NAMELESS),
    };
    doer(verdict, entry.path())
}

/// Whether what has the first name may have the second.
pub(super) fn judge_move<'a>(
    law: &dyn Law,
    from: &'a Entry,
    to: &'a Entry,
    flags: u32,
) -> Result<Doer, Objection<'a>> {
    let (one, other) = (from.subject(), to.subject());
    // First alone: what keeps the one where it is is about that one.
    let alone = |entry: &Entry, subject: &Subject<'_>| match entry.kind() {
        Kind::File => law.decide_remove(subject),
        _ => law.decide_replace(subject),
    };
    let taken = alone(from, &one);
    let forth = law.decide_move(&one, &other, from.kind());
    let back = match flags & libc::RENAME_EXCHANGE {
        0 => None,
        _ => Some(law.decide_move(&other, &one, to.kind())),
    };
    let ends = [taken.clone(), alone(to, &other)];
    // What is not done at all nobody is asked about.
    let mut said = Ok(Doer::Caller);
    let verdicts = [(Some(taken), from), (Some(forth), to), (back, from)];
    for (verdict, entry) in verdicts {
        let Some(verdict) = verdict else { continue };
        match (doer(verdict, entry.path()), &said) {
            (Err(asks @ Objection::Asks(..)), _) => said = Err(asks),
            (Err(no), _) => return Err(no),
            (Ok(doer), Ok(_)) => said = Ok(doer),
            (Ok(_), Err(_)) => {}
        }
    }
    match said {
        Err(Objection::Asks(verdict, path)) if !counts_all(&verdict, &ends) => {
            let why = "one of its names is counted and the other is not, or not with it: it can be copied, not moved";
            Err(Objection::Refused(Errno::EXDEV, why, Some(path)))
        }
        said => said,
    }
}

/// Whether the rule of this verdict is the one that counts, if any does at either end.
fn counts_all(verdict: &Verdict, ends: &[Verdict]) -> bool {
    let named = |verdict: &Verdict| match verdict {
        Verdict::Allow(allowed) => Some((allowed.rule.clone(), allowed.budget)),
        Verdict::Ask(question) => Some((question.rule.clone(), question.budget)),
        Verdict::Deny(_) => None,
    };
    let counting = named(verdict).map(|(rule, _)| rule);
    let mut ends = ends.iter().filter_map(named);
    ends.all(|(rule, budget)| budget.is_none() || counting.as_ref() == Some(&rule))
}
