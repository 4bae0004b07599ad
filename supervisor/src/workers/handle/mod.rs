//! A worker in the hand: found again by what was recorded of it, spoken to, and ended.
//!
//! In: a record. Out: a [`BackendHandle`], which holds the process by its pidfd and, where the worker speaks with us, a connection on which
//! both sides proved themselves; or the [`Error`] that names the one thing that did not hold.
//!
//! What never happens here: a signal to a number, a connection that was not verified, a wait without a deadline.

mod dialogue;
mod ending;
mod error;
mod wire;

pub use dialogue::{Attested, Spoken};
pub use error::{Error, Impostor, ProbeFailure};

use super::identity::{DaemonProcess, Endpoint, Executables, Found, Held, Mismatch};
use super::manifest::Manifest;
use super::together::{Threads, on_each};
use crate::launch::Exit;
use dialogue::Expected;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a worker is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prober {
    /// What is done about a worker whose executable cannot be read.
    pub executables: Executables,
    /// How long connecting to the endpoint and the whole of the probe may take, together. Finding the process waits for nobody and is not
    /// part of it.
    pub deadline: Duration,
}

/// Executables are required, and the endpoint has 500 ms.
impl Default for Prober {
    fn default() -> Self {
        Self {
            executables: Executables::Require,
            deadline: Duration::from_millis(500),
        }
    }
}

/// By what a handle is of the worker that it says: each step, and the rung of the kernel's ladder that it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// The process.
    pub found: Found,
    /// The connection; `None` for a program that does not speak with us, of which the process is all that is known.
    pub spoken: Option<Spoken>,
}

impl std::fmt::Display for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let found = &self.found;
        write!(f, "process by {}", found.rung)?;
        write!(f, ", start time {}", found.start_time)?;
        write!(f, ", executable {}", found.executable)?;
        write!(f, ", cgroup {}", found.cgroup)?;
        match &self.spoken {
            None => f.write_str(", does not speak with us"),
            Some(spoken) => {
                write!(f, ", secret proven, answers known by {}", spoken.sender)?;
                f.write_str(match spoken.is_listener {
                    true => ", listens itself",
                    false => ", does not listen itself",
                })
            }
        }
    }
}

/// A connection to a worker on which both sides proved themselves.
#[derive(Debug)]
pub struct Connection(UnixStream);

impl Connection {
    /// The socket, blocking; nothing was said on it since `ready`.
    #[must_use]
    pub fn into_inner(self) -> UnixStream {
        self.0
    }

    /// Whether the worker has neither closed it nor said anything.
    fn is_quiet(&self) -> bool {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO) == Ok(0)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A worker that is the recorded one. Dropping the handle leaves it running.
#[derive(Debug)]
pub struct BackendHandle {
    /// What the worker calls itself, or what was recorded where it says nothing.
    pub service_name: String,
    /// In which version.
    pub service_version: String,
    /// What was recorded of it.
    pub daemon_process: DaemonProcess,
    held: Held,
    verification: Verification,
    prober: Prober,
    /// The connection of the probe, until somebody wants it.
    connection: Mutex<Option<Connection>>,
}

impl Prober {
    /// The worker at `endpoint`, if it is the recorded one.
    ///
    /// # Errors
    /// [`Error`]
    pub fn probe(
        self,
        endpoint: &Endpoint,
        process: &DaemonProcess,
    ) -> Result<BackendHandle, Error> {
        self.meet(endpoint, process, None)
    }

    /// The worker at `endpoint`, if it is the recorded one and says that it is this service in this version.
    ///
    /// # Errors
    /// [`Error`]
    pub fn probe_with_service(
        self,
        name: &str,
        version: &str,
        endpoint: &Endpoint,
        process: &DaemonProcess,
    ) -> Result<BackendHandle, Error> {
        self.meet(endpoint, process, Some((name, version)))
    }

    /// The worker of a manifest; `None` where it has no process yet. One that has no endpoint is found by its process alone.
    ///
    /// # Errors
    /// [`Error`]
    pub fn try_from_manifest(self, manifest: &Manifest) -> Result<Option<BackendHandle>, Error> {
        let Some(process) = &manifest.process else {
            return Ok(None);
        };
        let (name, version) = (&manifest.service_name, &manifest.service_version);
        let handle = match &process.endpoint {
            Some(endpoint) => self.meet(endpoint, process, Some((name, version)))?,
            None => {
                let (held, found) = process.find(self.executables)?;
                let verification = Verification {
                    found,
                    spoken: None,
                };
                BackendHandle {
                    service_name: name.clone(),
                    service_version: version.clone(),
                    daemon_process: process.clone(),
                    held,
                    verification,
                    prober: self,
                    connection: Mutex::new(None),
                }
            }
        };
        Ok(Some(handle))
    }

