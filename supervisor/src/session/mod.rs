//! One child's life: a single poll over everything that can happen to it.
//!
//! In: a launched [`Child`] and the doors it was given. Out: how it ended. Nothing in the loop blocks: what is slow is done
//! elsewhere and comes back through a descriptor.
//!
//! What never happens here: a decision of policy, output to people, a wait for anything but all of it.

mod remains;
mod terminal;

pub use remains::{Place, PlaceError, collect_abandoned};
pub use terminal::Terminal;

use crate::audit::{Log, Status};
use crate::launch::{Child, Exit, Progress};
use crate::policy::Ruleset;
use crate::transparent::{Door, DoorError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sys::signals::{Sender, Signal, SignalFd};

/// The signals that a supervisor takes and passes on. All of them are blocked while it serves.
pub const FORWARDED: [i32; 9] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    libc::SIGTSTP,
    libc::SIGCONT,
];

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
const GRACE: Duration = Duration::from_secs(2);

/// What a session is made of.
#[derive(Debug)]
pub struct Parts {
    /// The child, which runs already.
    pub child: Child,
    /// Delivers [`FORWARDED`].
    pub signals: SignalFd,
    /// The caller's terminal.
    pub terminal: Terminal,
    /// The time until everything is ended.
    pub wall: Option<Duration>,
    /// What decides.
    pub ruleset: Arc<Ruleset>,
    /// Where decisions are recorded, its start record written.
    pub log: Log,
    /// Where trapped calls arrive, if the child has a listener.
    pub door: Option<Door>,
}

/// A session that is being served.
#[derive(Debug)]
pub struct Session {
    parts: Parts,
    deadline: Deadline,
    told_of_orphans: bool,
    stops_seen: u32,
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

impl Session {
    /// Takes over a child, which has just been started.
    pub fn new(parts: Parts) -> Self {
        let end = parts.wall.and_then(|wall| Instant::now().checked_add(wall));
        Self {
            parts,
            deadline: end.map_or(Deadline::None, Deadline::Ask),
            told_of_orphans: false,
            stops_seen: 0,
        }
    }

    /// Serves until everything has ended.
    ///
    /// # Errors
    /// [`SessionError`]; the child and all its descendants are ended when the session is dropped.
    pub fn serve(&mut self, watch: &mut dyn Watch) -> Result<Ending, SessionError> {
        loop {
            self.parts.child.acknowledge();
            match self
                .parts
                .child
                .progress()
                .map_err(failed("look at the child"))?
            {
                Progress::Gone(exit) => {
                    self.parts.terminal.restore();
                    return Ok(match self.deadline {
                        Deadline::Kill(_) | Deadline::Over => Ending::TimedOut,
                        _ => Ending::Command(exit),
                    });
                }
                Progress::GuardianLost => {
                    self.parts.terminal.restore();
                    return Ok(Ending::GuardianLost);
                }
                Progress::Ended(exit) if !self.told_of_orphans => {
                    self.told_of_orphans = true;
                    watch.orphans(exit);
                }
                Progress::Stopped { count, .. } if count != self.stops_seen => {
                    self.stops_seen = count;
                    self.parts.terminal.stop_with_child();
                }
                Progress::Ended(_) | Progress::Running | Progress::Stopped { .. } => {}
            }
            self.keep_time(watch).map_err(failed("end the command"))?;
            self.wait()?;
            while let Some(signal) = self.parts.signals.next().map_err(failed("read signals"))? {
                self.forward(signal).map_err(failed("forward a signal"))?;
            }
        }
    }

    /// Waits for the next thing to happen, and serves the door if that is it.
    fn wait(&mut self) -> Result<(), SessionError> {
        let timeout = self.timeout();
        let Parts {
            child,
            signals,
            door,
            ruleset,
            log,
            ..
        } = &mut self.parts;
        let mut fds = vec![
            PollFd::new(child.events(), PollFlags::POLLIN),
            PollFd::new(child.guardian(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let own = fds.len();
        if let Some(door) = door {
            fds.extend([door.calls(), door.done()].map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        }
        match nix::poll::poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(failed("poll")(errno)),
        }
        let ready: Vec<bool> = fds[own..]
            .iter()
            .map(|fd| fd.any().unwrap_or(true))
            .collect();
        let mut is_closed = false;
        if let (Some(door), &[calls, done]) = (door.as_mut(), &ready[..]) {
            if done {
                door.on_done(&**ruleset, log)?;
            }
            if calls {
                is_closed = door.on_call(&**ruleset, log)?.is_closed;
            }
        }
        if is_closed {
            *door = None;
        }
        Ok(())
    }

    /// Ends what is left of the session, if anything is, and writes the last record.
    ///
    /// # Errors
    /// The record could not be written.
    pub fn close(self, status: Status) -> Result<(), crate::audit::Error> {
        let Parts { child, log, .. } = self.parts;
        drop(child);
        log.finish(status)
    }

    fn timeout(&self) -> PollTimeout {
        match self.deadline {
            Deadline::Ask(at) | Deadline::Kill(at) => {
                // Rounded up: waking early would only mean to wait again.
                let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            Deadline::None | Deadline::Over => PollTimeout::NONE,
        }
    }

    fn keep_time(&mut self, watch: &mut dyn Watch) -> Result<(), Errno> {
        let now = Instant::now();
        self.deadline = match self.deadline {
            Deadline::Ask(at) if now >= at => {
                watch.timed_out();
                // A stopped command is to see the signal too.
                self.parts.child.signal(libc::SIGTERM)?;
                self.parts.child.signal(libc::SIGCONT)?;
                Deadline::Kill(now + GRACE)
            }
            Deadline::Kill(at) if now >= at => {
                self.parts.child.end();
                Deadline::Over
            }
            unchanged => unchanged,
        };
        Ok(())
    }

    fn forward(&self, signal: Signal) -> Result<(), Errno> {
        match (signal.number, signal.sender) {
            // What the terminal sends goes to the whole foreground group, the command among it: it is not sent twice.
            (libc::SIGTSTP, Sender::Kernel) => {
                self.parts.terminal.stop();
                Ok(())
            }
            (_, Sender::Kernel) => Ok(()),
            (number, Sender::Process(_)) => self.parts.child.signal(number),
        }
    }
}
