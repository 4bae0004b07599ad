//! Changes of metadata, and being told of them: from the claim to the answer.

use super::asking::Asked;
use super::{Claim, Court, Door, DoorError, Finished};
use crate::audit::Seen;
use crate::broker;
use crate::policy::Access;
use crate::transparent::again::Begun;
use crate::transparent::calls::{Change, Place};
use crate::transparent::failure::{Failure, out_of_means};
use crate::transparent::law::Law;
use crate::transparent::locate::{Located, as_path, locate};
use crate::transparent::objection::{NAMELESS, Objection, passed};
use crate::transparent::record::About;
use nix::errno::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use sys::metadata;
use sys::openat2::Lookup;
use sys::seccomp::Listener;

impl Door {
    pub(super) fn locate_slowly(
        &mut self,
        claim: Claim,
        place: Place,
        change: Change,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        self.aside(claim, court, move |_turn| {
            let located = locate(claim.thread, &place, Lookup::Full);
            Finished::Located(claim, Box::new((place, change)), located)
        })
    }

    pub(super) fn located(
        &mut self,
        claim: Claim,
        place: &Place,
        change: Change,
        located: Result<Located, Failure>,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        // What was found is what the caller meant only if the caller still waits.
        if !self.listener.is_valid(claim.id) {
            return Ok(());
        }
        let about = About {
            asked: match place {
                Place::Path { path, .. } => Some(path),
                _ => None,
            },
            access: Some(change.access()),
            ..self.about(claim)
        };
        let located = match located {
            Ok(located) => located,
            Err(failure) => {
                let errno = about.answer(court.recorder, failure);
                return self.errno(claim.id, errno);
            }
        };
        match judge(&located, &change, court.law) {
            Ok(()) => {
                let is_recorded = match located.path() {
                    Some(path) => {
                        let path = path.to_owned();
                        self.saw(claim, &path, change.access(), Seen::Changed, court)
                    }
                    None => true,
                };
                match is_recorded {
                    true => self.change(claim, located, change),
                    false => self.errno(claim.id, Errno::EACCES),
                }
            }
            Err(Objection::Asks(_, path)) => {
                let asked = about.asked.map_or(path, as_path).to_owned();
                let path = path.to_owned();
                self.ask_to_change(claim, asked, path, located, change, court)
            }
            Err(objection) => {
                let errno = about.object(court.recorder, &objection);
                self.errno(claim.id, errno)
            }
        }
    }

    /// Puts it to the broker. The object is held meanwhile: that one is changed, whatever has its name by then.
    fn ask_to_change(
        &mut self,
        claim: Claim,
        asked: PathBuf,
        path: PathBuf,
        located: Located,
        change: Change,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let Ok(fd) = located.fd.try_clone() else {
            return self.fail(claim, out_of_means(()), court);
        };
        let object = broker::Located::there(path, fd, located.facts);
        let what = match change {
            Change::Watch { .. } => "be told of changes of",
            _ => "change",
        };
        let wanted = broker::Claim::deed(claim.call, what, asked, change.access());
        let asked = Asked::Change(Box::new((located, change)));
        self.ask(claim, wanted, object, asked, court)
    }

    /// Makes a change that was decided on.
    pub(super) fn change(
        &mut self,
        claim: Claim,
        located: Located,
        change: Change,
    ) -> Result<(), DoorError> {
        let is_again = self.begun.remove(&claim.id).is_some();
        if is_once(&change) {
            self.journal.set_note(claim.id, Begun::NEW.note());
        }
        let perform = move |listener: &Listener, located: &Located| {
            match (&change, perform(listener, claim, located, &change)) {
                // An earlier supervisor did it.
                (Change::SetAttribute { .. }, Err(Errno::EEXIST)) if is_again => Ok(0),
                (Change::RemoveAttribute(_), Err(Errno::ENODATA)) if is_again => Ok(0),
                (_, result) => result,
            }
        };
        if !located.is_slow {
            let result = perform(&self.listener, &located);
            return self.result(claim.id, result);
        }
        let turn = self.watch(claim)?;
        let listener = Arc::clone(&self.listener);
        let submitted = self.files.submit(move || {
            // Nobody waits for it any more, or not for this: it must not happen behind a back.
            let result = match turn.take() && listener.is_valid(claim.id) {
                true => perform(&listener, &located),
                false => Err(Errno::EINTR),
            };
            Finished::Performed(claim.id, result)
        });
        match submitted {
            Ok(()) => Ok(()),
            Err(_) => self.errno(claim.id, Errno::EACCES),
        }
    }
}

/// Whether it fails when it is made a second time.
fn is_once(change: &Change) -> bool {
    matches!(
        change,
        Change::SetAttribute { .. } | Change::RemoveAttribute(_)
    )
}

/// Whether a change may be made.
fn judge<'a>(located: &'a Located, change: &Change, law: &dyn Law) -> Result<(), Objection<'a>> {
    let verdict = match (located.subject(), located.held().contains(Access::WRITE)) {
        (Some(subject), _) => passed(law.decide(&subject, change.access()), subject.path).map(drop),
        (None, true) => Ok(()),
        (None, false) => Err(NAMELESS),
    };
    if !matches!(verdict, Ok(()) | Err(Objection::Asks(..))) {
        return verdict;
    }
    let takes_on_ids =
        |mode: u32| mode & (libc::S_ISUID | libc::S_ISGID) != 0 && !located.facts.is(libc::S_IFDIR);
    match change {
        Change::Mode(mode) if takes_on_ids(*mode) => {
            let why = "a file is never made set-user-ID or set-group-ID";
            Err(Objection::Refused(Errno::EPERM, why, located.path()))
        }
        _ => verdict,
    }
}

/// Does it, to the located object, and says what the call returns.
fn perform(
    listener: &Listener,
    claim: Claim,
    located: &Located,
    change: &Change,
) -> Result<i64, Errno> {
    let fd = located.fd.as_fd();
    match change {
        Change::Watch { instance, mask } => {
            return watch(listener, claim, *instance, fd, *mask);
        }
        Change::Mode(mode) => metadata::set_mode(fd, *mode),
        Change::Owner(uid, gid) => metadata::set_owner(fd, *uid, *gid),
        Change::Times(times) => metadata::set_times(fd, *times),
        Change::SetAttribute { name, value, flags } => metadata::set_xattr(fd, name, value, *flags),
        Change::RemoveAttribute(name) => metadata::remove_xattr(fd, name),
        Change::FileAttributes(bytes) => metadata::set_file_attributes(fd, bytes),
    }
    .map(|()| 0)
}

/// Has the child's own inotify instance tell of the object.
fn watch(
    listener: &Listener,
    claim: Claim,
    instance: i32,
    object: BorrowedFd<'_>,
    mask: u32,
) -> Result<i64, Errno> {
    let instance = claim.thread.duplicate(instance).map_err(Failure::errno)?;
    // The number was the caller's if the caller still waits.
    if !listener.is_valid(claim.id) {
        return Err(Errno::EINTR);
    }
    metadata::watch(instance.as_fd(), object, mask).map(i64::from)
}
