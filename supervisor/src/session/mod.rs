//! One child's life: a single poll over everything that can happen to it.
//!
//! In: processes that were launched ([`Life`]) and the doors they were given. Out: how it ended. Nothing in the loop blocks: what is slow is done
//! elsewhere and comes back through a descriptor.
//!
//! What never happens here: a decision of policy, output to people, a wait for anything but all of it.

mod channels;
mod inherited;
mod life;
mod remains;
mod rest;
mod shown;
mod signals;
mod terminal;

pub use channels::{Hold, durable_pair, pair};
pub use inherited::inherited_descriptor;
pub use life::Life;
pub(crate) use remains::own_directory;
pub use remains::{DAEMON, Place, PlaceError, collect_abandoned};
pub use signals::Signals;
pub use terminal::Terminal;

use crate::audit::{Counts, Event, Log, Refused, Status};
use crate::broker::{self, Before, Broker, Claim, Clerk, Located, Peer, Seat, Ticket};
use crate::launch::{Exit, Progress};
use crate::policy::{Ruleset, Verdict};
use crate::sandbox::{Confinement, Tag};
use crate::terminal::Relay;
use crate::transparent::{self, Door, DoorError, Recorder, Served, Watched};
use crate::witness::{Known, Told, Witness};
use channels::Channels;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use rest::{First, Member, Rest};
use socket::Channel;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sys::caps::CapSet;
use sys::signals::{Sender, Signal};

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The command ended, and everything with it.
    Command(Exit),
    /// The time on the wall was over, and everything was ended.
    TimedOut,
    /// The guardian was killed from outside, and everything was ended.
    GuardianLost,
}