    /// [`Prober::try_from_manifest`] of each, in their order. Several are probed at once: one that is slow to answer makes few others wait.
    #[must_use]
    pub fn try_from_manifests(
        self,
        manifests: &[Manifest],
    ) -> Vec<Result<Option<BackendHandle>, Error>> {
        let mut found = Vec::with_capacity(manifests.len());
        found.resize_with(manifests.len(), || Ok(None));
        let probe = |(at, manifest)| (at, self.try_from_manifest(manifest));
        let all = manifests.iter().enumerate().collect();
        on_each(all, Threads::ToWait, probe, |(at, handle)| {
            found[at] = handle
        });
        found
    }

    fn meet(
        self,
        endpoint: &Endpoint,
        process: &DaemonProcess,
        service: Option<(&str, &str)>,
    ) -> Result<BackendHandle, Error> {
        if process.endpoint.as_ref() != Some(endpoint) {
            let shown = |endpoint: &Endpoint| {
                format!("{} in {}", endpoint.path.display(), endpoint.namespace_id)
            };
            let recorded = process.endpoint.as_ref().map(shown);
            return Err(Error::Identity(Mismatch::Endpoint {
                asked: shown(endpoint),
                recorded: recorded.unwrap_or_else(|| "none".to_owned()),
            }));
        }
        let (held, found) = process.find(self.executables)?;
        let expected = Expected {
            process,
            held: &held,
            endpoint,
            service,
        };
        let (stream, spoken) = expected.meet(Instant::now() + self.deadline)?;
        Ok(BackendHandle {
            service_name: spoken.service_name.clone(),
            service_version: spoken.service_version.clone(),
            daemon_process: process.clone(),
            verification: Verification {
                found,
                spoken: Some(spoken),
            },
            held,
            prober: self,
            connection: Mutex::new(Some(Connection(stream))),
        })
    }
}

impl BackendHandle {
    /// [`Prober::probe`] as by default; `None` for whatever reason.
    #[must_use]
    pub fn probe(endpoint: &Endpoint, process: &DaemonProcess) -> Option<Self> {
        Prober::default().probe(endpoint, process).ok()
    }

    /// [`Prober::probe_with_service`] as by default.
    ///
    /// # Errors
    /// [`Error`]
    pub fn probe_with_service(
        name: &str,
        version: &str,
        endpoint: &Endpoint,
        process: &DaemonProcess,
    ) -> Result<Self, Error> {
        Prober::default().probe_with_service(name, version, endpoint, process)
    }

    /// [`Prober::try_from_manifest`] as by default; `None` for whatever reason.
    #[must_use]
    pub fn probe_manifest(manifest: &Manifest) -> Option<Self> {
        Self::try_from_manifest(manifest).ok().flatten()
    }

    /// [`Prober::try_from_manifest`] as by default.
    ///
    /// # Errors
    /// [`Error`]
    pub fn try_from_manifest(manifest: &Manifest) -> Result<Option<Self>, Error> {
        Prober::default().try_from_manifest(manifest)
    }

    /// By what this is the recorded worker.
    #[must_use]
    pub fn verification(&self) -> &Verification {
        &self.verification
    }

    /// Whether the worker lives. Makes no connection; one that has ended and was not collected is dead.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.held.alive().is_ok()
    }

    /// How it ended, once it has: where it is our child, or was collected by its parent (Linux 6.15).
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.held.exit()
    }

    /// A verified connection to the worker: that of the probe for whoever asks first, then a new one each time, on which everything is
    /// proven anew.
    ///
    /// # Errors
    /// [`Error`]; [`Mismatch::Endpoint`] where the worker has none.
    pub fn connect(&self) -> Result<Connection, Error> {
        self.held.alive()?;
        let kept = self.kept().take();
        if let Some(connection) = kept.filter(Connection::is_quiet) {
            return Ok(connection);
        }
        let Some(endpoint) = &self.daemon_process.endpoint else {
            return Err(Error::Identity(Mismatch::Endpoint {
                asked: "any".to_owned(),
                recorded: "none".to_owned(),
            }));
        };
        let expected = Expected {
            process: &self.daemon_process,
            held: &self.held,
            endpoint,
            service: Some((&self.service_name, &self.service_version)),
        };
        let (stream, _) = expected.meet(Instant::now() + self.prober.deadline)?;
        Ok(Connection(stream))
    }

    fn kept(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pidfd: becomes readable when the worker ends.
impl AsFd for BackendHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.held.as_fd()
    }
}
