//! A worker's client: jobs and sessions over its endpoint.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use protocol::pool::{PoolRequest, PoolResponse, VERSION, Welcome};
use protocol::{Fault, FaultCode, Numbered, from_value};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::shared::{Handle, Shared};
use crate::wire::{self, Broken, Wire};

/// How long opening a connection and its handshake may take together.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long an answer may take that needs no job to be done.
const RESPONSE: Duration = Duration::from_secs(10);

/// What most requests have room in.
const USUAL: usize = 256;

/// The number of the handshake.
const FIRST: u64 = 1;

/// Why a worker did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// There is nobody to connect to.
    #[error("connect: {0}")]
    Connect(ErrorKind),
    /// The request could not be sent: what `write` says, or that it is longer than a line may be.
    #[error("write: {0}")]
    IoWrite(String),
    /// The connection broke, or was closed, before the answer came.
    #[error("read: {0}")]
    IoRead(Broken),
    /// What came is not the protocol.
    #[error("not an answer: {0}")]
    ResponseParse(String),
    /// What is recorded about workers cannot be read.
    #[error("the registry cannot be read: {0}")]
    RegistryCorrupted(String),
    /// A worker could not be started.
    #[error("no worker could be started: {0}")]
    Spawn(String),
    /// The handshake failed: the other side closed the connection, or refused.
    #[error("handshake: {0}")]
    Handshake(String),
    /// There is no such session, or the worker forgot it.
    #[error("there is no session {sid}")]
    SessionNotFound {
        /// Its name.
        sid: String,
    },
    /// The worker speaks another version than this client.
    #[error("version {client} of the client, version {server} of the worker")]
    VersionMismatch {
        /// What this client speaks.
        client: u32,
        /// What the worker speaks.
        server: u32,
    },
    /// The answer did not come in time. One that comes later is passed over.
    #[error("no answer in time")]
    Timeout,
    /// The worker is at work.
    #[error("the worker is busy: {0}")]
    Busy(String),
}

/// A worker that can be asked. Clones share the connection, which is closed with the last of them.
///
/// Any number of requests may be under way at once: answers find them by their numbers, and one that was given up, by dropping its
/// future or by a timeout, leaves nothing behind for the next.
#[derive(Clone, Debug)]
pub struct PoolClient {
    connection: Arc<Handle>,
    welcome: Arc<Welcome>,
    timeout: Option<Duration>,
}

impl PoolClient {
    /// Connects to a worker's endpoint and shakes hands, as one act: there is no client for which both did not succeed, within 10
    /// seconds together.
    ///
    /// # Cancelling
    /// Leaves no connection behind.
    ///
    /// # Errors
    /// [`PoolError::Connect`], [`PoolError::VersionMismatch`], [`PoolError::Handshake`], [`PoolError::ResponseParse`],
    /// [`PoolError::Timeout`].
    ///
    /// # Panics
    /// Outside a tokio runtime whose I/O and time are enabled.
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, PoolError> {
        Self::connect_within(path, HANDSHAKE).await
    }

    /// The same, within another time.
    ///
    /// # Cancelling
    /// Leaves no connection behind.
    ///
    /// # Errors
    /// As [`PoolClient::connect`].
    ///
    /// # Panics
    /// As [`PoolClient::connect`].
    pub async fn connect_within(path: impl AsRef<Path>, time: Duration) -> Result<Self, PoolError> {
        let deadline = Instant::now() + time;
        let connected = timeout_at(deadline, wire::connect(path.as_ref())).await;
        let stream = match connected.map_err(|_| PoolError::Timeout)? {
            Ok(stream) => stream,
            Err(error) => return Err(PoolError::Connect(error.kind())),
        };
        Self::greet(stream, deadline).await
    }

    /// Shakes hands on a connection that is there, such as one on which a worker has just proven who it is.
    ///
    /// # Cancelling
    /// Closes the connection.
    ///
    /// # Errors
    /// As [`PoolClient::connect`].
    ///
    /// # Panics
    /// As [`PoolClient::connect`].
    pub async fn over(connection: UnixStream, time: Duration) -> Result<Self, PoolError> {
        Self::greet(connection, Instant::now() + time).await
    }

