//! The last events, for all clients together: who is slow costs nobody anything.

use protocol::control::{Event, Numbering};
use std::collections::VecDeque;

/// So many events are kept ...
const MOST: usize = 8192;
/// ... and so many bytes of them.
const MOST_BYTES: usize = 4 << 20;

/// Events as they are sent, under their numbers.
#[derive(Debug, Default)]
pub(super) struct History {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The number of the last one.
    last: u64,
}

impl History {
    /// The number of the last event there was.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Something happened.
    pub fn add(&mut self, event: Event) {
        self.last += 1;
        let mut line = Vec::new();
        let seq = self.last;
        if let Err(error) = (Numbering { event, seq }).encode(&mut line) {
            // What a stranger's text made too long for a line is still something that happened.
            let message = format!("an event cannot be told: {error}");
            let event = Event::Error {
                worker: None,
                message,
            };
            (Numbering { event, seq })
                .encode(&mut line)
                .unwrap_or_default();
        }
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
    }

    /// Appends the event under that number, and moves on to the next. Those that are no longer here are said to be left out.
    /// `false` when there is none.
    pub fn next(&self, cursor: &mut u64, out: &mut Vec<u8>) -> bool {
        if *cursor > self.last {
            return false;
        }
        let oldest = self.last - self.lines.len() as u64 + 1;
        if *cursor < oldest {
            let missed = oldest - *cursor;
            let lagged = Numbering {
                event: Event::Lagged { missed },
                seq: oldest - 1,
            };
            *cursor = oldest;
            // Two numbers fit on a line.
            lagged.encode(out).unwrap_or_default();
            return true;
        }
        let at = usize::try_from(*cursor - oldest).unwrap_or(usize::MAX);
        let Some(line) = self.lines.get(at) else {
            return false;
        };
        out.extend_from_slice(line);
        *cursor += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        Event::Error {
            worker: None,
            message: number.to_string(),
        }
    }

    #[test]
    fn everything_is_told_once_and_in_order_and_what_is_no_longer_there_is_counted() {
        let mut history = History::default();
        for number in 1..=MOST + 10 {
            history.add(event(number));
        }
        let (mut cursor, mut out) = (1, Vec::new());
        while history.next(&mut cursor, &mut out) {}
        let lines: Vec<Numbering<Event>> = out
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines[0].event, Event::Lagged { missed: 10 });
        assert_eq!(lines[0].seq, 10);
        assert_eq!(lines.len(), MOST + 1);
        for (at, line) in lines.iter().enumerate().skip(1) {
            assert_eq!(line.seq, at as u64 + 10);
            assert_eq!(line.event, event(at + 10));
        }
        assert!(!history.next(&mut cursor, &mut out), "nothing twice");
    }

    #[test]
    fn large_events_are_bounded_by_their_bytes() {
        let mut history = History::default();
        let message = "x".repeat(60_000);
        for _ in 0..200 {
            history.add(Event::Error {
                worker: None,
                message: message.clone(),
            });
        }
        assert!(history.bytes <= MOST_BYTES && history.lines.len() < 80);
        history.add(Event::Error {
            worker: None,
            message: "x".repeat(70_000),
        });
        let (mut cursor, mut out) = (201, Vec::new());
        assert!(history.next(&mut cursor, &mut out));
        assert!(String::from_utf8_lossy(&out).contains("cannot be told"));
    }
}
