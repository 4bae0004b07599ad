//! A connection that several ask on, each for its own answer, and nobody owns. Whoever waits alone is woken by what comes and reads it
//! itself, since to be told by a task costs a turn of the runtime; where several wait, or nobody does, a task reads for them.
//!
//! So nobody depends on anybody else's being polled: who comes second reads what came for the first, and from then on the task does.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use protocol::Answer;

use crate::wire::{Broken, Wire};

/// One connection, as those who ask see it.
#[derive(Debug)]
pub(crate) struct Shared {
    line: Mutex<Line>,
    waiting: Arc<Waiting>,
    /// That what is waited for on the connection came: [`Waiting`].
    waker: Waker,
    next_id: AtomicU64,
    /// Why nothing can be asked any more.
    over: OnceLock<Broken>,
}

#[derive(Debug)]
struct Line {
    /// Until it is over.
    wire: Option<Wire>,
    /// What there was no room for yet; it can still be given up.
    unsent: VecDeque<(u64, Vec<u8>)>,
}

/// Those who wait. Locked for a moment only, also while the line is.
#[derive(Debug, Default)]
struct Waiting(Mutex<Waiters>);

#[derive(Debug, Default)]
struct Waiters {
    askers: HashMap<u64, Waiter>,
    task: Option<Waker>,
}

#[derive(Debug)]
enum Waiter {
    Asked(Waker),
    Answered(Answer),
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        Self::wake_by_ref(&self);
    }

    /// Something came on the connection, or there is room.
    fn wake_by_ref(self: &Arc<Self>) {
        let waiters = self.waiters();
        let mut askers = waiters.askers.values();
        let woken = match (askers.next(), askers.next()) {
            (Some(Waiter::Asked(asker)), None) => Some(asker.clone()),
            _ => waiters.task.clone(),
        };
        drop(waiters);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Waiting {
    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        locked(&self.0)
    }

    fn wake_task(&self) {
        let task = self.waiters().task.clone();
        task.into_iter().for_each(Waker::wake);
    }

    /// Gives an answer to whoever waits for it, and says whom to wake; nobody does any more for one that is late.
    fn answered(&self, answer: Answer) -> Option<Waker> {
        let mut waiters = self.waiters();
        let waiter = waiters.askers.get_mut(&answer.id?)?;
        match std::mem::replace(waiter, Waiter::Answered(answer)) {
            Waiter::Asked(waker) => Some(waker),
            // The first one holds.
            first @ Waiter::Answered(_) => {
                *waiter = first;
                None
            }
        }
    }
}

