//! All workers of a daemon: how they are started, taken over from the daemon before, served, and found to have ended.
//!
//! In: programs that are prepared to run ([`Birth`]), and what the keeper gives back ([`Adoption`]). Out: [`Happening`]s. Each worker
//! has a thread that serves its session with the worker's own capabilities, as `supervise run` serves its command.
//!
//! What never happens here: a decision about what is to run. What happens to a worker when this is dropped: nothing.

mod left;
mod life;
mod need;
mod served;

pub use need::by_need;

use super::keeper::{Given, Held, Link, LinkError, News, Role};
use crate::audit::Log;
use crate::broker::Seat;
use crate::launch::{Command, Keeper, LaunchError, PARKED_FROM, Streams, collect, launch_kept};
use crate::policy::Ruleset;
use crate::sandbox::{Confinement, Tag};
use crate::session::{self, Ending, Locks, SessionError};
use crate::transparent::JOURNAL;
use life::Told;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::eventfd::{EfdFlags, EventFd};
use served::{Incoming, session_to_its_end};
use socket::Channel;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use sys::caps::CapSet;
use sys::fds::Window;
use sys::journal::Journal;
use sys::pidfd::Pidfd;

/// A worker that is to be made.
#[derive(Debug)]
pub struct Birth {
    /// The program and its world. What it is passed stands from 4 upwards: 3 is its connection to us.
    pub command: Command,
    /// What it is locked with.
    pub confinement: Arc<Confinement>,
    /// What decides for it.
    pub ruleset: Arc<Ruleset>,
    /// What all of its processes carry.
    pub tag: Tag,
    /// It is to die with the daemon.
    pub is_bound: bool,
    /// Where decisions are recorded, its start among them.
    pub log: Log,
    /// Where its questions are put, if operators answer them.
    pub seat: Option<Seat>,
    /// The name under which its programs reach us when they have no descriptor. Nothing lies there.
    pub socket_path: PathBuf,
}

/// What is needed to go on serving a worker, beside what the keeper has.
#[derive(Debug)]
pub struct Adoption {
    /// What decides for it: of the same policies as when it was started.
    pub ruleset: Arc<Ruleset>,
    /// The capabilities that it kept.
    pub capabilities: CapSet,
    /// No open of it may be left to the kernel.
    pub closed: bool,
    /// Where decisions are recorded: the log that it was started with, for what rules granted is read from there. With another
    /// one, those that grant so often and no more grant nothing more.
    pub log: Log,
    /// The name under which its start is recorded in it.
    pub session: String,
    /// As in [`Birth::seat`].
    pub seat: Option<Seat>,
    /// As in [`Birth::socket_path`].
    pub socket_path: PathBuf,
    /// What is left of its time on the wall.
    pub wall: Option<Duration>,
}

/// A worker that is being served.
#[derive(Debug)]
pub struct Worker {
    /// What names it here.
    pub tag: Tag,
    /// Its pid, for people to read.
    pub pid: i32,
    /// The process.
    pub process: Pidfd,
    /// Our ends of its standard output and error. Not to be waited for.
    pub output: Option<OwnedFd>,
    /// As above.
    pub errors: Option<OwnedFd>,
    /// Its calls can be trapped and are answered.
    pub has_listener: bool,
}

