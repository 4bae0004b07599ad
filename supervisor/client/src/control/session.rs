//! The task that keeps a connection to the daemon: it connects, listens until the connection is lost, and tries again.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use protocol::control::{
    ControlRequest, ControlResponse, DesiredStates, FromDaemon, Hello, Subscribed, VERSION,
};
use protocol::{Numbered, Value, from_value};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::timeout;

use super::backoff::random;
use super::events::Heard;
use super::{ControlError, Notice, Options};
use crate::calls::{self, Caller, Calls};
use crate::wire::{self, Broken, Wire};

/// The numbers of the requests with which a connection begins; those of others come after them.
const HELLO: u64 = 1;
const DESIRED: u64 = 2;
const SUBSCRIBE: u64 = 3;

/// Whether the daemon can be asked.
#[derive(Clone, Debug)]
pub(super) enum Link {
    Up(Caller),
    Down(ControlError),
}

/// What the task needs.
pub(super) struct Session {
    pub(super) path: PathBuf,
    pub(super) options: Options,
    pub(super) link: watch::Sender<Link>,
    pub(super) notices: broadcast::Sender<Notice>,
    /// Somebody wants it tried now. Closed when no handle is left.
    pub(super) nudges: mpsc::UnboundedReceiver<()>,
    pub(super) wanted: Arc<AtomicBool>,
}

/// A connection whose beginning is over.
struct Begun {
    wire: Wire,
    hello: Hello,
    /// The last event there was; none that comes is older.
    seq: u64,
    /// Whether the worker is wanted, where the daemon says so.
    wanted: Option<bool>,
}

/// That no handle is left.
struct Abandoned;

impl Session {
    /// Until no handle is left.
    pub(super) async fn keep(mut self) {
        let _abandoned = self.keep_on().await;
    }

    async fn keep_on(&mut self) -> Result<(), Abandoned> {
        let mut heard = Heard::default();
        let mut failed: u32 = 0;
        loop {
            let beginning = begin(self.path.clone(), self.options.clone(), heard.last());
            let lost = match self.or_abandoned(beginning).await? {
                Err(error) => {
                    failed = failed.saturating_add(1);
                    self.link
                        .send_replace(Link::Down(error.clone().into_absence()));
                    error
                }
                Ok(begun) => {
                    failed = 0;
                    self.listen(begun, &mut heard).await?
                }
            };
            match self.options.backoff.delay(failed, random()) {
                Some(delay) => {
                    if self.nudged_within(delay).await? {
                        failed = 0;
                    }
                }
                None => {
                    self.tell(Notice::GaveUp(lost));
                    self.nudges.recv().await.ok_or(Abandoned)?;
                    failed = 0;
                }
            }
        }
    }

    fn tell(&self, notice: Notice) {
        // Nobody may be listening.
        let _told = self.notices.send(notice);
    }

    /// Waits for a nudge, so long at most; whether one came.
    async fn nudged_within(&mut self, time: Duration) -> Result<bool, Abandoned> {
        match timeout(time, self.nudges.recv()).await {
            Err(_) => Ok(false),
            Ok(nudge) => nudge.map(|()| true).ok_or(Abandoned),
        }
    }

    /// What `acting` comes to, if that is before no handle is left. What is nudged for meanwhile is being done.
    async fn or_abandoned<T>(&mut self, acting: impl Future<Output = T>) -> Result<T, Abandoned> {
        let mut acting = pin!(acting);
        poll_fn(|context| match self.poll_abandoned(context) {
            Poll::Ready(()) => Poll::Ready(Err(Abandoned)),
            Poll::Pending => acting.as_mut().poll(context).map(Ok),
        })
        .await
    }

