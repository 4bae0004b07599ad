//! Binds and listens: from the claim to the answer.

use super::asking::Asked;
use super::errands::Within;
use super::{Claim, Court, Door, DoorError, Finished};
use crate::audit::Seen;
use crate::broker;
use crate::policy::{Access, Kind, Mechanism, Verdict};
use crate::transparent::address::Address;
use crate::transparent::again::Begun;
use crate::transparent::binds::{Bind, Name, NewFile};
use crate::transparent::failure::{Failure, out_of_means, refused};
use crate::transparent::listens::{Listen, listen};
use crate::transparent::locate::as_path;
use crate::transparent::objection::{Objection, passed};
use crate::transparent::record::About;
use nix::errno::Errno;
use nix::sys::socket::{Shutdown, shutdown};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use sys::errand::Act;
use sys::openat2::Lookup;

impl Door {
    pub(super) fn bind(
        &mut self,
        claim: Claim,
        socket: i32,
        address: Address,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        // An earlier supervisor was about to: a socket that has a name by now got it from that.
        if self.begun.remove(&claim.id).is_some()
            && let Ok(socket) = claim.thread.duplicate(socket)
            && sys::inet::is_bound(socket.as_fd())
        {
            return self.value(claim.id, 0);
        }
        match Bind::examine(claim.thread, socket, &address, Lookup::Cached) {
            Err(Failure::WouldWait) => self.aside(claim, court, move |_turn| {
                let examined = Bind::examine(claim.thread, socket, &address, Lookup::Full);
                Finished::Bind(claim, examined)
            }),
            examined => self.bind_examined(claim, examined, court),
        }
    }

    pub(super) fn bind_examined(
        &mut self,
        claim: Claim,
        examined: Result<Bind, Failure>,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        // What was found is what the caller meant only if the caller still waits.
        if !self.listener.is_valid(claim.id) {
            return Ok(());
        }
        let Bind { socket, to } = match examined {
            Ok(bind) => bind,
            Err(failure) => return self.fail(claim, failure, court),
        };
        if !sys::inet::is_bound(socket.as_fd()) {
            self.journal.set_note(claim.id, Begun::NEW.note());
        }
        match to {
            Name::File(file) => self.bind_file(claim, socket, file, court),
            Name::Stream(address) => {
                let about = About {
                    address: Some(address),
                    ..self.about(claim)
                };
                let verdict = court.law.decide_bind(address);
                match super::connecting::allowed(verdict, &about, court) {
                    Ok(()) => self.bind_inet(claim, &socket, address),
                    Err(errno) => self.errno(claim.id, errno),
                }
            }
            Name::Datagrams(address) if court.law.allows_udp() => {
                if !self.saw_datagrams(claim, address, court) {
                    return self.errno(claim.id, Errno::EACCES);
                }
                self.bind_inet(claim, &socket, address)
            }
            Name::Datagrams(_) => self.fail(claim, refused("no datagrams over IP"), court),
        }
    }

    fn bind_inet(
        &self,
        claim: Claim,
        socket: &OwnedFd,
        address: SocketAddr,
    ) -> Result<(), DoorError> {
        let result = sys::inet::bind(socket.as_fd(), address);
        self.result(claim.id, result.map(|()| 0))
    }

    /// Has a socket file made, by the name that the child gave it if that can be: it is what the socket says that it is called.
    fn bind_file(
        &mut self,
        claim: Claim,
        socket: OwnedFd,
        file: NewFile,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let about = About {
            asked: Some(&file.asked),
            access: Some(Access::WRITE),
            ..self.about(claim)
        };
        let subject = file.entry.subject();
        let verdict = court.law.decide_make(&subject, Kind::Other);
        let mechanism = match passed(verdict, subject.path) {
            Ok(mechanism) => mechanism,
            Err(Objection::Asks(verdict, _)) => {
                return self.ask_to_bind(claim, socket, file, verdict, court);
            }
            Err(objection) => {
                let errno = about.object(court.recorder, &objection);
                return self.errno(claim.id, errno);
            }
        };
        if !self.saw(claim, subject.path, Access::WRITE, Seen::Made, court) {
            return self.errno(claim.id, Errno::EACCES);
        }
        // Landlock decides once more, wherever the name leads by then: so it may be walked once more. What Landlock does not grant
        // is made in the directory that was located, by its last name: a bind takes no directory to begin in and no restriction of
        // its walk, and a domain that grants that directory alone grants what is below it too, where other rules may hold.
        let within = match mechanism {
            Mechanism::Landlock => Within::Rulesets,
            _ => Within::Nothing,
        };
        self.make_socket_file(claim, socket, &file, within, court)
    }

