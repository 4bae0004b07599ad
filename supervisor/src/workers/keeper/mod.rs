//! The process that outlives the daemon: parent of the daemon and of all workers, and holder of what must not be closed.
//!
//! In: how the daemon is started. Out: with what status everything ended. It starts the daemon again when it dies, gives it
//! everything back, and collects who ends. It reads no policy and nothing that a worker wrote, and it has one thread; what it does
//! can fail only for want of descriptors or processes. What the kernel permits to ancestors alone it opens for the daemon (`aid`), and does
//! not look at.
//!
//! What is held of a worker is held under its session's tag, which every process of it carries ([`Tag`]): what a daemon began
//! and did not finish is found and killed by it; after the death of the keeper too, by the marks that are on disk then (`marks`).
//!
//! Where a service manager stores descriptors, it has all of them too (`store`), and the next keeper goes on with workers whose
//! parent it is not.

mod aid;
mod ends;
mod entry;
mod held;
mod line;
mod link;
mod marks;
mod message;
mod service;
mod store;
mod telling;

pub use link::{Given, Inheritance, Link, LinkError, News};
pub use message::{Held, Role};

use crate::launch::Exit;
use crate::sandbox::Tag;
use crate::session::PlaceError;
use held::Table;
use line::{Line, Said};
use marks::Marks;
use message::{MOST, Message, SIZE, Verb};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use service::{Phase, Service};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use sys::messages::{Wait, Welcome, receive};
use sys::signals::SignalFd;

