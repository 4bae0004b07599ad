//! What callers and the task that owns the connection share: requests, and who waits for them.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use protocol::{OpenRequest, SupervisorResponse};
use socket::Answer;

use crate::Error;

/// One connection, as callers see it.
#[derive(Debug)]
pub(crate) struct Connection(Mutex<State>);

#[derive(Debug)]
struct State {
    next_id: u64,
    /// What was not sent: the task takes one when the socket has room.
    unsent: VecDeque<OpenRequest>,
    waiting: HashMap<u64, Waiting>,
    /// Why nothing can be asked any more.
    over: Option<socket::Error>,
    /// The task, to be told of requests.
    driver: Option<Waker>,
}

/// A request that somebody waits for.
#[derive(Debug)]
enum Waiting {
    Asked(Option<Waker>),
    Answered(Result<OwnedFd, Error>),
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            // Unlike those of whoever may have had the connection before. 53 bits, which every
            // JSON library can count to.
            next_id: RandomState::new().build_hasher().finish() >> 12,
            unsent: VecDeque::new(),
            waiting: HashMap::new(),
            over: None,
            driver: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is half done where a panic could be.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request behind those that wait to be sent. Its answer is the future's.
    pub(crate) fn ask(&self, mut request: OpenRequest) -> Asked<'_> {
        let mut state = self.state();
        request.id = state.next_id;
        state.next_id += 1;
        let asked = Asked {
            connection: self,
            id: request.id,
        };
        state.waiting.insert(request.id, Waiting::Asked(None));
        state.unsent.push_back(request);
        let driver = state.driver.take();
        drop(state);
        wake(driver);
        asked
    }

    /// Has the task woken at the next request, or when nobody is left to make one.
    pub(crate) fn attend(&self, driver: &Waker) {
        self.state().driver = Some(driver.clone());
    }

    /// The next request to be sent.
    pub(crate) fn next_unsent(&self) -> Option<OpenRequest> {
        self.state().unsent.pop_front()
    }

    /// Gives an answer to whoever waits for it. One that nobody waits for, any more or at all, is passed
    /// over, and its descriptors are closed.
    pub(crate) fn answered(&self, answer: Answer) {
        if let Some(id) = answer.response.id() {
            self.settle(id, file(answer));
        }
    }

    /// Says what became of a request.
    pub(crate) fn settle(&self, id: u64, outcome: Result<OwnedFd, Error>) {
        let mut state = self.state();
        if let Some(waiting @ Waiting::Asked(_)) = state.waiting.get_mut(&id) {
            let before = std::mem::replace(waiting, Waiting::Answered(outcome));
            drop(state);
            if let Waiting::Asked(caller) = before {
                wake(caller);
            }
        }
    }

    /// Whether the connection has ended, or nobody can ask any more.
    pub(crate) fn is_over(&self) -> bool {
        self.state().over.is_some()
    }

    /// Ends it for everybody who waits or will ask. The first reason holds.
    pub(crate) fn end(&self, reason: socket::Error) {
        let mut state = self.state();
        state.over.get_or_insert(reason);
        state.unsent.clear();
        let callers: Vec<Waker> = state
            .waiting
            .values_mut()
            .filter_map(|waiting| match waiting {
                Waiting::Asked(caller) => caller.take(),
                Waiting::Answered(_) => None,
            })
            .collect();
        drop(state);
        callers.into_iter().for_each(Waker::wake);
    }

    /// The last who could ask is gone.
    pub(crate) fn abandon(&self) {
        self.end(socket::Error::Closed);
        let driver = self.state().driver.take();
        wake(driver);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The file of an answer, or why there is none.
fn file(answer: Answer) -> Result<OwnedFd, Error> {
    let strange = |detail: &str| socket::Error::Malformed {
        detail: detail.to_owned(),
    };
    match answer.response {
        SupervisorResponse::Granted(_) => {
            let file = answer.fds?.into_iter().next();
            Ok(file.ok_or_else(|| strange("a grant without a descriptor"))?)
        }
        SupervisorResponse::Refused(refused) => Err(Error::Refused(refused)),
        SupervisorResponse::Welcome(_) | SupervisorResponse::Fd(_) => {
            Err(strange("an answer to another question").into())
        }
    }
}

/// A request that was made. Dropping it gives up its answer, and the request if it was not sent.
pub(crate) struct Asked<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Future for Asked<'_> {
    type Output = Result<OwnedFd, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut guard = self.connection.state();
        let state = &mut *guard;
        match (state.waiting.remove(&self.id), &state.over) {
            (Some(Waiting::Answered(outcome)), _) => Poll::Ready(outcome),
            (_, Some(reason)) => Poll::Ready(Err(reason.clone().into())),
            _ => {
                let caller = Some(context.waker().clone());
                state.waiting.insert(self.id, Waiting::Asked(caller));
                Poll::Pending
            }
        }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut state = self.connection.state();
        state.unsent.retain(|request| request.id != self.id);
        // A file that was granted and not taken is closed when nobody is kept waiting by that.
        let given_up = state.waiting.remove(&self.id);
        drop(state);
        drop(given_up);
    }
}
