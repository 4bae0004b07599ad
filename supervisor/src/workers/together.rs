//! The same for many workers, on several threads.

use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, available_parallelism, scope};

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// As many as can work at once.
    ToWork,
    /// More: most of them wait for somebody.
    ToWait,
}

/// The most that work.
const WORKING: usize = 4;

/// The most where most of them wait.
const WAITING: usize = 16;

impl Threads {
    fn count(self) -> usize {
        match self {
            Self::ToWork => available_parallelism().map_or(1, usize::from).min(WORKING),
            Self::ToWait => WAITING,
        }
    }
}

/// Begins `work` on each, in their order, and gives `take` what came of it, on this thread, as soon as it is there.
///
/// # Panics
/// When `work` does.
pub fn on_each<T: Send, R: Send>(
    items: Vec<T>,
    threads: Threads,
    work: impl Fn(T) -> R + Sync,
    mut take: impl FnMut(R),
) {
    let threads = threads.count().min(items.len());
    let left = Mutex::new(items.into_iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let (sender, receiver) = channel();
    scope(|scope| {
        for _ in 1..threads {
            let sender = sender.clone();
            let (next, work) = (&next, &work);
            let help = move || {
                while let Some(item) = next() {
                    // There is somebody who takes it as long as there is somebody who helps.
                    let _taken = sender.send(work(item));
                }
            };
            // Where there is no room for a thread, this one does it alone.
            if Builder::new().spawn_scoped(scope, help).is_err() {
                break;
            }
        }
        drop(sender);
        while let Some(item) = next() {
            take(work(item));
            receiver.try_iter().for_each(&mut take);
        }
        receiver.iter().for_each(&mut take);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_is_done_once_and_what_came_of_it_taken() {
        let threads = [Threads::ToWork, Threads::ToWait];
        for (count, threads) in [0, 1, 2, 1000]
            .into_iter()
            .zip(threads.iter().copied().cycle())
        {
            let mut taken = Vec::new();
            let twice = |item| item * 2;
            on_each((0..count).collect(), threads, twice, |twice| {
                taken.push(twice)
            });
            let all: BTreeSet<_> = taken.iter().copied().collect();
            assert_eq!(taken.len(), count);
            assert_eq!(all, (0..count).map(twice).collect());
        }
    }
}
