//! A worker whose keeper is gone, and everything with it that served it: what is left to be known is when it ends.

use super::life::Told;
use super::{Member, Stable, StartError, prepare};
use crate::launch::{Exit, collect};
use crate::sandbox::Tag;
use crate::session::{Ending, GRACE, SessionError};
use crate::workers::identity::Held;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use sys::pidfd::Pidfd;

/// How long it is waited that whoever is its parent now collects it, which is when everybody may know how it ended.
const COLLECTED: Duration = Duration::from_secs(1);

impl Stable {
    /// Goes on with a worker that another keeper had. Nobody answers its calls and nobody hears what it writes any more; it can be
    /// signalled, and that it ended is told as of others. `wall` is what is left of its time on the wall.
    ///
    /// # Errors
    /// [`StartError`]; the worker goes on, and is the caller's to end.
    pub fn watch(
        &mut self,
        tag: Tag,
        held: Held,
        wall: Option<Duration>,
    ) -> Result<(), StartError> {
        let told = Told::new().map_err(prepare("eventfd"))?;
        let process = super::duplicate(held.as_fd())?;
        let process = Arc::new(Pidfd::from(process));
        self.attend(tag, Member { process, told }, move || {
            let ending = until_it_ends(&held, wall).map_err(failed("wait for its end"));
            // What it left behind ends with it, and only then has it ended.
            let left = collect(tag).map_err(failed("end what it left"));
            left.and(ending)
        })
    }
}

/// Waits for the end of a process that is nobody's child here, and brings it about when its time is over.
fn until_it_ends(held: &Held, wall: Option<Duration>) -> Result<Ending, Errno> {
    let ended_within = |time| wait(held, PollFlags::POLLIN, time);
    if !ended_within(wall)? {
        held.pidfd().signal_if_there(libc::SIGTERM)?;
        // A stopped one is to see it, too.
        held.pidfd().signal_if_there(libc::SIGCONT)?;
        if !ended_within(Some(GRACE))? {
            held.pidfd().signal_if_there(libc::SIGKILL)?;
            ended_within(None)?;
        }
        return Ok(Ending::TimedOut);
    }
    let exit = match held.exit() {
        Some(exit) => exit,
        None => {
            // Hung up is what is collected, and needs not be asked for.
            wait(held, PollFlags::empty(), Some(COLLECTED))?;
            // Nobody knows more (before Linux 6.15).
            held.exit().unwrap_or(Exit::Unknown)
        }
    };
    Ok(Ending::Command(exit))
}

/// Whether that came of it in so much time; without one it is waited for.
fn wait(held: &Held, events: PollFlags, time: Option<Duration>) -> Result<bool, Errno> {
    let until = time.and_then(|time| Instant::now().checked_add(time));
    loop {
        let timeout = match until {
            None => PollTimeout::NONE,
            Some(until) => {
                // Rounded up; what is longer than can be said is waited for in turns.
                let left = until.saturating_duration_since(Instant::now());
                let left = left.as_millis() + u128::from(!left.is_zero());
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match nix::poll::poll(&mut [PollFd::new(held.as_fd(), events)], timeout) {
            Ok(0) if until.is_none_or(|until| Instant::now() < until) => {}
            Ok(count) => return Ok(count > 0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn failed(action: &'static str) -> impl Fn(Errno) -> SessionError {
    move |errno| SessionError::Call { action, errno }
}