impl Shared {
    /// On a connection on which numbers before that were used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn begin(wire: Wire, first: u64) -> Handle {
        let waiting = Arc::new(Waiting::default());
        let shared = Arc::new(Self {
            line: Mutex::new(Line {
                wire: Some(wire),
                unsent: VecDeque::new(),
            }),
            waker: Waker::from(Arc::clone(&waiting)),
            waiting,
            next_id: AtomicU64::new(first),
            over: OnceLock::new(),
        });
        tokio::spawn(Task(Arc::clone(&shared)));
        Handle(shared)
    }

    /// Why nothing can be asked any more, if so.
    pub(crate) fn over(&self) -> Option<&Broken> {
        self.over.get()
    }

    /// Sends what `encode` makes of a number, and waits for the answer with that number.
    ///
    /// When the future is dropped a request that was not sent is never sent, and the answer to one that was is passed over.
    pub(crate) async fn ask<E>(
        &self,
        encode: impl FnOnce(u64) -> Result<Vec<u8>, E>,
    ) -> Result<Result<Answer, Broken>, E> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let line = encode(id)?;
        let asked = Asked {
            shared: self,
            id,
            line: Some(line),
            is_over: false,
        };
        Ok(asked.await)
    }

    /// Takes what came, and sends what there is room for. Afterwards what comes next wakes somebody. Whoever does it for `own` answer
    /// looks for that itself.
    fn go_on(&self, mut line: MutexGuard<'_, Line>, own: Option<u64>) {
        let mut woken = Vec::new();
        let broken = line.go_on(&self.waker, |answer| {
            let is_own = own.is_some() && answer.id == own;
            let waker = self.waiting.answered(answer);
            woken.extend(waker.filter(|_| !is_own));
        });
        drop(line);
        // Whoever is woken may be dropped by that, and then wants the line.
        woken.into_iter().for_each(Waker::wake);
        if let Some(broken) = broken {
            self.end(broken);
        }
    }

    /// Ends it for everybody who waits or will ask, and closes the connection. The first reason holds.
    fn end(&self, reason: Broken) {
        self.over.get_or_init(|| reason);
        let closed = locked(&self.line).wire.take();
        drop(closed);
        let waiters = self.waiting.waiters();
        let woken: Vec<Waker> = (waiters.askers.values())
            .filter_map(|waiter| match waiter {
                Waiter::Asked(waker) => Some(waker.clone()),
                Waiter::Answered(_) => None,
            })
            .chain(waiters.task.clone())
            .collect();
        drop(waiters);
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Line {
    /// Why it is of no further use, if so.
    fn go_on(&mut self, waker: &Waker, mut answered: impl FnMut(Answer)) -> Option<Broken> {
        let Self { wire, unsent } = self;
        let wire = wire.as_mut()?;
        let mut context = Context::from_waker(waker);
        let mut not_sent = None;
        loop {
            match wire.poll_line(&mut context, Answer::decode) {
                Poll::Ready(Ok(answer)) => {
                    answered(answer);
                    continue;
                }
                Poll::Ready(Err(broken)) => return Some(broken),
                Poll::Pending => {}
            }
            // Nothing more is to be read of one who no longer listens.
            if not_sent.is_some() {
                return not_sent;
            }
            // What it said before it closed is read first.
            not_sent = send(wire, unsent, &mut context);
            not_sent.as_ref()?;
        }
    }
}

/// Sends requests, one after the other, as far as there is room. Why that failed, if so.
fn send(
    wire: &mut Wire,
    unsent: &mut VecDeque<(u64, Vec<u8>)>,
    context: &mut Context<'_>,
) -> Option<Broken> {
    loop {
        match wire.poll_said(context) {
            Poll::Pending => return None,
            Poll::Ready(Err(broken)) => return Some(broken),
            Poll::Ready(Ok(())) => {}
        }
        let (_, line) = unsent.pop_front()?;
        wire.say(&line);
    }
}

/// A request that is made when this is polled first.
struct Asked<'a> {
    shared: &'a Shared,
    id: u64,
    /// Until it is made.
    line: Option<Vec<u8>>,
    /// It has come to something.
    is_over: bool,
}

impl Asked<'_> {
    /// What it came to; otherwise `waker` is woken when there is more to be said.
    fn outcome(&self, waker: &Waker) -> Option<Result<Answer, Broken>> {
        let mut waiters = self.shared.waiting.waiters();
        // Whoever ends it afterwards wakes whoever is there by then.
        let over = self.shared.over();
        let answered = waiters.askers.get(&self.id);
        let is_to_wait = over.is_none() && !matches!(answered, Some(Waiter::Answered(_)));
        let before = match is_to_wait {
            true => (waiters.askers).insert(self.id, Waiter::Asked(waker.clone())),
            false => waiters.askers.remove(&self.id),
        };
        // What goes with a waker may want to lock it, too.
        drop(waiters);
        match before {
            Some(Waiter::Answered(answer)) => Some(Ok(answer)),
            _ if is_to_wait => None,
            _ => over.cloned().map(Err),
        }
    }
}

impl Future for Asked<'_> {
    type Output = Result<Answer, Broken>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = self.shared;
        // Before anything is read: who is not there is not answered.
        let mut outcome = self.outcome(context.waker());
        if outcome.is_none() {
            let mut line = locked(&shared.line);
            if let Some(request) = self.line.take() {
                line.unsent.push_back((self.id, request));
            }
            shared.go_on(line, Some(self.id));
            outcome = self.outcome(context.waker());
        }
        self.is_over = outcome.is_some();
        outcome.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut line = locked(&self.shared.line);
        line.unsent.retain(|(id, _)| *id != self.id);
        drop(line);
        let given_up = self.shared.waiting.waiters().askers.remove(&self.id);
        drop(given_up);
        // It may have been the one that was woken by what came.
        self.shared.waiting.wake_task();
    }
}

/// Held by every clone: when it goes, so does the connection.
#[derive(Debug)]
pub(crate) struct Handle(Arc<Shared>);

impl std::ops::Deref for Handle {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.end(Broken::Closed);
    }
}

/// Reads for those who do not, until the connection is over.
struct Task(Arc<Shared>);

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // First: what comes from here on wakes it.
        self.0.waiting.waiters().task = Some(context.waker().clone());
        if self.0.over().is_none() {
            self.0.go_on(locked(&self.0.line), None);
        }
        match self.0.over() {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }
}

/// Also when the runtime ends before its callers do.
impl Drop for Task {
    fn drop(&mut self) {
        self.0.end(Broken::Closed);
    }
}

/// Nothing is half done where a panic could be.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
