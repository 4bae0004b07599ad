//! What was refused for the rest of the session, and is not asked about again.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::claim::{Claim, Purpose};
use super::locate::{Located, Object};
use crate::audit::Answerer;
use crate::policy::{Access, FileId, Origin};

/// More is forgotten, the oldest first, and then asked about again.
const MOST: usize = 64;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Refusals(Vec<Refused>);

/// One thing that nobody wants to be asked about again.
#[derive(Debug)]
pub(super) struct Refused {
    /// Held open, so that its number means nothing else meanwhile.
    _object: Option<OwnedFd>,
    id: Option<FileId>,
    path: PathBuf,
    to: Option<PathBuf>,
    purpose: Purpose,
    access: Access,
    rule: Origin,
    pub by: Option<Answerer>,
}

impl Refusals {
    /// Keeps one.
    pub fn keep(&mut self, located: &Located, claim: &Claim, rule: &Origin, by: Option<Answerer>) {
        let object = match &located.object {
            Object::There { fd, .. } => fd.try_clone().ok(),
            Object::New { .. } => None,
        };
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(Refused {
            id: located.subject().object.filter(|_| object.is_some()),
            _object: object,
            path: located.path().to_owned(),
            to: claim.to.clone(),
            purpose: claim.purpose.as_asked(),
            access: claim.access,
            rule: rule.clone(),
            by,
        });
    }

    /// The refusal of this, or of less of it: of the object under whatever name, and of whatever has its name.
    pub fn find(&self, located: &Located, claim: &Claim, rule: &Origin) -> Option<&Refused> {
        let subject = located.subject();
        self.0.iter().find(|refused| {
            let is_same = refused.id.is_some() && refused.id == subject.object;
            (is_same || refused.path == subject.path)
                && refused.to == claim.to
                && refused.purpose == claim.purpose.as_asked()
                && claim.access.contains(refused.access)
                && refused.rule == *rule
        })
    }
}
