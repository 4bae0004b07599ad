//! What the kernel permits to ancestors alone, where Yama restricts tracing: the keeper is one of every worker, and the daemon of none.
//!
//! The daemon asks on a connection of its own, one request at a time, and is given a descriptor or an errno. The keeper looks at nothing
//! that it opens. It can do for the daemon what the kernel lets an ancestor do, and so nothing to anybody who is no worker's; whether the
//! thread was still the one that was meant is for the daemon to see, which has its notification.

use super::line::Line;
use super::message::{Held, MOST, Message, Role, SIZE, Verb};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use sys::ancestor::Ancestor;
use sys::messages::{Wait, Welcome, receive, send};
use sys::pidfd::Pidfd;

/// So many requests are answered before anything else is looked at.
const TURN: usize = 16;

/// Gives the daemon what it asked for.
pub(super) fn give(line: &mut Line) {
    for _ in 0..TURN {
        let Some(aid) = &line.aid else {
            return;
        };
        match answer(aid.as_fd(), line.pid) {
            Ok(()) => {}
            Err(Errno::EAGAIN) => return,
            // It is over, or broken: nobody is asked for anything there any more.
            Err(_) => line.aid = None,
        }
    }
}

/// Answers one request of this process.
fn answer(aid: BorrowedFd<'_>, asker: i32) -> Result<(), Errno> {
    let mut buffer = [0; SIZE + 1];
    let welcome = Welcome {
        fds: MOST,
        sender: true,
    };
    let received = receive(aid, &mut buffer, welcome, Wait::No)?;
    let sender = received.sender.map(|sender| sender.credentials.pid);
    // It has no other end but the daemon's; who else would hold it is given nothing.
    if received.length == 0 || sender.is_none_or(|sender| sender.as_raw() != asker) {
        return Err(Errno::EPIPE);
    }
    let message = Message::decode(&buffer[..received.length]).ok_or(Errno::EPROTO)?;
    let fds = message.sort(received.fds);
    let made = fds.map_or(Err(Errno::EINVAL), |fds| make(&message, fds));
    let (code, fd) = match made {
        Ok(fd) => (0, Some(fd)),
        Err(errno) => (errno as i32, None),
    };
    let answer = Message {
        code,
        ..Message::new(message.verb, message.key)
    };
    let answer = answer.with_roles(fd.iter().map(|_| Role::Aid));
    let fds: Vec<BorrowedFd<'_>> = fd.iter().map(AsFd::as_fd).collect();
    // It asks for one thing at a time, so there is room for the answer, unless nobody waits for it.
    let _unheard = send(aid, &answer.encode(), &fds, Wait::No);
    Ok(())
}

fn make(message: &Message, fds: Vec<Held>) -> Result<OwnedFd, Errno> {
    match (message.verb, fds.into_iter().next()) {
        (Verb::Memory, None) => {
            let path = format!("/proc/{}/mem", message.pid);
            open(&*path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        }
        (Verb::Descriptor, Some(process)) => Pidfd::from(process.fd).get_fd_itself(message.status),
        _ => Err(Errno::EINVAL),
    }
}

/// The daemon's end.
#[derive(Debug)]
pub(super) struct Aid {
    /// Held from the question to its answer.
    socket: Mutex<(OwnedFd, u64)>,
}

impl Aid {
    pub fn of(socket: OwnedFd) -> Self {
        let socket = Mutex::new((socket, 0));
        Self { socket }
    }

    fn ask(&self, question: Message, fds: &[BorrowedFd<'_>]) -> Result<OwnedFd, Errno> {
        let mut held = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, number) = &mut *held;
        *number += 1;
        let question = Message {
            key: *number,
            ..question
        };
        let question = question.with_roles(fds.iter().map(|_| Role::Process));
        // The keeper is gone, and this process will be: the kernel's refusal stands.
        let refused = |_| Errno::EPERM;
        send(socket.as_fd(), &question.encode(), fds, Wait::Yes).map_err(refused)?;
        let mut buffer = [0; SIZE + 1];
        let welcome = Welcome {
            fds: MOST,
            sender: false,
        };
        loop {
            let answer = receive(socket.as_fd(), &mut buffer, welcome, Wait::Yes);
            let answer = answer.map_err(refused)?;
            let message = Message::decode(&buffer[..answer.length]).ok_or(Errno::EPERM)?;
            // One to a question that was given up.
            if message.key != *number {
                continue;
            }
            if answer.lost.is_some() {
                return Err(Errno::EMFILE);
            }
            return match answer.fds.into_iter().next() {
                Some(fd) => Ok(fd),
                None => Err(Errno::from_raw(message.code)),
            };
        }
    }
}

impl Ancestor for Aid {
    fn memory(&self, thread: i32) -> Result<OwnedFd, Errno> {
        let question = Message::new(Verb::Memory, 0);
        let pid = thread;
        self.ask(Message { pid, ..question }, &[])
    }

    fn descriptor(&self, process: BorrowedFd<'_>, number: i32) -> Result<OwnedFd, Errno> {
        let question = Message::new(Verb::Descriptor, 0);
        let status = number;
        self.ask(Message { status, ..question }, &[process])
    }
}
