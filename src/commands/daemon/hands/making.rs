//! A worker is made: under its law, and written down before it may run.

use super::super::birth::{Lawful, Ready, shown};
use super::super::recorded::Recorded;
use super::{Member, StableHands, born_of, desk, prober, rest_of};
use crate::commands::run::Failure;
use nix::errno::Errno;
use protocol::probe::Commission;
use std::sync::Arc;
use supervisor::launch::{LaunchError, Step};
use supervisor::sandbox::{Listener, Tag};
use supervisor::sources::{Remembered, Seen};
use supervisor::workers::config::{OnSupervisorExit, Speaks};
use supervisor::workers::daemon::{Born, Order, Unborn};
use supervisor::workers::identity::{Birth, DaemonProcess, Endpoint, Executable, Mismatch, fresh};
use supervisor::workers::lifecycle::Failure as How;
use supervisor::workers::manifest::Manifest;
use supervisor::workers::stable::{StartError, Worker};

impl StableHands {
    pub(super) fn make(&mut self, order: &Order<'_>) -> Result<Born, Unborn> {
        let lasting = |failure: Failure| unborn(How::Lasting, failure.message);
        if let Some(no_tag) = self.kernel.no_tag {
            return Err(unborn(
                How::Lasting,
                format!("workers cannot be told apart here: {no_tag}"),
            ));
        }
        let tag = Tag::random().map_err(|error| unborn(How::Passing, error))?;
        let (mut files, world) = (Remembered::default(), Seen::default());
        let lawful = Lawful::read(&self.ground, order, (&mut files, &world));
        let lawful = lawful.map_err(lasting)?;
        let (instance, secret) = fresh().map_err(|error| unborn(How::Passing, error))?;
        let version = env!("CARGO_PKG_VERSION");
        let endpoint = (order.kind.speaks == Speaks::Pool).then(|| Endpoint {
            namespace_id: shown(&self.ground.run()),
            path: lawful.endpoint(),
        });
        let commission = endpoint.as_ref().map(|endpoint| Commission {
            secret: secret.clone(),
            instance,
            boot_id: self.here.boot_id.clone(),
            endpoint: shown(&endpoint.path),
            service: order.kind.name.clone(),
            version: version.to_owned(),
        });
        let mut manifest = Manifest::new(order.id, &order.kind.name, version, &self.here);
        let unmade = Unmade {
            order,
            lawful,
            tag,
            commission,
            files,
            world,
        };
        let mut tried = self.try_to_start(&unmade, &mut manifest)?;
        if tried.is_refused_the_listener() && self.listener == Listener::Wanted {
            // It is the same for all that are to come: it is somebody above this process who has it.
            self.listener = Listener::Taken;
            let again = self.try_to_start(&unmade, &mut manifest);
            tried = again.inspect_err(|_| self.forget(order.id))?;
        }
        let Tried {
            worker,
            executable,
            recorded,
        } = tried;
        let worker = worker.map_err(|error| {
            self.forget(order.id);
            not_started(&error)
        })?;
        let record = Birth {
            secret: endpoint.is_some().then_some(secret),
            endpoint,
            instance,
            idle_timeout: order.kind.idle_timeout,
            has_cgroup: false,
        };
        let process = DaemonProcess::of_child(&worker.process, &executable, record);
        let written = process
            .map_err(|error: Mismatch| error.to_string())
            .and_then(|process| {
                manifest.process = Some(process);
                let written = self.registry.write(&manifest);
                written.map_err(|error| error.to_string())?;
                match order.kind.on_supervisor_exit {
                    OnSupervisorExit::Kill => Ok(()),
                    OnSupervisorExit::Survive => {
                        let let_go = self.stable.may_outlive(tag);
                        let_go.map_err(|error| error.to_string())
                    }
                }
            });
        if let Err(why) = written {
            // Nobody could find it again. That it has ended is told of nobody.
            let _gone = self.stable.signal(tag, nix::libc::SIGKILL);
            self.forget(order.id);
            return Err(unborn(How::Passing, why));
        }
        let born = Born {
            verified: Some("from its birth".to_owned()),
            degraded: recorded.degraded.clone(),
            ..born_of(worker, &manifest)
        };
        let member = Member {
            tag,
            prober: prober(order.kind, &recorded),
            rest: rest_of(&mut manifest),
            manifest: Arc::new(manifest),
        };
        self.members.insert(order.id.to_owned(), member);
        Ok(born)
    }

    /// Starts it with the doors that can be had, and writes down how before it may run.
    fn try_to_start(
        &mut self,
        unmade: &Unmade<'_>,
        manifest: &mut Manifest,
    ) -> Result<Tried, Unborn> {
        let Unmade {
            order, lawful, tag, ..
        } = unmade;
        let passing = |error: &dyn std::fmt::Display| unborn(How::Passing, error);
        let desk = desk(&self.ground, &self.board, order.id).map_err(|why| passing(&why))?;
        let doors = (&self.kernel, self.listener);
        let ready = lawful.ready(order, doors, *tag, desk, unmade.commission.as_ref());
        let ready = ready.map_err(|failure| unborn(How::Lasting, failure.message))?;
        let Ready {
            birth,
            executable,
            is_script,
            degraded,
        } = ready;
        let sources = (&unmade.files, &unmade.world);
        let recorded = Recorded::new(*tag, is_script, degraded, order.kind, sources);
        let extra = recorded.to_value();
        manifest.extra = extra.map_err(|error| unborn(How::Lasting, error))?;
        let written = self.registry.write(manifest);
        written.map_err(|error| passing(&error))?;
        Ok(Tried {
            worker: self.stable.start(birth),
            executable,
            recorded,
        })
    }
}

/// A worker that is none yet.
struct Unmade<'o> {
    order: &'o Order<'o>,
    lawful: Lawful,
    tag: Tag,
    commission: Option<Commission>,
    files: Remembered,
    world: Seen,
}

/// What came of starting it.
struct Tried {
    worker: Result<Worker, StartError>,
    executable: Executable,
    recorded: Recorded,
}

impl Tried {
    /// Only one listener can be above a process: another supervisor, or a container runtime, has it.
    fn is_refused_the_listener(&self) -> bool {
        matches!(
            self.worker,
            Err(StartError::Launch(LaunchError::Step {
                step: Step::Seccomp,
                errno: Errno::EBUSY,
            }))
        )
    }
}

fn unborn(how: How, cause: impl std::fmt::Display) -> Unborn {
    let cause = cause.to_string();
    Unborn { how, cause }
}

fn not_started(error: &StartError) -> Unborn {
    let how = match error {
        StartError::Launch(LaunchError::Step {
            step: Step::Exec,
            errno: Errno::EACCES | Errno::ENOENT | Errno::ENOEXEC,
        }) => How::Lasting,
        _ => How::Passing,
    };
    unborn(how, error)
}
