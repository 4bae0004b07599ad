//! Connects: from the claim to the answer.

use super::errands::Within;
use super::{Channel, Claim, Court, Door, DoorError, Finished};
use crate::policy::{Mechanism, Peer, Reason, Verdict};
use crate::transparent::address::Address;
use crate::transparent::again::Begun;
use crate::transparent::connects::{Connect, Destination};
use crate::transparent::failure::{Failure, out_of_means, refused};
use crate::transparent::own::named;
use crate::transparent::record::About;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use sys::errand::Act;
use sys::openat2::Lookup;

/// How many connects may be under way: each takes a process, and some descriptors.
pub(super) const CONNECTS: usize = 64;
/// How many more may wait for their turn, which takes nothing but their arguments.
const CONNECTS_WAITING: usize = 4096;

impl Door {
    pub(super) fn examine(
        &mut self,
        claim: Claim,
        socket: i32,
        address: Address,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let session = self.facts.session_socket.as_deref();
        match Connect::examine(claim.thread, socket, &address, session, Lookup::Cached) {
            Err(Failure::WouldWait) => {
                let session = self.facts.session_socket.clone();
                self.aside(claim, court, move |_turn| {
                    let session = session.as_deref();
                    let examined =
                        Connect::examine(claim.thread, socket, &address, session, Lookup::Full);
                    Finished::Examined(claim, address, examined)
                })
            }
            examined => self.examined(claim, address, examined, court),
        }
    }

    pub(super) fn examined(
        &mut self,
        claim: Claim,
        address: Address,
        examined: Result<Connect, Failure>,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        if !self.listener.is_valid(claim.id) {
            return Ok(());
        }
        let connect = match examined {
            Ok(connect) => connect,
            Err(failure) => return self.fail(claim, failure, court),
        };
        if connect.needs_a_place() && !self.has_a_place()? {
            if self.waiting.len() >= CONNECTS_WAITING {
                return self.fail(claim, Failure::WouldWait, court);
            }
            self.waiting.push_back((claim, connect.number, address));
            return self.watch(claim).map(drop);
        }
        // An earlier supervisor was about to: what is connected by now is connected by that.
        let is_again = self.begun.remove(&claim.id).is_some();
        match sys::inet::is_connected(connect.socket.as_fd()) {
            true if is_again => return self.value(claim.id, 0),
            true => {}
            false => self.journal.set_note(claim.id, Begun::NEW.note()),
        }
        match &connect.to {
            Destination::Session => self.channel(claim, &connect, court),
            Destination::Unix(..) => self.connect_unix(claim, connect, court),
            Destination::Stream(address) => {
                let address = *address;
                self.connect_stream(claim, connect, address, court)
            }
            Destination::Datagrams(address) if court.law.allows_udp() => {
                if !self.saw_datagrams(claim, *address, court) {
                    return self.errno(claim.id, Errno::EACCES);
                }
                let result = sys::inet::connect(connect.socket.as_fd(), *address);
                self.result(claim.id, result.map(|()| 0))
            }
            Destination::Nobody if court.law.allows_udp() => {
                let result = sys::inet::disconnect(connect.socket.as_fd());
                self.result(claim.id, result.map(|()| 0))
            }
            Destination::Datagrams(_) | Destination::Nobody => {
                self.fail(claim, refused("no datagrams over IP"), court)
            }
        }
    }

    /// Replaces the child's socket by one end of a pair, and hands the other out.
    fn channel(
        &mut self,
        claim: Claim,
        connect: &Connect,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        match self.open_channel(claim, connect) {
            Ok(channel) => {
                court.served.channels.push(channel);
                self.value(claim.id, 0)
            }
            Err(failure) => self.fail(claim, failure, court),
        }
    }

