//! What happens, for whoever listens.

use protocol::control::{Event, Numbering};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::ControlError;

/// Something that a listener is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// The daemon can be reached.
    Connected {
        /// What it calls itself.
        server: String,
        /// Another text for each daemon.
        daemon: String,
    },
    /// It cannot be reached any more.
    Disconnected(ControlError),
    /// It is not tried any more, until somebody says so.
    GaveUp(ControlError),
    /// The daemon says that something happened. Each event comes once, and in the order of their numbers.
    Event(Numbering<Event>),
    /// So many notices are left out here, because this listener was slower than they came, or the daemon had them no more. Nobody else
    /// waits for a slow one.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// The notices from when this was made on.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Notice>);

impl Events {
    pub(super) fn new(receiver: broadcast::Receiver<Notice>) -> Self {
        Self(receiver)
    }

    /// The next one; `None` when all handles are gone.
    ///
    /// # Cancelling
    /// Loses nothing.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(notice) => Some(notice),
            Err(RecvError::Lagged(missed)) => Some(Notice::Lagged { missed }),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Which events of which daemon were heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    daemon: String,
    seq: u64,
}

impl Heard {
    /// The last event that was heard, and which daemon said it; `None` when none says who it is.
    pub(super) fn last(&self) -> Option<(String, u64)> {
        (!self.daemon.is_empty()).then(|| (self.daemon.clone(), self.seq))
    }

    /// From here on, what that daemon says: from where it was left, or, if it is another one, after `seq`.
    pub(super) fn begin(&mut self, daemon: &str, seq: u64) {
        if self.daemon != daemon || daemon.is_empty() {
            let daemon = daemon.to_owned();
            *self = Self { daemon, seq };
        }
    }

    /// What a listener is told of an event: nothing of one that it was told; and of those between that never came, how many.
    pub(super) fn take(&mut self, event: Numbering<Event>) -> impl Iterator<Item = Notice> + use<> {
        let (before, now) = (self.seq, event.seq);
        self.seq = before.max(now);
        let (missed, event) = match event.event {
            _ if now <= before => (0, None),
            // Said by the daemon, which counts better.
            Event::Lagged { missed } => (missed, None),
            _ => (now - before - 1, Some(event)),
        };
        let lagged = (missed > 0).then_some(Notice::Lagged { missed });
        lagged.into_iter().chain(event.map(Notice::Event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> Numbering<Event> {
        let event = Event::Reloaded {};
        Numbering { event, seq }
    }

    #[test]
    fn events_are_told_once_and_gaps_are_counted() {
        let mut heard = Heard::default();
        heard.begin("a", 5);
        let told = |heard: &mut Heard, event| heard.take(event).collect::<Vec<_>>();
        assert_eq!(told(&mut heard, event(6)), [Notice::Event(event(6))]);
        assert_eq!(told(&mut heard, event(6)), []);
        assert_eq!(
            told(&mut heard, event(9)),
            [Notice::Lagged { missed: 2 }, Notice::Event(event(9))]
        );
        let lagged = Numbering {
            event: Event::Lagged { missed: 3 },
            seq: 12,
        };
        assert_eq!(told(&mut heard, lagged), [Notice::Lagged { missed: 3 }]);
        assert_eq!(told(&mut heard, event(13)), [Notice::Event(event(13))]);
        // The same daemon again, after a break: what was heard counts; another one counts anew.
        assert_eq!(heard.last(), Some(("a".to_owned(), 13)));
        heard.begin("a", 20);
        assert_eq!(told(&mut heard, event(14)), [Notice::Event(event(14))]);
        heard.begin("b", 2);
        assert_eq!(told(&mut heard, event(3)), [Notice::Event(event(3))]);
    }
}