    /// Ready when no handle is left; passes over nudges.
    fn poll_abandoned(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.nudges.poll_recv(context) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes requests and gives out what comes, until the connection is lost; why it was.
    async fn listen(&mut self, begun: Begun, heard: &mut Heard) -> Result<ControlError, Abandoned> {
        let Begun {
            mut wire, hello, ..
        } = begun;
        heard.begin(&hello.daemon, begun.seq);
        if let Some(wanted) = begun.wanted {
            self.wanted.store(wanted, Ordering::Relaxed);
        }
        let (caller, mut calls) = calls::pair(SUBSCRIBE + 1);
        self.link.send_replace(Link::Up(caller));
        self.tell(Notice::Connected {
            server: hello.server,
            daemon: hello.daemon,
        });
        let notices = self.notices.clone();
        let take = |calls: &mut Calls, line| match line {
            FromDaemon::Answer(answer) => calls.answered(answer),
            FromDaemon::Event(event) => {
                for notice in heard.take(event) {
                    let _told = notices.send(notice);
                }
            }
        };
        let mut take = take;
        let listening =
            poll_fn(|context| calls.poll(&mut wire, context, FromDaemon::decode, &mut take));
        let broken = self.or_abandoned(listening).await;
        let reason = match &broken {
            Ok(broken) => broken.clone(),
            Err(Abandoned) => Broken::Closed,
        };
        let lost = unavailable(&reason);
        // Nobody asks on it any more, before those who did are told.
        self.link
            .send_replace(Link::Down(lost.clone().into_absence()));
        calls.end(&reason);
        self.tell(Notice::Disconnected(lost.clone()));
        broken.map(|_| lost)
    }
}

pub(super) fn unavailable(broken: &Broken) -> ControlError {
    match broken {
        Broken::Malformed(error) => ControlError::Malformed(error.to_string()),
        broken => ControlError::IpcUnavailable(broken.to_string()),
    }
}

/// Connects, agrees on a version, asks what is wanted, and subscribes: within one time for all.
async fn begin(
    path: PathBuf,
    options: Options,
    last: Option<(String, u64)>,
) -> Result<Begun, ControlError> {
    let time = options.handshake;
    let beginning = async {
        let connected = wire::connect(&path).await;
        let stream =
            connected.map_err(|error| ControlError::IpcUnavailable(error.kind().to_string()))?;
        let wire = Wire::new(stream);
        let mut wire =
            wire.map_err(|error| ControlError::IpcUnavailable(error.kind().to_string()))?;
        let hello = ControlRequest::Hello {
            version: VERSION,
            client: Some(options.client),
        };
        let hello: Hello = read(ask(&mut wire, HELLO, hello).await?, from_value)?;
        if hello.version != VERSION {
            return Err(ControlError::VersionMismatch {
                client: VERSION,
                server: hello.version,
            });
        }
        let wanted = is_wanted(&mut wire, options.worker).await?;
        let last = last.filter(|(daemon, _)| *daemon == hello.daemon);
        let after = last.map(|(_, seq)| seq);
        let subscribe = ControlRequest::Subscribe { after };
        let subscribed: Subscribed = read(ask(&mut wire, SUBSCRIBE, subscribe).await?, from_value)?;
        Ok(Begun {
            wire,
            hello,
            seq: subscribed.seq,
            wanted,
        })
    };
    match timeout(time, beginning).await {
        Ok(begun) => begun,
        Err(_) => Err(ControlError::IpcUnavailable(
            "the daemon did not answer in time".to_owned(),
        )),
    }
}

/// Whether any of the workers that are meant is wanted. `None`: a daemon that has no such worker, yet, cannot say.
async fn is_wanted(wire: &mut Wire, worker: Option<String>) -> Result<Option<bool>, ControlError> {
    let mut after = None;
    loop {
        let worker = worker.clone();
        let desired = ControlRequest::GetDesiredState { worker, after };
        let states: DesiredStates = match ask(wire, DESIRED, desired).await {
            Ok(states) => read(states, from_value)?,
            Err(ControlError::Refused(_) | ControlError::UnknownRequest(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_wanted = states.workers.iter().any(|state| state.running);
        if is_wanted || states.more.is_none() {
            return Ok(Some(is_wanted));
        }
        after = states.more;
    }
}

async fn ask(wire: &mut Wire, id: u64, request: ControlRequest) -> Result<Value, ControlError> {
    let request = encode(id, request)?;
    let answer = |line: &[u8]| {
        let answer = ControlResponse::decode(line)?;
        // One without a number is about the connection as a whole.
        Ok(answer.id.is_none_or(|own| own == id).then_some(answer))
    };
    let asked = wire.ask(&request, answer).await;
    let answer = asked.map_err(|broken| unavailable(&broken))?;
    answer.outcome.map_err(ControlError::from)
}

pub(super) fn encode(id: u64, req: ControlRequest) -> Result<Vec<u8>, ControlError> {
    let mut line = Vec::new();
    match (Numbered { id, req }).encode(&mut line) {
        Ok(()) => Ok(line),
        Err(_) => Err(ControlError::TooLarge),
    }
}

/// What the data of an answer are.
pub(super) fn read<T, E: std::fmt::Display>(
    data: Value,
    as_what: impl FnOnce(Value) -> Result<T, E>,
) -> Result<T, ControlError> {
    as_what(data).map_err(|error| ControlError::Malformed(error.to_string()))
}
