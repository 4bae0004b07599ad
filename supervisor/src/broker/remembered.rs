//! What the approver agreed to, for as long as its rule says.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use super::locate::{Located, Object, id_of};
use crate::policy::{Access, FileId, Origin, Question};

/// More is forgotten, the oldest first.
const MOST: usize = 64;

/// Approvals that still hold.
#[derive(Debug, Default)]
pub(super) struct Remembered(Vec<Approval>);

#[derive(Debug)]
struct Approval {
    /// Held open, so that its number means nothing else meanwhile.
    _object: OwnedFd,
    id: FileId,
    path: PathBuf,
    access: Access,
    rule: Origin,
    until: Instant,
}

impl Remembered {
    /// Keeps an approval. Only of what is there: a name says nothing about what will stand there later.
    pub fn keep(&mut self, located: &Located, access: Access, question: &Question) {
        let (Some(ttl), Object::There { fd, facts }) = (question.ttl, &located.object) else {
            return;
        };
        let Some(until) = Instant::now().checked_add(ttl) else {
            return;
        };
        // Without a descriptor to hold it, it will be asked for again.
        let Ok(object) = fd.try_clone() else { return };
        self.0.retain(|approval| approval.until > Instant::now());
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
        });
    }

    /// Until when the approver's word holds for just this: the object under the name that was shown.
    pub fn until(&self, located: &Located, access: Access, rule: &Origin) -> Option<Instant> {
        let subject = located.subject();
        let now = Instant::now();
        let holds = |approval: &&Approval| {
            approval.until > now
                && Some(approval.id) == subject.object
                && approval.path == subject.path
                && approval.access.contains(access)
                && approval.rule == *rule
        };
        self.0
            .iter()
            .filter(holds)
            .map(|approval| approval.until)
            .max()
    }
}
