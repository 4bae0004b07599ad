//! From a command and its confinement to a running child.
//!
//! In: a [`Command`] (what to run, with which streams) and a [`Confinement`]. Out: a [`Child`]. Three processes take part: the
//! supervisor, which calls [`launch`]; the *guardian*, its child, which keeps watch for the death of the supervisor and
//! collects orphans; and the child itself, whose parent is the guardian. So the supervisor is an ancestor of every process of
//! the session, and none of them outlives both.
//!
//! What never happens here: a decision of policy, output, a read of what a sandboxed process wrote.

mod child;
mod collect;
mod guardian;
mod kept;
mod plan;
mod program;
mod step;

pub use collect::collect;
pub use kept::{Keeper, Kept, Streams, launch_kept};
pub use program::{FindError, Program};
pub use step::Step;

use crate::sandbox::Confinement;
use guardian::Guardian;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use plan::{Parent, Plan, State, Strings};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use sys::pidfd::Pidfd;
use sys::terminal::Borrowed;

/// What becomes of the command's descendants when the command itself has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// They are killed: the end of the command is the end of the session.
    Kill,
    /// The session lasts until the last of them has ended.
    Wait,
}

/// A program to run and the world it starts in. Everything is prepared by the caller; nothing is inherited by accident.
#[derive(Debug)]
pub struct Command {
    /// The file to execute, found and opened once.
    pub program: Program,
    /// The arguments, the program's name first.
    pub argv: Vec<CString>,
    /// The whole environment, `NAME=value` each.
    pub envp: Vec<CString>,
    /// The working directory.
    pub working_directory: OwnedFd,
    /// Descriptors to pass on, and the numbers they get, from 3 upwards without a gap.
    pub pass: Vec<OwnedFd>,
    /// What stands in the place of 0, 1 and 2, each where it is to be another than this process has.
    pub streams: [Option<OwnedFd>; 3],
    /// A terminal of its own.
    pub terminal: Option<OwnTerminal>,
    /// The signal mask of the program, as the kernel's 64 bits.
    pub signal_mask: u64,
    /// What becomes of orphans.
    pub orphans: Orphans,
}

/// A terminal that controls a session of the command's own, which the guardian leads: so the command is a job that its own terminal
/// can stop, which the leader of a session never is.
#[derive(Debug)]
pub struct OwnTerminal {
    /// The end of those who use it.
    pub inside: OwnedFd,
    /// The terminal that it is shown on. The guardian puts that one back when the supervisor dies.
    pub outside: Arc<Borrowed>,
}

/// Why no child runs.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The supervisor could not prepare what the clones need.
    #[error("cannot prepare the launch: {what}: {errno}")]
    Prepare {
        /// What was to be made.
        what: &'static str,
        /// The kernel's reason.
        errno: Errno,
    },
    /// A step between clone and exec failed. Nothing of the program has run.
    #[error("cannot {step}: {errno}")]
    Step {
        /// Which one.
        step: Step,
        /// The kernel's reason.
        errno: Errno,
    },
    /// The guardian was killed before it could report.
    #[error("the guardian was killed during the launch")]
    GuardianKilled,
}

fn prepare(what: &'static str) -> impl Fn(Errno) -> LaunchError {
    move |errno| LaunchError::Prepare { what, errno }
}

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// Somebody else was its parent, and the kernel does not tell.
    Unknown,
}

/// Where the child is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It runs.
    Running,
    /// It was stopped.
    Stopped {
        /// By which signal.
        signal: i32,
        /// For the how manieth time.
        count: u32,
    },
    /// The command has ended; descendants are left and still watched.
    Ended(Exit),
    /// Everything has ended.
    Gone(Exit),
    /// The guardian was killed while something lived. [`collect`] ends what is left.
    GuardianLost,
}

/// A running child and its guardian. Dropping it ends all of its processes and waits for that.
#[derive(Debug)]
pub struct Child {
    guardian: Guardian,
    process: Option<Pidfd>,
    listener: Option<OwnedFd>,
}

/// The lowest number that the sources of passed descriptors get: above every target.
pub const PARKED_FROM: RawFd = 10;
/// The first descriptor behind standard input, output and error.
const FIRST_PASSED: RawFd = 3;

