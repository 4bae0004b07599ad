//! The door itself: receives, and sees every claim through to its answer.

use super::address::Address;
use super::calls::{self, Change, Place, Wish};
use super::connects::{Connect, Destination};
use super::failure::Failure;
use super::law::Law;
use super::listens::listen;
use super::locate::{Located, Name, locate};
use super::pool::Pool;
use super::record::{About, Recorder};
use super::registers::Registers;
use super::tasks::{Tasks, can_count};
use super::thread::Thread;
use crate::policy::{Mechanism, Subject, Verdict};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{AddressFamily, Shutdown, SockFlag, SockType, shutdown, socketpair};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use sys::connector::Connector;
use sys::metadata;
use sys::openat2::Lookup;
use sys::pidfd::Pidfd;
use sys::seccomp::{Listener, NATIVE_ARCH, Notification};

/// How many notifications are served before other descriptors get their turn.
const BATCH: usize = 64;
/// How many threads may wait for file servers.
const FILE_THREADS: usize = 16;
/// How many connects may be under way, of each kind.
const CONNECTS: usize = 64;

/// What the door must know about its session.
#[derive(Debug)]
pub struct Facts {
    /// The path that members of the session connect to in order to reach it. Nothing lies there.
    pub session_socket: Option<PathBuf>,
    /// The session's Landlock rulesets, outermost first, for those who connect on its behalf.
    pub rulesets: Vec<OwnedFd>,
    /// The process below which all of the session's are.
    pub guardian: i32,
    /// How many tasks the session may have.
    pub processes: Option<u64>,
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
    facts: Facts,
    tasks: Option<Tasks>,
    events: Epoll,
    files: Pool<Finished>,
    streams: Pool<Finished>,
    /// The sockets of streams that wait for their handshake, by notification.
    handshakes: HashMap<u64, OwnedFd>,
    /// Unix sockets that are being connected, by the number they are watched under.
    connectors: HashMap<u64, (u64, Connector)>,
    next_connector: u64,
}

/// Tokens of the pools in the epoll set. Connectors come after them.
const FILES: u64 = 0;
const STREAMS: u64 = 1;

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
    Examined(Claim, Result<Connect, Failure>),
    Performed(u64, Result<i64, Errno>),
}

/// Who decides and who writes it down, for the time of one turn.
struct Court<'a> {
    law: &'a dyn Law,
    recorder: &'a mut dyn Recorder,
    served: Served,
}