/// Why a session could not be served to its end. Everything is ended when the session is dropped.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A system call of our own failed.
    #[error("cannot {action}: {errno}")]
    Call {
        /// What was to be done.
        action: &'static str,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The connection of the session could not be prepared.
    #[error("cannot open the session's socket: {0}")]
    Socket(#[from] socket::Error),
    /// Trapped calls can no longer be answered.
    #[error(transparent)]
    Door(#[from] DoorError),
}

fn failed(action: &'static str) -> impl Fn(Errno) -> SessionError {
    move |errno| SessionError::Call { action, errno }
}

/// What happens in a session, for those who watch.
pub trait Watch {
    /// The command ended and left descendants, which are being ended or waited for.
    fn orphans(&mut self, exit: Exit);
    /// The time on the wall is over; the command was asked to end.
    fn timed_out(&mut self);
}

/// How long a command that was asked to end (SIGTERM) is waited for before it is killed.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

/// Whoever started the supervisor for this one command, and waits for it.
#[derive(Debug)]
pub struct Caller {
    /// Signals for the command.
    pub signals: Signals,
    /// The caller's terminal.
    pub terminal: Terminal,
    /// Between that and the command's own, where it has one.
    pub relay: Option<Relay>,
}

/// What a session is made of.
#[derive(Debug)]
pub struct Parts {
    /// The processes, which run already.
    pub life: Box<dyn Life>,
    /// The process below which all of them are.
    pub root: i32,
    /// The listener of their filter, where it has one.
    pub listener: Option<OwnedFd>,
    /// What an earlier supervisor received from the listener and did not answer, where there was one.
    pub journal: Option<OwnedFd>,
    /// What they are locked with.
    pub locks: Locks,
    /// The session's tag, where it could be given.
    pub tag: Option<Tag>,
    /// What decides.
    pub ruleset: Arc<Ruleset>,
    /// Where decisions are recorded, the start among them.
    pub log: Log,
    /// Where questions are put, if operators of a daemon answer them.
    pub seat: Option<Seat>,
    /// Who keeps the policy, where a person at the terminal may have it say more.
    pub clerk: Option<Arc<dyn Clerk>>,
    /// Who waits for the command, if anybody does.
    pub caller: Option<Caller>,
    /// The time until everything is ended.
    pub wall: Option<Duration>,
    /// Our end of the pair whose other end the child has.
    pub socket: Channel,
    /// The name under which members of the session reach it when they have no descriptor. Nothing lies there.
    pub socket_path: PathBuf,
    /// Connections that programs made by that name to an earlier supervisor, and how they were labelled.
    pub connections: Vec<(u32, OwnedFd)>,
    /// Who keeps such connections for a later one.
    pub hold: Option<Box<dyn Hold>>,
    /// Who reads what the kernel writes down of its own refusals, if anybody does.
    pub witness: Option<Witness>,
}

/// What those who act for the session must know of what locks it.
#[derive(Debug)]
pub struct Locks {
    /// The capabilities that it keeps.
    pub capabilities: CapSet,
    /// Its Landlock rulesets, outermost first.
    pub rulesets: Vec<OwnedFd>,
    /// The kernel lets it read more than the rules do, so that no open may be left to it.
    pub closed: bool,
    /// What the supervisor looks on at, where it does.
    pub watched: Option<Watched>,
}

impl Locks {
    /// Those of a confinement.
    ///
    /// # Errors
    /// The errno of duplicating a ruleset's descriptor.
    pub fn of(confinement: &Confinement) -> Result<Self, Errno> {
        let hold = |fd: BorrowedFd<'_>| sys::fds::duplicate_from(fd, 3);
        Ok(Self {
            capabilities: confinement.capabilities(),
            rulesets: confinement
                .rulesets()
                .into_iter()
                .map(hold)
                .collect::<Result<_, _>>()?,
            closed: confinement.layers().opens.closed(),
            watched: confinement.layers().opens.watches().map(|decided| Watched {
                decided,
                everything: false,
            }),
        })
    }

    /// The same, and what is allowed is recorded too.
    #[must_use]
    pub fn recording_everything(mut self) -> Self {
        if let Some(watched) = &mut self.watched {
            watched.everything = true;
        }
        self
    }
}

/// A session that is being served.
#[derive(Debug)]
pub struct Session {
    life: Box<dyn Life>,
    caller: Option<Caller>,
    ruleset: Arc<Ruleset>,
    log: Log,
    door: Option<Door>,
    channels: Channels,
    /// What is waited for beside the door's calls.
    rest: Rest,
    deadline: Deadline,
    witness: Option<Witness>,
    told_of_orphans: bool,
    stops_seen: u32,
    /// A request was answered a moment ago.
    chatty_until: Option<Instant>,
}

/// How many descriptors are always polled, before those of the doors.
const FIXED: usize = 4;

/// The key of what is shown, below those of what is always polled.
const SHOWN: u64 = u64::MAX - 8;

/// How long a program that has just been answered is expected to ask again before this thread sleeps.
const CHATTY: Duration = Duration::from_micros(50);

/// Waits until one of `fds` is ready. As long as the next request is expected soon the processor is only lent to others: to be
/// woken from sleep by another processor takes longer than most answers.
fn poll_for(
    fds: &mut [PollFd<'_>],
    chatty_until: Option<Instant>,
    timeout: PollTimeout,
) -> Result<(), Errno> {
    while chatty_until.is_some_and(|until| Instant::now() < until) {
        if nix::poll::poll(fds, PollTimeout::ZERO)? > 0 {
            return Ok(());
        }
        std::thread::yield_now();
    }
    nix::poll::poll(fds, timeout).map(drop)
}

/// What there is to wait for beside trapped calls.
fn others<'a>(
    life: &'a dyn Life,
    caller: Option<&'a Caller>,
    channels: &'a Channels,
    witness: Option<&'a Witness>,
    door: &'a Door,
) -> impl Iterator<Item = Member<'a>> + Clone {
    let signals = caller.map(|caller| caller.signals.arrived.as_fd());
    let fixed = [
        Some(life.events()),
        life.all_gone(),
        signals,
        Some(channels.answers()),
        witness.map(Witness::arrived),
        Some(door.done()),
    ];
    // Connections have their keys from below.
    let fixed = (0..).map(|place| u64::MAX - place).zip(fixed);
    let fixed = fixed.filter_map(|(key, fd)| fd.map(|fd| (key, fd, PollFlags::POLLIN)));
    let shown = (0..)
        .map(|place| SHOWN - place)
        .zip(shown::interests(caller));
    let shown = shown.map(|(key, (fd, what))| (key, fd, what));
    fixed.chain(shown).chain(channels.interests())
}

/// Who writes down, and who considers, what the transparent door does not settle alone.
struct Office<'a> {
    broker: &'a mut Broker,
    log: &'a mut Log,
    known: Option<&'a mut Known>,
}

