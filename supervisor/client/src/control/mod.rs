//! The daemon's client: one handle for the life of a program, over however many connections and daemons that takes.

mod backoff;
mod error;
mod events;
mod session;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use protocol::control::{
    AutoRestart, ControlRequest, DesiredState, DesiredStates, Finding, Findings, JobAnswer,
    LifecycleState, LifecycleStatus, Status, Workers,
};
use protocol::{Value, from_value};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::wire::Broken;
use session::{Link, Session, encode, read, unavailable};

pub use backoff::Backoff;
pub use error::ControlError;
pub use events::{Events, Notice};

/// How a [`PersistentIpcClientHandle`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The worker that is meant where none is named: an id, or a kind; `None`, all of them.
    pub worker: Option<String>,
    /// What this program calls itself.
    pub client: String,
    /// When a lost connection is tried again.
    pub backoff: Backoff,
    /// How long the beginning of a connection may take: 10 seconds.
    pub handshake: Duration,
    /// How long an answer may take, beyond the time that the request itself gives: 10 seconds.
    pub response: Duration,
    /// How many notices wait for a listener that is slow, before the oldest are left out: 1024.
    pub notices: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            worker: None,
            client: concat!("supervisor-client ", env!("CARGO_PKG_VERSION")).to_owned(),
            backoff: Backoff::default(),
            handshake: Duration::from_secs(10),
            response: Duration::from_secs(10),
            notices: 1024,
        }
    }
}

/// What is to be started, and how long that is worth waiting for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartConfig {
    /// The worker, where it is another one than the handle's.
    pub worker: Option<String>,
    /// Further variables of its environment, in the place of those that were said before; `None` leaves those.
    pub env: Option<BTreeMap<String, String>>,
    /// With a deadline, the request waits so long for a connection; without one it fails at once when there is none.
    pub deadline: Option<Duration>,
}

/// Commands a daemon, and goes on doing so when the daemon is replaced.
///
/// Clones share everything; the task behind them ends with the last. A request is never repeated: one that was under way when the
/// connection was lost fails, and whether it was done has to be asked for.
///
/// # Cancelling
/// Of every method here: when its future is dropped, or its time is over, a request that was not sent is never sent, and one that was is
/// done all the same. Its answer is passed over when it comes; no other request takes it for its own.
#[derive(Clone, Debug)]
pub struct PersistentIpcClientHandle {
    path: Arc<Path>,
    options: Arc<Options>,
    link: watch::Receiver<Link>,
    notices: broadcast::WeakSender<Notice>,
    nudges: mpsc::UnboundedSender<()>,
    wanted: Arc<AtomicBool>,
}

impl PersistentIpcClientHandle {
    /// A handle on the daemon whose control socket is there. Connecting begins at once, and is not waited for.
    ///
    /// # Panics
    /// Outside a tokio runtime whose I/O and time are enabled.
    #[must_use]
    pub fn spawn(socket_path: impl Into<PathBuf>, options: Options) -> Self {
        let path: PathBuf = socket_path.into();
        let never = ControlError::IpcUnavailable("not connected yet".to_owned());
        let (link, links) = watch::channel(Link::Down(never));
        let (notices, _) = broadcast::channel(options.notices.max(1));
        let (nudges, nudged) = mpsc::unbounded_channel();
        let handle = Self {
            path: Arc::from(path.as_path()),
            options: Arc::new(options.clone()),
            link: links,
            notices: notices.downgrade(),
            nudges,
            wanted: Arc::new(AtomicBool::new(false)),
        };
        let session = Session {
            path,
            options,
            link,
            notices,
            nudges: nudged,
            wanted: Arc::clone(&handle.wanted),
        };
        tokio::spawn(session.keep());
        handle
    }

