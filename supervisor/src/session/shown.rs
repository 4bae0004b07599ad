//! A command that has a terminal of its own, shown on the caller's: what the loop of the session does for that.

use super::{Caller, Deadline, Session};
use crate::launch::Progress;
use crate::terminal::Relay;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;
use sys::signals::{Sender, Signal};

/// What the relay waits for, where there is one.
pub(super) fn interests(
    caller: Option<&Caller>,
) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> + Clone {
    let relay = caller.and_then(|caller| caller.relay.as_ref());
    relay.into_iter().flat_map(Relay::interests)
}

/// Signals that mean: no longer.
const ENDING: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

impl Session {
    fn relay(&mut self) -> Option<&mut Relay> {
        self.caller.as_mut()?.relay.as_mut()
    }

    /// When the relay is to be looked after again.
    pub(super) fn screen_deadline(&self) -> Option<Instant> {
        self.caller.as_ref()?.relay.as_ref()?.deadline()
    }

    /// Leaves the caller's terminal to a question while one stands there, and looks who has it when it is time.
    pub(super) fn keep_screen(&mut self) {
        let is_asked = self.channels.is_on_terminal();
        let Some(relay) = self.relay() else {
            return;
        };
        if relay.step_aside(is_asked) {
            relay.redraw();
        }
        if relay.deadline().is_some_and(|at| at <= Instant::now()) {
            relay.look();
        }
    }

    /// Moves what there is between the terminals.
    pub(super) fn move_screen(&mut self) {
        // A question may have come up in this very round.
        let is_asked = self.channels.is_on_terminal();
        if let Some(relay) = self.relay() {
            relay.step_aside(is_asked);
            relay.move_on();
        }
    }

    /// Says something to the caller, whose terminal is as usual meanwhile.
    pub(super) fn beside_the_screen(&mut self, say: impl FnOnce()) {
        if let Some(relay) = self.relay() {
            relay.give_back();
        }
        say();
        if let Some(relay) = self.relay() {
            relay.look();
        }
    }

    /// The command was stopped: its job is, and so is ours, with the caller's terminal as it was. Without anybody who could
    /// continue us, the key that stops has no effect on the command either.
    pub(super) fn stop_with_job(&mut self, signal: i32) -> Result<(), Errno> {
        let Some(relay) = self.relay() else {
            return Ok(());
        };
        relay.move_on();
        relay.give_back();
        let was_stopped = sys::signals::stop_group()?;
        relay.look();
        if !was_stopped && signal == libc::SIGTSTP {
            self.life.continue_group()?;
        }
        // Otherwise whoever continued us sent SIGCONT, which is passed on as it is read.
        Ok(())
    }

    /// What arrives here reaches nobody inside by itself: the command's terminal is another one than ours.
    pub(super) fn pass_into_terminal(&mut self, signal: Signal) -> Result<(), Errno> {
        let is_stopped = matches!(self.life.progress()?, Progress::Stopped { .. });
        let Some(relay) = self.relay() else {
            return Ok(());
        };
        match (signal.number, signal.sender) {
            (libc::SIGWINCH, Sender::Kernel) => relay.take_size(),
            (libc::SIGCONT, _) => {
                relay.look();
                if is_stopped {
                    self.life.continue_group()?;
                }
            }
            // Keys, of a caller's terminal whose keyboard is somebody else's.
            (key @ (libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP), Sender::Kernel) => {
                relay.signal_foreground(key);
            }
            (number, _) => self.life.signal(number)?,
        }
        Ok(())
    }

    /// Shows what is left, and puts the caller's terminal right. Everything has ended: so who waits here makes nobody wait. A
    /// terminal that takes no more is waited for as the command would have waited, until somebody wants an end or the time is over.
    pub(super) fn end_screen(&mut self) {
        let until = match self.deadline {
            Deadline::Ask(at) | Deadline::Kill(at) => Some(at),
            Deadline::None | Deadline::Over => None,
        };
        let Some(caller) = &mut self.caller else {
            return;
        };
        let Some(mut relay) = caller.relay.take() else {
            return;
        };
        let arrived = &caller.signals.arrived;
        while !relay.drain() {
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                break;
            }
            let timeout = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            let outer = relay.outer();
            let mut fds = [
                PollFd::new(outer.as_fd(), PollFlags::POLLOUT),
                PollFd::new(arrived.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => break,
            }
            if is_told_to_end(arrived) {
                break;
            }
        }
        relay.end();
    }
}

fn is_told_to_end(arrived: &sys::signals::SignalFd) -> bool {
    while let Ok(Some(signal)) = arrived.next() {
        if ENDING.contains(&signal.number) {
            return true;
        }
    }
    false
}
