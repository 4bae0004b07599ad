//! The process that outlives the daemon: parent of the daemon and of all workers, and holder of what must not be closed.
//!
//! In: how the daemon is started. Out: with what status everything ended. It starts the daemon again when it dies, gives it
//! everything back, and collects who ends. It reads no policy and nothing that a worker wrote, and it has one thread; what it does
//! can fail only for want of descriptors or processes.
//!
//! What is held of a worker is held under its session's tag, which every process of it carries ([`Tag`]): what a daemon began
//! and did not finish is found and killed by it.

mod held;
mod link;
mod message;

pub use link::{Given, Inheritance, Link, LinkError, News};
pub use message::{Held, Role};

use crate::launch::{Exit, collect};
use crate::sandbox::Tag;
use held::Table;
use message::{MOST, Message, SIZE, Verb};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use sys::messages::{Wait, Welcome, receive, send};
use sys::pidfd::Pidfd;
use sys::signals::SignalFd;

/// How the daemon is started: this program, found again each time, so that a new one takes the place of the old.
#[derive(Debug)]
pub struct Daemon {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, the program's name not among them. Standard input is the connection to the keeper.
    pub arguments: Vec<OsString>,
}

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A system call failed.
    #[error("keeper: cannot {action}: {errno}")]
    Call {
        /// What was to be done.
        action: &'static str,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The daemon cannot be started at all.
    #[error("keeper: cannot start {}: {source}", program.display())]
    Start {
        /// The daemon's program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn failed(action: &'static str) -> impl Fn(Errno) -> KeeperError {
    move |errno| KeeperError::Call { action, errno }
}

/// A daemon that lived so long did not die of its start.
const SOUND: Duration = Duration::from_secs(5);
/// How long a daemon is missed that served before it died: somebody killed it. Workers wait.
const SHORT_PAUSE: Duration = Duration::from_millis(5);
/// So many of them in a row die of something else.
const PATIENCE: u32 = 5000;
/// How long the first daemon that dies young is missed that never served, and how long each further one at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The signals that end everything.
const ENDING: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Keeps a daemon running until it ends everything itself, or a signal says so. Returns how the last daemon ended.
///
/// This process must have no other thread and no child.
///
/// # Errors
/// [`KeeperError`]; workers that were bound to the daemon are dead then.
pub fn keep(daemon: &Daemon) -> Result<Exit, KeeperError> {
    sys::process::become_subreaper().map_err(failed("become a subreaper"))?;
    let mut watched = ENDING.to_vec();
    watched.push(libc::SIGCHLD);
    sys::signals::block(&watched).map_err(failed("block signals"))?;
    let signals = SignalFd::new(&watched).map_err(failed("watch signals"))?;
    let mut keeper = Keeper {
        table: Table::default(),
        begun: BTreeSet::new(),
        early: Vec::new(),
        is_ending: false,
        is_last: false,
        was_ready: false,
        is_ready: false,
    };
    let mut pause = Duration::ZERO;
    let mut young = 0;
    loop {
        let started = Instant::now();
        let mut line = Line::start(daemon)?;
        keeper.is_ready = false;
        let exit = keeper.serve(&mut line, &signals)?;
        keeper.clear_up(&line)?;
        let is_refusal = !keeper.was_ready && matches!(exit, Exit::Code(code) if code != 0);
        if keeper.is_last || keeper.is_ending || is_refusal {
            keeper.end_bound();
            return Ok(exit);
        }
        let is_sound = started.elapsed() >= SOUND;
        young = if is_sound { 0 } else { young + 1 };
        pause = match is_sound || keeper.is_ready && young < PATIENCE {
            true => SHORT_PAUSE,
            false => (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
        };
        if keeper.rest(pause, &signals)? {
            keeper.end_bound();
            return Ok(exit);
        }
    }
}

/// One daemon and the connection to it.
struct Line {
    socket: OwnedFd,
    process: Pidfd,
    pid: i32,
    exit: Option<Exit>,
    /// Stop was said.
    told_to_stop: bool,
    /// AllHeld was said.
    told_all: bool,
}

impl Line {
    fn start(daemon: &Daemon) -> Result<Self, KeeperError> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(failed("make a connection"))?;
        // Who asks is the kernel's word.
        sys::peers::pass_credentials(ours.as_fd()).map_err(failed("name the daemon"))?;
        let mut command = Command::new(&daemon.program);
        command.args(&daemon.arguments).stdin(Stdio::from(theirs));
        let child = sys::command::die_with_parent(&mut command).spawn();
        let child = child.map_err(|source| KeeperError::Start {
            program: daemon.program.clone(),
            source,
        })?;
        // It is a child of ours that nobody has collected: the number is still its own.
        let pid = child.id() as i32;
        Ok(Self {
            socket: ours,
            process: Pidfd::open(pid).map_err(failed("watch the daemon"))?,
            pid,
            exit: None,
            told_to_stop: false,
            told_all: false,
        })
    }

    /// Says something, if there is room for it.
    fn say(&self, message: &Message, fds: &[std::os::fd::BorrowedFd<'_>]) -> Said {
        match send(self.socket.as_fd(), &message.encode(), fds, Wait::No) {
            Ok(_) => Said::Yes,
            // ETOOMANYREFS: too many descriptors are on their way; some of them are taken out sooner or later.
            Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ETOOMANYREFS | Errno::ENOMEM) => Said::Full,
            Err(_) => Said::Gone,
        }
    }
}

/// What came of saying something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Yes,
    Full,
    Gone,
}

