//! Looking on: what the kernel decides alone is written down, and left to it.
//!
//! Nothing is decided here, and nothing granted that was not. What the rules refuse Landlock refuses, since all that it grants
//! they grant; so that is recorded as its refusal, and the call goes on to meet it. Where everything is recorded, each thing is
//! once: a program opens the same file a thousand times.

use super::{Claim, Court, Door, DoorError};
use crate::audit::{Seen, UNTOLD};
use crate::broker::id_of;
use crate::policy::{Access, Mechanism, Reason, Verdict};
use crate::transparent::calls::{Act, Base, Opening, Target};
use crate::transparent::deeds::{Deed, Doer};
use crate::transparent::locate::Located;
use crate::transparent::objection::Objection;
use crate::transparent::record::{About, Recorder};
use crate::transparent::target::{Found, find};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::SocketAddr;
use std::path::Path;
use sys::openat2::Lookup;

/// So many things are known to be recorded. Then it begins anew, and some are recorded twice.
const REMEMBERED: usize = 1 << 20;

/// What was recorded already.
#[derive(Default)]
pub(super) struct Remembered {
    known: HashSet<u64>,
    hashes: RandomState,
}

impl Remembered {
    /// Whether this is new.
    fn is_new(&mut self, thing: impl Hash) -> bool {
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(self.hashes.hash_one(thing))
    }
}

impl Door {
    /// Whether what is allowed is recorded, too.
    pub(super) fn records_everything(&self) -> bool {
        self.facts.watched.is_some_and(|watched| watched.everything)
    }

    /// Whether an open like this is Landlock's to decide, and only seen here.
    pub(super) fn only_sees_open(&self, how: Opening) -> bool {
        let Some(watched) = self.facts.watched else {
            return false;
        };
        let writes = how.access().contains(Access::WRITE)
            || how.creates()
            || how.is_temporary()
            || how.has(OFlag::O_TRUNC);
        let is_decided = watched.decided.contains(Access::READ)
            || writes && watched.decided.contains(Access::WRITE);
        !self.facts.closed && !is_decided
    }

    /// The same of what is done to names.
    pub(super) fn only_sees_deeds(&self) -> bool {
        let watched = self.facts.watched;
        !self.facts.closed
            && watched.is_some_and(|watched| !watched.decided.contains(Access::WRITE))
    }

    /// Records what Landlock will say to an open, and leaves it to Landlock.
    pub(super) fn see_open(
        &mut self,
        claim: Claim,
        target: &Target,
        found: &Found,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let (access, seen) = wanted(target.how, found);
        let is_directory = matches!(found, Found::There(there) if there.facts.is(libc::S_IFDIR));
        // What cannot be is nobody's refusal.
        if is_directory && access.contains(Access::WRITE) && seen != Seen::Made {
            return self.leave_to_the_kernel(claim);
        }
        if let Some(subject) = found.subject() {
            let verdict = court.law.decide_open(&subject, access);
            let about = About {
                access: Some(access),
                located: Some(subject.path),
                ..self.about_open(claim, target)
            };
            if is_refused_by_the_kernel(&about, &verdict, court.recorder) {
                return self.leave_to_the_kernel(claim);
            }
        }
        if !self.saw_open(claim, target, found, court) {
            return self.errno(claim.id, Errno::EACCES);
        }
        self.leave_to_the_kernel(claim)
    }

