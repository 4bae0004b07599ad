//! The door itself: receives, and sees every claim through to its answer.

mod asking;
mod binding;
mod changes;
mod connecting;
mod entries;
mod errands;
mod opens;
mod settling;
mod tasks;
mod waits;
mod watching;

use super::address::Address;
use super::again::{Before, Begun};
use super::binds::Bind;
use super::calls::{self, Act, Change, Place, Wish};
use super::connects::Connect;
use super::deeds::Deed;
use super::failure::Failure;
use super::law::Law;
use super::locate::{Located, locate};
use super::own::Own;
use super::record::{About, Caller, Recorder};
use super::registers::Registers;
use super::target::Found;
use super::tasks::{Tasks, can_count};
use super::thread::Thread;
use crate::broker::Ticket;
use crate::broker::pool::Pool;
use crate::policy::Access;
use crate::sandbox::Tag;
use asking::Asked;
use errands::Sent;
use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use opens::Order;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use sys::journal::Journal;
use sys::openat2::Lookup;
use sys::pidfd::Pidfd;
use sys::seccomp::{Listener, NATIVE_ARCH, Notification};
use waits::{Turn, Waits};
use watching::Remembered;

/// How many slow things are taken note of before other descriptors get their turn.
const BATCH: usize = 64;
/// How many calls that wait are held where a successor would find them.
pub(crate) const JOURNAL: u16 = 1024;
/// How many threads may wait for file servers.
const FILE_THREADS: usize = 16;
/// How many opens may wait for the other ends of FIFOs.
const FIFOS: usize = 64;
/// How many jobs may wait for a thread of each pool.
const WAITING: usize = 1024;

/// Why nothing is done on behalf of some callers.
const NARROWED: &str = "the caller is in a sandbox of its own, which cannot be asked";

/// What the door must know about its session.
#[derive(Debug)]
pub struct Facts {
    /// The path that members of the session connect to in order to reach it. Nothing lies there.
    pub session_socket: Option<PathBuf>,
    /// The session's Landlock rulesets, outermost first, for those who connect on its behalf.
    pub rulesets: Vec<OwnedFd>,
    /// The process below which all of the session's are; it is not one of them.
    pub root: i32,
    /// How many tasks the session may have.
    pub processes: Option<u64>,
    /// Whether the kernel lets the child read more than the rules do, so that no open may be left to it.
    pub closed: bool,
    /// What every process of the session carries, where that could be given.
    pub tag: Option<Tag>,
    /// What it looks on at, where it does.
    pub watched: Option<Watched>,
}

/// That every open and every change of names is seen, whoever decides it.
#[derive(Debug, Clone, Copy)]
pub struct Watched {
    /// The rights of which each use is decided here. The rest is Landlock's to decide, as if nobody looked on.
    pub decided: Access,
    /// What is allowed is recorded too, each thing once.
    pub everything: bool,
}

/// A member of the session connected to it.
#[derive(Debug)]
pub struct Channel {
    /// Our end. A pair: who is at the other end, each message must say (`SO_PASSCRED`).
    pub socket: OwnedFd,
    /// The process that connected.
    pub process: Pidfd,
    /// Its number, for people to read.
    pub pid: i32,
}

/// What came of serving.
#[derive(Debug, Default)]
pub struct Served {
    /// Who connected to the session.
    pub channels: Vec<Channel>,
    /// Nobody is left who could make a call: the listener is readable for ever, and need not be polled again.
    pub is_closed: bool,
}

/// Why the door can serve no more.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {errno}")]
pub struct DoorError {
    action: &'static str,
    errno: Errno,
}

fn failed(action: &'static str) -> impl Fn(Errno) -> DoorError {
    move |errno| DoorError { action, errno }
}