    /// Where the daemon is looked for.
    #[must_use]
    pub fn socket_path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a connection on which requests can be made.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(*self.link.borrow(), Link::Up(_))
    }

    /// Waits until there is a connection, so long at most; whether there is one.
    pub async fn wait_for_connected(&self, time: Duration) -> bool {
        let mut link = self.link.clone();
        let connected = link.wait_for(|link| matches!(link, Link::Up(_)));
        matches!(timeout(time, connected).await, Ok(Ok(_)))
    }

    /// Has a lost connection tried now, and all tries counted anew.
    pub fn nudge_reconnect(&self) {
        // The task ends after all handles, or with its runtime.
        let _nudged = self.nudges.send(());
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> Events {
        let notices = self.notices.upgrade();
        // Without a task there is nothing to come.
        let notices = notices.unwrap_or_else(|| broadcast::channel(1).0);
        Events::new(notices.subscribe())
    }

    /// Wants the worker to run, and waits until it does.
    ///
    /// # Errors
    /// [`ControlError`]; without a deadline [`ControlError::IpcUnavailable`] at once when there is no connection.
    pub async fn start(&self, config: StartConfig) -> Result<Workers, ControlError> {
        let until = config.deadline.map(|time| Instant::now() + time);
        let is_other = config.worker.is_some();
        if let Some(until) = until {
            if !self.is_connected() {
                self.nudge_reconnect();
            }
            let mut link = self.link.clone();
            let connected = link.wait_for(|link| matches!(link, Link::Up(_)));
            if timeout_at(until, connected).await.is_err() {
                return Err(self.why_not());
            }
        }
        let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
        let request = ControlRequest::Start {
            worker: config.worker.or_else(|| self.options.worker.clone()),
            env: config.env,
            deadline_ms: rest.map(milliseconds),
        };
        let started = read(self.request(request).await?, from_value)?;
        if !is_other {
            self.wanted.store(true, Ordering::Relaxed);
        }
        Ok(started)
    }

    /// Wants the worker not to run, and waits until its processes are gone.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn stop(&self) -> Result<Workers, ControlError> {
        let request = ControlRequest::Stop {
            worker: self.options.worker.clone(),
            grace_ms: None,
        };
        let stopped = read(self.request(request).await?, from_value)?;
        self.wanted.store(false, Ordering::Relaxed);
        Ok(stopped)
    }

    /// Whether the worker runs.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn is_running(&self) -> Result<bool, ControlError> {
        Ok(self.get_state().await? == LifecycleState::Running)
    }

    /// How the worker is.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn get_state(&self) -> Result<LifecycleState, ControlError> {
        Ok(self.ask_lifecycle_status().await?.state)
    }

    /// How the worker is, in more words. Without a connection it is made up of what was last known: `Stopped`, or `RecoveryPending`
    /// when the worker is wanted.
    ///
    /// # Errors
    /// [`ControlError`], but for there being no connection.
    pub async fn get_lifecycle_status(&self) -> Result<LifecycleStatus, ControlError> {
        match self.ask_lifecycle_status().await {
            Err(ControlError::IpcUnavailable(detail)) => Ok(self.made_up(detail)),
            told => told,
        }
    }

    async fn ask_lifecycle_status(&self) -> Result<LifecycleStatus, ControlError> {
        let worker = self.options.worker.clone();
        let request = ControlRequest::GetLifecycleStatus { worker };
        let status: LifecycleStatus = read(self.request(request).await?, from_value)?;
        self.wanted.store(status.desired, Ordering::Relaxed);
        Ok(status)
    }

    fn made_up(&self, detail: String) -> LifecycleStatus {
        let desired = self.wanted.load(Ordering::Relaxed);
        LifecycleStatus {
            state: match desired {
                true => LifecycleState::RecoveryPending,
                false => LifecycleState::Stopped,
            },
            desired,
            reason: None,
            restart_attempt: 0,
            detail: Some(detail),
            synthesized: true,
        }
    }

    /// Has the worker started again when it ends; what `config` leaves out stays as it is.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn enable_auto_restart(
        &self,
        config: Option<AutoRestart>,
    ) -> Result<(), ControlError> {
        let worker = self.options.worker.clone();
        let config = config.unwrap_or_default();
        let request = ControlRequest::EnableAutoRestart { worker, config };
        self.request(request).await.map(drop)
    }

    /// Has it stay ended.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn disable_auto_restart(&self) -> Result<(), ControlError> {
        let worker = self.options.worker.clone();
        let request = ControlRequest::DisableAutoRestart { worker };
        self.request(request).await.map(drop)
    }

    /// What is wanted of the worker, or of each where the handle means several.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn get_desired_state(&self) -> Result<Vec<DesiredState>, ControlError> {
        let mut workers = Vec::new();
        let mut after = None;
        loop {
            let worker = self.options.worker.clone();
            let request = ControlRequest::GetDesiredState { worker, after };
            let states: DesiredStates = read(self.request(request).await?, from_value)?;
            workers.extend(states.workers);
            after = states.more;
            if after.is_none() {
                break;
            }
        }
        let wanted = workers.iter().any(|state| state.running);
        self.wanted.store(wanted, Ordering::Relaxed);
        Ok(workers)
    }

    /// What about this machine or account is not as it should be.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn validate_setup(&self) -> Result<Vec<Finding>, ControlError> {
        let request = self.request(ControlRequest::ValidateSetup {});
        let findings: Findings = read(request.await?, from_value)?;
        Ok(findings.findings)
    }

    /// How the daemon and all its workers are, however many answers that takes.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn status(&self) -> Result<Status, ControlError> {
        let mut whole: Option<Status> = None;
        let mut after = None;
        loop {
            let worker = self.options.worker.clone();
            let request = ControlRequest::Status { worker, after };
            let page: Status = read(self.request(request).await?, from_value)?;
            after = page.more.clone();
            match &mut whole {
                None => whole = Some(page),
                Some(whole) => whole.workers.extend(page.workers),
            }
            if let (None, Some(whole)) = (&after, &mut whole) {
                whole.more = None;
                return Ok(whole.clone());
            }
        }
    }

    /// Gives a job to a free worker, and waits until it is done or wants input: so long as it takes, or has to take.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn run(
        &self,
        job: Value,
        deadline: Option<Duration>,
        queue: Option<Duration>,
    ) -> Result<JobAnswer, ControlError> {
        let request = ControlRequest::Run {
            worker: self.options.worker.clone(),
            job,
            deadline_ms: deadline.map(milliseconds),
            queue_ms: queue.map(milliseconds),
            sid: None,
        };
        read(self.request(request).await?, from_value)
    }

    /// Gives a session what it waits for, or with `None` asks for its result.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn continue_session(
        &self,
        sid: impl Into<String>,
        input: Option<Value>,
    ) -> Result<JobAnswer, ControlError> {
        let request = ControlRequest::Continue {
            sid: sid.into(),
            input,
            deadline_ms: None,
        };
        read(self.request(request).await?, from_value)
    }

    /// Makes any request, and gives the data of its answer.
    ///
    /// # Errors
    /// [`ControlError::IpcUnavailable`] at once when there is no connection, and when it is lost before the answer came;
    /// [`ControlError::VersionMismatch`] as long as the daemon speaks another version; [`ControlError::Timeout`];
    /// [`ControlError::Refused`] and [`ControlError::UnknownRequest`] by the daemon.
    pub async fn request(&self, request: ControlRequest) -> Result<Value, ControlError> {
        let link = self.link.borrow().clone();
        let caller = match link {
            Link::Up(caller) => caller,
            Link::Down(why) => return Err(why),
        };
        let time = patience(&request, self.options.response);
        let asked = caller.ask(|id| encode(id, request));
        let answer = match time {
            None => asked.await,
            Some(time) => match timeout(time, asked).await {
                Ok(answer) => answer,
                Err(_) => return Err(ControlError::Timeout),
            },
        };
        let answer = answer?.map_err(|broken: Broken| unavailable(&broken))?;
        answer.outcome.map_err(ControlError::from)
    }

    /// Why there is no connection.
    fn why_not(&self) -> ControlError {
        match &*self.link.borrow() {
            Link::Down(why) => why.clone(),
            Link::Up(_) => ControlError::Timeout,
        }
    }
}

/// How long an answer is waited for: as long as what is asked for may take, and `response` for the rest. A job takes as long as it takes.
fn patience(request: &ControlRequest, response: Duration) -> Option<Duration> {
    let and = |time: Option<u64>| Some(response.saturating_add(Duration::from_millis(time?)));
    match request {
        ControlRequest::Run {
            deadline_ms,
            queue_ms,
            ..
        } => and(deadline_ms.map(|time| time.saturating_add(queue_ms.unwrap_or(0)))),
        ControlRequest::Continue { deadline_ms, .. } => and(*deadline_ms),
        ControlRequest::Start { deadline_ms, .. } => and(deadline_ms.or(Some(0))),
        ControlRequest::Stop { grace_ms, .. } | ControlRequest::Restart { grace_ms, .. } => {
            and(grace_ms.or(Some(0)))
        }
        _ => Some(response),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