impl Recorder for Office<'_> {
    fn record(&mut self, event: &Event<'_>) -> Result<(), crate::audit::Error> {
        if let Some(known) = &mut self.known {
            known.note(event);
        }
        self.log.record(event)
    }

    fn claim(&mut self, peer: &Peer<'_>, claim: Claim, located: Located) -> broker::Progress {
        self.broker.claim_located(self.log, peer, claim, located)
    }

    fn claim_decided(
        &mut self,
        peer: &Peer<'_>,
        claim: Claim,
        located: Located,
        verdict: Verdict,
    ) -> broker::Progress {
        self.broker
            .claim_decided(self.log, peer, claim, located, verdict)
    }

    fn cancel(&mut self, ticket: Ticket) {
        self.broker.cancel(self.log, ticket);
    }
}

/// Where the session stands against its time on the wall.
#[derive(Debug, Clone, Copy)]
enum Deadline {
    None,
    /// Asks the command to end then.
    Ask(Instant),
    /// Kills everything then.
    Kill(Instant),
    /// Everything was killed.
    Over,
}

/// What must be looked at, beside the doors.
#[derive(Debug, Clone, Copy)]
struct News {
    child: bool,
    signals: bool,
}

impl News {
    /// Nothing is known, so everything is.
    const ALL: Self = Self {
        child: true,
        signals: true,
    };
    /// There is none.
    const NONE: Self = Self {
        child: false,
        signals: false,
    };
}

impl Session {
    /// Takes over a child that was just started. From here on this thread, which must be the one that serves, holds exactly the
    /// child's capabilities: who acts for the child has no more power than it. This process becomes a subreaper, to end the
    /// session itself should its guardian be killed.
    ///
    /// # Errors
    /// [`SessionError`]; the child is ended.
    pub fn open(parts: Parts) -> Result<Self, SessionError> {
        let Parts {
            life,
            root,
            listener,
            journal,
            locks,
            tag,
            ruleset,
            log,
            seat,
            clerk,
            caller,
            wall,
            socket,
            socket_path,
            connections,
            hold,
            witness,
        } = parts;
        sys::process::become_subreaper().map_err(failed("become a subreaper"))?;
        let mut broker = Broker::new(ruleset.clone(), ruleset.broker(), seat)
            .map_err(failed("open the broker"))?;
        if let Some(clerk) = clerk {
            broker.consult(clerk);
        }
        sys::caps::restrict_thread(locks.capabilities).map_err(failed("drop capabilities"))?;
        let door = match listener {
            None => None,
            Some(listener) => {
                let facts = transparent::Facts {
                    session_socket: Some(socket_path),
                    rulesets: locks.rulesets,
                    root,
                    processes: ruleset.limits().processes,
                    closed: locks.closed,
                    watched: locks.watched,
                    tag,
                };
                Some(Door::new(listener.into(), journal, facts)?)
            }
        };
        let mut channels = Channels::new(broker, tag, hold);
        // Who connects by name is connected by the door, on a duplicate of its socket.
        let by_name = door.is_some() && sys::process::take_descriptor_errno() == Errno::EBADF;
        channels.add_inherited(socket, !by_name);
        for (label, connection) in connections {
            channels.inherit(label, connection);
        }
        let end = wall.and_then(|wall| Instant::now().checked_add(wall));
        let deadline = end.map_or(Deadline::None, Deadline::Ask);
        Ok(Self {
            life,
            caller,
            ruleset,
            log,
            door,
            channels,
            rest: Rest::default(),
            deadline,
            witness,
            told_of_orphans: false,
            stops_seen: 0,
            chatty_until: None,
        })
    }

