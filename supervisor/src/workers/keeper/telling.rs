//! What the keeper tells its daemon, and the service manager.

use super::Keeper;
use super::entry::OWN;
use super::line::{Line, Said};
use super::message::{Message, Role, Verb};
use super::service::{Phase, Service};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

impl Keeper {
    /// Tells the daemon what it does not know yet. Whether there is something for which there was no room.
    pub(super) fn tell(&mut self, line: &mut Line) -> bool {
        if let Some(theirs) = line.unsaid_aid.take() {
            let message = Message::new(Verb::Held, OWN).with_roles([Role::Aid]);
            match line.say(&message, &[theirs.as_fd()]) {
                Said::Yes => {}
                Said::Full => {
                    line.unsaid_aid = Some(theirs);
                    return true;
                }
                Said::Gone => return false,
            }
        }
        if !self.table.hand_over(|message, fds| line.say(message, fds)) {
            return true;
        }
        if !line.told_all {
            match line.say(&Message::new(Verb::AllHeld, 0), &[]) {
                Said::Yes => line.told_all = true,
                Said::Full => return true,
                Said::Gone => return false,
            }
        }
        if self.is_ending && !line.told_to_stop {
            match line.say(&Message::new(Verb::Stop, 0), &[]) {
                Said::Yes => line.told_to_stop = true,
                Said::Full => return true,
                Said::Gone => return false,
            }
        }
        !self.table.tell_exits(|message| line.say(message, &[]))
    }

    /// Tells the service manager what it does not know. `false`: there was no room for all of it.
    pub(super) fn report(&mut self) -> bool {
        let Some(service) = &mut self.service else {
            return true;
        };
        let room = service.room;
        let is_stored = self.table.store(room, |name, fd| service.store(name, fd));
        let (workers, unstored) = self.table.counts();
        let count = |count: usize| match count {
            1 => "1 worker".to_owned(),
            count => format!("{count} workers"),
        };
        let mut status = match (self.phase, self.is_ready) {
            (Phase::Stopping, _) => format!("Ending: {} left", count(workers)),
            (_, true) => count(workers),
            (_, false) => format!("{}, and no daemon yet", count(workers)),
        };
        // Those that are being told of are counted when that is done.
        if is_stored && unstored > 0 {
            status += &format!(
                "; {} would be cut off if this ended: FileDescriptorStoreMax= is too small",
                count(unstored)
            );
        }
        service.tell(self.phase, &status) && is_stored
    }

    /// Asks the daemon whether it is there, when somebody wants to know. When that is to be done again.
    pub(super) fn ask(&mut self, line: &mut Line, now: Instant) -> Option<Instant> {
        let service = self.service.as_mut()?;
        let due = service.ask_at(self.phase)?;
        // One that does not answer is not asked again, and so not spoken for.
        if !line.told_all || line.is_asked {
            return None;
        }
        if now < due {
            return Some(due);
        }
        let message = Message::new(Verb::AreYouThere, 0);
        line.is_asked = line.say(&message, &[]) == Said::Yes;
        service.asked(self.phase, now);
        service.ask_at(self.phase)
    }

    /// Says the last things, as long as that takes no time.
    pub(super) fn part(&mut self) {
        self.phase = Phase::Stopping;
        // Whoever begins anew makes its own.
        self.table.forget(0);
        let until = Instant::now() + Duration::from_millis(200);
        while !self.report() && Instant::now() < until {
            let Some((Some(socket), _)) = self.service.as_ref().map(Service::wait) else {
                return;
            };
            let mut fds = [PollFd::new(socket, PollFlags::POLLOUT)];
            let _ready = nix::poll::poll(&mut fds, PollTimeout::from(50u8));
        }
    }
}
