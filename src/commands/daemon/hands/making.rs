//! A worker is made: under its law, and written down before it may run.

use super::super::birth::{Lawful, shown};
use super::super::recorded::Recorded;
use super::{Member, StableHands, born_of, prober};
use crate::commands::run::Failure;
use nix::errno::Errno;
use protocol::probe::Commission;
use std::sync::Arc;
use supervisor::audit::Log;
use supervisor::launch::{LaunchError, Step};
use supervisor::sandbox::Tag;
use supervisor::sources::{Remembered, Seen};
use supervisor::workers::config::{OnSupervisorExit, Speaks};
use supervisor::workers::daemon::{Born, Order, Unborn};
use supervisor::workers::identity::{Birth, DaemonProcess, Endpoint, Mismatch, fresh};
use supervisor::workers::lifecycle::Failure as How;
use supervisor::workers::manifest::Manifest;
use supervisor::workers::stable::StartError;

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
        let log = Log::create(&self.ground.audit(order.id));
        let mut log = log.map_err(|error| unborn(How::Passing, error))?;
        log.tell(Box::new(self.board.announcer(order.id)));
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
        let seat = self.board.seat(order.id);
        let seat = seat.map_err(|errno| unborn(How::Passing, errno))?;
        let ready = lawful
            .ready(order, (&self.kernel, tag), (log, seat), commission.as_ref())
            .map_err(lasting)?;
        // Before it may run.
        let mut manifest = Manifest::new(order.id, &order.kind.name, version, &self.here);
        let recorded = Recorded::new(tag, ready.is_script, order.kind, &files, &world);
        let extra = recorded.to_value();
        manifest.extra = extra.map_err(|error| unborn(How::Lasting, error))?;
        let unwritten = |error| unborn(How::Passing, error);
        self.registry.write(&manifest).map_err(unwritten)?;
        let started = self.stable.start(ready.birth);
        let worker = started.map_err(|error| {
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
        let process = DaemonProcess::of_child(&worker.process, &ready.executable, record);
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
            ..born_of(worker, &manifest)
        };
        let member = Member {
            tag,
            prober: prober(order.kind, &recorded),
            manifest: Arc::new(manifest),
        };
        self.members.insert(order.id.to_owned(), member);
        Ok(born)
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
