//! Work that may wait, done aside.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// At most so many threads. A file server that never answers holds one of them; when all are held, what is slow waits for
/// its deadline, and what is not slow never comes here.
const THREADS: usize = 4;

/// At most so many jobs that no thread has begun.
const QUEUE: usize = 64;

/// A thread does little, and its stack counts.
const STACK: usize = 128 * 1024;

type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// A few threads, started when they are first needed.
///
/// They are started by the thread that serves, and so have its capabilities, which the kernel keeps for each thread: what
/// they may open is what it may open.
pub(super) struct Slow<T> {
    shared: Arc<Shared<T>>,
    results: Receiver<T>,
    sender: Sender<T>,
    threads: usize,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    work: Condvar,
    /// Readable while there are results.
    ready: EventFd,
}

struct State<T> {
    queue: VecDeque<Job<T>>,
    idle: usize,
    is_over: bool,
}

impl<T: Send + 'static> Slow<T> {
    pub fn new() -> Result<Self, Errno> {
        let (sender, results) = channel();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let state = State {
            queue: VecDeque::new(),
            idle: 0,
            is_over: false,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                work: Condvar::new(),
                ready: EventFd::from_value_and_flags(0, flags)?,
            }),
            results,
            sender,
            threads: 0,
        })
    }

    /// Readable when there are results.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.ready.as_fd()
    }

    /// Has a job done. Whether it will be: the queue may be full, or no thread to be had.
    pub fn submit(&mut self, job: impl FnOnce() -> T + Send + 'static) -> bool {
        let mut state = lock(&self.shared.state);
        if state.queue.len() >= QUEUE {
            return false;
        }
        let needs_thread = state.idle <= state.queue.len() && self.threads < THREADS;
        if needs_thread {
            let shared = Arc::clone(&self.shared);
            let sender = self.sender.clone();
            let thread = std::thread::Builder::new()
                .name("slow".to_owned())
                .stack_size(STACK)
                .spawn(move || work(&shared, &sender));
            match thread {
                Ok(_) => self.threads += 1,
                Err(_) if self.threads == 0 => return false,
                Err(_) => {}
            }
        }
        state.queue.push_back(Box::new(job));
        drop(state);
        self.shared.work.notify_one();
        true
    }

    /// What is done by now.
    pub fn results(&mut self) -> Vec<T> {
        // Emptied first: what comes after that makes it readable again. EAGAIN: there was nothing.
        let _count = self.shared.ready.read();
        self.results.try_iter().collect()
    }
}

impl<T> Drop for Slow<T> {
    /// Nobody is waited for: a thread may be in a call that never returns.
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.is_over = true;
        state.queue.clear();
        self.shared.work.notify_all();
    }
}

/// No thread panics while it holds the lock.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work<T>(shared: &Shared<T>, results: &Sender<T>) {
    // Signals are the serving thread's.
    if sys::signals::block_all().is_err() {
        return;
    }
    loop {
        let mut state = lock(&shared.state);
        state.idle += 1;
        let mut state = shared
            .work
            .wait_while(state, |state| state.queue.is_empty() && !state.is_over)
            .unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
        let Some(job) = state.queue.pop_front() else {
            return;
        };
        drop(state);
        let result = job();
        // Nobody listens any more; or the counter is at its end, and so readable.
        if results.send(result).is_err() || shared.ready.write(1).is_err_and(|e| e != Errno::EAGAIN)
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    fn wait<T: Send + 'static>(slow: &mut Slow<T>, count: usize) -> Vec<T> {
        let mut results = Vec::new();
        while results.len() < count {
            let mut fds = [PollFd::new(slow.fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::from(20_000u16)), Ok(1));
            results.extend(slow.results());
        }
        results
    }

    #[test]
    fn jobs_are_done_while_others_hang() {
        let mut slow = Slow::new().unwrap();
        let (release, hang) = channel::<()>();
        let hang = Arc::new(Mutex::new(hang));
        for number in 0..THREADS - 1 {
            let hang = Arc::clone(&hang);
            assert!(slow.submit(move || {
                // Ends when the sender is gone.
                let _ended = lock(&hang).recv();
                1000 + number
            }));
        }
        for number in 0..40 {
            assert!(slow.submit(move || number));
        }
        let mut done = wait(&mut slow, 40);
        done.sort_unstable();
        assert_eq!(done, (0..40).collect::<Vec<_>>());
        drop(release);
        assert_eq!(wait(&mut slow, THREADS - 1).len(), THREADS - 1);
    }

    /// Of the calling thread: what it can do, and which signals reach it.
    fn powers() -> (String, String) {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap().trim().to_owned()
        };
        (line("CapEff:"), line("SigBlk:"))
    }

    #[test]
    fn threads_have_the_powers_of_the_one_that_serves_and_no_signals() {
        let serve = || {
            sys::caps::restrict_thread(sys::caps::CapSet::EMPTY).unwrap();
            let mut slow = Slow::new().unwrap();
            assert!(slow.submit(powers));
            (powers(), wait(&mut slow, 1).remove(0))
        };
        let (own, aside) = std::thread::spawn(serve).join().unwrap();
        assert_eq!(own.0, "0000000000000000");
        assert_eq!(aside.0, own.0);
        // All but SIGKILL, SIGSTOP and the two or three that the C library keeps for itself.
        let blocked = u64::from_str_radix(&aside.1, 16).unwrap();
        assert_eq!(blocked | 1 << 8 | 1 << 18 | 7 << 31, u64::MAX);
    }

    #[test]
    fn when_all_threads_hang_the_queue_is_bounded() {
        let mut slow = Slow::new().unwrap();
        let (release, hang) = channel::<()>();
        let hang = Arc::new(Mutex::new(hang));
        let mut taken = 0;
        for number in 0..THREADS + QUEUE + 10 {
            let hang = Arc::clone(&hang);
            let job = move || {
                let _ended = lock(&hang).recv();
                number
            };
            taken += usize::from(slow.submit(job));
        }
        assert!((QUEUE..=QUEUE + THREADS).contains(&taken), "{taken}");
        drop(release);
        assert_eq!(wait(&mut slow, taken).len(), taken);
    }
}
