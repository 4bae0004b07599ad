//! How often something is decided about a session, over the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is averaged over.
const WINDOW: Duration = Duration::from_secs(5);

/// More than are told in that time.
const MOST: usize = 4096;

/// What was decided of late.
#[derive(Debug, Default)]
pub struct Rate {
    /// When, and whether with a no.
    decided: VecDeque<(Instant, bool)>,
    /// When it was last said that more is decided than is told.
    untold: Option<Instant>,
}

/// How often, in tenths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerSecond {
    /// Decisions of every kind.
    pub decided: usize,
    /// Those that were a no.
    pub refused: usize,
    /// There were more.
    pub is_least: bool,
}

impl Rate {
    /// Something was decided.
    pub fn count(&mut self, is_refusal: bool, now: Instant) {
        self.forget(now);
        if self.decided.len() == MOST {
            self.decided.pop_front();
        }
        self.decided.push_back((now, is_refusal));
    }

    /// More was decided than is told.
    pub fn more(&mut self, now: Instant) {
        self.untold = Some(now);
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, _)) = self.decided.front()
            && now.saturating_duration_since(*at) >= WINDOW
        {
            self.decided.pop_front();
        }
    }

    /// How often it is now.
    pub fn per_second(&self, now: Instant) -> PerSecond {
        let is_late = |at: &Instant| now.saturating_duration_since(*at) < WINDOW;
        let late = self.decided.iter().filter(|(at, _)| is_late(at));
        let (mut decided, mut refused) = (0, 0);
        for (_, is_refusal) in late {
            decided += 1;
            refused += usize::from(*is_refusal);
        }
        let tenths = |count: usize| count * 10 / WINDOW.as_secs() as usize;
        PerSecond {
            decided: tenths(decided),
            refused: tenths(refused),
            is_least: self.untold.as_ref().is_some_and(is_late),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_no_longer_counts() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        let at = |tenths: u64| start + Duration::from_millis(tenths * 100);
        for tenth in 0..20 {
            rate.count(tenth % 4 == 0, at(tenth));
        }
        let shown = |decided, refused, is_least| PerSecond {
            decided,
            refused,
            is_least,
        };
        assert_eq!(rate.per_second(at(20)), shown(40, 10, false));
        rate.more(at(20));
        assert_eq!(rate.per_second(at(59)), shown(20, 4, true));
        assert_eq!(rate.per_second(at(69)), shown(0, 0, true));
        assert_eq!(rate.per_second(at(70)), shown(0, 0, false));
        rate.count(true, at(100));
        assert_eq!(rate.decided.len(), 1, "the others are forgotten");
    }
}
