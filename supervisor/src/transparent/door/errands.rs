//! Calls that a process of their own makes: begun, ended, given up.

use super::{Claim, Court, Door, DoorError, failed};
use crate::transparent::failure::{out_of_means, refused};
use nix::errno::Errno;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::socket::{UnixAddr, getpeername, getsockopt, sockopt};
use nix::sys::time::TimeValLike;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use sys::errand::{Act, Errand};

/// How many calls may be made at a time that take a moment only.
const BRIEF: usize = 64;

/// A call that is being made.
pub(super) struct Sent {
    claim: Claim,
    errand: Errand,
    /// A connect, which may take its time.
    waits: bool,
    /// Where the session itself must listen for it.
    own: Option<SocketAddr>,
}

/// Whether a call is confined as the session is. To be told so by the kernel, or because somebody looks who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// By the session's Landlock rulesets.
    Rulesets,
    /// By nothing: it was decided here, of something that the rulesets do not grant.
    Nothing,
    /// The same, but only as long as the session itself listens at the address.
    Own,
}

impl Door {
    /// Has a call made on `socket` that was decided on.
    pub(super) fn send(
        &mut self,
        claim: Claim,
        socket: OwnedFd,
        act: Act<'_>,
        within: Within,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let waits = matches!(act, Act::Connect(_) | Act::ConnectTo(_));
        let own = match act {
            Act::Connect(address) if within == Within::Own => Some(address),
            _ => None,
        };
        if !waits && self.errands.values().filter(|sent| !sent.waits).count() >= BRIEF {
            return self.fail(claim, refused("too much waits already"), court);
        }
        let rulesets: Vec<BorrowedFd<'_>> = match within {
            Within::Rulesets => self.facts.rulesets.iter().map(AsFd::as_fd).collect(),
            Within::Nothing | Within::Own => Vec::new(),
        };
        let number = self.next_errand;
        let started = Errand::start(socket, act, &rulesets).and_then(|errand| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
            self.events.add(errand.as_fd(), event)?;
            Ok(errand)
        });
        let errand = match started {
            Ok(errand) => errand,
            Err(errno) => return self.fail(claim, out_of_means(errno), court),
        };
        self.next_errand += 1;
        let sent = Sent {
            claim,
            errand,
            waits,
            own,
        };
        self.errands.insert(number, sent);
        match waits {
            true => self.watch(claim).map(drop),
            false => {
                self.begin(claim);
                Ok(())
            }
        }
    }

    /// Answers with what a call said that has come to its end.
    pub(super) fn returned(&mut self, number: u64) -> Result<(), DoorError> {
        let answer = self.errands.get(&number).and_then(|it| it.errand.answer());
        match (answer, self.errands.remove(&number)) {
            (Some(result), Some(sent)) => {
                let result = match (sent.own, sent.errand.give_up()) {
                    (Some(address), (Some(socket), _)) => self.settled(socket, address, result)?,
                    _ => result,
                };
                self.result(sent.claim.id, result.map(|()| 0))
            }
            (None, Some(sent)) => {
                self.errands.insert(number, sent);
                Ok(())
            }
            (_, None) => Ok(()),
        }
    }

    /// How many calls are under way that may take their time.
    pub(super) fn places_taken(&self) -> usize {
        self.errands.values().filter(|sent| sent.waits).count()
    }

    /// Ends the calls that nobody waits for any more.
    pub(super) fn forget_the_dead(&mut self) {
        let listener = &self.listener;
        self.errands
            .retain(|_, sent| listener.is_valid(sent.claim.id));
    }

    /// Gives a connect up because of a signal. `false`: that call is not being made here.
    pub(super) fn give_up(&mut self, claim: Claim) -> Result<bool, DoorError> {
        let of_claim = |(_, sent): &(&u64, &Sent)| sent.waits && sent.claim.id == claim.id;
        let Some(number) = self
            .errands
            .iter()
            .find(of_claim)
            .map(|(number, _)| *number)
        else {
            return Ok(false);
        };
        let Some(sent) = self.errands.remove(&number) else {
            return Ok(false);
        };
        let (socket, answer) = sent.errand.give_up();
        if let (Some(socket), Some(address), None) = (&socket, sent.own, answer) {
            // It goes on, and is watched.
            let socket = socket.try_clone().map_err(|_| Errno::EMFILE);
            let socket = socket.map_err(failed("watch a handshake"))?;
            let _goes_on = self.settled(socket, address, Err(Errno::EINPROGRESS))?;
        }
        match (answer, socket) {
            (Some(result), _) => self.result(claim.id, result.map(|()| 0))?,
            // Its last moment may have been its best. A handshake, other than that, goes on without anybody who waits for it, and
            // a further connect finds it so: that is what a signal does to it without us.
            (None, Some(socket)) if is_connected_file(&socket) => self.value(claim.id, 0)?,
            (None, Some(socket)) if is_limited(&socket) => self.errno(claim.id, Errno::EINTR)?,
            (None, _) => self.restart(claim.id)?,
        }
        Ok(true)
    }
}

/// Whether it is a Unix socket that is connected.
fn is_connected_file(socket: &OwnedFd) -> bool {
    getpeername::<UnixAddr>(socket.as_raw_fd()).is_ok()
}

/// Whether its owner set a limit to waiting: then a call on it that a signal interrupts is never made again (signal(7)).
fn is_limited(socket: &OwnedFd) -> bool {
    getsockopt(socket, sockopt::SendTimeout).is_ok_and(|limit| limit.num_microseconds() != 0)
}