/// Starts the program. Returns when it has been executed, or with the step that failed.
///
/// Blocks for the time of the launch only. The caller should be a subreaper (`sys::process::become_subreaper`) so that
/// it can end the session itself when the guardian is killed.
///
/// # Errors
/// [`LaunchError`]; in each case no process is left.
pub fn launch(command: Command, confinement: Arc<Confinement>) -> Result<Child, LaunchError> {
    let events = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(prepare("eventfd"))?;
    let passed = command.pass.iter().zip(FIRST_PASSED..);
    let streams = command.streams.iter().zip(0..);
    let streams = streams.filter_map(|(fd, number)| Some((fd.as_ref()?, number)));
    let (parked, place): (Vec<_>, Vec<_>) = passed
        .chain(streams)
        .map(|(fd, number)| {
            let parked = sys::fds::duplicate_from(fd.as_fd(), PARKED_FROM)?;
            let place = (parked.as_raw_fd(), number);
            Ok((parked, place))
        })
        .collect::<Result<_, _>>()
        .map_err(prepare("descriptors"))?;
    let image = command.program.into_image();
    let highest = parked
        .iter()
        .map(AsRawFd::as_raw_fd)
        .chain(image.descriptor())
        .max()
        .unwrap_or(FIRST_PASSED);
    let guardian = Guardian::start(Plan {
        supervisor: std::process::id() as i32,
        parent: Parent::Guardian,
        events: events.into(),
        confinement,
        working_directory: command.working_directory,
        copy_below: highest as u32 + 1,
        close_from: (FIRST_PASSED as usize + command.pass.len()) as u32,
        place,
        terminal: command.terminal,
        signal_mask: command.signal_mask,
        ignore_sigchld: sys::signals::is_ignored(libc::SIGCHLD).map_err(prepare("SIGCHLD"))?,
        image,
        argv: Strings::new(command.argv),
        envp: Strings::new(command.envp),
        orphans: command.orphans,
    })
    .map_err(|(what, errno)| LaunchError::Prepare { what, errno })?;
    let mut child = Child {
        guardian,
        process: None,
        listener: None,
    };
    child
        .wait_for(|child| !child.guardian.report().is(State::Launching))
        .map_err(prepare("poll"))?;
    // The child has its own table by now; until then it needed these.
    drop(parked);
    let (process, listener) = child.guardian.take_descriptors();
    (child.process, child.listener) = (process.map(Pidfd::from), listener);
    match child.guardian.report().failure() {
        Some((step, errno)) => Err(LaunchError::Step { step, errno }),
        None if child.guardian.report().is(State::Launching) => Err(LaunchError::GuardianKilled),
        None => Ok(child),
    }
}

impl Child {
    /// The pid of the command. For people to read: signals go through [`Child::signal`].
    pub fn pid(&self) -> i32 {
        self.guardian.report().child.load(Ordering::Acquire)
    }

    /// The pid of the guardian, below which all processes of the session are.
    pub fn guardian_pid(&self) -> i32 {
        self.guardian.pid()
    }

    /// The listener of the child's filter, the first time.
    pub fn take_listener(&mut self) -> Option<OwnedFd> {
        self.listener.take()
    }

