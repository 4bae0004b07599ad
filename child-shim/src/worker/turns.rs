//! Whose turn it is to serve. Two threads take turns: the one that works, as long as it has no job; and the one that has called
//! [`serve`], while a job runs and somebody wants something.
//!
//! So a job that nobody interrupts is read, done and answered on one thread, and the other one sleeps: to wake a thread and to be
//! woken by it costs more than most of what is said.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;

use super::door::Door;
use super::serve::Serving;
use super::{Ending, Job, Outcome, WorkerError};

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Of the thread that works: no job runs, or it has just begun or ended.
    Worker,
    /// Nobody's: a job runs. Whoever sleeps takes it when there is something to do.
    Nobody,
    /// Of the thread that slept: a job runs.
    Sleeper,
    /// Nobody's, ever again.
    Over,
}

#[derive(Debug)]
struct Turns {
    door: Arc<Door>,
    /// Locked by whose turn it is, also while that one waits for something to do.
    serving: Mutex<Option<Serving>>,
    state: Mutex<State>,
    given: Condvar,
}

#[derive(Debug)]
struct State {
    turn: Turn,
    /// Whoever sleeps was woken, and it was not its turn.
    is_missed: bool,
}

/// How long whoever was woken for nothing is not to be woken again; and so the longest that somebody who wants something while a job runs
/// may wait for it to be noticed.
const NAP: Duration = Duration::from_millis(2);

/// What ended a worker.
type Ended = Result<Ending, WorkerError>;

/// Serves until there is a reason to end. `outcomes` is where a job's outcome goes that somebody else serves meanwhile.
pub(super) fn serve(
    serving: Serving,
    door: Arc<Door>,
    outcomes: Sender<Outcome>,
    work: impl FnMut(Job) -> Outcome + Send + 'static,
) -> Ended {
    let turns = Arc::new(Turns {
        door,
        serving: Mutex::new(Some(serving)),
        state: Mutex::new(State {
            turn: Turn::Worker,
            is_missed: false,
        }),
        given: Condvar::new(),
    });
    let own = Arc::clone(&turns);
    let thread = std::thread::Builder::new().name("job".to_owned());
    let thread = thread.spawn(move || {
        // Also when this thread panics: then the other one does too.
        let _over = Over(Arc::clone(&own));
        own.work(work, &outcomes)
    });
    let thread = thread.map_err(|error| WorkerError::of("clone", &error))?;
    let ended = turns.sleep().or_else(|| {
        let ended = thread.join();
        ended.unwrap_or_else(|panic| resume_unwind(panic))
    });
    // Connections are closed whether or not a job goes on.
    if let Ok(mut serving) = turns.serving.try_lock() {
        drop(serving.take());
    }
    // One of them says how it ended.
    ended.unwrap_or(Err(WorkerError::Io {
        operation: "pthread_join",
        errno: Errno::ESRCH,
    }))
}

/// Says that it is over when it goes.
struct Over(Arc<Turns>);

impl Drop for Over {
    fn drop(&mut self) {
        locked(&self.0.state).turn = Turn::Over;
        self.0.door.ring();
    }
}

impl Turns {
    /// The thread that works. `None`: it has ended without it.
    fn work(
        &self,
        mut work: impl FnMut(Job) -> Outcome,
        outcomes: &Sender<Outcome>,
    ) -> Option<Ended> {
        loop {
            let mut serving = locked(&self.serving);
            let served = serving.as_mut()?;
            let job = match served.run(Serving::has_job) {
                Ok(None) => served.take_job()?,
                Ok(Some(ending)) => return Some(Ok(ending)),
                Err(error) => return Some(Err(error)),
            };
            match self.give_away(served) {
                Ok(()) => drop(serving),
                Err(error) => return Some(Err(error)),
            }
            // A worker outlives a job that panics; what the job had in its hands is its own affair.
            let outcome = catch_unwind(AssertUnwindSafe(|| work(job)))
                .unwrap_or_else(|_| Outcome::Failed("the job panicked".to_owned()));
            self.take_back(outcome, outcomes)?;
        }
    }

    /// Lets whoever sleeps have the turn as soon as something comes.
    fn give_away(&self, serving: &mut Serving) -> Result<(), WorkerError> {
        let was_missed = std::mem::take(&mut locked(&self.state).is_missed);
        // Nobody is woken for what came before. What comes from here on wakes whoever sleeps: either it finds that the turn can be taken, or
        // says that it could not.
        let may_be = was_missed || serving.may_have_left_something();
        let mut is_left = may_be && serving.look()?;
        serving.set_clock()?;
        let mut state = locked(&self.state);
        state.turn = Turn::Nobody;
        is_left |= std::mem::take(&mut state.is_missed);
        drop(state);
        if is_left {
            self.door.ring();
        }
        Ok(())
    }

    /// Has the outcome of the job answered, and takes the turn back. `None`: it is over.
    fn take_back(&self, outcome: Outcome, outcomes: &Sender<Outcome>) -> Option<()> {
        let mut state = locked(&self.state);
        match state.turn {
            Turn::Nobody | Turn::Worker => {
                state.turn = Turn::Worker;
                drop(state);
                locked(&self.serving).as_mut()?.ended(outcome);
                return Some(());
            }
            Turn::Sleeper => {
                outcomes.send(outcome).ok()?;
                self.door.ring();
            }
            Turn::Over => return None,
        }
        while state.turn == Turn::Sleeper {
            state = (self.given.wait(state)).unwrap_or_else(PoisonError::into_inner);
        }
        (state.turn == Turn::Worker).then_some(())
    }

    /// The thread that sleeps. `None`: the other one has ended.
    fn sleep(&self) -> Option<Ended> {
        loop {
            if let Err(errno) = self.door.sleep() {
                return Some(Err(WorkerError::io("epoll_wait")(errno)));
            }
            let mut state = locked(&self.state);
            match state.turn {
                Turn::Over => return None,
                Turn::Nobody => state.turn = Turn::Sleeper,
                Turn::Worker | Turn::Sleeper => {
                    state.is_missed = true;
                    drop(state);
                    // Whoever answers faster than the other thread comes back to wait would wake this one each time. What comes meanwhile
                    // waits to be seen.
                    std::thread::sleep(NAP);
                    continue;
                }
            }
            drop(state);
            let ended = {
                let mut serving = locked(&self.serving);
                let served = serving.as_mut()?;
                served.run(|serving| !serving.is_at_work() || serving.has_job())
            };
            let ended = ended.transpose();
            locked(&self.state).turn = match ended {
                None => Turn::Worker,
                Some(_) => Turn::Over,
            };
            self.given.notify_one();
            if ended.is_some() {
                return ended;
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