/// How the daemon is started: this program, found again each time, so that a new one takes the place of the old.
#[derive(Debug)]
pub struct Daemon {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, the program's name not among them. Standard input is the connection to the keeper.
    pub arguments: Vec<OsString>,
    /// Where the lock lies that says that one runs, and what is known of workers that are not recorded yet. A directory of ours
    /// alone, made when absent; but not one that is below the directory of sessions.
    pub place: PathBuf,
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
    /// Its directory cannot be used.
    #[error("keeper: {0}")]
    Place(#[from] PlaceError),
    /// There is another one, or its daemon.
    #[error("a daemon is running already (it holds the lock in {}); `supervise status` shows it", .0.display())]
    Taken(PathBuf),
    /// `NOTIFY_SOCKET` names no socket.
    #[error("NOTIFY_SOCKET is neither a path nor an abstract name: {0:?}")]
    Address(OsString),
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

/// Lets this process, and the daemon that it starts, have as many files open as the hard limit says: each worker takes some. Returns the
/// soft limit as it was, which is for workers.
///
/// # Errors
/// The errno of `prlimit(2)`.
pub fn open_many_files() -> Result<u64, Errno> {
    use sys::process::{Limit, limit, resource, set_limit_of};
    let Limit { soft, hard } = limit(resource::NOFILE)?;
    let raised = Limit { soft: hard, hard };
    set_limit_of(0, resource::NOFILE, raised)?;
    Ok(soft)
}

/// Keeps a daemon running until it ends everything itself, or a signal says so. Returns how the last daemon ended.
///
/// This process must have no other thread and no child, and must have left alone what it was started with: the variables and the
/// descriptors of sd_listen_fds(3).
///
/// # Errors
/// [`KeeperError`]; workers that were bound to the daemon are dead then.
pub fn keep(daemon: &Daemon) -> Result<Exit, KeeperError> {
    let variable = |name: &str| std::env::var_os(name);
    let handed = service::take_handed(&variable)?;
    let service = Service::find(&variable)?;
    // Whoever was there before is dead when the lock is free, and begins nothing any more.
    let (marks, lock) = Marks::lock(&daemon.place)?;
    sys::process::become_subreaper().map_err(failed("become a subreaper"))?;
    let mut watched = ENDING.to_vec();
    watched.push(libc::SIGCHLD);
    sys::signals::block(&watched).map_err(failed("block signals"))?;
    let signals = SignalFd::new(&watched).map_err(failed("watch signals"))?;
    let mut keeper = Keeper {
        table: Table::default(),
        marks,
        service,
        phase: Phase::Starting,
        begun: BTreeSet::new(),
        early: Vec::new(),
        is_ending: false,
        is_last: false,
        was_ready: false,
        is_ready: false,
    };
    for set in handed.sets {
        keeper.table.take_back(set);
    }
    for name in handed.torn {
        keeper.table.unwanted(name);
    }
    keeper.end_what_was_begun()?;
    keeper.keep_own(lock)?;
    let mut pause = Duration::ZERO;
    let mut young = 0;
    loop {
        let started = Instant::now();
        let mut line = Line::start(daemon)?;
        keeper.is_ready = false;
        let exit = keeper.serve(&mut line, &signals)?;
        keeper.clear_up(&mut line)?;
        let is_refusal = !keeper.was_ready && matches!(exit, Exit::Code(code) if code != 0);
        if keeper.is_last || keeper.is_ending || is_refusal {
            keeper.end_bound();
            keeper.part();
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
            keeper.part();
            return Ok(exit);
        }
    }
}

struct Keeper {
    table: Table,
    marks: Marks,
    service: Option<Service>,
    phase: Phase,
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

impl Keeper {
    /// What each daemon is given of ours.
    fn keep_own(&mut self, lock: OwnedFd) -> Result<(), KeeperError> {
        let marks = self.marks.as_fd().try_clone_to_owned();
        let marks = marks.map_err(|source| {
            failed("keep the marks")(Errno::from_raw(source.raw_os_error().unwrap_or(0)))
        })?;
        let held = |(role, fd)| Held { role, label: 0, fd };
        let own = [(Role::Lock, lock), (Role::Marks, marks)];
        self.table.add(0, own.map(held).into());
        Ok(())
    }

    /// Serves one daemon to its end.
    fn serve(&mut self, line: &mut Line, signals: &SignalFd) -> Result<Exit, KeeperError> {
        self.table.begin_handing();
        loop {
            let mut now = Instant::now();
            let is_open = self.table.look_at_foreign(now);
            let is_full = self.tell(line);
            let is_untold = !self.report();
            let asks_at = self.ask(line, now);
            let mut interest = PollFlags::POLLIN;
            interest.set(PollFlags::POLLOUT, is_full);
            let mut fds = vec![
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(line.process.as_fd(), PollFlags::POLLIN),
                PollFd::new(line.socket.as_fd(), interest),
            ];
            let aid = fds.len();
            fds.extend(
                line.aid
                    .as_ref()
                    .map(|aid| PollFd::new(aid.as_fd(), PollFlags::POLLIN)),
            );
            let is_heard = fds.len() > aid;
            let foreign = self.table.foreign();
            fds.extend(foreign.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)));
            // A descriptor that cannot be sent yet leaves the socket writable: then it is tried again after a moment. So is an end
            // that the kernel does not tell of yet.
            let soon = (is_full || is_open).then(|| now + Duration::from_millis(20));
            let (socket, later) = match &self.service {
                Some(service) if is_untold => service.wait(),
                _ => (None, now),
            };
            fds.extend(socket.map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
            let until = [soon, asks_at, is_untold.then_some(later)];
            let until = until.into_iter().flatten().min();
            now = Instant::now();
            let timeout = until.map_or(PollTimeout::NONE, |until| {
                // Up, or it would be polled without a wait.
                let left = until.saturating_duration_since(now) + Duration::from_micros(999);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            match nix::poll::poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("poll")(errno)),
            }
            let came = |at: usize| fds[at].revents().unwrap_or(PollFlags::all());
            let (news, gone, said) = (!came(0).is_empty(), !came(1).is_empty(), came(2));
            let is_asked = is_heard && !came(aid).is_empty();
            // What it said before it died counts, and comes before who ended.
            if gone || said.contains(PollFlags::POLLIN) {
                self.listen(line);
            }
            if is_asked {
                aid::give(line);
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

    /// Takes what the daemon says.
    fn listen(&mut self, line: &mut Line) {
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
                if message.verb == Verb::Here {
                    line.is_asked = false;
                }
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
                self.table.keep(message, fds, ended);
                self.forget_early();
            }
            Verb::Add => self.table.add(message.key, fds),
            Verb::Drop => self
                .table
                .drop_some(message.key, &message.roles, message.label),
            Verb::Forget => {
                self.begun.remove(&message.key);
                self.table.forget(message.key);
                self.unmark(message.key);
                self.forget_early();
            }
            Verb::Ready => {
                (self.was_ready, self.is_ready) = (true, true);
                self.go(Phase::Serving);
            }
            Verb::Reloading => {
                self.go(Phase::Reloading);
                // It may be over before anything else is done.
                let _later = self.report();
            }
            Verb::Last => {
                self.is_last = true;
                self.go(Phase::Stopping);
            }
            Verb::Here => {
                let phase = self.phase;
                if let Some(service) = &mut self.service {
                    service.alive(phase);
                }
            }
            // What only we say.
            Verb::Held | Verb::AllHeld | Verb::Exited | Verb::Stop | Verb::AreYouThere => {}
            // What is asked for elsewhere.
            Verb::Memory | Verb::Descriptor => {}
        }
    }

    /// Nothing comes after an end.
    fn go(&mut self, phase: Phase) {
        if self.phase != Phase::Stopping {
            self.phase = phase;
        }
    }

    /// A mark that stays has nobody ended but whom it names, which is what is over.
    fn unmark(&self, key: u64) {
        if let Some(tag) = Tag::from_number(key) {
            let _stays = self.marks.remove(tag);
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
        if self.is_ending {
            self.go(Phase::Stopping);
        }
        Ok(())
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
            // Meanwhile nobody speaks for the service, which says that nobody serves.
            let _later = self.report();
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match nix::poll::poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => self.take_signals(signals)?,
                Err(errno) => return Err(failed("poll")(errno)),
            }
        }
        Ok(self.is_ending)
    }
}