impl Door {
    /// Takes over a listener.
    ///
    /// # Errors
    /// [`DoorError`]; in particular when tasks are to be limited and this kernel does not let them be counted.
    pub fn new(listener: Listener, facts: Facts) -> Result<Self, DoorError> {
        // Before Linux 6.6 it is slower without, and nothing else.
        match listener.set_sync_wake_up() {
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(failed("set up the listener")(errno)),
        }
        let tasks = match facts.processes {
            None => None,
            Some(limit) if can_count() => Some(Tasks::new(facts.guardian, limit)),
            Some(_) => return Err(failed("count processes")(Errno::ENOSYS)),
        };
        let make = failed("prepare the transparent door");
        let events = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(&make)?;
        let files = Pool::new(FILE_THREADS).map_err(&make)?;
        let streams = Pool::new(CONNECTS).map_err(&make)?;
        for (fd, token) in [(files.as_fd(), FILES), (streams.as_fd(), STREAMS)] {
            events
                .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token))
                .map_err(&make)?;
        }
        Ok(Self {
            listener: Arc::new(listener),
            facts,
            tasks,
            events,
            files,
            streams,
            handshakes: HashMap::new(),
            connectors: HashMap::new(),
            next_connector: STREAMS + 1,
        })
    }

    /// Readable when a call waits: [`Door::on_call`].
    pub fn calls(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Readable when something slow is done: [`Door::on_done`].
    pub fn done(&self) -> BorrowedFd<'_> {
        self.events.0.as_fd()
    }

    /// Serves the calls that wait.
    ///
    /// # Errors
    /// [`DoorError`]: no call can be served any more, and the session must end.
    pub fn on_call(
        &mut self,
        law: &dyn Law,
        recorder: &mut dyn Recorder,
    ) -> Result<Served, DoorError> {
        let mut court = Court {
            law,
            recorder,
            served: Served::default(),
        };
        for _ in 0..BATCH {
            let ready = self.ready().map_err(failed("poll the listener"))?;
            if !ready.contains(PollFlags::POLLIN) {
                court.served.is_closed = ready.contains(PollFlags::POLLHUP);
                break;
            }
            if let Some(call) = self.listener.receive().map_err(failed("receive a call"))? {
                self.serve(&call, &mut court)?;
            }
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
        let mut court = Court {
            law,
            recorder,
            served: Served::default(),
        };
        let mut events = [EpollEvent::empty(); BATCH];
        let count = match self.events.wait(&mut events, EpollTimeout::ZERO) {
            Err(Errno::EINTR) => 0,
            other => other.map_err(failed("wait for what is slow"))?,
        };
        for event in &events[..count] {
            match event.data() {
                FILES => self.finish(self.files.results(), &mut court)?,
                STREAMS => self.finish(self.streams.results(), &mut court)?,
                number => self.connected(number)?,
            }
        }
        Ok(court.served)
    }

    fn ready(&self) -> Result<PollFlags, Errno> {
        let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::ZERO) {
            Err(Errno::EINTR) => Ok(PollFlags::empty()),
            other => other.map(|_| fds[0].revents().unwrap_or(PollFlags::empty())),
        }
    }

    fn serve(&mut self, call: &Notification, court: &mut Court<'_>) -> Result<(), DoorError> {
        let thread = Thread(call.thread);
        let Some(known) = calls::find(call.number).filter(|_| call.arch == NATIVE_ARCH) else {
            let about = About::call(thread, "unknown");
            let errno = about.fail(court.recorder, Errno::ENOSYS, "a call that is not served");
            return self.errno(call.id, errno);
        };
        let claim = Claim {
            id: call.id,
            thread,
            call: known.name,
        };
        let wish = (known.read)(&Registers::of(call));
        // What was read is the caller's only if the caller still waits.
        if !self.listener.is_valid(claim.id) {
            return Ok(());
        }
        match wish {
            Err(failure) => self.fail(claim, failure, court),
            Ok(Wish::Nothing) => self.value(claim.id, 0),
            Ok(Wish::Task) => self.task(claim, court),
            Ok(Wish::Tune(task)) => self.tune(claim, task, court),
            Ok(Wish::Listen(socket, backlog)) => self.listen(claim, socket, backlog, court),
            Ok(Wish::Change(place, change)) => match locate(thread, &place, Lookup::Cached) {
                Err(Failure::WouldWait) => self.locate_slowly(claim, place, change, court),
                located => self.located(claim, &place, change, located, court),
            },
            Ok(Wish::Connect { socket, address }) => {
                let session = self.facts.session_socket.as_deref();
                match Connect::examine(thread, socket, &address, session, Lookup::Cached) {
                    Err(Failure::WouldWait) => self.examine_slowly(claim, socket, address, court),
                    examined => self.examined(claim, examined, court),
                }
            }
        }
    }

    fn finish(&mut self, results: Vec<Finished>, court: &mut Court<'_>) -> Result<(), DoorError> {
        for result in results {
            match result {
                Finished::Located(claim, wish, located) => {
                    let (place, change) = *wish;
                    self.located(claim, &place, change, located, court)?;
                }
                Finished::Examined(claim, examined) => self.examined(claim, examined, court)?,
                Finished::Performed(id, result) => {
                    self.handshakes.remove(&id);
                    self.result(id, result)?;
                }
            }
        }
        Ok(())
    }

    // New tasks.

    fn task(&mut self, claim: Claim, court: &mut Court<'_>) -> Result<(), DoorError> {
        // Where no limit is set nothing should trap this; it is no more dangerous for that.
        if self.tasks.as_mut().is_none_or(Tasks::admit) {
            // All that the kernel will look at is in registers, which wait with their thread and were judged by the filter.
            let sent = self.listener.respond_continue(claim.id);
            return sent.map(drop).map_err(failed("answer a call"));
        }
        let about = About::call(claim.thread, claim.call);
        let why = "the session has as many tasks as it may have";
        let errno = about.fail(court.recorder, Errno::EAGAIN, why);
        self.errno(claim.id, errno)
    }

    // Priorities and limits.

    /// A caller may tune itself: its own thread or its process. No other task: a thread that has ended leaves its number to
    /// anybody's process, while the caller's own two numbers stay what they are for as long as it waits.
    fn tune(&mut self, claim: Claim, task: i32, court: &mut Court<'_>) -> Result<(), DoorError> {
        let is_own = [0, claim.thread.0].contains(&task) || claim.thread.process() == Ok(task);
        if is_own {
            // Whose and which is in registers. The values, in memory, are the caller's to choose, now as well as then.
            let sent = self.listener.respond_continue(claim.id);
            return sent.map(drop).map_err(failed("answer a call"));
        }
        let about = About::call(claim.thread, claim.call);
        let errno = about.fail(
            court.recorder,
            Errno::EPERM,
            "a task that is not the caller",
        );
        self.errno(claim.id, errno)
    }

    // Servers.

    fn listen(
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
        match listen(&socket, backlog) {
            Ok(()) => self.value(claim.id, 0),
            Err(failure) => self.fail(claim, failure, court),
        }
    }

    // Changes of metadata, and being told of them.

    fn locate_slowly(
        &mut self,
        claim: Claim,
        place: Place,
        change: Change,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let submitted = self.files.submit(move || {
            let located = locate(claim.thread, &place, Lookup::Full);
            Finished::Located(claim, Box::new((place, change)), located)
        });
        match submitted {
            Ok(()) => Ok(()),
            Err(_) => self.fail(claim, Failure::WouldWait, court),
        }
    }

    fn located(
        &mut self,
        claim: Claim,
        place: &Place,
        change: Change,
        located: Result<Located, Failure>,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        // What was found is what the caller meant only if the caller still waits.
        if !self.listener.is_valid(claim.id) {
            return Ok(());
        }
        let about = About {
            asked: match place {
                Place::Path { path, .. } => Some(path),
                _ => None,
            },
            access: Some(change.access()),
            ..About::call(claim.thread, claim.call)
        };
        let located = match located {
            Ok(located) => located,
            Err(failure) => {
                let errno = about.answer(court.recorder, failure);
                return self.errno(claim.id, errno);
            }
        };
        let about = About {
            located: located.path(),
            ..about
        };
        if let Some(errno) = refusal(&located, &change, &about, court) {
            return self.errno(claim.id, errno);
        }
        if !located.is_slow {
            let result = perform(&self.listener, claim, &located, &change);
            return self.result(claim.id, result);
        }
        let listener = Arc::clone(&self.listener);
        let submitted = self.files.submit(move || {
            // Nobody waits for it any more: it must not happen behind a back.
            let result = match listener.is_valid(claim.id) {
                true => perform(&listener, claim, &located, &change),
                false => Err(Errno::EINTR),
            };
            Finished::Performed(claim.id, result)
        });
        match submitted {
            Ok(()) => Ok(()),
            Err(_) => self.fail(claim, Failure::WouldWait, court),
        }
    }

    // Connects.

    fn examine_slowly(
        &mut self,
        claim: Claim,
        socket: i32,
        address: Address,
        court: &mut Court<'_>,
    ) -> Result<(), DoorError> {
        let session = self.facts.session_socket.clone();
        let submitted = self.files.submit(move || {
            let session = session.as_deref();
            let examined = Connect::examine(claim.thread, socket, &address, session, Lookup::Full);
            Finished::Examined(claim, examined)
        });
        match submitted {
            Ok(()) => Ok(()),
            Err(_) => self.fail(claim, Failure::WouldWait, court),
        }
    }

    fn examined(
        &mut self,
        claim: Claim,
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
        match &connect.to {
            Destination::Session => self.channel(claim, &connect, court),
            Destination::Unix(..) => self.connect_unix(claim, connect, court),
            Destination::Stream(address) => {
                let address = *address;
                self.connect_stream(claim, connect, address, court)
            }
            Destination::Datagrams(address) if court.law.allows_udp() => {
                let result = sys::inet::connect(connect.socket.as_fd(), *address);
                self.result(claim.id, result.map(|()| 0))
            }
            Destination::Nobody if court.law.allows_udp() => {
                let result = sys::inet::disconnect(connect.socket.as_fd());
                self.result(claim.id, result.map(|()| 0))
            }
            Destination::Datagrams(_) | Destination::Nobody => self.fail(
                claim,
                super::failure::refused("no datagrams over IP"),
                court,
            ),
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
        let out_of_means = |_| super::failure::refused("the supervisor is out of means");
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .map_err(out_of_means)?;
        // Before the child has its end: what it writes at once must have a sender.
        socket::Channel::prepare(ours.as_fd())
            .map_err(|_| super::failure::refused("the supervisor is out of means"))?;
        if !connect.waits()? {
            let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
            nix::fcntl::fcntl(&theirs, flags)?;
        }
        let pid = claim.thread.process()?;
        let process = Pidfd::open(pid)?;
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
            ..About::call(claim.thread, claim.call)
        };
        let Some(path) = located.path() else {
            let why = "a socket file that has no name any more";
            let errno = about.fail(court.recorder, Errno::EACCES, why);
            return self.errno(claim.id, errno);
        };
        let subject = Subject {
            path,
            object: Some(located.id()),
        };
        let verdict = court.law.decide_unix(&subject);
        if let Err(errno) = allowed(verdict, &about, court) {
            return self.errno(claim.id, errno);
        }
        if self.connectors.len() >= CONNECTS {
            let listener = &self.listener;
            self.connectors.retain(|_, (id, _)| listener.is_valid(*id));
        }
        if self.connectors.len() >= CONNECTS {
            return self.fail(claim, Failure::WouldWait, court);
        }
        let rulesets: Vec<BorrowedFd<'_>> = self.facts.rulesets.iter().map(AsFd::as_fd).collect();
        let number = self.next_connector;
        let started = Connector::start(socket, located.fd, &rulesets).and_then(|connector| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
            self.events.add(connector.as_fd(), event)?;
            Ok(connector)
        });
        match started {
            Ok(connector) => {
                self.next_connector += 1;
                self.connectors.insert(number, (claim.id, connector));
                Ok(())
            }
            Err(_) => {
                let failure = super::failure::refused("the supervisor is out of means");
                self.fail(claim, failure, court)
            }
        }
    }

    fn connected(&mut self, number: u64) -> Result<(), DoorError> {
        let answer = self
            .connectors
            .get(&number)
            .and_then(|(id, connector)| Some((*id, connector.answer()?)));
        match answer {
            Some((id, result)) => {
                self.connectors.remove(&number);
                self.result(id, result.map(|()| 0))
            }
            None => Ok(()),
        }
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
            ..About::call(claim.thread, claim.call)
        };
        if let Err(errno) = allowed(court.law.decide_connect(address), &about, court) {
            return self.errno(claim.id, errno);
        }
        match connect.waits() {
            Err(errno) => self.errno(claim.id, errno),
            Ok(false) => {
                let result = sys::inet::connect(connect.socket.as_fd(), address);
                self.result(claim.id, result.map(|()| 0))
            }
            Ok(true) => {
                if self.handshakes.len() >= CONNECTS {
                    self.give_up_handshakes();
                }
                let Ok(watched) = connect.socket.try_clone() else {
                    let failure = super::failure::refused("the supervisor is out of means");
                    return self.fail(claim, failure, court);
                };
                let submitted = self.streams.submit(move || {
                    let result = sys::inet::connect(connect.socket.as_fd(), address);
                    Finished::Performed(claim.id, result.map(|()| 0))
                });
                match submitted {
                    Ok(()) => {
                        self.handshakes.insert(claim.id, watched);
                        Ok(())
                    }
                    Err(_) => self.fail(claim, Failure::WouldWait, court),
                }
            }
        }
    }

    /// Ends handshakes that nobody waits for any more, so that their threads can be used by others.
    fn give_up_handshakes(&mut self) {
        for (id, socket) in &self.handshakes {
            if !self.listener.is_valid(*id) {
                // A socket that is no longer connecting needs no ending.
                let _ended = shutdown(std::os::fd::AsRawFd::as_raw_fd(socket), Shutdown::Both);
            }
        }
    }

    // Answers.

    fn fail(&self, claim: Claim, failure: Failure, court: &mut Court<'_>) -> Result<(), DoorError> {
        let about = About::call(claim.thread, claim.call);
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
        let sent = self.listener.respond_value(id, value);
        sent.map(drop).map_err(failed("answer a call"))
    }

    fn errno(&self, id: u64, errno: Errno) -> Result<(), DoorError> {
        let sent = self.listener.respond_errno(id, errno);
        sent.map(drop).map_err(failed("answer a call"))
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("facts", &self.facts)
            .field("handshakes", &self.handshakes.len())
            .field("connectors", &self.connectors.len())
            .finish_non_exhaustive()
    }
}

