//! The workers of the daemon before: what the keeper gave back, and what is only recorded.

use super::super::birth::{Lawful, session};
use super::super::ground::Ground;
use super::super::recorded::Recorded;
use super::{Member, Rest, StableHands, born, born_of, desk, prober, rest_of};
use protocol::control::StopReason;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use supervisor::broker::Board;
use supervisor::launch::collect;
use supervisor::sandbox::{Kernel, Listener, Tag, inherit};
use supervisor::workers::config::{Kind, OnSupervisorExit, PoolFile};
use supervisor::workers::daemon::{Born, Former, Order};
use supervisor::workers::keeper::{Given, Role};
use supervisor::workers::manifest::Manifest;
use supervisor::workers::stable::{Adoption, Worker, by_need};
use supervisor::workers::together::{Threads, on_each};

/// What a worker has lost with its keeper.
const LOST: &str = "its keeper was killed: what the kernel does not give it is refused, and what it writes is lost (a signal ends it for that, unless it ignores SIGPIPE), until it is restarted";

/// What is recorded of a worker before it has a process.
const NOT_BEGUN: &str = "it had not begun";

/// A worker as it is recorded.
struct Known {
    tag: Tag,
    manifest: Manifest,
    recorded: Recorded,
    rest: Option<Rest>,
}

impl Known {
    /// `None`: it was not written by a daemon like this one.
    fn of(mut manifest: Manifest) -> Option<Self> {
        let recorded = Recorded::of(&manifest)?;
        Some(Self {
            tag: recorded.tag()?,
            rest: rest_of(&mut manifest),
            manifest,
            recorded,
        })
    }

    fn id(&self) -> &str {
        &self.manifest.id
    }

    fn kind<'f>(&self, file: &'f PoolFile) -> Result<&'f Kind, String> {
        let kind = file.kind(&self.manifest.service_name);
        kind.ok_or_else(|| "its kind is no longer in the pool file".to_owned())
    }

    /// As it is kept from now on, and the law that it was started under, whatever became of the files since.
    fn under_its_law(self, ground: &Ground, kind: &Kind) -> Result<(Member, Lawful), String> {
        let prober = prober(kind, &self.recorded);
        let then = self.recorded.kind(kind);
        let order = Order {
            id: &self.manifest.id,
            kind: &then,
            env: &BTreeMap::new(),
        };
        let (mut files, world) = self.recorded.sources();
        let lawful = Lawful::read(ground, &order, (&mut files, &world));
        let lawful = lawful.map_err(|failure| failure.message)?;
        let member = Member {
            tag: self.tag,
            manifest: Arc::new(self.manifest),
            rest: self.rest,
            prober,
        };
        Ok((member, lawful))
    }
}

impl StableHands {
    /// Takes over what an earlier daemon had: what the keeper gave back, and what is only recorded.
    pub fn take_over(
        &mut self,
        file: &PoolFile,
        given: Vec<Given>,
    ) -> Result<BTreeMap<String, Former>, String> {
        let mut former = BTreeMap::new();
        let (removed, left) = self.registry.sift().map_err(|error| error.to_string())?;
        for manifest in removed {
            former.insert(manifest.id, Former::Missing(StopReason::OsRestart));
        }
        let mut known = BTreeMap::new();
        let readable = left.into_iter().filter_map(|(id, manifest)| {
            let warn = |error| crate::render::warn(format!("worker {id}: {error}"));
            manifest.map_err(warn).ok()
        });
        on_each(readable.collect(), Threads::ToWork, Known::of, |worker| {
            known.extend(worker.map(|worker| (worker.tag.number(), worker)));
        });
        // Those for whom somebody waits are served first, and each before anybody looks closer at any.
        let (mut recorded, mut unrecorded) = (Vec::new(), Vec::new());
        for given in by_need(given) {
            match known.remove(&given.tag.number()) {
                Some(worker) => recorded.push((given, worker)),
                None => unrecorded.push(given.tag),
            }
        }
        let (served, unserved) = self.adopt(file, recorded);
        // Begun, and never recorded as running.
        for tag in unrecorded {
            self.end(tag)?;
        }
        for (tag, id, why) in unserved {
            crate::render::warn(format!(
                "worker {id} cannot be taken over, and is ended: {why}"
            ));
            self.end(tag)?;
            self.forget(&id);
            former.insert(id, Former::Missing(StopReason::Error));
        }
        for (id, born) in self.know(served) {
            former.insert(id, Former::Here(born));
        }
        // Recorded, and not held by anybody: the keeper is another one.
        for worker in known.into_values() {
            let (id, tag) = (worker.id().to_owned(), worker.tag);
            let found = match self.find_again(file, worker) {
                Ok(born) => Former::Here(born),
                Err(why) => {
                    crate::render::warn(format!(
                        "worker {id} lost its keeper, and is ended: {why}"
                    ));
                    collect(tag).map_err(|errno| format!("worker {id}: {errno}"))?;
                    self.forget(&id);
                    Former::Missing(StopReason::ProcessExit)
                }
            };
            former.insert(id, found);
        }
        Ok(former)
    }

    fn end(&self, tag: Tag) -> Result<(), String> {
        collect(tag).map_err(|errno| format!("cannot end a worker: {errno}"))?;
        let link = self.stable.link();
        link.forget(tag).map_err(|error| error.to_string())
    }