    fn open_channel(&self, claim: Claim, connect: &Connect) -> Result<Channel, Failure> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(out_of_means)?;
        // Before the child has its end: what it writes at once must have a sender.
        socket::Channel::prepare(ours.as_fd()).map_err(out_of_means)?;
        if !connect.waits()? {
            let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
            nix::fcntl::fcntl(&theirs, flags)?;
        }
        let (process, pid) = claim.thread.process_descriptor()?;
        let number = connect.number;
        let closes = claim.thread.descriptor(number)?.is_closed_on_exec();
        // Adding a descriptor checks that the caller still waits, so what was found out is the caller's.
        self.listener
            .add_fd(claim.id, theirs.as_fd(), closes, Some(number))?;
        Ok(Channel {
            socket: ours,
            process,
            pid,
        })
    }

    fn connect_unix(
        &mut self,
        claim: Claim,
        connect: Connect,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let Connect { socket, to, .. } = connect;
        let Destination::Unix(asked, located) = to else {
            return self.errno(claim.id, Errno::EACCES);
        };
        let about = About {
            asked: Some(&asked),
            located: located.path(),
            ..self.about(claim)
        };
        let Some(subject) = located.subject() else {
            let why = "a socket file that has no name any more";
            let errno = about.fail(court.recorder, Errno::EACCES, why);
            return self.errno(claim.id, errno);
        };
        let verdict = court.law.decide_unix(&subject);
        if let Err(errno) = allowed(verdict, &about, court) {
            return self.errno(claim.id, errno);
        }
        self.send(
            claim,
            socket,
            Act::ConnectTo(located.fd),
            Within::Rulesets,
            court,
        )
    }

    fn connect_stream(
        &mut self,
        claim: Claim,
        connect: Connect,
        address: SocketAddr,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let about = About {
            address: Some(address),
            ..self.about(claim)
        };
        let mut verdict = court.law.decide_connect(address, Peer::Anybody);
        // No domain of Landlock: that knows ports only, and this is decided on here.
        let mut within = Within::Nothing;
        if let Verdict::Deny(denial) = &verdict
            && denial.reason == Reason::NotOwn
            && self.own.listens_at(address)
        {
            verdict = court.law.decide_connect(address, Peer::Session);
            within = Within::Own;
        }
        if let Err(errno) = allowed(verdict, &about, court) {
            return self.errno(claim.id, errno);
        }
        let Connect { socket, .. } = &connect;
        let address = named(address);
        match connect.waits() {
            Err(errno) => self.errno(claim.id, errno),
            Ok(true) => {
                let act = Act::Connect(address);
                self.send(claim, connect.socket, act, within, court)
            }
            Ok(false) => {
                let result = sys::inet::connect(socket.as_fd(), address);
                let result = match within {
                    Within::Own => self.settled(connect.socket, address, result)?,
                    _ => result,
                };
                self.result(claim.id, result.map(|()| 0))
            }
        }
    }

    /// Whether another connect may be begun. Those that nobody waits for any more are ended when places are short.
    fn has_a_place(&mut self) -> Result<bool, DoorError> {
        if self.places_taken() >= CONNECTS {
            self.forget_the_dead()?;
        }
        Ok(self.places_taken() < CONNECTS)
    }

    /// Begins connects that waited for a place.
    pub(super) fn resume(&mut self, court: &mut Court<'_>) -> Result<(), DoorError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        // As many as wait now: what has to wait again is behind those.
        for _ in 0..self.waiting.len() {
            if !self.has_a_place()? {
                break;
            }
            if let Some((claim, socket, address)) = self.waiting.pop_front() {
                self.examine(claim, socket, address, court)?;
            }
        }
        Ok(())
    }
}

/// Whether an address may be connected to or bound; the grant is recorded before anybody acts on it.
pub(super) fn allowed(
    verdict: Verdict,
    about: &About<'_>,
    court: &mut Court<'_>,
) -> Result<(), Errno> {
    match verdict {
        Verdict::Allow(allowed) => {
            let recorded = about.grant(court.recorder, &allowed.rule, Mechanism::ConnectDoor);
            if recorded { Ok(()) } else { Err(Errno::EACCES) }
        }
        Verdict::Deny(denial) => Err(about.deny(court.recorder, &denial)),
        Verdict::Ask(_) => {
            let why = "nobody is asked about connections";
            Err(about.fail(court.recorder, Errno::EACCES, why))
        }
    }
}