    /// Puts it to the broker. The directory is held meanwhile; the name can be made only if nothing has it.
    fn ask_to_bind(
        &mut self,
        claim: Claim,
        socket: OwnedFd,
        file: NewFile,
        verdict: Verdict,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let Ok(located) = file.entry.for_the_broker() else {
            return self.fail(claim, out_of_means(()), court);
        };
        let asked = as_path(&file.asked).to_owned();
        let wanted = broker::Claim::deed(claim.call, "make a socket named", asked, Access::WRITE);
        let asked = Asked::Bind(Box::new((socket, file)));
        self.ask_about(claim, wanted, located, verdict, asked, court)
    }

    pub(super) fn make_socket_file(
        &mut self,
        claim: Claim,
        socket: OwnedFd,
        file: &NewFile,
        within: Within,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let (above, last) = file.entry.at();
        let (name, directory) = match &file.start {
            Some(start) if within == Within::Rulesets => (&*file.asked, start.as_fd()),
            _ if file.stays() => (&*file.asked, above),
            _ => (last, above),
        };
        let maker = claim.thread.maker();
        let directory = directory.try_clone_to_owned().map_err(out_of_means);
        match (maker, directory) {
            (Err(failure), _) | (_, Err(failure)) => self.fail(claim, failure, court),
            // Whose umask it was, the caller says that still waits.
            _ if !self.listener.is_valid(claim.id) => Ok(()),
            (Ok(maker), Ok(directory)) => {
                let act = Act::Bind {
                    name,
                    directory,
                    maker,
                };
                self.send(claim, socket, act, within, court)
            }
        }
    }

    pub(super) fn listen(
        &mut self,
        claim: Claim,
        socket: i32,
        backlog: i32,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let socket = match claim.thread.duplicate(socket) {
            Ok(socket) => socket,
            Err(failure) => return self.fail(claim, failure, court),
        };
        // The number was the caller's if the caller still waits.
        if !self.listener.is_valid(claim.id) {
            return Ok(());
        }
        let law = court.law;
        let may_have_any = |at| law.decide_bind(SocketAddr::new(at, 0)).is_allowed();
        match listen(&socket, backlog, may_have_any) {
            Ok(Listen::Done) if law.reaches_itself() => {
                let result = self.own_listener(socket);
                self.result(claim.id, result.map(|()| 0))
            }
            Ok(Listen::Done) => self.value(claim.id, 0),
            // Who connects to it sees who made it listen.
            Ok(Listen::ByAnother) => {
                self.send(claim, socket, Act::Listen(backlog), Within::Rulesets, court)
            }
            Err(failure) => self.fail(claim, failure, court),
        }
    }

    /// Remembers a socket that listens as the session's own.
    fn own_listener(&mut self, socket: OwnedFd) -> Result<(), Errno> {
        let remembered = self.own.add(socket.as_fd(), &self.journal);
        let listener = TcpListener::from(socket);
        let is_alone = |at: SocketAddr| {
            // On a port of another program, which shares it with whoever wants (`SO_REUSEPORT`), it would get what is meant for that.
            !at.ip().to_canonical().is_loopback() || self.own.listens_at(at)
        };
        let fits = remembered.and(match listener.local_addr() {
            Ok(at) if is_alone(at) => Ok(()),
            _ => Err(Errno::EADDRINUSE),
        });
        if fits.is_err() {
            // One that listens can be shut down.
            let _ended = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        fits
    }
}
