//! The keeper's end of the connection to its daemon.

use super::message::Message;
use super::service::VARIABLES;
use super::{Daemon, KeeperError, failed};
use crate::launch::Exit;
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};
use sys::messages::{Wait, send};
use sys::pidfd::Pidfd;

/// One daemon and the connection to it.
pub(super) struct Line {
    pub socket: OwnedFd,
    /// Where it asks for what only an ancestor may do, until it closes its end.
    pub aid: Option<OwnedFd>,
    /// Its end of that, until it has it.
    pub unsaid_aid: Option<OwnedFd>,
    pub process: Pidfd,
    pub pid: i32,
    pub exit: Option<Exit>,
    /// Stop was said.
    pub told_to_stop: bool,
    /// AllHeld was said.
    pub told_all: bool,
    /// It was asked whether it is there, and has not answered.
    pub is_asked: bool,
}

impl Line {
    pub fn start(daemon: &Daemon) -> Result<Self, KeeperError> {
        let (ours, theirs) = connection()?;
        let (aid, their_aid) = connection()?;
        let mut command = Command::new(&daemon.program);
        command.args(&daemon.arguments).stdin(Stdio::from(theirs));
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        let child = sys::command::die_with_parent(&mut command).spawn();
        let child = child.map_err(|source| KeeperError::Start {
            program: daemon.program.clone(),
            source,
        })?;
        // It is a child of ours that nobody has collected: the number is still its own.
        let pid = child.id() as i32;
        Ok(Self {
            socket: ours,
            aid: Some(aid),
            unsaid_aid: Some(their_aid),
            process: Pidfd::open(pid).map_err(failed("watch the daemon"))?,
            pid,
            exit: None,
            told_to_stop: false,
            told_all: false,
            is_asked: false,
        })
    }

    /// Says something, if there is room for it.
    pub fn say(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> Said {
        match send(self.socket.as_fd(), &message.encode(), fds, Wait::No) {
            Ok(_) => Said::Yes,
            // ETOOMANYREFS: too many descriptors are on their way; some of them are taken out sooner or later.
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS | Errno::ENOMEM) => Said::Full,
            Err(_) => Said::Gone,
        }
    }
}

/// A connection to a daemon: our end, which names who sends, and its.
fn connection() -> Result<(OwnedFd, OwnedFd), KeeperError> {
    let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
    let made = socketpair(AddressFamily::Unix, kind, None, flags);
    let (ours, theirs) = made.map_err(failed("make a connection"))?;
    // Who asks is the kernel's word.
    sys::peers::pass_credentials(ours.as_fd()).map_err(failed("name the daemon"))?;
    Ok((ours, theirs))
}

/// What came of saying something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Yes,
    Full,
    Gone,
}