/// The errno for a change that must not be; recorded.
fn refusal(
    located: &Located,
    change: &Change,
    about: &About<'_>,
    court: &mut Court<'_>,
) -> Option<Errno> {
    match &located.name {
        Name::Path(path) => {
            let subject = Subject {
                path,
                object: Some(located.id()),
            };
            let verdict = match change {
                Change::Watch { .. } => court.law.decide_read(&subject),
                _ => court.law.decide_write(&subject),
            };
            match verdict {
                // What is counted or ends some day is granted over the socket, where that is kept.
                Verdict::Allow(allowed) if allowed.ttl.is_none() && allowed.budget.is_none() => {}
                Verdict::Deny(denial) => return Some(about.deny(court.recorder, &denial)),
                Verdict::Allow(_) | Verdict::Ask(_) => {
                    let why = "granted on request only, over the session's socket";
                    return Some(about.fail(court.recorder, Errno::EACCES, why));
                }
            }
        }
        Name::None {
            is_held_for_writing: true,
        } => {}
        Name::None {
            is_held_for_writing: false,
        } => {
            let why = "it has no name, and the caller cannot write to it";
            return Some(about.fail(court.recorder, Errno::EACCES, why));
        }
    }
    let takes_on_ids =
        |mode: u32| mode & (libc::S_ISUID | libc::S_ISGID) != 0 && !located.facts.is(libc::S_IFDIR);
    match change {
        Change::Mode(mode) if takes_on_ids(*mode) => {
            let why = "a file is never made set-user-ID or set-group-ID";
            Some(about.fail(court.recorder, Errno::EPERM, why))
        }
        _ => None,
    }
}