    /// The same of what is done to names, which was judged so.
    pub(super) fn see_deed(
        &mut self,
        claim: Claim,
        act: &Act,
        deed: &Deed,
        judged: Result<Doer, Objection<'_>>,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let about = |located| {
            let about = self.about_deed(claim, act);
            About { located, ..about }.by_the_kernel()
        };
        match judged {
            Ok(Doer::Caller) => {
                if !self.saw_deed(claim, deed, court) {
                    return self.errno(claim.id, Errno::EACCES);
                }
            }
            Ok(Doer::Supervisor) => {
                let first = deed.done_to().first().map(|(path, _)| *path);
                let _errno = about(first).fail(court.recorder, Errno::EACCES, UNTOLD);
            }
            // Who copies instead succeeds: nothing is missing.
            Err(Objection::Denied(denial, _)) if denial.reason == Reason::WouldGain => {}
            Err(Objection::Denied(denial, path)) => {
                let _errno = about(Some(path)).deny(court.recorder, &denial);
            }
            Err(Objection::Asks(_, path)) => {
                let _errno = about(Some(path)).fail(court.recorder, Errno::EACCES, UNTOLD);
            }
            // For what it is, by nobody's rule.
            Err(Objection::Refused(..)) => {}
        }
        self.leave_to_the_kernel(claim)
    }

    /// Records an open that is allowed. `false`: it could not be recorded, and must not be.
    pub(super) fn saw_open(
        &mut self,
        claim: Claim,
        target: &Target,
        found: &Found,
        court: &mut Court<'_>,
    ) -> bool {
        if !self.records_everything() {
            return true;
        }
        let (access, seen) = wanted(target.how, found);
        let Some(subject) = found.subject() else {
            return true;
        };
        let path = subject.path.to_owned();
        if let (Found::There(there), Seen::Opened) = (found, seen)
            && !self.saw_script(claim, there, court)
        {
            return false;
        }
        if !self.remembered.is_new((&path, access, seen)) {
            return true;
        }
        let about = About {
            access: Some(access),
            located: Some(&path),
            ..self.about_open(claim, target)
        };
        let verdict = court.law.decide_open(&subject, access);
        about.saw(court.recorder, &verdict, seen)
    }

    /// Records what is done to names. `false`: it could not be recorded, and must not be.
    pub(super) fn saw_deed(&mut self, claim: Claim, deed: &Deed, court: &mut Court<'_>) -> bool {
        if !self.records_everything() {
            return true;
        }
        let mut is_recorded = true;
        for (path, seen) in deed.done_to() {
            is_recorded &= self.saw(claim, path, Access::WRITE, seen, court);
        }
        is_recorded
    }

    /// Records one thing that is allowed. `false`: it could not be recorded, and must not be.
    pub(super) fn saw(
        &mut self,
        claim: Claim,
        path: &Path,
        access: Access,
        seen: Seen,
        court: &mut Court<'_>,
    ) -> bool {
        if !self.records_everything() || !self.remembered.is_new((path, access, seen)) {
            return true;
        }
        let about = About {
            access: Some(access),
            located: Some(path),
            ..self.about(claim)
        };
        let subject = crate::policy::Subject::named(path);
        let verdict = court.law.decide(&subject, access);
        about.saw(court.recorder, &verdict, seen)
    }

    /// Records to whom datagrams are sent. `false`: it could not be recorded, and must not be.
    pub(super) fn saw_datagrams(
        &mut self,
        claim: Claim,
        address: SocketAddr,
        court: &mut Court<'_>,
    ) -> bool {
        if !self.records_everything() || !self.remembered.is_new((address, claim.call)) {
            return true;
        }
        let about = About {
            address: Some(address),
            ..self.about(claim)
        };
        about.note(court.recorder, Seen::Datagrams)
    }

    /// Records which program makes a call: no call says that a program begins, but none gets far without one that is seen.
    pub(super) fn saw_program(&mut self, claim: Claim, court: &mut Court<'_>) -> bool {
        if !self.records_everything() {
            return true;
        }
        match claim.thread.program() {
            Ok(path) if self.listener.is_valid(claim.id) => self.saw_executed(claim, &path, court),
            // One that is gone, or does not let itself be looked at.
            _ => true,
        }
    }

    /// Records a script that its interpreter opens: the name under which the process was started leads to it.
    fn saw_script(&mut self, claim: Claim, there: &Located, court: &mut Court<'_>) -> bool {
        let is_script = there.facts.is(libc::S_IFREG) && there.facts.mode & 0o111 != 0;
        let Some(path) = there.path().filter(|_| is_script) else {
            return true;
        };
        let thing = (path, Access::EXEC, Seen::Executed);
        if self
            .remembered
            .known
            .contains(&self.remembered.hashes.hash_one(thing))
        {
            return true;
        }
        let Ok(name) = claim.thread.started_as() else {
            return true;
        };
        let how = Opening {
            flags: OFlag::O_RDONLY,
            mode: 0,
            resolve: 0,
        };
        let target = Target {
            base: Base::WorkingDirectory,
            path: name,
            how,
        };
        let leads_here = match find(claim.thread, &target, Lookup::Cached) {
            Ok(Found::There(started)) => id_of(&started.facts) == id_of(&there.facts),
            _ => false,
        };
        if !leads_here {
            return true;
        }
        let path = path.to_owned();
        self.saw_executed(claim, &path, court)
    }

    /// Records that it executes a file, whichever call of it showed that.
    fn saw_executed(&mut self, claim: Claim, path: &Path, court: &mut Court<'_>) -> bool {
        let executes = Claim {
            call: "execve",
            ..claim
        };
        let access = Access::READ | Access::EXEC;
        self.saw(executes, path, access, Seen::Executed, court)
    }
}

/// Which rights an open takes, and what it does.
fn wanted(how: Opening, found: &Found) -> (Access, Seen) {
    match found {
        Found::New { .. } => (how.access() | Access::WRITE, Seen::Made),
        Found::There(_) if how.is_temporary() => (how.access() | Access::WRITE, Seen::Made),
        Found::There(there) if there.facts.is(libc::S_IFDIR) => (how.access(), Seen::Listed),
        Found::There(_) => (how.access(), Seen::Opened),
    }
}

/// Records it if Landlock will refuse what is judged so, of which the supervisor decides nothing.
fn is_refused_by_the_kernel(
    about: &About<'_>,
    verdict: &Verdict,
    recorder: &mut dyn Recorder,
) -> bool {
    let about = about.by_the_kernel();
    let _errno = match verdict {
        Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Landlock => return false,
        Verdict::Deny(denial) => about.deny(recorder, denial),
        Verdict::Allow(_) | Verdict::Ask(_) => about.fail(recorder, Errno::EACCES, UNTOLD),
    };
    true
}