    /// Serves these from now on, on the keeper's word alone. Returns those that are served, and those that cannot be and why.
    fn adopt(
        &mut self,
        file: &PoolFile,
        workers: Vec<(Given, Known)>,
    ) -> (Vec<Served>, Vec<Unserved>) {
        let (mut served, mut unserved) = (Vec::new(), Vec::new());
        let world = (&self.ground, &self.kernel, &self.board);
        let stable = &mut self.stable;
        let prepare = |(given, worker): (Given, Known)| {
            let id = worker.id().to_owned();
            let degraded = worker.recorded.degraded.clone();
            let listener = match given.fds.iter().any(|held| held.role == Role::Listener) {
                true => Listener::Wanted,
                false => Listener::Taken,
            };
            let prepared = adoption(file, worker, listener, world);
            let prepared = prepared.map(|(adoption, member)| (adoption, member, degraded));
            (given, id, prepared)
        };
        on_each(
            workers,
            Threads::ToWork,
            prepare,
            |(given, id, prepared)| {
                let tag = given.tag;
                let adopted = prepared.and_then(|(adoption, member, degraded)| {
                    let worker = stable.adopt(given, adoption);
                    let worker = worker.map_err(|error| error.to_string())?;
                    Ok((worker, member, degraded))
                });
                match adopted {
                    Ok(worker) => served.push(worker),
                    Err(why) => unserved.push((tag, id, why)),
                }
            },
        );
        (served, unserved)
    }

    /// Finds out whether workers that are served are those that were recorded.
    fn know(&mut self, served: Vec<Served>) -> Vec<(String, Born)> {
        let mut all = Vec::new();
        let (here, members) = (&self.here, &mut self.members);
        let look = |(worker, member, degraded): Served| {
            let process = member.manifest.process.as_ref();
            let verified =
                process.map(
                    |process| match process.find_from(here, member.prober.executables) {
                        Ok((_, found)) => format!("process by {}", found.rung),
                        Err(why) => format!("by the keeper alone: {why}"),
                    },
                );
            (worker, member, degraded, verified)
        };
        on_each(
            served,
            Threads::ToWork,
            look,
            |(worker, member, degraded, verified)| {
                let born = Born {
                    is_reattached: true,
                    verified,
                    degraded,
                    ..born_of(worker, &member.manifest)
                };
                let id = member.manifest.id.clone();
                all.push((id.clone(), born));
                members.insert(id, member);
            },
        );
        all
    }

    /// A worker that survived its keeper is known by its process alone.
    fn find_again(&mut self, file: &PoolFile, worker: Known) -> Result<Born, String> {
        let kind = worker.kind(file)?;
        if kind.on_supervisor_exit != OnSupervisorExit::Survive {
            return Err("it was not to survive that".to_owned());
        }
        let (member, lawful) = worker.under_its_law(&self.ground, kind)?;
        let Member { tag, manifest, .. } = &member;
        let process = manifest.process.as_ref().ok_or(NOT_BEGUN)?;
        let found = process.find(member.prober.executables);
        let (held, found) = found.map_err(|mismatch| mismatch.to_string())?;
        let pid = held.pid();
        if !tag.is_on(pid) {
            return Err("its process does not carry its tag".to_owned());
        }
        let wall = time_left(manifest, &lawful)?;
        let born = Born {
            is_reattached: true,
            verified: Some(format!("process by {}", found.rung)),
            degraded: Some(LOST.to_owned()),
            ..born(manifest, pid)
        };
        let watched = self.stable.watch(*tag, held, wall);
        watched.map_err(|error| error.to_string())?;
        self.members.insert(manifest.id.clone(), member);
        Ok(born)
    }
}

/// A worker that is served, and what it was started without.
type Served = (Worker, Member, Option<String>);

/// A worker that cannot be served, what it is called, and why.
type Unserved = (Tag, String, String);

/// What is needed to go on serving a worker.
fn adoption(
    file: &PoolFile,
    worker: Known,
    listener: Listener,
    (ground, kernel, board): (&Ground, &Kernel, &Arc<Board>),
) -> Result<(Adoption, Member), String> {
    let kind = worker.kind(file)?;
    let (member, lawful) = worker.under_its_law(ground, kind)?;
    let wall = time_left(&member.manifest, &lawful)?;
    let locked = inherit(&lawful.ruleset, kernel, listener);
    let locked = locked.map_err(|error| error.to_string())?;
    let id = &member.manifest.id;
    let (log, seat) = desk(ground, board, id)?;
    let adoption = Adoption {
        ruleset: Arc::clone(&lawful.ruleset),
        capabilities: locked.capabilities,
        closed: locked.closed,
        log,
        session: session(id, member.tag),
        seat: Some(seat),
        socket_path: lawful.socket_path(),
        wall,
    };
    Ok((adoption, member))
}

/// What is left of the time that its law gives a worker, of which some has passed under the daemons before.
fn time_left(manifest: &Manifest, lawful: &Lawful) -> Result<Option<Duration>, String> {
    let process = manifest.process.as_ref().ok_or(NOT_BEGUN)?;
    let Some(wall) = lawful.ruleset.limits().wall else {
        return Ok(None);
    };
    let age = process.age().map_err(|mismatch| mismatch.to_string())?;
    Ok(Some(wall.saturating_sub(age)))
}
