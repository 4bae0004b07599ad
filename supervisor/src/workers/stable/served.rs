//! The session of one worker, on a thread of its own.

use super::super::keeper::{Link, Role};
use super::life::{Kept, Told};
use crate::audit::{Log, Status};
use crate::broker::Seat;
use crate::launch::{Exit, collect};
use crate::policy::Ruleset;
use crate::sandbox::Tag;
use crate::session::{Ending, Hold, Locks, Parts, Session, SessionError, Watch};
use socket::Channel;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use sys::pidfd::Pidfd;

/// What a session tells its thread, which tells nobody.
struct Nobody;

impl Watch for Nobody {
    fn orphans(&mut self, _: Exit) {}
    fn timed_out(&mut self) {}
}

/// What a session's thread is given.
pub(super) struct Incoming {
    pub pid: i32,
    pub process: Arc<Pidfd>,
    pub listener: Option<OwnedFd>,
    pub journal: OwnedFd,
    pub locks: Locks,
    pub ruleset: Arc<Ruleset>,
    pub log: Log,
    /// Of one that an earlier daemon started.
    pub session: Option<String>,
    pub seat: Option<Seat>,
    pub wall: Option<Duration>,
    pub socket: Channel,
    pub socket_path: PathBuf,
    pub connections: Vec<(u32, OwnedFd)>,
}

/// The keeper, for the connections of one session.
#[derive(Debug)]
struct KeptConnections {
    link: Arc<Link>,
    tag: Tag,
}

impl Hold for KeptConnections {
    fn hold(&self, label: u32, connection: BorrowedFd<'_>) {
        // Where the keeper is gone this process is about to be.
        let _kept = self.link.add(self.tag, Role::Socket, label, connection);
    }

    fn release(&self, label: u32) {
        let _dropped = self.link.drop_some(self.tag, Role::Socket, label);
    }
}

/// Serves a session until it ends, and says how it did.
pub(super) fn session_to_its_end(
    tag: Tag,
    incoming: Incoming,
    root: i32,
    link: Arc<Link>,
    told: Arc<Told>,
) -> Result<Ending, SessionError> {
    let process = incoming.process;
    let life = Kept { tag, process, told };
    let opened = Session::open(Parts {
        life: Box::new(life),
        root,
        listener: incoming.listener,
        journal: Some(incoming.journal),
        locks: incoming.locks,
        tag: Some(tag),
        ruleset: incoming.ruleset,
        log: incoming.log,
        seat: incoming.seat,
        clerk: None,
        caller: None,
        wall: incoming.wall,
        socket: incoming.socket,
        socket_path: incoming.socket_path,
        connections: incoming.connections,
        hold: Some(Box::new(KeptConnections { link, tag })),
        witness: None,
    });
    let result = opened.and_then(|mut session| {
        if let Some(name) = &incoming.session {
            session.resume(name)?;
        }
        let ending = session.serve(&mut Nobody);
        let status = match &ending {
            Ok(Ending::Command(Exit::Code(code))) => Status::Exited(*code),
            Ok(Ending::Command(Exit::Signal(signal))) => Status::Killed(*signal),
            Ok(Ending::TimedOut) => Status::TimedOut,
            Ok(Ending::GuardianLost | Ending::Command(Exit::Unknown)) | Err(_) => {
                Status::Failed(125)
            }
        };
        // A record that could not be written is in what `verify` finds.
        let _unrecorded = session.close(status);
        ending
    });
    if result.is_err() {
        // Nobody answers its calls any more.
        let _left = collect(tag);
    }
    result
}