/// Whether a connection may be made; the grant is recorded before anybody acts on it.
fn allowed(verdict: Verdict, about: &About<'_>, court: &mut Court<'_>) -> Result<(), Errno> {
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

/// Does it, to the located object, and says what the call returns.
fn perform(
    listener: &Listener,
    claim: Claim,
    located: &Located,
    change: &Change,
) -> Result<i64, Errno> {
    let fd = located.fd.as_fd();
    match change {
        Change::Watch { instance, mask } => {
            return watch(listener, claim, *instance, fd, *mask);
        }
        Change::Mode(mode) => metadata::set_mode(fd, *mode),
        Change::Owner(uid, gid) => metadata::set_owner(fd, *uid, *gid),
        Change::Times(times) => metadata::set_times(fd, *times),
        Change::SetAttribute { name, value, flags } => metadata::set_xattr(fd, name, value, *flags),
        Change::RemoveAttribute(name) => metadata::remove_xattr(fd, name),
        Change::FileAttributes(bytes) => metadata::set_file_attributes(fd, bytes),
    }
    .map(|()| 0)
}

/// Has the child's own inotify instance tell of the object.
fn watch(
    listener: &Listener,
    claim: Claim,
    instance: i32,
    object: BorrowedFd<'_>,
    mask: u32,
) -> Result<i64, Errno> {
    let instance = claim
        .thread
        .duplicate(instance)
        .map_err(|failure| match failure {
            Failure::Native(errno) | Failure::Refused(errno, _) => errno,
            Failure::WouldWait => Errno::EACCES,
        })?;
    // The number was the caller's if the caller still waits.
    if !listener.is_valid(claim.id) {
        return Err(Errno::EINTR);
    }
    sys::metadata::watch(instance.as_fd(), object, mask).map(i64::from)
}
