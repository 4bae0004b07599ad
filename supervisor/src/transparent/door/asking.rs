//! What rules ask about, count or let end some day: put to the broker, as if it had been asked for over the socket, and its answer.
//! Nobody waits for that but the caller.

use super::entries::CHANGED;
use super::errands::Within;
use super::opens::Order;
use super::{Claim, Court, Door, DoorError, Law, Recorder, Served};
use crate::broker::{self, Outcome, Peer, Progress, Refusal, Ticket};
use crate::policy::Verdict;
use crate::transparent::binds::NewFile;
use crate::transparent::calls::Change;
use crate::transparent::deeds::Deed;
use crate::transparent::failure::refused;
use crate::transparent::locate::Located;
use nix::errno::Errno;
use protocol::Code;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use sys::pidfd::Pidfd;

/// What is to be done when the broker says yes.
pub(super) enum Asked {
    /// What it opened is given to the caller.
    Open(Order),
    /// It opens nothing: the caller waits for the other end of this FIFO.
    Fifo(Order),
    /// The object that was located is changed.
    Change(Box<(Located, Change)>),
    /// Names are made, removed or moved, or a file is cut.
    Deed(Box<Deed>),
    /// The socket gets this name.
    Bind(Box<(OwnedFd, NewFile)>),
}

impl Door {
    pub(super) fn ask(
        &mut self,
        claim: Claim,
        wanted: broker::Claim,
        located: broker::Located,
        asked: Asked,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        self.put(claim, wanted, located, None, asked, court)
    }

    /// The same for what is to become of names, which was decided here.
    pub(super) fn ask_about(
        &mut self,
        claim: Claim,
        wanted: broker::Claim,
        located: broker::Located,
        verdict: Verdict,
        asked: Asked,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        self.put(claim, wanted, located, Some(verdict), asked, court)
    }

    fn put(
        &mut self,
        claim: Claim,
        wanted: broker::Claim,
        located: broker::Located,
        verdict: Option<Verdict>,
        asked: Asked,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        // Whoever is gone is asked about no more; and what is found out later would be about whoever has its number then.
        let Some((process, program)) = self.about(claim).caller.found() else {
            return Ok(());
        };
        let program = program.map(|program| OsString::from_vec(program).into());
        let wanted = wanted.by(program);
        // While the call waits, its number is nobody else's.
        let identity = Pidfd::open(process).ok();
        let identity = identity.filter(|_| self.listener.is_valid(claim.id));
        let peer = Peer {
            pid: process,
            uid: nix::unistd::getuid().as_raw(),
            pidfd: identity.as_ref().map(AsFd::as_fd),
        };
        let progress = match verdict {
            None => court.recorder.claim(&peer, wanted, located),
            Some(verdict) => {
                let recorder = &mut court.recorder;
                recorder.claim_decided(&peer, wanted, located, verdict)
            }
        };
        match progress {
            Progress::Done(outcome) => self.heard(claim, asked, outcome, court),
            Progress::Pending(ticket) => {
                self.asked.insert(ticket, (claim, asked));
                self.watch(claim).map(drop)
            }
        }
    }

    /// Answers the call that a claim stood for. Of claims that are not this door's nothing happens.
    ///
    /// # Errors
    /// As for [`Door::on_call`].
    pub fn on_outcome(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        law: &dyn Law,
        recorder: &mut dyn Recorder,
    ) -> Result<Served, DoorError> {
        let mut court = Court::new(law, recorder);
        if let Some((claim, asked)) = self.asked.remove(&ticket) {
            self.begin(claim);
            self.heard(claim, asked, outcome, &mut court)?;
        }
        Ok(court.served)
    }

    /// Does what the broker said.
    fn heard(
        &mut self,
        claim: Claim,
        asked: Asked,
        outcome: Outcome,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        match (outcome, asked) {
            (Outcome::Refused(refusal), Asked::Open(order)) if was_made(&refusal) => {
                self.opened(claim, order, Err(Errno::EEXIST), court)
            }
            (Outcome::Refused(refusal), _) => self.errno(claim.id, errno(&refusal)),
            (Outcome::Granted(grant), Asked::Fifo(order)) => {
                self.await_the_other_end(claim, grant.fd, order.how(), court)
            }
            (Outcome::Granted(grant), Asked::Open(order)) => self.settle(claim, &order, grant),
            // It must not happen behind a back.
            (Outcome::Granted(_), _) if !self.listener.is_valid(claim.id) => Ok(()),
            (Outcome::Granted(_), Asked::Change(change)) => {
                let (located, change) = *change;
                self.change(claim, located, change)
            }
            (Outcome::Granted(_), Asked::Deed(deed)) => self.do_as_shown(claim, *deed, court),
            (Outcome::Granted(_), Asked::Bind(bind)) => {
                let (socket, file) = *bind;
                match file.entry.is_in_place() {
                    true => self.make_socket_file(claim, socket, &file, Within::Nothing, court),
                    false => self.fail(claim, refused(CHANGED), court),
                }
            }
        }
    }
}

/// Whether what was to be made is there by now, made by somebody else.
fn was_made(refusal: &Refusal) -> bool {
    refusal.code == Code::Failed && refusal.errno == Errno::EEXIST
}

/// What the caller gets for a no.
fn errno(refusal: &Refusal) -> Errno {
    match refusal.code {
        Code::NoSuchFile | Code::Failed => refusal.errno,
        _ => Errno::EACCES,
    }
}
