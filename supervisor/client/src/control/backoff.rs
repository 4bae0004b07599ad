//! When the next try is due.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// How a lost connection is tried again: each delay is twice as long as the one before, up to a longest, and all of them are cut by a
/// random part of up to a half, so that many clients of one daemon do not come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay: a second.
    pub first: Duration,
    /// The longest: half a minute.
    pub longest: Duration,
    /// How many tries fail, one after the other, before it is given up until somebody says [`nudge_reconnect`]: 10. `None`: never.
    ///
    /// [`nudge_reconnect`]: super::PersistentIpcClientHandle::nudge_reconnect
    pub attempts: Option<u32>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            attempts: Some(10),
        }
    }
}

impl Backoff {
    /// How long to wait after so many tries failed, one after the other; `None` when it is given up. `random` is any number.
    pub(super) fn delay(&self, failed: u32, random: u64) -> Option<Duration> {
        if self.attempts.is_some_and(|most| failed >= most) {
            return None;
        }
        let doublings = failed.saturating_sub(1).min(30);
        let whole = self.first.saturating_mul(1 << doublings).min(self.longest);
        // Of 1024 parts at least 512.
        let parts = 512 + u32::try_from(random % 513).unwrap_or_default();
        Some(whole.mul_f64(f64::from(parts) / 1024.0))
    }
}

/// A number that another client does not have at this time.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_lose_at_most_a_half() {
        let backoff = Backoff {
            attempts: None,
            ..Backoff::default()
        };
        let whole = |failed| backoff.delay(failed, 512);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7].map(whole),
            [1, 1, 2, 4, 8, 16, 30, 30].map(seconds)
        );
        assert_eq!(whole(u32::MAX), seconds(30));
        for random in 0..2000 {
            let delay = backoff.delay(3, random).expect("goes on");
            assert!(delay >= Duration::from_secs(2) && delay <= Duration::from_secs(4));
        }
        assert_eq!(backoff.delay(1, 0), Some(Duration::from_millis(500)));
    }

    #[test]
    fn after_so_many_failures_it_is_given_up() {
        let backoff = Backoff::default();
        assert!(backoff.delay(9, 0).is_some());
        assert_eq!(backoff.delay(10, 0), None);
        assert_ne!(random(), random());
    }
}