/// Why a worker does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it needs could not be made.
    #[error("cannot prepare the worker: {what}: {errno}")]
    Prepare {
        /// What was to be made.
        what: &'static str,
        /// The kernel's reason.
        errno: Errno,
    },
    /// Its connection could not be made.
    #[error("cannot prepare the worker's connection: {0}")]
    Socket(#[from] socket::Error),
    /// It could not be started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// It could not be given to the keeper.
    #[error(transparent)]
    Keeper(#[from] LinkError),
    /// The keeper does not have all that a worker needs.
    #[error("the keeper has no {0:?} of this worker")]
    Missing(Role),
}

fn prepare(what: &'static str) -> impl Fn(Errno) -> StartError {
    move |errno| StartError::Prepare { what, errno }
}

/// What happened.
#[derive(Debug)]
pub enum Happening {
    /// A worker has ended, and everything that it started.
    Ended {
        /// Which.
        tag: Tag,
        /// How it ended. An error: its session could not be served any more, and it was killed.
        how: Result<Ending, SessionError>,
    },
    /// The keeper says that everything is to end in order.
    Stop,
}

/// How many descriptors are handed to a worker at most, standard streams and program included.
const HANDED: usize = 16;
/// Enough for what a session's thread does: it locates and decides, and keeps what is large on the heap.
const STACK: usize = 512 * 1024;

/// All workers of a daemon.
#[derive(Debug)]
pub struct Stable {
    link: Arc<Link>,
    window: Window,
    members: BTreeMap<u64, Member>,
    sender: Sender<Happening>,
    receiver: Receiver<Happening>,
    event: Arc<EventFd>,
}

#[derive(Debug)]
struct Member {
    process: Arc<Pidfd>,
    told: Arc<Told>,
}

impl Stable {
    /// Begins with what the keeper says. To be called early, while low numbers of descriptors are free; this thread keeps what
    /// capabilities it has, and makes all workers.
    ///
    /// # Errors
    /// The errno of `eventfd(2)`, of reserving descriptors, or of blocking a signal.
    pub fn new(link: Link) -> Result<Self, Errno> {
        // Where the size of files is limited, a record that is one too much is an error, and not the end of all who are served.
        sys::signals::block(&[libc::SIGXFSZ])?;
        let (sender, receiver) = channel();
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self {
            link: Arc::new(link),
            window: Window::reserve(PARKED_FROM, HANDED)?,
            members: BTreeMap::new(),
            sender,
            receiver,
            event: Arc::new(event),
        })
    }

    /// The connection to the keeper: readable when [`Stable::hear`] has something.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Readable when [`Stable::next_happening`] has something.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Starts a worker and serves it from now on. Blocks for the time of the launch.
    ///
    /// # Errors
    /// [`StartError`]; then no process of it is left.
    pub fn start(&mut self, birth: Birth) -> Result<Worker, StartError> {
        let tag = birth.tag;
        self.link.begin(tag)?;
        let started = self.make(birth);
        if started.is_err() {
            collect(tag).map_err(prepare("the end of what was begun"))?;
            self.link.forget(tag)?;
        }
        started
    }

    fn make(&mut self, birth: Birth) -> Result<Worker, StartError> {
        let Birth {
            mut command,
            confinement,
            ruleset,
            tag,
            is_bound,
            log,
            seat,
            socket_path,
        } = birth;
        let locks = Locks::of(&confinement).map_err(prepare("rulesets"))?;
        let nothing = nix::fcntl::open(
            "/dev/null",
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .map_err(prepare("/dev/null"))?;
        let (output, to_output) = pipe()?;
        let (errors, to_errors) = pipe()?;
        let (socket, inner) = session::durable_pair()?;
        command.pass.insert(0, inner);
        let keeper = Keeper {
            pid: self.link.keeper(),
            is_fatal: is_bound,
        };
        let streams = Streams([nothing, to_output, to_errors]);
        let kept = launch_kept(command, &streams, keeper, confinement, &mut self.window)?;
        let journal = Journal::blank(JOURNAL).map_err(prepare("journal"))?;
        let wall = ruleset.limits().wall;
        let mut fds = vec![
            (Role::Process, kept.process.as_fd()),
            (Role::Socket, socket.socket()),
            (Role::Output, output.as_fd()),
            (Role::Errors, errors.as_fd()),
        ];
        if let Some(listener) = &kept.listener {
            fds.push((Role::Listener, listener.as_fd()));
            fds.push((Role::Journal, journal.as_fd()));
        }
        fds.extend(locks.rulesets.iter().map(|fd| (Role::Ruleset, fd.as_fd())));
        self.link.keep(tag, kept.pid, is_bound, &fds)?;
        let worker = Worker {
            tag,
            pid: kept.pid,
            process: duplicate(kept.process.as_fd())?.into(),
            output: Some(output),
            errors: Some(errors),
            has_listener: kept.listener.is_some(),
        };
        let parts = Incoming {
            pid: kept.pid,
            process: Arc::new(kept.process),
            listener: kept.listener,
            journal,
            locks,
            ruleset,
            log,
            session: None,
            seat,
            wall,
            socket,
            socket_path,
            connections: Vec::new(),
        };
        self.serve(tag, parts)?;
        Ok(worker)
    }

    /// Goes on with a worker of the daemon before.
    ///
    /// # Errors
    /// [`StartError`]; the worker goes on unserved, and is the caller's to end.
    pub fn adopt(&mut self, given: Given, adoption: Adoption) -> Result<Worker, StartError> {
        let Given { tag, pid, fds } = given;
        let (mut process, mut listener, mut journal, mut socket) = (None, None, None, None);
        let (mut output, mut errors) = (None, None);
        let mut rulesets = Vec::new();
        let mut connections = Vec::new();
        for Held { role, label, fd } in fds {
            match role {
                Role::Socket if label != 0 => connections.push((label, fd)),
                Role::Process => process = Some(Pidfd::from(fd)),
                Role::Listener => listener = Some(fd),
                Role::Journal => journal = Some(fd),
                Role::Socket => socket = Some(fd),
                Role::Output => output = Some(fd),
                Role::Errors => errors = Some(fd),
                Role::Ruleset => rulesets.push(fd),
                Role::Lock | Role::Control | Role::Marks | Role::Aid => {}
            }
        }
        let process = process.ok_or(StartError::Missing(Role::Process))?;
        let worker = Worker {
            tag,
            pid,
            process: duplicate(process.as_fd())?.into(),
            output,
            errors,
            has_listener: listener.is_some(),
        };
        let parts = Incoming {
            pid,
            process: Arc::new(process),
            journal: match journal {
                Some(journal) => journal,
                None if listener.is_some() => return Err(StartError::Missing(Role::Journal)),
                None => Journal::blank(1).map_err(prepare("journal"))?,
            },
            listener,
            locks: Locks {
                capabilities: adoption.capabilities,
                rulesets,
                closed: adoption.closed,
                watched: None,
            },
            ruleset: adoption.ruleset,
            log: adoption.log,
            session: Some(adoption.session),
            seat: adoption.seat,
            wall: adoption.wall,
            socket: Channel::durable(socket.ok_or(StartError::Missing(Role::Socket))?)?,
            socket_path: adoption.socket_path,
            connections,
        };
        self.serve(tag, parts)?;
        Ok(worker)
    }

    /// Starts the thread that serves a session to its end.
    fn serve(&mut self, tag: Tag, parts: Incoming) -> Result<(), StartError> {
        let told = Told::new().map_err(prepare("eventfd"))?;
        let process = Arc::clone(&parts.process);
        let link = self.link.clone();
        // One that outlived its keeper has been given to another process, and so are those that lose their parent in it.
        let parent = sys::status::Status::of(parts.pid).ok();
        let root = parent.and_then(|status| status.parent());
        let root = root.unwrap_or_else(|| link.keeper());
        let seen = told.clone();
        let member = Member { process, told };
        self.attend(tag, member, move || {
            session_to_its_end(tag, parts, root, link, seen)
        })
    }

    /// Makes the thread of a worker, which tells of its end when that has come.
    fn attend(
        &mut self,
        tag: Tag,
        member: Member,
        until_it_ends: impl FnOnce() -> Result<Ending, SessionError> + Send + 'static,
    ) -> Result<(), StartError> {
        let (sender, event) = (self.sender.clone(), self.event.clone());
        let work = move || {
            let how = until_it_ends();
            // Nobody listens only when the daemon ends.
            let _told = sender.send(Happening::Ended { tag, how });
            let _woken = event.write(1);
        };
        let thread = std::thread::Builder::new().name(format!("worker {}", tag.short()));
        thread.stack_size(STACK).spawn(work).map_err(|error| {
            prepare("thread")(Errno::from_raw(error.raw_os_error().unwrap_or(0)))
        })?;
        self.members.insert(tag.number(), member);
        Ok(())
    }

    /// A worker is recorded where the next daemon finds it. One that is not is ended when the keeper is killed, and so is one that
    /// is bound, of which this is not to be said.
    ///
    /// # Errors
    /// [`LinkError`]
    pub fn may_outlive(&self, tag: Tag) -> Result<(), LinkError> {
        self.link.may_outlive(tag)
    }

    /// Sends a worker a signal, by its pidfd. One that has ended is no error.
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal(2)`.
    pub fn signal(&self, tag: Tag, signal: i32) -> Result<(), Errno> {
        match self.members.get(&tag.number()) {
            Some(member) => member.process.signal_if_there(signal),
            None => Ok(()),
        }
    }

    /// Takes what the keeper said.
    ///
    /// # Errors
    /// [`LinkError`]: it is gone, and this process is to end.
    pub fn hear(&mut self) -> Result<(), LinkError> {
        while let Some(news) = self.link.news()? {
            match news {
                News::Exited { tag, exit } => match self.members.get(&tag.number()) {
                    Some(member) => member.told.tell(exit),
                    // One that could not be taken over.
                    None => self.link.forget(tag)?,
                },
                News::Stop => {
                    let _told = self.sender.send(Happening::Stop);
                    let _woken = self.event.write(1);
                }
            }
        }
        Ok(())
    }

    /// The next thing that happened.
    ///
    /// # Errors
    /// [`LinkError`]: the keeper is gone, and this process is to end.
    pub fn next_happening(&mut self) -> Result<Option<Happening>, LinkError> {
        let Ok(happening) = self.receiver.try_recv() else {
            let _reset = self.event.read();
            // What came between the two is not overlooked.
            let Ok(happening) = self.receiver.try_recv() else {
                return Ok(None);
            };
            return self.noted(happening).map(Some);
        };
        self.noted(happening).map(Some)
    }

    fn noted(&mut self, happening: Happening) -> Result<Happening, LinkError> {
        if let Happening::Ended { tag, .. } = &happening {
            self.members.remove(&tag.number());
            self.link.forget(*tag)?;
        }
        Ok(happening)
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd), StartError> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(prepare("pipe"))
}

fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, StartError> {
    sys::fds::duplicate_from(fd, PARKED_FROM).map_err(prepare("descriptors"))
}
