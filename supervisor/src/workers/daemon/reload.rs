//! A pool file that was read again, and what that means for the workers that are there.

use super::member::{Member, rules};
use super::{Daemon, Hands};
use crate::workers::config::{Kind, PoolFile, Speaks};
use crate::workers::desired::Desired;
use crate::workers::lifecycle::Act;
use protocol::control::{Event, LifecycleState, StopReason};
use std::collections::BTreeMap;

impl<H: Hands> Daemon<H> {
    /// The pool file was read again.
    pub(super) fn reload(&mut self, file: PoolFile) {
        let mut wanted = BTreeMap::new();
        for kind in &file.kinds {
            wanted.extend(kind.ids().map(|id| (id, kind.clone())));
        }
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let acts = match wanted.remove(&id) {
                Some(kind) => self.change_kind(&id, kind),
                None => self.leave(&id),
            };
            self.perform(&id, acts);
        }
        for (id, kind) in wanted {
            let desired = self.desired.get(&id).cloned().unwrap_or(Desired::UNSAID);
            let member = Member::new(kind, &desired);
            self.join(&id, member);
            self.begin_first(&id);
        }
        self.file = file;
        self.tell(Event::Reloaded {});
    }

    /// A worker is in the file, as one of this kind.
    fn change_kind(&mut self, id: &str, kind: Kind) -> Vec<Act> {
        let now = self.now;
        let Some(member) = self.members.get_mut(id) else {
            return Vec::new();
        };
        if member.kind == kind && !member.is_leaving {
            return Vec::new();
        }
        member.life.set_rules(rules(&kind, member.restart));
        let is_alike = kind.starts_like(&member.kind);
        member.kind = kind;
        let was_leaving = std::mem::replace(&mut member.is_leaving, false);
        let patience = member.life.rules().patience;
        let acts = match member.life.state() {
            // It is ending because it was not in the file for a while.
            _ if was_leaving => member.life.start(),
            // What was wrong with it may have been mended.
            LifecycleState::Blocked | LifecycleState::Error if member.life.is_wanted() => {
                member.life.start()
            }
            // It goes on, and is kept in another way.
            _ if is_alike => Vec::new(),
            _ => member.life.replace(now, StopReason::Recycled, patience),
        };
        let treatment = member.treatment();
        let name = member.kind.name.clone();
        let steps = match member.kind.speaks {
            Speaks::Pool => {
                self.pool.add(id, &name, treatment);
                Vec::new()
            }
            Speaks::Nothing => self.pool.remove(id),
        };
        self.take_steps(steps);
        acts
    }

    /// A worker is no longer in the file.
    fn leave(&mut self, id: &str) -> Vec<Act> {
        let now = self.now;
        let Some(member) = self.members.get_mut(id) else {
            return Vec::new();
        };
        member.is_leaving = true;
        let patience = member.life.rules().patience;
        member.life.stop(now, StopReason::User, patience)
    }
}