    async fn greet(stream: UnixStream, deadline: Instant) -> Result<Self, PoolError> {
        let wire = Wire::new(stream);
        let mut wire = wire.map_err(|error| PoolError::Connect(error.kind()))?;
        let handshake = PoolRequest::Handshake { version: VERSION };
        let request = encode(FIRST, handshake)?;
        let answer = |line: &[u8]| {
            let answer = PoolResponse::decode(line)?;
            // One without a number is about the connection as a whole.
            Ok(answer.id.is_none_or(|id| id == FIRST).then_some(answer))
        };
        let answer = match timeout_at(deadline, wire.ask(&request, answer)).await {
            Err(_) => return Err(PoolError::Timeout),
            Ok(Err(Broken::Malformed(error))) => {
                return Err(PoolError::ResponseParse(error.to_string()));
            }
            Ok(Err(broken)) => return Err(PoolError::Handshake(broken.to_string())),
            Ok(Ok(answer)) => answer,
        };
        let welcome = match answer.outcome {
            Ok(data) => from_value::<Welcome>(data)
                .map_err(|error| PoolError::ResponseParse(error.to_string()))?,
            Err(fault) => {
                return Err(typed(&fault).unwrap_or(PoolError::Handshake(fault.to_string())));
            }
        };
        if welcome.version != VERSION {
            return Err(PoolError::VersionMismatch {
                client: VERSION,
                server: welcome.version,
            });
        }
        Ok(Self {
            connection: Arc::new(Shared::begin(wire, FIRST + 1)),
            welcome: Arc::new(welcome),
            timeout: None,
        })
    }

    /// The same client, whose requests each wait so long for their answer.
    ///
    /// Without one, what needs no job is waited for 10 seconds; a job that has a deadline, 10 seconds longer than that; and another
    /// job as long as it takes.
    #[must_use]
    pub fn with_timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// What the worker calls itself.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.welcome.service
    }

    /// The version of that.
    #[must_use]
    pub fn service_version(&self) -> &str {
        &self.welcome.service_version
    }

    /// Whether the connection still is one, as far as is known.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.over().is_none()
    }

    /// Asks the worker. What it refuses is an error where there is one for it, and else an answer that is not `ok`, such as that the
    /// job failed.
    ///
    /// # Cancelling
    /// When the future is dropped, or its time is over, a request that was not sent is never sent. One that was sent is done all the
    /// same: a job goes on, and what it came to can be asked for with [`PoolRequest::Continue`] by whoever chose the session's name.
    /// The answer is passed over when it comes; no other request takes it for its own.
    ///
    /// # Errors
    /// [`PoolError::SessionNotFound`], [`PoolError::Busy`], [`PoolError::VersionMismatch`], [`PoolError::Timeout`];
    /// [`PoolError::IoWrite`] when it is too long for a line; whatever ended the connection, for every request that was under way
    /// and every later one.
    ///
    /// # Panics
    /// Outside a tokio runtime whose time is enabled.
    pub async fn send_request(&self, request: PoolRequest) -> Result<PoolResponse, PoolError> {
        if let Some(broken) = self.connection.over() {
            return Err(lost(broken));
        }
        let time = self.timeout.or_else(|| patience(&request));
        let asked = self.connection.ask(|id| encode(id, request));
        let answer = match time {
            None => asked.await,
            Some(time) => timeout(time, asked).await.map_err(|_| PoolError::Timeout)?,
        };
        let answer = answer?.map_err(|broken| lost(&broken))?;
        match answer.error().and_then(typed) {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }
}

/// How long an answer is usually waited for.
fn patience(request: &PoolRequest) -> Option<Duration> {
    match request {
        PoolRequest::Run { deadline_ms, .. } | PoolRequest::Continue { deadline_ms, .. } => {
            deadline_ms.map(|time| Duration::from_millis(time).saturating_add(RESPONSE))
        }
        _ => Some(RESPONSE),
    }
}

fn encode(id: u64, req: PoolRequest) -> Result<Vec<u8>, PoolError> {
    let mut line = Vec::with_capacity(USUAL);
    match (Numbered { id, req }).encode(&mut line) {
        Ok(()) => Ok(line),
        Err(error) => Err(PoolError::IoWrite(error.to_string())),
    }
}

/// The error of its own that a refusal has, if any.
fn typed(fault: &Fault) -> Option<PoolError> {
    let message = || fault.message.clone();
    match fault.code {
        FaultCode::VersionMismatch => Some(PoolError::VersionMismatch {
            client: fault.client.unwrap_or(VERSION),
            server: fault.server.unwrap_or_default(),
        }),
        FaultCode::HandshakeRequired => Some(PoolError::Handshake(message())),
        FaultCode::Busy => Some(PoolError::Busy(message())),
        FaultCode::Spawn => Some(PoolError::Spawn(message())),
        FaultCode::RegistryCorrupted => Some(PoolError::RegistryCorrupted(message())),
        FaultCode::SessionNotFound => Some(PoolError::SessionNotFound {
            sid: fault.sid.clone().unwrap_or_default(),
        }),
        _ => None,
    }
}

fn lost(broken: &Broken) -> PoolError {
    match broken {
        Broken::Malformed(error) => PoolError::ResponseParse(error.to_string()),
        Broken::Write(kind) => PoolError::IoWrite(kind.to_string()),
        Broken::Closed | Broken::Read(_) => PoolError::IoRead(broken.clone()),
    }
}
