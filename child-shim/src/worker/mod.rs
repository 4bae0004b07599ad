//! The side of a worker: a program that is kept by a supervisor, does jobs, and outlives whoever started it.
//!
//! ```no_run
//! use child_shim::worker::{Outcome, Step, Worker};
//! let ending = Worker::inherited()?.serve(|job| match &job.step {
//!     Step::Run(text) => Outcome::Done(text.clone()),
//!     Step::Continue(_) => Outcome::Failed("nothing was asked".to_owned()),
//! })?;
//! # drop(ending); Ok::<(), child_shim::worker::WorkerError>(())
//! ```
//!
//! One thread does the jobs, one at a time, and between them waits for everything: connections, SIGTERM, deadlines. While a job runs
//! the caller's thread does that, so whoever asks meanwhile is answered at once. Nothing that a connection does or fails to do makes
//! another wait, or ends the worker.

mod caller;
mod door;
mod endpoint;
mod probe;
mod serve;
mod sessions;
mod turns;

use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;

use endpoint::Endpoint;

pub use probe::{Challenge, ProbeError, answer, commission};
pub use protocol::Value;
pub use protocol::probe::{Commission, Probe};

/// After so long without a job a worker ends, unless it is told otherwise.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(1800);

/// How long a job has to stop when the worker ends, unless it is told otherwise.
pub const GRACE: Duration = Duration::from_secs(2);

/// A worker that has an endpoint, and does not serve yet.
#[derive(Debug)]
pub struct Worker {
    endpoint: Endpoint,
    commission: Option<Commission>,
    service: String,
    version: String,
    idle_timeout: Option<Duration>,
    grace: Duration,
}

/// What a worker is to do next.
#[derive(Debug)]
#[non_exhaustive]
pub struct Job {
    /// The session that it belongs to. What the program knows of a session it keeps by this name.
    pub sid: String,
    /// What is to be done.
    pub step: Step,
    cancelled: Arc<AtomicBool>,
}

impl Job {
    /// Whether the job shall stop: its time is over, or the worker ends. What it comes to then is thrown away in the one case, and
    /// in the other still answered if it comes soon.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }
}

/// The part of a session that one job is.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The first one.
    Run(Value),
    /// One that [`Outcome::Wait`] asked for, with what was given.
    Continue(Value),
}

/// What a job came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The session is over, with this result.
    Done(Value),
    /// The session wants input; this says what for. At most 64 sessions wait at once: when one more does, the oldest is forgotten.
    Wait(Value),
    /// The session is over without a result, and why.
    Failed(String),
}

/// Why a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A client asked for it.
    Shutdown,
    /// It had no job for long enough.
    Idle,
    /// SIGTERM came.
    Terminated,
}

/// Why there is no worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// `SUPERVISE_WORKER_FD` names no socket that is bound and does not listen yet.
    #[error("this process was not started as a worker")]
    NotAWorker,
    /// What it was told at its start cannot be used.
    #[error("{0}")]
    Probe(#[from] ProbeError),
    /// Something that is needed to serve failed.
    #[error("{operation}: {errno}")]
    Io {
        /// What.
        operation: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

impl WorkerError {
    fn io(operation: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::Io { operation, errno }
    }

    fn of(operation: &'static str, error: &std::io::Error) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Self::Io { operation, errno }
    }
}

impl Worker {
    /// The worker that this process was started as: the endpoint is the socket that `SUPERVISE_WORKER_FD` numbers, and
    /// what it is called comes from the descriptor that `SUPERVISE_WORKER_SECRET_FD` numbers. Both are taken, and their numbers closed:
    /// what this process starts later has neither.
    ///
    /// `SUPERVISE_WORKER_IDLE_MS`, where there is one, is the idle timeout, and not the program's to choose.
    ///
    /// # Errors
    /// [`WorkerError::NotAWorker`]; [`WorkerError::Probe`] when there is something to be read and it cannot be.
    pub fn inherited() -> Result<Self, WorkerError> {
        let number = |name| {
            std::env::var(name)
                .ok()
                .and_then(|value| value.parse().ok())
        };
        let number: RawFd = number("SUPERVISE_WORKER_FD").ok_or(WorkerError::NotAWorker)?;
        let endpoint = Endpoint::inherited(number)?;
        let commission = match commission() {
            Ok(commission) => Some(commission),
            // It can serve, and cannot show who it is.
            Err(ProbeError::NoCommission) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(Self::new(endpoint, commission))
    }

    /// A worker on a socket that is bound to a name and does not listen yet. It is made non-blocking.
    ///
    /// # Errors
    /// [`WorkerError::NotAWorker`] when it is no such socket.
    pub fn on(socket: OwnedFd) -> Result<Self, WorkerError> {
        Ok(Self::new(Endpoint::of(socket)?, None))
    }

    fn new(endpoint: Endpoint, commission: Option<Commission>) -> Self {
        let of = |part: fn(&Commission) -> &String| {
            commission.as_ref().map(part).cloned().unwrap_or_default()
        };
        Self {
            service: of(|commission| &commission.service),
            version: of(|commission| &commission.version),
            endpoint,
            commission,
            idle_timeout: None,
            grace: GRACE,
        }
    }

    /// What it calls itself, where nobody told it.
    #[must_use]
    pub fn named(mut self, service: impl Into<String>, version: impl Into<String>) -> Self {
        if self.commission.is_none() {
            (self.service, self.version) = (service.into(), version.into());
        }
        self
    }

    /// After how long without a job it ends, where whoever started it did not say; zero is never. [`IDLE_TIMEOUT`] if not called.
    #[must_use]
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.idle_timeout = Some(time);
        self
    }

    /// How long a job that runs has to stop when the worker ends; [`GRACE`] if not called.
    #[must_use]
    pub fn grace(mut self, time: Duration) -> Self {
        self.grace = time;
        self
    }

    /// Listens, and does jobs until there is a reason to end. `work` is called on one thread of its own, for one job after the other.
    ///
    /// While it serves, SIGTERM is its own; a program that wants to be told of it looks at what this returns. When a job does not stop
    /// in time this returns all the same, and the job ends with the process. Whoever panics in `work` fails that job alone.
    ///
    /// # Errors
    /// What made serving impossible.
    pub fn serve(
        self,
        work: impl FnMut(Job) -> Outcome + Send + 'static,
    ) -> Result<Ending, WorkerError> {
        serve::serve(self, work)
    }

    /// The operator's word, else the program's, else the usual.
    fn ends_when_idle_for(&self) -> Option<Duration> {
        let told = std::env::var("SUPERVISE_WORKER_IDLE_MS").ok();
        let told = told.and_then(|number| number.parse().ok());
        let time = (told.map(Duration::from_millis))
            .or(self.idle_timeout)
            .unwrap_or(IDLE_TIMEOUT);
        (!time.is_zero()).then_some(time)
    }
}
