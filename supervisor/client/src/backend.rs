//! Handles of workers, for programs that use tokio. What waits is done on the runtime's blocking threads.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use supervisor::launch::Exit;
use supervisor::workers::handle::{self, Error, ProbeFailure, Prober};
use supervisor::workers::identity::{DaemonProcess, Endpoint};
use supervisor::workers::manifest::Manifest;
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;

/// A worker that is the recorded one. Dropping the handle leaves it running.
///
/// Everything that waits for nobody is that of the [blocking handle](handle::BackendHandle): its fields, `is_alive`, `verification`, `exit`.
///
/// # Cancelling
/// A future that is dropped is not waited for, but what it began on another thread ends by itself: a probe or a connection within the
/// probe's deadline, without effect; a shutdown within its timeout, having told the worker to end.
#[derive(Clone, Debug)]
pub struct BackendHandle(Arc<handle::BackendHandle>);

/// A connection to a worker on which both sides proved themselves.
#[derive(Debug)]
pub struct Connection(UnixStream);

impl Connection {
    /// The socket; nothing was said on it since the probe.
    #[must_use]
    pub fn into_inner(self) -> UnixStream {
        self.0
    }
}

impl Deref for BackendHandle {
    type Target = handle::BackendHandle;

    fn deref(&self) -> &handle::BackendHandle {
        &self.0
    }
}

impl From<handle::BackendHandle> for BackendHandle {
    fn from(handle: handle::BackendHandle) -> Self {
        Self(Arc::new(handle))
    }
}

impl BackendHandle {
    /// As [`handle::BackendHandle::probe`].
    ///
    /// # Panics
    /// Outside a tokio runtime, as all of these.
    pub async fn probe(endpoint: &Endpoint, process: &DaemonProcess) -> Option<Self> {
        let (endpoint, process) = (endpoint.clone(), process.clone());
        let probe = move || Prober::default().probe(&endpoint, &process);
        elsewhere(probe).await.ok().map(Self::from)
    }

    /// As [`handle::BackendHandle::probe_with_service`].
    ///
    /// # Errors
    /// [`Error`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn probe_with_service(
        name: &str,
        version: &str,
        endpoint: &Endpoint,
        process: &DaemonProcess,
    ) -> Result<Self, Error> {
        let (name, version) = (name.to_owned(), version.to_owned());
        let (endpoint, process) = (endpoint.clone(), process.clone());
        let probe =
            move || Prober::default().probe_with_service(&name, &version, &endpoint, &process);
        elsewhere(probe).await.map(Self::from)
    }

    /// As [`handle::BackendHandle::probe_manifest`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn probe_manifest(manifest: &Manifest) -> Option<Self> {
        Self::try_from_manifest(manifest).await.ok().flatten()
    }

    /// As [`handle::BackendHandle::try_from_manifest`].
    ///
    /// # Errors
    /// [`Error`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn try_from_manifest(manifest: &Manifest) -> Result<Option<Self>, Error> {
        let manifest = manifest.clone();
        let found = elsewhere(move || Prober::default().try_from_manifest(&manifest)).await?;
        Ok(found.map(Self::from))
    }

    /// A verified connection to the worker, as [`handle::BackendHandle::connect`]. When the future is dropped, its connection is
    /// closed once it is there.
    ///
    /// # Errors
    /// [`Error`]
    ///
    /// # Panics
    /// Outside a tokio runtime whose I/O is enabled.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let handle = Arc::clone(&self.0);
        let stream = elsewhere(move || handle.connect()).await?.into_inner();
        let ready = stream.set_nonblocking(true);
        let stream = ready.and_then(|()| UnixStream::from_std(stream));
        stream.map(Connection).map_err(|error| {
            let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
            interrupted("epoll_ctl", errno)
        })
    }

    /// Ends the worker, as [`handle::BackendHandle::shutdown`]. When the future is dropped it ends all the same, and nobody is told.
    ///
    /// # Errors
    /// [`Error`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn shutdown(self, timeout: Duration) -> Result<Option<Exit>, Error> {
        elsewhere(move || self.0.shutdown_shared(timeout)).await
    }

    /// Kills the worker, as [`handle::BackendHandle::force_kill`].
    ///
    /// # Errors
    /// [`Error`]
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn force_kill(self) -> Result<Option<Exit>, Error> {
        elsewhere(move || self.0.force_kill_shared()).await
    }
}

async fn elsewhere<T: Send + 'static>(
    what: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match spawn_blocking(what).await {
        Ok(done) => done,
        // The runtime is ending.
        Err(_) => Err(interrupted("spawn_blocking", None)),
    }
}

fn interrupted(operation: &'static str, errno: Option<nix::errno::Errno>) -> Error {
    let errno = errno.unwrap_or(nix::errno::Errno::ECANCELED);
    Error::Probe(ProbeFailure::Io { operation, errno })
}
