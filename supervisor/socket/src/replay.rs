//! Which requests a connection has seen lately.

use nix::unistd::Pid;

/// How many requests a connection remembers.
pub const REMEMBERED: usize = 128;

/// The last requests of a connection, by sender and id.
///
/// A window of the last ones, not a highest id: whatever a peer sends, one that it has not used
/// is always free. Per sender, since the processes that share a connection know nothing of each
/// other's ids.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    seen: Vec<(Pid, u64)>,
    oldest: usize,
}

impl Replay {
    /// Notes a request, and says whether it is a new one.
    pub(crate) fn is_new(&mut self, sender: Pid, id: u64) -> bool {
        let request = (sender, id);
        if self.seen.contains(&request) {
            return false;
        }
        if self.seen.len() < REMEMBERED {
            self.seen.push(request);
        } else {
            self.seen[self.oldest] = request;
            self.oldest = (self.oldest + 1) % REMEMBERED;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Pid = Pid::from_raw(10);
    const OTHER: Pid = Pid::from_raw(11);

    #[test]
    fn an_id_is_new_once_for_each_sender() {
        let mut replay = Replay::default();
        assert!(replay.is_new(ONE, 7));
        assert!(!replay.is_new(ONE, 7));
        assert!(replay.is_new(OTHER, 7));
        assert!(!replay.is_new(OTHER, 7));
    }

    #[test]
    fn no_sequence_of_ids_locks_a_peer_out() {
        let mut replay = Replay::default();
        assert!(replay.is_new(ONE, u64::MAX));
        for id in 0..10 * REMEMBERED as u64 {
            assert!(replay.is_new(ONE, id), "{id}");
            assert!(!replay.is_new(ONE, id), "{id}");
        }
        assert_eq!(replay.seen.len(), REMEMBERED);
        assert!(replay.is_new(ONE, u64::MAX), "forgotten, not kept for ever");
    }
}
