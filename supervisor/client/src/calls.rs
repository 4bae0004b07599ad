//! Requests that are under way on one connection: who waits for which number. The task that owns the connection has a [`Calls`], and
//! everybody who asks a [`Caller`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use protocol::Answer;
use tokio::sync::{mpsc, oneshot};

use crate::wire::{Broken, Wire};

/// How many given up requests are forgotten at once: not one by one, which would take a message each.
const SWEEP: usize = 64;

/// A request on its way to the task.
#[derive(Debug)]
struct Call {
    id: u64,
    line: Vec<u8>,
    reply: oneshot::Sender<Result<Answer, Broken>>,
}

/// Asks on a connection that a task owns.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    to: mpsc::UnboundedSender<Call>,
    next_id: Arc<AtomicU64>,
}

/// The task's side.
#[derive(Debug)]
pub(crate) struct Calls {
    from: mpsc::UnboundedReceiver<Call>,
    waiting: HashMap<u64, oneshot::Sender<Result<Answer, Broken>>>,
    /// Whether nobody is left who could ask.
    is_abandoned: bool,
}

/// Both sides; the first number to be used.
pub(crate) fn pair(first: u64) -> (Caller, Calls) {
    let (to, from) = mpsc::unbounded_channel();
    let caller = Caller {
        to,
        next_id: Arc::new(AtomicU64::new(first)),
    };
    let calls = Calls {
        from,
        waiting: HashMap::new(),
        is_abandoned: false,
    };
    (caller, calls)
}

impl Caller {
    /// Sends what `encode` makes of a number, and waits for the answer with that number.
    ///
    /// When the future is dropped a request that was not sent is never sent, and the answer to one that was is passed over.
    pub(crate) async fn ask<E>(
        &self,
        encode: impl FnOnce(u64) -> Result<Vec<u8>, E>,
    ) -> Result<Result<Answer, Broken>, E> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let line = encode(id)?;
        let (reply, answer) = oneshot::channel();
        let call = Call { id, line, reply };
        if self.to.send(call).is_err() {
            return Ok(Err(Broken::Closed));
        }
        Ok(answer.await.unwrap_or(Err(Broken::Closed)))
    }
}

impl Calls {
    /// Takes what comes, and sends what is asked. Ready when the connection is of no further use, or nobody is left who could ask.
    pub(crate) fn poll<T>(
        &mut self,
        wire: &mut Wire,
        context: &mut Context<'_>,
        read: impl Fn(&[u8]) -> Result<T, protocol::Error>,
        mut take: impl FnMut(&mut Self, T),
    ) -> Poll<Broken> {
        let mut unsent = None;
        loop {
            match wire.poll_line(context, &read) {
                Poll::Ready(Ok(line)) => {
                    take(self, line);
                    continue;
                }
                Poll::Ready(Err(broken)) => return Poll::Ready(broken),
                Poll::Pending => {}
            }
            // Nothing more is to be read of one who no longer listens.
            if let Some(broken) = unsent {
                return Poll::Ready(broken);
            }
            match self.poll_send(wire, context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => return Poll::Ready(Broken::Closed),
                // What it said before it closed is read first.
                Poll::Ready(Err(broken)) => unsent = Some(broken),
            }
        }
    }

    /// Sends requests, one after the other, as far as the connection has room: what it has no room for can still be given up. Ready
    /// when it broke, or nobody is left who could ask and nobody waits.
    fn poll_send(
        &mut self,
        wire: &mut Wire,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            match wire.poll_said(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(said) => said?,
            }
            if self.is_abandoned {
                return Poll::Ready(Ok(()));
            }
            match self.from.poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => self.is_abandoned = true,
                Poll::Ready(Some(call)) if call.reply.is_closed() => {}
                Poll::Ready(Some(call)) => {
                    if self.waiting.len() >= SWEEP {
                        self.waiting.retain(|_, reply| !reply.is_closed());
                    }
                    wire.say(&call.line);
                    self.waiting.insert(call.id, call.reply);
                }
            }
        }
    }

    /// Gives an answer to whoever waits for it; nobody does any more for one that is late.
    pub(crate) fn answered(&mut self, answer: Answer) {
        let waiting = answer.id.and_then(|id| self.waiting.remove(&id));
        if let Some(reply) = waiting {
            // Whoever gave up in this moment does not want it.
            let _given = reply.send(Ok(answer));
        }
    }

    /// Tells everybody who waits, and everybody who asked meanwhile, that there will be no answer.
    pub(crate) fn end(mut self, reason: &Broken) {
        self.from.close();
        while let Ok(call) = self.from.try_recv() {
            self.waiting.insert(call.id, call.reply);
        }
        for (_, reply) in self.waiting {
            let _told = reply.send(Err(reason.clone()));
        }
    }
}
