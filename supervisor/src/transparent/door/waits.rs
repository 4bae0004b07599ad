//! Signals for threads whose calls are being served.
//!
//! Once a call was received only a signal that kills interrupts it (`WAIT_KILLABLE_RECV`); others wait until it is answered. That
//! is as good as at once for all but calls that take their time. Those are looked at again and again: as long as nothing was
//! done for them that cannot be undone, a thread for which a signal waits is told to see to it, and makes its call again or finds
//! it interrupted, as the kernel does it for that signal.

use super::{Claim, Door, DoorError, failed};
use crate::transparent::signals::is_interrupted;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{Expiration, TimerSetTimeFlags};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a call takes that need not be watched, and how often those that are watched are looked at.
const TICK: Duration = Duration::from_millis(10);
/// How many are looked at in one tick: some 20 µs each.
const LOOKS: usize = 16;

/// The right to do what cannot be undone for a call, or to say that it was interrupted: whoever takes it first has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Turn(Arc<AtomicBool>);

impl Turn {
    /// Takes it. `false`: somebody has it.
    pub fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

/// The calls that take their time.
#[derive(Default)]
pub(super) struct Waits {
    calls: HashMap<u64, (Claim, Turn)>,
    /// In which order they are looked at; some may have been answered.
    order: VecDeque<u64>,
    is_ticking: bool,
}

impl Door {
    /// Watches over a call that may take its time, until it is answered. Who does something for it elsewhere takes its turn first:
    /// a call has one, however often it is watched.
    pub(super) fn watch(&mut self, claim: Claim) -> Result<Turn, DoorError> {
        let Waits { calls, order, .. } = &mut self.waits;
        let (_, turn) = calls.entry(claim.id).or_insert_with(|| {
            order.push_back(claim.id);
            (claim, Turn::default())
        });
        let turn = turn.clone();
        self.start_ticking()?;
        Ok(turn)
    }

    /// Has [`Door::tick`] called until it finds nothing to look at.
    pub(super) fn start_ticking(&mut self) -> Result<(), DoorError> {
        if !self.waits.is_ticking {
            let ticks = Expiration::Interval(TimeSpec::from_duration(TICK));
            let set = self.clock.set(ticks, TimerSetTimeFlags::empty());
            set.map_err(failed("set a timer"))?;
            self.waits.is_ticking = true;
        }
        Ok(())
    }

    /// From now on a call is no more to be interrupted: what it asked for is being done.
    pub(super) fn begin(&mut self, claim: Claim) {
        self.waits.calls.remove(&claim.id);
    }

    /// Looks at the calls that take their time.
    pub(super) fn tick(&mut self) -> Result<(), DoorError> {
        // All that it has to say is said by waking us.
        let _read = self.clock.wait();
        for _ in 0..self.waits.order.len().min(LOOKS) {
            let Some(id) = self.waits.order.pop_front() else {
                break;
            };
            let Some((claim, turn)) = self.waits.calls.get(&id) else {
                continue;
            };
            let is_waiting = self.listener.is_valid(id);
            if is_waiting && !is_interrupted(claim.thread) {
                self.waits.order.push_back(id);
                continue;
            }
            let interrupted = (is_waiting && turn.take()).then_some(*claim);
            self.waits.calls.remove(&id);
            if !is_waiting || interrupted.is_some() {
                self.withdraw(id);
            }
            if !is_waiting {
                self.abandon_all_of(id)?;
            }
            if let Some(claim) = interrupted {
                self.interrupt(claim)?;
            }
        }
        let goes_on = self.look_at_handshakes();
        if self.waits.order.is_empty() && !goes_on && self.waits.is_ticking {
            self.clock.unset().map_err(failed("stop a timer"))?;
            self.waits.is_ticking = false;
        }
        Ok(())
    }

    /// What was asked for a call is not to be answered any more.
    fn withdraw(&mut self, id: u64) {
        let asked = self.asked.extract_if(|_, (claim, _)| claim.id == id);
        self.withdrawn.extend(asked.map(|(ticket, _)| ticket));
    }

    fn interrupt(&mut self, claim: Claim) -> Result<(), DoorError> {
        self.waiting.retain(|(waiting, ..)| waiting.id != claim.id);
        match self.give_up(claim)? {
            true => Ok(()),
            false => self.restart(claim.id),
        }
    }
}
