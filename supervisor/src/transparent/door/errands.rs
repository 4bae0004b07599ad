//! Calls that a process of their own makes: begun, ended, given up.

use super::settling::end;
use super::{Claim, Court, Door, DoorError, FIFOS};
use crate::transparent::failure::{out_of_means, refused};
use nix::errno::Errno;
use nix::fcntl::OFlag;
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
    kind: Kind,
}

/// What is known of a call that is being made.
#[derive(Clone, Copy)]
enum Kind {
    /// It takes a moment only.
    Brief,
    /// A connect, which may take its time. Where the session itself must listen for it.
    Connect(Option<SocketAddr>),
    /// An open that waits for somebody. Whether the descriptor is closed on exec.
    Open(bool),
}

impl Sent {
    fn connects(&self) -> bool {
        matches!(self.kind, Kind::Connect(_))
    }

    fn opens(&self) -> bool {
        matches!(self.kind, Kind::Open(_))
    }
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
        let kind = match act {
            Act::Connect(address) if within == Within::Own => Kind::Connect(Some(address)),
            Act::Connect(_) | Act::ConnectTo(_) => Kind::Connect(None),
            _ => Kind::Brief,
        };
        let brief = |sent: &&Sent| matches!(sent.kind, Kind::Brief);
        if matches!(kind, Kind::Brief) && self.errands.values().filter(brief).count() >= BRIEF {
            return self.fail(claim, refused("too much waits already"), court);
        }
        self.begin_errand(claim, socket, act, within, kind, court)
    }

    /// Has something opened that waits for somebody: the other end of a FIFO.
    pub(super) fn send_open(
        &mut self,
        claim: Claim,
        object: OwnedFd,
        flags: OFlag,
        close_on_exec: bool,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        if self.errands.values().filter(|sent| sent.opens()).count() >= FIFOS {
            return self.fail(claim, refused("too much waits already"), court);
        }
        let kind = Kind::Open(close_on_exec);
        let within = Within::Nothing;
        self.begin_errand(claim, object, Act::Open(flags), within, kind, court)
    }

    fn begin_errand(
        &mut self,
        claim: Claim,
        of: OwnedFd,
        act: Act<'_>,
        within: Within,
        kind: Kind,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let rulesets: Vec<BorrowedFd<'_>> = match within {
            Within::Rulesets => self.facts.rulesets.iter().map(AsFd::as_fd).collect(),
            Within::Nothing | Within::Own => Vec::new(),
        };
        let number = self.next_errand;
        let started = Errand::start(of, act, &rulesets).and_then(|errand| {
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
            kind,
        };
        self.errands.insert(number, sent);
        match kind {
            Kind::Connect(_) | Kind::Open(_) => self.watch(claim).map(drop),
            Kind::Brief => {
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
                let result = match (sent.kind, sent.errand) {
                    (Kind::Open(close_on_exec), errand) => {
                        return self.opened_by_errand(sent.claim, errand, close_on_exec);
                    }
                    (Kind::Connect(Some(address)), errand) => match errand.give_up() {
                        (Some(socket), _) => self.settled(socket, address, result)?,
                        _ => result,
                    },
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

    /// How many connects are under way.
    pub(super) fn places_taken(&self) -> usize {
        self.errands.values().filter(|sent| sent.connects()).count()
    }

    /// Ends the calls that nobody waits for any more.
    pub(super) fn forget_the_dead(&mut self) -> Result<(), DoorError> {
        let listener = &self.listener;
        let dead = |sent: &Sent| !listener.is_valid(sent.claim.id);
        let dead: Vec<u64> = self
            .errands
            .iter()
            .filter_map(|(number, sent)| dead(sent).then_some(*number))
            .collect();
        dead.into_iter().try_for_each(|number| self.abandon(number))
    }

    /// Ends what was begun for a caller that is gone.
    pub(super) fn abandon_all_of(&mut self, id: u64) -> Result<(), DoorError> {
        let of_claim = |sent: &Sent| sent.claim.id == id;
        let of_claim = |(number, sent): (&u64, &Sent)| of_claim(sent).then_some(*number);
        let theirs: Vec<u64> = self.errands.iter().filter_map(of_claim).collect();
        theirs
            .into_iter()
            .try_for_each(|number| self.abandon(number))
    }

    fn abandon(&mut self, number: u64) -> Result<(), DoorError> {
        match self.errands.remove(&number) {
            Some(Sent {
                errand,
                kind: Kind::Connect(Some(address)),
                ..
            }) => match errand.give_up() {
                // The socket may be another's as well, and its handshake goes on.
                (Some(socket), _) => self.goes_on(&socket, address),
                _ => Ok(()),
            },
            ended => {
                drop(ended);
                Ok(())
            }
        }
    }

    /// Watches a handshake that goes on without a connect.
    fn goes_on(&mut self, socket: &OwnedFd, address: SocketAddr) -> Result<(), DoorError> {
        match socket.try_clone() {
            Ok(watched) => {
                let _goes_on = self.settled(watched, address, Err(Errno::EINPROGRESS))?;
            }
            // What cannot be watched does not go on. The session does.
            Err(_) => end(socket),
        }
        Ok(())
    }

    /// Gives a call up because of a signal. `false`: that call is not being made here.
    pub(super) fn give_up(&mut self, claim: Claim) -> Result<bool, DoorError> {
        let of_claim = |(_, sent): &(&u64, &Sent)| {
            sent.claim.id == claim.id && (sent.connects() || sent.opens())
        };
        let number = self.errands.iter().find(of_claim);
        let number = number.map(|(number, _)| *number);
        let Some(sent) = number.and_then(|number| self.errands.remove(&number)) else {
            return Ok(false);
        };
        let own = match sent.kind {
            Kind::Open(close_on_exec) => {
                self.opened_by_errand(claim, sent.errand, close_on_exec)?;
                return Ok(true);
            }
            Kind::Connect(own) => own,
            Kind::Brief => None,
        };
        let (socket, answer) = sent.errand.give_up();
        if let (Some(socket), Some(address), None) = (&socket, own, answer) {
            self.goes_on(socket, address)?;
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

    /// Ends an open, and answers with what came of it. That it was interrupted is for the kernel to say, or not to say.
    fn opened_by_errand(
        &self,
        claim: Claim,
        errand: Errand,
        close_on_exec: bool,
    ) -> Result<(), DoorError> {
        match errand.give_up_open() {
            Ok(fd) => self.deliver(claim, fd, close_on_exec),
            Err(Errno::EINTR) => self.restart(claim.id),
            Err(errno) => self.errno(claim.id, errno),
        }
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
