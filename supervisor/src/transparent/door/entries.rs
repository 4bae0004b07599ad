//! Names: from the claim to the answer.

use super::asking::Asked;
use super::{Claim, Court, Door, DoorError, Finished, NARROWED};
use crate::broker;
use crate::policy::{Access, Verdict};
use crate::transparent::again::{Begun, done};
use crate::transparent::calls::{Act, Place};
use crate::transparent::deeds::{Deed, Doer};
use crate::transparent::failure::{Failure, out_of_means, refused};
use crate::transparent::locate::as_path;
use crate::transparent::objection::Objection;
use crate::transparent::record::About;
use nix::errno::Errno;
use std::ffi::CStr;
use std::path::PathBuf;
use std::sync::Arc;
use sys::openat2::Lookup;

/// Why nothing is done although it was allowed.
pub(super) const CHANGED: &str = "its names mean something else by now";

/// What the names of a deed must still mean when it is done.
#[derive(Debug, Clone, Copy)]
enum Means {
    /// What was judged: the same places, and things of the same kind.
    What,
    /// What somebody was shown and agreed to: the very same things.
    WhatWasShown,
}

impl Door {
    pub(super) fn find_deed(
        &mut self,
        claim: Claim,
        act: Act,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        if let Some(begun) = self.begun.remove(&claim.id)
            && begun.was_done(claim.thread, &act)
            && self.listener.is_valid(claim.id)
        {
            return self.value(claim.id, 0);
        }
        match Deed::find(claim.thread, &act, Lookup::Cached) {
            Err(Failure::WouldWait) => self.aside(claim, court, move |_turn| {
                let found = Deed::find(claim.thread, &act, Lookup::Full);
                Finished::Surveyed(claim, Box::new((act, found)))
            }),
            found => self.deed_found(claim, &act, found, court),
        }
    }

    /// Goes on when somebody else has looked.
    pub(super) fn deed_found_slowly(
        &mut self,
        claim: Claim,
        act: &Act,
        found: Result<Deed, Failure>,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let found = found.and_then(|mut deed| deed.refresh().map(|()| deed));
        self.deed_found(claim, act, found, court)
    }

    fn deed_found(
        &mut self,
        claim: Claim,
        act: &Act,
        found: Result<Deed, Failure>,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        // What was found is what the caller meant only if the caller still waits.
        if !self.listener.is_valid(claim.id) {
            return Ok(());
        }
        let deed = match found {
            Ok(deed) => deed,
            // What no path names is granted by nobody but the kernel. (Nor is a name there one that we would judge for a move.)
            Err(Failure::TooDeep) if !self.facts.closed => {
                return self.leave_to_the_kernel(claim);
            }
            // What is wrong with it the kernel says.
            Err(_) if self.only_sees_deeds() => return self.leave_to_the_kernel(claim),
            Err(failure) => {
                let errno = self.about_deed(claim, act).answer(court.recorder, failure);
                return self.errno(claim.id, errno);
            }
        };
        let judged = deed.judge(court.law);
        if self.only_sees_deeds() {
            return self.see_deed(claim, act, &deed, judged, court);
        }
        if judged.is_ok() && !self.saw_deed(claim, &deed, court) {
            return self.errno(claim.id, Errno::EACCES);
        }
        let about = self.about_deed(claim, act);
        let errno = match judged {
            Ok(Doer::Caller) if deed.may_be_left() && !self.facts.closed => {
                return self.leave_to_the_kernel(claim);
            }
            Ok(_) if self.is_narrowed(claim) => about.fail(court.recorder, Errno::EACCES, NARROWED),
            Ok(_) => return self.do_deed(claim, deed, Means::What, court),
            Err(Objection::Asks(_, path)) if self.is_narrowed(claim) => {
                let located = Some(path);
                About { located, ..about }.fail(court.recorder, Errno::EACCES, NARROWED)
            }
            Err(Objection::Asks(verdict, path)) => {
                let asked = about.asked.map_or(path, as_path).to_owned();
                return self.ask_about_deed(claim, asked, deed, verdict, court);
            }
            Err(objection) => about.object(court.recorder, &objection),
        };
        self.errno(claim.id, errno)
    }

    pub(super) fn about_deed<'a>(&'a self, claim: Claim, act: &'a Act) -> About<'a> {
        About {
            asked: spelled(act),
            access: Some(Access::WRITE),
            ..self.about(claim)
        }
    }

    /// Puts it to the broker. Whoever answers is shown all names. A directory is held meanwhile; what has a name in it is looked at
    /// again when the answer comes.
    fn ask_about_deed(
        &mut self,
        claim: Claim,
        asked: PathBuf,
        deed: Deed,
        verdict: Verdict,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let Ok((located, to)) = deed.for_the_broker() else {
            return self.fail(claim, out_of_means(()), court);
        };
        let wanted = broker::Claim::deed(claim.call, deed.what(), asked, Access::WRITE).to(to);
        let asked = Asked::Deed(Box::new(deed));
        self.ask_about(claim, wanted, located, verdict, asked, court)
    }

    /// Does what somebody agreed to, if it still is that.
    pub(super) fn do_as_shown(
        &mut self,
        claim: Claim,
        deed: Deed,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        match deed.is_slow() || deed.is_as_shown() {
            true => self.do_deed(claim, deed, Means::WhatWasShown, court),
            false => self.fail(claim, refused(CHANGED), court),
        }
    }

    fn do_deed(
        &mut self,
        claim: Claim,
        deed: Deed,
        means: Means,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let listener = Arc::clone(&self.listener);
        let journal = Arc::clone(&self.journal);
        let perform = move |deed: &Deed| {
            journal.set_note(claim.id, Begun::of(deed).note());
            let result = deed.perform(claim.thread, || listener.is_valid(claim.id));
            if result.is_ok() {
                journal.set_note(claim.id, done(Ok(0)));
            }
            result
        };
        if !deed.is_slow()
            && let Some(result) = deed.at_once(|| perform(&deed))
        {
            return self.done_deed(claim, result, court);
        }
        self.aside(claim, court, move |turn| {
            // Nobody waits for it any more, or not for this: it must not happen behind a back.
            let stands = || match means {
                Means::What => deed.is_in_place(),
                Means::WhatWasShown => deed.is_in_place() && deed.is_as_shown(),
            };
            let result = deed.alone(|| match (turn.take(), stands()) {
                (true, true) => perform(&deed),
                (false, _) => Err(Errno::EINTR.into()),
                // Meanwhile a directory has gone where other rules may hold.
                (true, false) => Err(refused(CHANGED)),
            });
            let result = result.unwrap_or(Err(Errno::EACCES.into()));
            Finished::Done(claim, result)
        })
    }

    pub(super) fn done_deed(
        &mut self,
        claim: Claim,
        result: Result<(), Failure>,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        match result {
            Ok(()) => self.value(claim.id, 0),
            Err(failure) => self.fail(claim, failure, court),
        }
    }
}

/// The first path of a call, as the child spelled it.
fn spelled(act: &Act) -> Option<&CStr> {
    match act {
        Act::SetLength(place, _) | Act::Link(place, _) => match place {
            Place::Path { path, .. } => Some(path),
            Place::Descriptor { .. } | Place::WorkingDirectory => None,
        },
        Act::Make(at, _) | Act::Remove(at, _) | Act::Move(at, ..) | Act::Symlink(_, at) => {
            at.path.as_deref().ok()
        }
    }
}