struct Keeper {
    table: Table,
    /// Workers that are being made.
    begun: BTreeSet<u64>,
    /// Who ended while it was: nobody knows yet whether it was the worker.
    early: Vec<(i32, i32, i32)>,
    /// A signal said that everything is to end.
    is_ending: bool,
    /// The daemon said so.
    is_last: bool,
    /// A daemon once served.
    was_ready: bool,
    /// The present one serves.
    is_ready: bool,
}

/// More than this end only in a daemon's making of workers that a bomb goes off in.
const MOST_EARLY: usize = 1024;

impl Keeper {
    /// Serves one daemon to its end.
    fn serve(&mut self, line: &mut Line, signals: &SignalFd) -> Result<Exit, KeeperError> {
        self.table.begin_handing();
        loop {
            let is_full = self.tell(line);
            let mut interest = PollFlags::POLLIN;
            interest.set(PollFlags::POLLOUT, is_full);
            let mut fds = [
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(line.process.as_fd(), PollFlags::POLLIN),
                PollFd::new(line.socket.as_fd(), interest),
            ];
            // A descriptor that cannot be sent yet leaves the socket writable: then it is tried again after a moment.
            let timeout = match is_full {
                true => PollTimeout::from(20u8),
                false => PollTimeout::NONE,
            };
            match nix::poll::poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("poll")(errno)),
            }
            let came = |at: usize| fds[at].revents().unwrap_or(PollFlags::all());
            let (news, gone, said) = (!came(0).is_empty(), !came(1).is_empty(), came(2));
            // What it said before it died counts, and comes before who ended.
            if gone || said.contains(PollFlags::POLLIN) {
                self.listen(line);
            }
            if news {
                self.take_signals(signals)?;
            }
            self.reap(line)?;
            if let Some(exit) = line.exit {
                return Ok(exit);
            }
        }
    }

    /// Tells the daemon what it does not know yet. Whether there is something for which there was no room.
    fn tell(&mut self, line: &mut Line) -> bool {
        if !self.table.hand_over(|message, fds| line.say(message, fds)) {
            return true;
        }
        if !line.told_all {
            match line.say(&Message::new(Verb::AllHeld, 0), &[]) {
                Said::Yes => line.told_all = true,
                Said::Full => return true,
                Said::Gone => return false,
            }
        }
        if self.is_ending && !line.told_to_stop {
            match line.say(&Message::new(Verb::Stop, 0), &[]) {
                Said::Yes => line.told_to_stop = true,
                Said::Full => return true,
                Said::Gone => return false,
            }
        }
        !self.table.tell_exits(|message| line.say(message, &[]))
    }

    /// Takes what the daemon says.
    fn listen(&mut self, line: &Line) {
        let mut buffer = [0; SIZE + 1];
        let welcome = Welcome {
            fds: MOST,
            sender: true,
        };
        loop {
            let Ok(received) = receive(line.socket.as_fd(), &mut buffer, welcome, Wait::No) else {
                return;
            };
            if received.length == 0 {
                return;
            }
            let sender = received
                .sender
                .map(|sender| sender.credentials.pid.as_raw());
            // It has no other end but the daemon's; who else would hold it is nobody to listen to.
            if sender != Some(line.pid) {
                continue;
            }
            let message = Message::decode(&buffer[..received.length]);
            if let Some(message) = message
                && let Some(fds) = message.sort(received.fds)
            {
                self.obey(&message, fds);
            }
        }
    }

    fn obey(&mut self, message: &Message, fds: Vec<Held>) {
        match message.verb {
            Verb::Begin => {
                self.begun.insert(message.key);
            }
            Verb::Keep => {
                self.begun.remove(&message.key);
                let ended = self
                    .early
                    .iter()
                    .rev()
                    .find(|(pid, ..)| *pid == message.pid);
                let ended = ended.map(|(_, code, status)| (*code, *status));
                self.table
                    .keep(message.key, message.pid, message.is_bound, fds, ended);
                self.forget_early();
            }
            Verb::Add => self.table.add(message.key, fds),
            Verb::Drop => self
                .table
                .drop_some(message.key, &message.roles, message.label),
            Verb::Forget => {
                self.begun.remove(&message.key);
                self.table.forget(message.key);
                self.forget_early();
            }
            Verb::Ready => (self.was_ready, self.is_ready) = (true, true),
            Verb::Last => self.is_last = true,
            // What only we say.
            Verb::Held | Verb::AllHeld | Verb::Exited | Verb::Stop => {}
        }
    }

    fn forget_early(&mut self) {
        if self.begun.is_empty() {
            self.early.clear();
        }
    }

    fn take_signals(&mut self, signals: &SignalFd) -> Result<(), KeeperError> {
        while let Some(signal) = signals.next().map_err(failed("read signals"))? {
            self.is_ending |= ENDING.contains(&signal.number);
        }
        Ok(())
    }

    /// Collects all who ended: the daemon, workers, and what they left behind.
    fn reap(&mut self, line: &mut Line) -> Result<(), KeeperError> {
        while let Some((pid, code, status)) = ended()? {
            if pid == line.pid {
                line.exit = Some(match code {
                    libc::CLD_EXITED => Exit::Code(status),
                    _ => Exit::Signal(status),
                });
            } else if !self.table.exited(pid, code, status)
                && !self.begun.is_empty()
                && self.early.len() < MOST_EARLY
            {
                self.early.push((pid, code, status));
            }
        }
        Ok(())
    }

    /// After the death of a daemon: what it did not finish, and what was to die with it, is ended.
    fn clear_up(&mut self, line: &Line) -> Result<(), KeeperError> {
        // What was said before its death counts.
        self.listen(line);
        for key in std::mem::take(&mut self.begun) {
            end(key)?;
        }
        self.early.clear();
        for key in self.table.bound() {
            end(key)?;
            self.table.killed(key);
        }
        Ok(())
    }

    /// Ends what may not be without us.
    fn end_bound(&mut self) {
        for key in self.table.bound() {
            // The kernel kills the workers themselves when we are gone.
            let _left = end(key);
        }
    }

    /// Waits before the next daemon. Whether a signal said that there is to be none.
    fn rest(&mut self, pause: Duration, signals: &SignalFd) -> Result<bool, KeeperError> {
        let until = Instant::now() + pause;
        while !self.is_ending {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match nix::poll::poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => self.take_signals(signals)?,
                Err(errno) => return Err(failed("poll")(errno)),
            }
        }
        Ok(self.is_ending)
    }
}

/// Kills everything that carries the key, and waits until it is gone.
fn end(key: u64) -> Result<(), KeeperError> {
    match Tag::from_number(key) {
        Some(tag) => collect(tag).map(drop).map_err(failed("end a session")),
        None => Ok(()),
    }
}

/// The next child that has ended: its pid, `si_code` and `si_status`.
fn ended() -> Result<Option<(i32, i32, i32)>, KeeperError> {
    loop {
        let raw = |pid: Pid| pid.as_raw();
        return match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::Exited(pid, status)) => Ok(Some((raw(pid), libc::CLD_EXITED, status))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                Ok(Some((raw(pid), libc::CLD_KILLED, signal as i32)))
            }
            Ok(_) | Err(Errno::ECHILD) => Ok(None),
            Err(Errno::EINTR) => continue,
            Err(errno) => Err(failed("collect a child")(errno)),
        };
    }
}
