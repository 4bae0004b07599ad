//! The asynchronous face of the protocol, for programs that use tokio: [`Client`] asks the supervisor of a sandbox for files,
//! [`PoolClient`] gives jobs to a worker, and [`PersistentIpcClientHandle`] commands the daemon that keeps workers.
//!
//! ```no_run
//! # use protocol::{Access, Create, OpenFlags, OpenRequest, RequestedPath};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = supervisor_client::Client::connect().await?;
//! let notes = OpenRequest {
//!     id: 0,
//!     path: RequestedPath::new("/data/notes")?,
//!     access: Access::Read,
//!     flags: OpenFlags::NONE,
//!     create: Create::No,
//!     mode: OpenRequest::MODE,
//!     why: None,
//! };
//! let file = std::fs::File::from(client.open(notes).await?);
//! # drop(file); Ok(())
//! # }
//! ```
//!
//! All requests of a [`Client`] and its clones share one connection, and any number of them may be
//! under way: answers find their requests by id. One task owns the connection, so that nothing a
//! caller does, or stops doing, can leave half a frame on it.
#![forbid(unsafe_code)]

mod backend;
mod calls;
mod connection;
mod control;
mod driver;
mod error;
mod pool;
mod shared;
mod wire;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use protocol::OpenRequest;
use socket::SupervisorSocket;

use crate::connection::Connection;

pub use backend::{BackendHandle, Connection as BackendConnection};
pub use control::{
    Backoff, ControlError, Events, Notice, Options, PersistentIpcClientHandle, StartConfig,
};
pub use error::Error;
pub use pool::{PoolClient, PoolError};
pub use wire::Broken;

/// Asks the supervisor for files. Clones share its connection, which is closed with the last of them.
#[derive(Clone, Debug)]
pub struct Client {
    handle: Arc<Handle>,
    timeout: Option<Duration>,
}

/// Held by every clone: when it goes, so does the connection.
#[derive(Debug)]
struct Handle(Arc<Connection>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Client {
    /// Connects to the supervisor of this sandbox, by the name in `SUPERVISE_SOCKET`.
    ///
    /// The inherited connection is not used: it is shared with other processes, and only one may
    /// have a request under way on it. (`child_shim` takes turns there.)
    ///
    /// Cancelling it leaves no connection behind.
    ///
    /// # Errors
    /// [`Error::NoDoor`] when there is no name; otherwise as [`Client::connect_to`].
    ///
    /// # Panics
    /// As [`Client::from_fd`].
    pub async fn connect() -> Result<Self, Error> {
        let name = std::env::var_os("SUPERVISE_SOCKET").filter(|name| !name.is_empty());
        Self::connect_to(PathBuf::from(name.ok_or(Error::NoDoor)?)).await
    }

    /// Connects to a supervisor of this user.
    ///
    /// Cancelling it leaves no connection behind.
    ///
    /// # Errors
    /// [`socket::Error::PeerRejected`] when another user listens there; what `connect` says.
    ///
    /// # Panics
    /// As [`Client::from_fd`].
    pub async fn connect_to(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        // The kernel has no way to connect to a name without perhaps waiting for it.
        let connecting = tokio::task::spawn_blocking(move || SupervisorSocket::connect(path));
        match connecting.await {
            Ok(connected) => Self::from_fd(OwnedFd::from(connected?)),
            // The runtime is ending.
            Err(_) => Err(socket::Error::Closed.into()),
        }
    }

    /// Takes a connection that no other process, and nobody else in this one, uses. It is made
    /// non-blocking.
    ///
    /// # Errors
    /// What the kernel says to that, and to waiting for it.
    ///
    /// # Panics
    /// Outside a tokio runtime whose I/O is enabled.
    pub fn from_fd(connection: impl Into<OwnedFd>) -> Result<Self, Error> {
        let connection = driver::start(connection.into())?;
        Ok(Self {
            handle: Arc::new(Handle(connection)),
            timeout: None,
        })
    }

    /// The same client, whose requests wait so long for their answer, and for their turn to be sent.
    /// Without one they wait for ever, since the supervisor has its own deadline for whoever decides.
    #[must_use]
    pub fn with_timeout(mut self, time: Duration) -> Self {
        self.timeout = Some(time);
        self
    }

    /// Asks for a file, which is close-on-exec. The request's id is chosen here.
    ///
    /// # Cancelling
    /// When the future is dropped, or its time is over, a request that was not sent is never sent.
    /// One that was sent is considered all the same: it may make or truncate a file. Its answer is
    /// passed over when it comes and its descriptor closed; no other request takes it for its own.
    ///
    /// # Errors
    /// [`Error::Refused`] by the supervisor; [`socket::Error::Timeout`]; whatever ended the
    /// connection, for every request that was under way and every later one.
    ///
    /// # Panics
    /// With a timeout, outside a tokio runtime whose time is enabled.
    pub async fn open(&self, request: OpenRequest) -> Result<OwnedFd, Error> {
        let answer = self.handle.0.ask(request);
        match self.timeout {
            None => answer.await,
            Some(time) => tokio::time::timeout(time, answer)
                .await
                .unwrap_or(Err(Error::Socket(socket::Error::Timeout))),
        }
    }
}
