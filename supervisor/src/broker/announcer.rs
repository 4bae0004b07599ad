//! What is decided about one session, as whoever watches is told it: in few words, and never more of it than a person could read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::control::{self, Event};

use super::board::Board;
use crate::audit::{Answer, Decision, Error, Herald};

/// So many decisions are told in each [`WINDOW`]. How often something is refused is a child's choice, and the room of others.
const MOST: u32 = 64;
const WINDOW: Duration = Duration::from_secs(1);

/// Tells the watchers of a board what is decided about one of its sessions.
#[derive(Debug)]
pub struct Announcer {
    board: Arc<Board>,
    worker: Arc<str>,
    /// Since when, and how much was told since.
    window: Option<Instant>,
    told: u32,
    /// It was told that nothing can be recorded, and that has not changed.
    is_unrecorded: bool,
}

impl Announcer {
    pub(super) fn new(board: Arc<Board>, worker: &str) -> Self {
        Self {
            board,
            worker: worker.into(),
            window: None,
            told: 0,
            is_unrecorded: false,
        }
    }

    /// Whether one more may be told. The first that may not is told to be left out, with all that follow it in this window.
    fn has_room(&mut self) -> bool {
        let now = Instant::now();
        if self.window.is_none_or(|begun| now - begun >= WINDOW) {
            (self.window, self.told) = (Some(now), 0);
        }
        self.told = self.told.saturating_add(1);
        if self.told == MOST + 1 {
            let worker = self.worker.to_string();
            self.board.tell(Event::DecisionsUntold { worker });
        }
        self.told <= MOST
    }
}

impl Herald for Announcer {
    fn recorded(&mut self, decision: &Decision<'_>) {
        self.is_unrecorded = false;
        // A question is told by itself.
        if decision.answer == Answer::Asked || !self.has_room() {
            return;
        }
        let told = control::Decision {
            worker: self.worker.to_string(),
            access: decision
                .access
                .map_or_else(|| decision.call.to_owned(), |access| access.to_string()),
            object: object(decision),
            rule: decision.rule.map(ToString::to_string),
        };
        self.board.tell(match decision.answer {
            Answer::Granted => Event::Granted(told),
            Answer::Refused | Answer::Asked => Event::Refused(told),
            Answer::Revoked => Event::Revoked(told),
        });
    }

    fn unrecorded(&mut self, error: &Error) {
        if std::mem::replace(&mut self.is_unrecorded, true) {
            return;
        }
        let worker = Some(self.worker.to_string());
        let message = format!("{error}; what cannot be recorded is refused");
        self.board.tell(Event::Error { worker, message });
    }
}

/// What it was about: what was located, else what was asked for, else an address.
fn object(decision: &Decision<'_>) -> String {
    let path = decision.path.or(decision.asked);
    let text = path.map(|path| String::from_utf8_lossy(path.0).into_owned());
    text.or_else(|| decision.address.as_ref().map(SocketAddr::to_string))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Door, Who};

    fn refused(path: &str) -> Decision<'_> {
        let who = Who {
            pid: 1,
            uid: 1,
            exe: None,
        };
        Decision {
            path: Some(path.into()),
            ..Decision::new(Door::Call, "openat", who, Answer::Refused)
        }
    }

    #[test]
    fn a_flood_is_told_to_be_one_and_takes_little_room() {
        let board = Board::new().unwrap();
        let mut announcer = board.announcer("a-1");
        for _ in 0..10_000 {
            announcer.recorded(&refused("/x"));
        }
        let news = board.news();
        let untold = |event: &&Event| matches!(event, Event::DecisionsUntold { .. });
        let windows = news.iter().filter(untold).count();
        assert!(windows >= 1 && news.len() <= (windows + 1) * (MOST as usize + 1));
        let Event::Refused(first) = &news[0] else {
            panic!("{news:?}");
        };
        assert_eq!((&*first.worker, &*first.object), ("a-1", "/x"));
        assert!(board.news().is_empty(), "once");
    }

    #[test]
    fn a_record_that_cannot_be_written_is_told_once_until_one_can() {
        let board = Board::new().unwrap();
        let mut announcer = board.announcer("a-1");
        let full = Error::Write {
            path: "/log".into(),
            source: nix::errno::Errno::ENOSPC.into(),
        };
        let failures = |announcer: &mut Announcer| {
            announcer.unrecorded(&full);
            announcer.unrecorded(&full);
            let news = board.news();
            let is_error = |event: &&Event| matches!(event, Event::Error { worker, message } if worker.as_deref() == Some("a-1") && message.contains("/log: No space left"));
            news.iter().filter(is_error).count()
        };
        assert_eq!(failures(&mut announcer), 1);
        assert_eq!(failures(&mut announcer), 0);
        announcer.recorded(&refused("/x"));
        assert_eq!(failures(&mut announcer), 1);
    }
}