    /// Becomes readable when [`Child::progress`] may have changed. [`Child::acknowledge`] makes it unreadable.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.guardian.events().as_fd()
    }

    /// The guardian's pidfd: becomes readable when everything has ended, and stays so.
    pub fn guardian(&self) -> BorrowedFd<'_> {
        self.guardian.pidfd().as_fd()
    }

    /// Resets [`Child::events`]. To be called before [`Child::progress`], so that nothing is missed.
    pub fn acknowledge(&self) {
        let mut count = [0u8; 8];
        match nix::unistd::read(self.events(), &mut count) {
            // EAGAIN: it was not set.
            Ok(_) | Err(_) => {}
        }
    }

    /// Where the child stands.
    ///
    /// # Errors
    /// The errno of `poll(2)`.
    pub fn progress(&self) -> Result<Progress, Errno> {
        let gone = readable(&[self.guardian()], PollTimeout::ZERO)?;
        let report = self.guardian.report();
        if report.is(State::Ended) {
            let status = report.status.load(Ordering::Acquire);
            let exit = match report.code.load(Ordering::Acquire) {
                libc::CLD_EXITED => Exit::Code(status),
                _ => Exit::Signal(status),
            };
            return Ok(if gone {
                Progress::Gone(exit)
            } else {
                Progress::Ended(exit)
            });
        }
        if gone {
            return Ok(Progress::GuardianLost);
        }
        Ok(match report.stopped.load(Ordering::Acquire) {
            0 => Progress::Running,
            signal => Progress::Stopped {
                signal,
                count: report.stops.load(Ordering::Acquire),
            },
        })
    }

    /// Whether the command has ended and left descendants.
    pub fn left_descendants(&self) -> bool {
        self.guardian.report().left.load(Ordering::Acquire) != 0
    }

    /// Sends a signal to the command, by its pidfd. A command that has ended is no error.
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal(2)`.
    pub fn signal(&self, signal: i32) -> Result<(), Errno> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        process.signal_if_there(signal)
    }

    /// Continues the process group that the command leads where it has a terminal of its own.
    ///
    /// # Errors
    /// The errno of `pidfd_send_signal(2)` or `kill(2)`.
    pub fn continue_group(&self) -> Result<(), Errno> {
        let Some(process) = &self.process else {
            return Ok(());
        };
        process.signal_led_group(self.pid(), libc::SIGCONT)
    }

    /// Kills every process of the session. Returns at once; [`Child::guardian`] becomes readable when all are gone.
    pub fn end(&self) {
        self.guardian.end();
    }

    /// Waits until everything has ended, or the guardian was killed.
    ///
    /// # Errors
    /// The errno of `poll(2)`.
    pub fn wait(&self) -> Result<Progress, Errno> {
        self.wait_for(|child| {
            matches!(
                child.progress(),
                Ok(Progress::Gone(_) | Progress::GuardianLost) | Err(_)
            )
        })?;
        self.progress()
    }

    /// Blocks until `done` says so, or the guardian is gone.
    fn wait_for(&self, done: impl Fn(&Self) -> bool) -> Result<(), Errno> {
        loop {
            if done(self) || readable(&[self.guardian()], PollTimeout::ZERO)? {
                return Ok(());
            }
            readable(&[self.events(), self.guardian()], PollTimeout::NONE)?;
            self.acknowledge();
        }
    }
}

/// Whether one of `fds` is readable now or becomes so within `timeout`.
fn readable(fds: &[BorrowedFd<'_>], timeout: PollTimeout) -> Result<bool, Errno> {
    let mut polled: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::new(*fd, PollFlags::POLLIN))
        .collect();
    match nix::poll::poll(&mut polled, timeout) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::path::Path;

    fn command(script: &str) -> Command {
        Command {
            program: Program::find(
                OsStr::new("sh"),
                OsStr::new("/bin"),
                Path::new("/"),
                &|_| Ok(()),
            )
            .unwrap(),
            argv: [c"sh", c"-c"]
                .into_iter()
                .map(CString::from)
                .chain([CString::new(script).unwrap()])
                .collect(),
            envp: vec![c"PATH=/usr/bin:/bin".into()],
            working_directory: std::fs::File::open("/").unwrap().into(),
            pass: Vec::new(),
            streams: [None, None, None],
            terminal: None,
            signal_mask: 0,
            orphans: Orphans::Kill,
        }
    }

    fn run(script: &str) -> Progress {
        launch(command(script), Confinement::unconfined().into())
            .unwrap()
            .wait()
            .unwrap()
    }

    #[test]
    fn the_exit_of_the_command_is_reported_whether_by_status_or_by_signal() {
        assert_eq!(run("exit 7"), Progress::Gone(Exit::Code(7)));
        assert_eq!(run("kill -9 $$"), Progress::Gone(Exit::Signal(9)));
    }

    #[test]
    fn orphans_are_killed_when_the_command_ends() {
        let start = std::time::Instant::now();
        assert_eq!(
            run("setsid sleep 100 & exit 3"),
            Progress::Gone(Exit::Code(3))
        );
        assert!(start.elapsed() < std::time::Duration::from_secs(50));
    }

    #[test]
    fn a_step_that_fails_is_named_with_its_errno() {
        let mut bad = command("exit 0");
        bad.working_directory = std::fs::File::open("/etc/passwd").unwrap().into();
        let error = launch(bad, Confinement::unconfined().into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot enter the working directory: ENOTDIR: Not a directory"
        );
    }
}