/// The transparent door of one session.
pub struct Door {
    listener: Arc<Listener>,
    /// What was received and not yet answered.
    journal: Arc<Journal>,
    /// What was recorded of that which is only seen.
    remembered: Remembered,
    /// What an earlier supervisor had begun of those when it died.
    begun: HashMap<u64, Begun>,
    facts: Facts,
    tasks: Option<Tasks>,
    events: Epoll,
    files: Pool<Finished>,
    /// Calls that a process of their own makes, by the number they are watched under.
    errands: HashMap<u64, Sent>,
    next_errand: u64,
    /// Connects for which there was no place. Examined anew when there is one.
    waiting: VecDeque<(Claim, i32, Address)>,
    /// Calls that wait for the approver, or for the broker's own slow work.
    asked: HashMap<Ticket, (Claim, Asked)>,
    /// What was asked for those who do not wait any more.
    withdrawn: Vec<Ticket>,
    /// What the session listens on.
    own: Own,
    /// Connects to that, which nobody waits for and which were not answered yet.
    unsettled: Vec<(OwnedFd, SocketAddr)>,
    /// Calls that may be interrupted by signals.
    waits: Waits,
    /// Whether anybody may have locked itself further than the session: of a session that others served before, that is not known.
    has_narrowed: bool,
    /// Ticks while there are such calls: nothing else tells that their threads got signals or were killed.
    clock: TimerFd,
}

/// Tokens of what is always in the epoll set. Errands come after them.
const FILES: u64 = 0;
const CLOCK: u64 = 1;

/// A trapped call on its way.
#[derive(Debug, Clone, Copy)]
struct Claim {
    id: u64,
    thread: Thread,
    call: &'static str,
}

/// What others did for us.
enum Finished {
    Located(Claim, Box<(Place, Change)>, Result<Located, Failure>),
    Examined(Claim, Address, Result<Connect, Failure>),
    Found(Claim, Box<(Order, Result<Found, Failure>)>),
    Opened(Claim, Box<Order>, Result<OwnedFd, Errno>),
    Bind(Claim, Result<Bind, Failure>),
    Performed(u64, Result<i64, Errno>),
    Surveyed(Claim, Box<(Act, Result<Deed, Failure>)>),
    Done(Claim, Result<(), Failure>),
}

/// Who decides and who writes it down, for the time of one turn.
struct Court<'a> {
    law: &'a dyn Law,
    recorder: &'a mut dyn Recorder,
    served: Served,
}

impl<'a> Court<'a> {
    fn new(law: &'a dyn Law, recorder: &'a mut dyn Recorder) -> Self {
        Self {
            law,
            recorder,
            served: Served::default(),
        }
    }
}