    /// What trapped calls are received into, and where they come from: for who is to serve the session after us. `None`: it has no
    /// listener.
    pub fn journal(&self) -> Option<BorrowedFd<'_>> {
        self.door.as_ref().map(Door::journal)
    }

    /// Goes on with a session that an earlier supervisor began, whose start stands under this name in the log: counts what it
    /// granted, and serves what it had received and not answered. What an operator was being asked is asked anew.
    ///
    /// # Errors
    /// [`SessionError`]
    pub fn resume(&mut self, name: &str) -> Result<(), SessionError> {
        let budgets = self.ruleset.budgets();
        let before = match budgets.is_empty() {
            true => Before::Nothing,
            false => {
                let counted = self.log.granted(name, &budgets);
                counted.map_or(Before::Unknown, Before::Counted)
            }
        };
        self.channels.broker().resume(before);
        let Some(door) = &mut self.door else {
            return Ok(());
        };
        let mut office = Office {
            broker: self.channels.broker(),
            log: &mut self.log,
            known: self.witness.as_mut().map(Witness::known),
        };
        let served = door.resume_calls(&*self.ruleset, &mut office)?;
        self.take_in(served);
        Ok(())
    }

    /// Serves until everything has ended.
    ///
    /// # Errors
    /// [`SessionError`]; the child and all its descendants are ended when the session is dropped.
    pub fn serve(&mut self, watch: &mut dyn Watch) -> Result<Ending, SessionError> {
        let mut news = News::ALL;
        self.keep_screen();
        loop {
            if news.child
                && let Some(ending) = self.look(watch)?
            {
                self.hear(Witness::rest);
                return Ok(ending);
            }
            self.keep_time(watch).map_err(failed("end the command"))?;
            self.keep_screen();
            news = self.wait()?;
            while news.signals
                && let Some(signal) = self.next_signal().map_err(failed("read signals"))?
            {
                self.forward(signal).map_err(failed("forward a signal"))?;
            }
        }
    }

    fn next_signal(&self) -> Result<Option<Signal>, Errno> {
        match &self.caller {
            Some(caller) => caller.signals.arrived.next(),
            None => Ok(None),
        }
    }

    fn restore_terminal(&mut self) {
        self.end_screen();
        if let Some(caller) = &self.caller {
            caller.terminal.restore();
        }
    }

    /// Looks at where the child stands; returns how the session ended when it did.
    fn look(&mut self, watch: &mut dyn Watch) -> Result<Option<Ending>, SessionError> {
        self.life.acknowledge();
        let progress = self.life.progress().map_err(failed("look at the child"))?;
        if let Progress::Gone(exit) | Progress::Ended(exit) = progress
            && self.life.left_descendants()
            && !self.told_of_orphans
        {
            self.told_of_orphans = true;
            self.beside_the_screen(|| watch.orphans(exit));
        }
        match progress {
            Progress::Gone(exit) => {
                self.restore_terminal();
                return Ok(Some(match self.deadline {
                    Deadline::Kill(_) | Deadline::Over => Ending::TimedOut,
                    _ => Ending::Command(exit),
                }));
            }
            Progress::GuardianLost => {
                self.restore_terminal();
                return Ok(Some(Ending::GuardianLost));
            }
            Progress::Stopped { count, signal } if count != self.stops_seen => {
                self.stops_seen = count;
                match &self.caller {
                    Some(caller) if caller.relay.is_none() => caller.terminal.stop_with_child(),
                    Some(_) => self.stop_with_job(signal).map_err(failed("stop"))?,
                    None => {}
                }
            }
            Progress::Ended(_) | Progress::Running | Progress::Stopped { .. } => {}
        }
        Ok(None)
    }

    /// Waits for the next thing to happen, and serves what came through the doors.
    fn wait(&mut self) -> Result<News, SessionError> {
        let timeout = self.timeout();
        // Whoever has just asked over a socket is expected to ask again, and is waited for in the other way.
        if self.chatty_until.is_none()
            && let Some(door) = &self.door
        {
            let (life, caller) = (&*self.life, self.caller.as_ref());
            let others = others(life, caller, &self.channels, self.witness.as_ref(), door);
            match self.rest.wait(door.calls(), others, timeout) {
                Ok(First::Calls(calls)) => {
                    self.serve_calls(false, calls)?;
                    return Ok(News::NONE);
                }
                Ok(First::Rest) => {}
                Err(Errno::EINTR) => return Ok(News::ALL),
                Err(errno) => return Err(failed("poll")(errno)),
            }
        }
        self.wait_for_all(timeout)
    }

    fn wait_for_all(&mut self, timeout: PollTimeout) -> Result<News, SessionError> {
        let poll_in = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = Vec::with_capacity(FIXED + 2 + self.channels.len());
        let events = self.life.events();
        // What there is none of is never readable on its own.
        let signals = self.caller.as_ref();
        fds.extend([
            poll_in(events),
            poll_in(self.life.all_gone().unwrap_or(events)),
            poll_in(signals.map_or(events, |caller| caller.signals.arrived.as_fd())),
            poll_in(self.channels.answers()),
        ]);
        if let Some(door) = &self.door {
            fds.extend([poll_in(door.done()), poll_in(door.calls())]);
        }
        let interests = self.channels.interests();
        fds.extend(interests.map(|(_, fd, interest)| PollFd::new(fd, interest)));
        let heard = fds.len();
        let witness = self.witness.iter();
        fds.extend(witness.map(|witness| poll_in(witness.arrived())));
        let behind = fds.len();
        let shown = shown::interests(self.caller.as_ref());
        fds.extend(shown.map(|(fd, interest)| PollFd::new(fd, interest)));
        match poll_for(&mut fds, self.chatty_until, timeout) {
            Ok(()) => {}
            Err(Errno::EINTR) => return Ok(News::ALL),
            Err(errno) => return Err(failed("poll")(errno)),
        }
        let came = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::all());
        let [life, gone, signals, answers] = [0, 1, 2, 3].map(|at| came(&fds[at]));
        let is_told = fds[heard..behind].iter().any(|fd| !came(fd).is_empty());
        let (done, calls, shared) = match self.door {
            Some(_) => (came(&fds[FIXED]), came(&fds[FIXED + 1]), FIXED + 2),
            None => (PollFlags::empty(), PollFlags::empty(), FIXED),
        };
        let is_shown = fds[behind..].iter().any(|fd| !came(fd).is_empty());
        let keys = self.channels.interests().map(|(key, ..)| key);
        let ready: Vec<_> = keys
            .zip(fds[shared..heard].iter().map(came))
            .filter(|(_, what)| !what.is_empty())
            .collect();
        drop(fds);
        if !answers.is_empty() {
            self.pass_on_outcomes()?;
        }
        if is_told {
            self.hear(Witness::heard);
        }
        self.serve_calls(!done.is_empty(), calls)?;
        let has_asked = !ready.is_empty();
        for (key, what) in ready {
            self.channels.on_ready(key, what, &mut self.log);
        }
        self.chatty_until = has_asked.then(|| Instant::now() + CHATTY);
        if is_shown {
            self.move_screen();
        }
        Ok(News {
            child: !life.is_empty() || !gone.is_empty(),
            signals: !signals.is_empty(),
        })
    }

    /// Has the broker go on with what waits, and the door with what it is told then.
    fn pass_on_outcomes(&mut self) -> Result<(), SessionError> {
        for (ticket, outcome) in self.channels.on_answers(&mut self.log) {
            let Some(door) = &mut self.door else {
                continue;
            };
            let mut office = Office {
                broker: self.channels.broker(),
                log: &mut self.log,
                known: self.witness.as_mut().map(Witness::known),
            };
            let served = door.on_outcome(ticket, outcome, &*self.ruleset, &mut office)?;
            self.take_in(served);
        }
        Ok(())
    }

    fn serve_calls(&mut self, done: bool, calls: PollFlags) -> Result<(), SessionError> {
        let Some(door) = &mut self.door else {
            return Ok(());
        };
        let mut served = Served::default();
        let mut office = Office {
            broker: self.channels.broker(),
            log: &mut self.log,
            known: self.witness.as_mut().map(Witness::known),
        };
        if done {
            served = door.on_done(&*self.ruleset, &mut office)?;
        }
        if !calls.is_empty() {
            let more = door.on_call(calls, &*self.ruleset, &mut office)?;
            served.channels.extend(more.channels);
            served.is_closed |= more.is_closed;
        }
        self.take_in(served);
        Ok(())
    }

    /// Writes down what the kernel refused alone.
    fn hear(&mut self, what: fn(&mut Witness) -> Vec<Told>) {
        let Some(witness) = &mut self.witness else {
            return;
        };
        for told in what(witness) {
            // It was refused, recorded or not.
            let _recorded = told.record(&self.ruleset, witness.known(), &mut self.log);
        }
    }

    /// Goes on with what came of serving.
    fn take_in(&mut self, served: Served) {
        for connected in served.channels {
            self.channels.accept(connected.socket);
        }
        if served.is_closed {
            self.door = None;
        }
    }

    /// What was decided so far.
    pub fn counts(&self) -> Counts {
        self.log.counts()
    }

    /// What the policy refused so far, each object once, the most telling first.
    pub fn refusals(&self) -> Vec<Refused> {
        self.log.refusals()
    }

    /// Ends what is left of the session, if anything is, and writes the last record.
    ///
    /// # Errors
    /// The record could not be written.
    pub fn close(self, status: Status) -> Result<(), crate::audit::Error> {
        drop(self.life);
        self.log.finish(status)
    }

    fn timeout(&self) -> PollTimeout {
        let end = match self.deadline {
            Deadline::Ask(at) | Deadline::Kill(at) => Some(at),
            Deadline::None | Deadline::Over => None,
        };
        match end.into_iter().chain(self.screen_deadline()).min() {
            Some(at) => {
                // Rounded up: waking early would only mean to wait again.
                let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        }
    }

    fn keep_time(&mut self, watch: &mut dyn Watch) -> Result<(), Errno> {
        let (Deadline::Ask(at) | Deadline::Kill(at)) = self.deadline else {
            return Ok(());
        };
        let now = Instant::now();
        if now < at {
            return Ok(());
        }
        self.deadline = match self.deadline {
            Deadline::Ask(_) => {
                self.beside_the_screen(|| watch.timed_out());
                // A stopped command is to see the signal too.
                self.life.signal(libc::SIGTERM)?;
                self.life.signal(libc::SIGCONT)?;
                Deadline::Kill(now + GRACE)
            }
            _ => {
                self.life.end();
                Deadline::Over
            }
        };
        Ok(())
    }

    fn forward(&mut self, signal: Signal) -> Result<(), Errno> {
        if let Some(Caller { relay: Some(_), .. }) = &self.caller {
            return self.pass_into_terminal(signal);
        }
        match (signal.number, signal.sender) {
            // What the terminal sends goes to the whole foreground group, the command among it: it is not sent twice. That
            // goes for its stop key too: whether the command stops is the command's to say, and we stop with it.
            (_, Sender::Kernel) => Ok(()),
            // A shell continues the whole group, which may have had its effect already.
            (libc::SIGCONT, Sender::Process(_))
                if !matches!(self.life.progress()?, Progress::Stopped { .. }) =>
            {
                Ok(())
            }
            (number, Sender::Process(_)) => self.life.signal(number),
        }
    }
}
