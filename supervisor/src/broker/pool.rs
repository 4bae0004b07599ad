//! Threads for what may wait, so that nobody else does. Bounded: so many at work, so many waiting for one.
//!
//! They are started when needed, by the thread that serves, and hold what it holds: exactly the child's capabilities, every
//! signal blocked. One that hangs for ever costs its place and nothing else; nobody waits for it at the end.

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A system call or two, and the walk of a path.
const STACK: usize = 128 * 1024;

type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// There is no room for another job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Threads, their work and what came of it.
pub(crate) struct Pool<T> {
    shared: Arc<Shared<T>>,
    most: usize,
    /// How many jobs may wait for a thread.
    waiting: usize,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    work: Condvar,
    done: EventFd,
}

struct State<T> {
    jobs: VecDeque<Job<T>>,
    results: Vec<T>,
    threads: usize,
    idle: usize,
    is_over: bool,
}

impl<T> Shared<T> {
    /// A job that panics unwinds outside the lock, so what the lock guards is whole.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Pool<T> {
    /// No thread yet, `most` at a time; as many as `waiting` jobs may wait for one.
    pub fn new(most: usize, waiting: usize) -> Result<Self, Errno> {
        Ok(Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State {
                    jobs: VecDeque::new(),
                    results: Vec::new(),
                    threads: 0,
                    idle: 0,
                    is_over: false,
                }),
                work: Condvar::new(),
                done: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
            }),
            most,
            waiting,
        })
    }

    /// Has `job` done by somebody else. What it yields is among [`Pool::results`] some time.
    pub fn submit(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<(), Full> {
        let mut state = self.shared.lock();
        if state.jobs.len() >= self.waiting {
            return Err(Full);
        }
        if state.jobs.len() >= state.idle && state.threads < self.most {
            match self.start() {
                Ok(()) => state.threads += 1,
                Err(_) if state.threads == 0 => return Err(Full),
                Err(_) => {}
            }
        }
        state.jobs.push_back(Box::new(job));
        drop(state);
        self.shared.work.notify_one();
        Ok(())
    }

    fn start(&self) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        std::thread::Builder::new()
            .name("slow".to_owned())
            .stack_size(STACK)
            .spawn(move || work(&shared))
            .map(drop)
    }

    /// What was done since the last time; makes the descriptor unreadable.
    pub fn results(&self) -> Vec<T> {
        // Before the results are taken: whoever adds one later makes it readable again.
        let _was_readable = self.shared.done.read();
        std::mem::take(&mut self.shared.lock().results)
    }
}

impl<T> AsFd for Pool<T> {
    /// Readable when there are [`Pool::results`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.done.as_fd()
    }
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_over = true;
        state.jobs.clear();
        drop(state);
        self.shared.work.notify_all();
    }
}

fn work<T>(shared: &Shared<T>) {
    if sys::signals::block_all().is_err() {
        return;
    }
    let mut state = shared.lock();
    loop {
        if state.is_over {
            return;
        }
        match state.jobs.pop_front() {
            Some(job) => {
                drop(state);
                let result = job();
                state = shared.lock();
                state.results.push(result);
                // Full only after 2⁶⁴ results that nobody fetched.
                let _told = shared.done.write(1);
            }
            None => {
                state.idle += 1;
                state = shared
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::sync::mpsc::channel;

    const THREADS: usize = 4;
    const QUEUE: usize = 64;
    const WAITING: usize = 1024;

    fn fetch(pool: &Pool<u32>, count: usize) -> Vec<u32> {
        let mut all = Vec::new();
        while all.len() < count {
            let mut fds = [PollFd::new(pool.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::NONE).unwrap();
            all.extend(pool.results());
        }
        all.sort_unstable();
        all
    }

    #[test]
    fn one_that_hangs_holds_nobody_up() {
        let pool = Pool::new(2, WAITING).unwrap();
        let (release, wait) = channel::<()>();
        pool.submit(move || {
            let _released = wait.recv();
            0
        })
        .unwrap();
        for number in 1..=20 {
            pool.submit(move || number).unwrap();
        }
        assert_eq!(fetch(&pool, 20), (1..=20).collect::<Vec<_>>());
        release.send(()).unwrap();
        assert_eq!(fetch(&pool, 1), [0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let pool = Pool::new(1, WAITING).unwrap();
        let (release, wait) = channel::<()>();
        let (started, running) = channel();
        pool.submit(move || {
            started.send(()).unwrap();
            let _released = wait.recv();
            0
        })
        .unwrap();
        running.recv().unwrap();
        for number in 0..WAITING as u32 {
            pool.submit(move || number).unwrap();
        }
        assert_eq!(pool.submit(|| 1), Err(Full));
        release.send(()).unwrap();
        assert_eq!(fetch(&pool, WAITING + 1).len(), WAITING + 1);
        pool.submit(|| 7).unwrap();
        assert_eq!(fetch(&pool, 1), [7]);
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<T: Send + 'static>(slow: &Pool<T>, count: usize) -> Vec<T> {
        let mut results = Vec::new();
        while results.len() < count {
            let mut fds = [PollFd::new(slow.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::from(20_000u16)), Ok(1));
            results.extend(slow.results());
        }
        results
    }

    #[test]
    fn jobs_are_done_while_others_hang() {
        let slow = Pool::new(THREADS, QUEUE).unwrap();
        let (release, hang) = channel::<()>();
        let hang = Arc::new(Mutex::new(hang));
        for number in 0..THREADS - 1 {
            let hang = Arc::clone(&hang);
            slow.submit(move || {
                // Ends when the sender is gone.
                let _ended = lock(&hang).recv();
                1000 + number
            })
            .unwrap();
        }
        for number in 0..40 {
            slow.submit(move || number).unwrap();
        }
        let mut done = wait(&slow, 40);
        done.sort_unstable();
        assert_eq!(done, (0..40).collect::<Vec<_>>());
        drop(release);
        assert_eq!(wait(&slow, THREADS - 1).len(), THREADS - 1);
    }

    /// Of the calling thread: what it can do, and which signals reach it.
    fn powers() -> (u64, u64) {
        let status = sys::status::Status::own().unwrap();
        (status.capabilities().unwrap(), status.blocked().unwrap())
    }

    #[test]
    fn threads_have_the_powers_of_the_one_that_serves_and_no_signals() {
        let serve = || {
            sys::caps::restrict_thread(sys::caps::CapSet::EMPTY).unwrap();
            let slow = Pool::new(THREADS, QUEUE).unwrap();
            slow.submit(powers).unwrap();
            (powers(), wait(&slow, 1).remove(0))
        };
        let (own, aside) = std::thread::spawn(serve).join().unwrap();
        assert_eq!(own.0, 0);
        assert_eq!(aside.0, own.0);
        // All but SIGKILL, SIGSTOP and the two or three that the C library keeps for itself.
        assert_eq!(aside.1 | 1 << 8 | 1 << 18 | 7 << 31, u64::MAX);
    }

    #[test]
    fn when_all_threads_hang_the_queue_is_bounded() {
        let slow = Pool::new(THREADS, QUEUE).unwrap();
        let (release, hang) = channel::<()>();
        let hang = Arc::new(Mutex::new(hang));
        let mut taken = 0;
        for number in 0..THREADS + QUEUE + 10 {
            let hang = Arc::clone(&hang);
            let job = move || {
                let _ended = lock(&hang).recv();
                number
            };
            taken += usize::from(slow.submit(job).is_ok());
        }
        assert!((QUEUE..=QUEUE + THREADS).contains(&taken), "{taken}");
        drop(release);
        assert_eq!(wait(&slow, taken).len(), taken);
    }
}