impl Door {
    /// Takes over a listener, and the journal that was made for it, where there is one. If an earlier supervisor served the session,
    /// [`Door::resume_calls`] comes next.
    ///
    /// # Errors
    /// [`DoorError`]; in particular when tasks are to be limited and this kernel does not let them be counted.
    pub fn new(
        listener: Listener,
        journal: Option<OwnedFd>,
        facts: Facts,
    ) -> Result<Self, DoorError> {
        // Before Linux 6.6 it is slower without, and nothing else.
        match listener.set_sync_wake_up() {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(failed("set up the listener")(errno)),
        }
        let tasks = match facts.processes {
            None => None,
            Some(limit) if can_count() => Some(Tasks::new(facts.root, facts.tag, limit)),
            Some(_) => return Err(failed("count processes")(Errno::ENOSYS)),
        };
        let make = failed("prepare the transparent door");
        let events = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(&make)?;
        let files = Pool::new(FILE_THREADS, WAITING).map_err(&make)?;
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        let clock = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags).map_err(&make)?;
        for (fd, token) in [(files.as_fd(), FILES), (clock.as_fd(), CLOCK)] {
            events
                .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))
                .map_err(&make)?;
        }
        let journal = match journal {
            Some(file) => Journal::inherited(file).map_err(&make)?,
            None => Journal::new(JOURNAL).map_err(&make)?,
        };
        Ok(Self {
            listener: Arc::new(listener),
            has_narrowed: false,
            own: Own::inherited(&journal).map_err(&make)?,
            journal: Arc::new(journal),
            remembered: Remembered::default(),
            begun: HashMap::new(),
            facts,
            tasks,
            events,
            files,
            errands: HashMap::new(),
            next_errand: CLOCK + 1,
            waiting: VecDeque::new(),
            asked: HashMap::new(),
            withdrawn: Vec::new(),
            unsettled: Vec::new(),
            waits: Waits::default(),
            clock,
        })
    }

    /// The memory that calls are received into, for who is to serve them after us.
    pub fn journal(&self) -> BorrowedFd<'_> {
        self.journal.as_file()
    }

    /// Goes on where an earlier supervisor stopped: serves what it had received and not answered. Who locked itself further under it
    /// is not known, so from now on everybody is looked at.
    ///
    /// # Errors
    /// As for [`Door::on_call`].
    pub fn resume_calls(
        &mut self,
        law: &dyn Law,
        recorder: &mut dyn Recorder,
    ) -> Result<Served, DoorError> {
        self.has_narrowed = true;
        let mut court = Court::new(law, recorder);
        for call in self.journal.pending() {
            match Before::from(self.journal.note(call.id)) {
                _ if !self.listener.is_valid(call.id) => self.journal.answered(call.id),
                Before::Done(result) => self.result(call.id, result)?,
                Before::Begun(begun) => {
                    self.begun.insert(call.id, begun);
                    self.serve(&call, &mut court)?;
                }
                Before::Nothing => self.serve(&call, &mut court)?,
            }
        }
        Ok(court.served)
    }

    /// Readable when a call waits: [`Door::on_call`].
    pub fn calls(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Readable when something slow is done: [`Door::on_done`].
    pub fn done(&self) -> BorrowedFd<'_> {
        self.events.0.as_fd()
    }

    /// Serves the call that waits, given what [`Door::calls`] was just polled to be ready for. One: whoever waits for us polls
    /// again anyway, and then everything else gets its turn as well.
    ///
    /// # Errors
    /// [`DoorError`]: no call can be served any more, and the session must end.
    pub fn on_call(
        &mut self,
        what: PollFlags,
        law: &dyn Law,
        recorder: &mut dyn Recorder,
    ) -> Result<Served, DoorError> {
        let mut court = Court::new(law, recorder);
        if !what.contains(PollFlags::POLLIN) {
            court.served.is_closed = what.contains(PollFlags::POLLHUP);
            return Ok(court.served);
        }
        // There was a call to receive, and nobody but us receives: even if it is gone by now this does not wait.
        let call = self.journal.receive(&self.listener);
        if let Some(call) = call.map_err(failed("receive a call"))? {
            self.serve(&call, &mut court)?;
        }
        Ok(court.served)
    }

    /// Goes on with what was waited for.
    ///
    /// # Errors
    /// As for [`Door::on_call`].
    pub fn on_done(
        &mut self,
        law: &dyn Law,
        recorder: &mut dyn Recorder,
    ) -> Result<Served, DoorError> {
        let mut court = Court::new(law, recorder);
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match self.events.wait(&mut events, EpollTimeout::ZERO) {
            Err(Errno::EINTR) => 0,
            other => other.map_err(failed("wait for what is slow"))?,
        };
        for event in &events[..count] {
            match event.data() {
                FILES => self.finish(self.files.results(), &mut court)?,
                CLOCK => self.tick()?,
                number => self.returned(number)?,
            }
        }
        for ticket in self.withdrawn.drain(..) {
            court.recorder.cancel(ticket);
        }
        self.resume(&mut court)?;
        Ok(court.served)
    }

    fn serve(&mut self, call: &Notification, court: &mut Court<'_>) -> Result<(), DoorError> {
        let thread = Thread(call.thread);
        let Some(known) = calls::find(call.number).filter(|_| call.arch == NATIVE_ARCH) else {
            let claim = Claim {
                id: call.id,
                thread,
                call: "unknown",
            };
            let failure = Failure::Refused(Errno::ENOSYS, "a call that is not served");
            return self.fail(claim, failure, court);
        };
        let claim = Claim {
            id: call.id,
            thread,
            call: known.name,
        };
        let wish = (known.read)(&Registers::of(call));
        // What was read is the caller's only if the caller still waits. Of opens and of changes that is asked when they were found:
        // most opens are left to the kernel, and what was read of somebody else's memory then tells nobody anything.
        let is_asked_later = matches!(wish, Ok(Wish::Open(_) | Wish::Change(..)));
        if !is_asked_later && !self.listener.is_valid(claim.id) {
            return Ok(());
        }
        if !self.saw_program(claim, court) {
            return self.errno(claim.id, Errno::EACCES);
        }
        match wish {
            // Nobody can be judged by what we cannot read: what the kernel grants is the same for every path.
            Err(Failure::Unreadable) if known.is_open() && !self.facts.closed => {
                self.leave_to_the_kernel(claim)
            }
            Err(failure) => self.fail(claim, failure, court),
            Ok(Wish::Nothing) => self.value(claim.id, 0),
            Ok(Wish::Task) => self.task(claim, court),
            Ok(Wish::Narrow) => self.narrow(claim, court),
            Ok(Wish::Tune(task)) => self.tune(claim, task, court),
            Ok(Wish::Listen(socket, backlog)) => self.listen(claim, socket, backlog, court),
            Ok(Wish::Change(place, change)) => match locate(thread, &place, Lookup::Cached) {
                Err(Failure::WouldWait) => self.locate_slowly(claim, place, change, court),
                located => self.located(claim, &place, change, located, court),
            },
            Ok(Wish::Open(target)) => self.open(claim, target, court),
            Ok(Wish::Entry(act)) => self.find_deed(claim, act, court),
            Ok(Wish::Connect { socket, address }) => self.examine(claim, socket, address, court),
            Ok(Wish::Bind { socket, address }) => self.bind(claim, socket, address, court),
        }
    }

    fn finish(&mut self, results: Vec<Finished>, court: &mut Court<'_>) -> Result<(), DoorError> {
        for result in results {
            match result {
                Finished::Located(claim, wish, located) => {
                    let (place, change) = *wish;
                    self.located(claim, &place, change, located, court)?;
                }
                Finished::Examined(claim, address, examined) => {
                    self.examined(claim, address, examined, court)?;
                }
                Finished::Found(claim, found) => {
                    let (order, found) = *found;
                    self.found(claim, order, found, court)?;
                }
                Finished::Opened(claim, order, opened) => {
                    self.opened(claim, *order, opened, court)?;
                }
                Finished::Bind(claim, examined) => self.bind_examined(claim, examined, court)?,
                Finished::Performed(id, result) => self.result(id, result)?,
                Finished::Surveyed(claim, surveyed) => {
                    let (act, found) = *surveyed;
                    self.deed_found_slowly(claim, &act, found, court)?;
                }
                Finished::Done(claim, result) => self.done_deed(claim, result, court)?,
            }
        }
        Ok(())
    }

    /// Has done by others what may wait. A signal may interrupt it as long as nobody has taken the turn that `job` is given.
    fn aside(
        &mut self,
        claim: Claim,
        court: &mut Court<'_>,
        job: impl FnOnce(Turn) -> Finished + Send + 'static,
    ) -> Result<(), DoorError> {
        let turn = self.watch(claim)?;
        match self.files.submit(move || job(turn)) {
            Ok(()) => Ok(()),
            Err(_) => self.fail(claim, Failure::WouldWait, court),
        }
    }

    /// A claim of which nothing else is known (yet), for the record.
    fn about(&self, claim: Claim) -> About<'_> {
        let caller = Caller {
            listener: &self.listener,
            id: claim.id,
            thread: claim.thread,
        };
        About::call(caller, claim.call)
    }

    fn fail(&self, claim: Claim, failure: Failure, court: &mut Court<'_>) -> Result<(), DoorError> {
        let about = self.about(claim);
        let errno = about.answer(court.recorder, failure);
        self.errno(claim.id, errno)
    }

    fn result(&self, id: u64, result: Result<i64, Errno>) -> Result<(), DoorError> {
        match result {
            Ok(value) => self.value(id, value),
            Err(errno) => self.errno(id, errno),
        }
    }

    fn value(&self, id: u64, value: i64) -> Result<(), DoorError> {
        self.answered(id, self.listener.respond_value(id, value))
    }

    /// The call goes on in the kernel, with what the child's registers and memory hold then.
    fn leave_to_the_kernel(&self, claim: Claim) -> Result<(), DoorError> {
        self.answered(claim.id, self.listener.respond_continue(claim.id))
    }

    fn restart(&self, id: u64) -> Result<(), DoorError> {
        self.answered(id, self.listener.respond_restart(id))
    }

    fn errno(&self, id: u64, errno: Errno) -> Result<(), DoorError> {
        self.answered(id, self.listener.respond_errno(id, errno))
    }

    /// Whether it still waited or not, nobody has to care for it any more.
    fn answered(&self, id: u64, sent: Result<bool, Errno>) -> Result<(), DoorError> {
        sent.map_err(failed("answer a call"))?;
        self.journal.answered(id);
        Ok(())
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("facts", &self.facts)
            .field("errands", &self.errands.len())
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}
