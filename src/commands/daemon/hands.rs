//! The processes of workers, for the daemon's loop: started as `supervise run` starts its command, recorded before they run, reached
//! at their endpoints by threads of their own.

use super::birth::{Lawful, session, shown};
use super::ground::{Ground, JOBS};
use super::recorded::Recorded;
use crate::commands::run::Failure;
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use protocol::control::{Finding, StopReason};
use protocol::probe::Commission;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use supervisor::audit::Log;
use supervisor::broker::{Board, Seat};
use supervisor::launch::{Exit, LaunchError, Step, collect};
use supervisor::sandbox::{Kernel, Listener, Tag, inherit};
use supervisor::session::Ending;
use supervisor::sources::{Remembered, Seen};
use supervisor::workers::config::{ExeCheck, Kind, OnSupervisorExit, PoolFile, Speaks};
use supervisor::workers::daemon::{Born, Former, Hands, Happened, Order, Unborn};
use supervisor::workers::handle::Prober;
use supervisor::workers::identity::{
    Birth as Record, DaemonProcess, Endpoint, Executables, Here, Mismatch, fresh,
};
use supervisor::workers::keeper::Given;
use supervisor::workers::lifecycle::Failure as How;
use supervisor::workers::logs::Stream;
use supervisor::workers::manifest::{Manifest, State};
use supervisor::workers::registry::Registry;
use supervisor::workers::stable::{Adoption, Happening, Stable, StartError, Worker, by_need};

/// How many workers are reached at a time.
const REACHING: usize = 4;

/// How long a worker may take to prove who it is.
const PROBE: Duration = Duration::from_millis(500);

/// What a worker has lost with its keeper.
const LOST: &str = "its keeper was killed: what the kernel does not give it is refused, and what it writes is lost (a signal ends it for that, unless it ignores SIGPIPE), until it is restarted";

/// A worker that is to be reached.
struct Call {
    id: String,
    manifest: Box<Manifest>,
    prober: Prober,
}

/// The processes of all workers.
#[derive(Debug)]
pub struct StableHands {
    stable: Stable,
    ground: Ground,
    kernel: Kernel,
    registry: Registry,
    config: PathBuf,
    here: Here,
    members: BTreeMap<String, Member>,
    calls: Sender<Call>,
    happened: Receiver<Happened>,
    bell: Arc<EventFd>,
    board: Arc<Board>,
}

#[derive(Debug)]
struct Member {
    tag: Tag,
    manifest: Manifest,
    prober: Prober,
}

impl StableHands {
    /// Begins with no worker.
    pub fn new(
        stable: Stable,
        ground: Ground,
        registry: Registry,
        config: PathBuf,
        board: Arc<Board>,
    ) -> Result<Self, String> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_flags(flags).map_err(|errno| format!("eventfd: {errno}"))?;
        let bell = Arc::new(bell);
        let (calls, to_call) = channel();
        let (sender, happened) = channel();
        let to_call = Arc::new(Mutex::new(to_call));
        for _ in 0..REACHING {
            let (to_call, sender, bell) = (Arc::clone(&to_call), sender.clone(), Arc::clone(&bell));
            let thread = std::thread::Builder::new().name("reach".to_owned());
            let thread = thread.spawn(move || reach_all(&to_call, &sender, &bell));
            thread.map_err(|error| format!("cannot make a thread: {error}"))?;
        }
        Ok(Self {
            stable,
            ground,
            kernel: Kernel::probe(),
            registry,
            config,
            here: Here::now().map_err(|error| error.to_string())?,
            members: BTreeMap::new(),
            calls,
            happened,
            bell,
            board,
        })
    }

    /// The stable, for what is said to the keeper.
    pub fn stable(&self) -> &Stable {
        &self.stable
    }

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
        let mut recorded = BTreeMap::new();
        for (id, manifest) in left {
            match manifest {
                Ok(manifest) => {
                    if let Some(tag) = tag_of(&manifest) {
                        recorded.insert(tag.number(), manifest);
                    }
                }
                Err(error) => crate::render::warn(format!("worker {id}: {error}")),
            }
        }
        // Those for whom somebody waits are served first, and each before anybody looks closer at any.
        let mut served = Vec::new();
        for given in by_need(given) {
            let tag = given.tag;
            let Some(manifest) = recorded.remove(&tag.number()) else {
                // Begun, and never recorded as running.
                self.end(tag)?;
                continue;
            };
            let id = manifest.id.clone();
            let kind = file
                .kinds
                .iter()
                .find(|kind| kind.name == manifest.service_name);
            let taken = match kind {
                Some(kind) => self.adopt(kind, given, manifest),
                None => Err("its kind is no longer in the pool file".to_owned()),
            };
            match taken {
                Ok(worker) => served.push(worker),
                Err(why) => {
                    crate::render::warn(format!(
                        "worker {id} cannot be taken over, and is ended: {why}"
                    ));
                    self.end(tag)?;
                    self.forget(&id);
                    former.insert(id, Former::Missing(StopReason::Error));
                }
            }
        }
        for (worker, member) in served {
            let id = member.manifest.id.clone();
            former.insert(id, Former::Here(self.know(worker, member)));
        }
        // Recorded, and not held by anybody: the keeper is another one.
        for manifest in recorded.into_values() {
            let id = manifest.id.clone();
            let tag = tag_of(&manifest);
            let found = match self.find_again(file, manifest) {
                Ok(born) => Former::Here(born),
                Err(why) => {
                    crate::render::warn(format!(
                        "worker {id} lost its keeper, and is ended: {why}"
                    ));
                    if let Some(tag) = tag {
                        collect(tag).map_err(|errno| format!("worker {id}: {errno}"))?;
                    }
                    self.forget(&id);
                    Former::Missing(StopReason::ProcessExit)
                }
            };
            former.insert(id, found);
        }
        Ok(former)
    }

    /// A worker that survived its keeper is known by its process alone.
    fn find_again(&mut self, file: &PoolFile, manifest: Manifest) -> Result<Born, String> {
        let mut kinds = file.kinds.iter();
        let kind = kinds.find(|kind| kind.name == manifest.service_name);
        let kind = kind.ok_or("its kind is no longer in the pool file")?;
        if kind.on_supervisor_exit != OnSupervisorExit::Survive {
            return Err("it was not to survive that".to_owned());
        }
        let tag = tag_of(&manifest).ok_or("it has no tag")?;
        let process = manifest.process.as_ref().ok_or("it had not begun")?;
        let prober = prober(kind, &manifest);
        let found = process.find(prober.executables);
        let (held, found) = found.map_err(|mismatch| mismatch.to_string())?;
        let pid = held.pid();
        if !tag.is_on(pid) {
            return Err("its process does not carry its tag".to_owned());
        }
        let endpoint = process.endpoint.as_ref();
        let born = Born {
            pid: u32::try_from(pid).unwrap_or(0),
            instance: process.instance.to_string(),
            endpoint: endpoint.map(|endpoint| shown(&endpoint.path)),
            output: Vec::new(),
            is_reattached: true,
            verified: Some(format!("process by {}", found.rung)),
            degraded: Some(LOST.to_owned()),
        };
        let watched = self.stable.watch(tag, held);
        watched.map_err(|error| error.to_string())?;
        let id = manifest.id.clone();
        let member = Member {
            tag,
            manifest,
            prober,
        };
        self.members.insert(id, member);
        Ok(born)
    }

    fn end(&self, tag: Tag) -> Result<(), String> {
        collect(tag).map_err(|errno| format!("cannot end a worker: {errno}"))?;
        let link = self.stable.link();
        link.forget(tag).map_err(|error| error.to_string())
    }

    /// Nothing of a worker is left: neither what is written down about it nor the name that it was reached by.
    fn forget(&self, id: &str) {
        let endpoint = self.ground.place(id).join(JOBS);
        match std::fs::remove_file(&endpoint) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                crate::render::warn(format!("{}: {error}", endpoint.display()));
            }
            _ => {}
        }
        if let Err(error) = self.registry.remove(id) {
            crate::render::warn(error);
        }
    }

    /// Serves a worker from now on, on the keeper's word alone.
    fn adopt(
        &mut self,
        kind: &Kind,
        given: Given,
        manifest: Manifest,
    ) -> Result<(Worker, Member), String> {
        let no_env = BTreeMap::new();
        let recorded = Recorded::of(&manifest).ok_or("its record is of another version")?;
        let then = recorded.kind(kind);
        let order = Order {
            id: &manifest.id,
            kind: &then,
            env: &no_env,
        };
        let tag = given.tag;
        let (mut files, world) = recorded.sources();
        let lawful = Lawful::read(&self.ground, &order, (&mut files, &world));
        let lawful = lawful.map_err(|failure| failure.message)?;
        let locked = inherit(&lawful.ruleset, &self.kernel, Listener::Wanted);
        let locked = locked.map_err(|error| error.to_string())?;
        let log = Log::create(&self.ground.audit(order.id)).map_err(|error| error.to_string())?;
        let adoption = Adoption {
            ruleset: Arc::clone(&lawful.ruleset),
            capabilities: locked.capabilities,
            closed: locked.closed,
            log,
            session: session(order.id, tag),
            seat: Some(self.seat(order.id).map_err(|errno| errno.to_string())?),
            socket_path: lawful.socket_path(),
            wall: None,
        };
        let worker = self.stable.adopt(given, adoption);
        let worker = worker.map_err(|error| error.to_string())?;
        let prober = prober(kind, &manifest);
        let member = Member {
            tag,
            manifest,
            prober,
        };
        Ok((worker, member))
    }

    /// Finds out whether a worker that is served is the one that was recorded.
    fn know(&mut self, worker: Worker, member: Member) -> Born {
        let process = member.manifest.process.as_ref();
        let verified =
            process.map(
                |process| match process.find_from(&self.here, member.prober.executables) {
                    Ok((_, found)) => format!("process by {}", found.rung),
                    Err(why) => format!("by the keeper alone: {why}"),
                },
            );
        let born = self.born(worker, &member.manifest, true, verified);
        self.members.insert(member.manifest.id.clone(), member);
        born
    }

    fn born(
        &self,
        worker: Worker,
        manifest: &Manifest,
        is_reattached: bool,
        verified: Option<String>,
    ) -> Born {
        let process = manifest.process.as_ref();
        let endpoint = process.and_then(|process| process.endpoint.as_ref());
        let output = [
            (Stream::Output, worker.output),
            (Stream::Errors, worker.errors),
        ];
        let output = output
            .into_iter()
            .filter_map(|(stream, fd)| Some((stream, fd?)));
        Born {
            pid: u32::try_from(worker.pid).unwrap_or(0),
            instance: process.map_or_else(String::new, |process| process.instance.to_string()),
            endpoint: endpoint.map(|endpoint| shown(&endpoint.path)),
            output: output.collect(),
            is_reattached,
            verified,
            degraded: (!worker.has_listener).then(|| {
                "it has no listener: what the kernel does not give it is refused".to_owned()
            }),
        }
    }

    fn begin(&mut self, order: &Order<'_>) -> Result<Born, Unborn> {
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
        let log = log.map_err(|error| unborn(How::Passing, error))?;
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
        let seat = self.seat(order.id);
        let seat = seat.map_err(|errno| unborn(How::Passing, errno))?;
        let ready = lawful
            .ready(order, (&self.kernel, tag), (log, seat), commission.as_ref())
            .map_err(lasting)?;
        // Before it may run.
        let mut manifest = Manifest::new(order.id, &order.kind.name, version, &self.here);
        let recorded = Recorded::new(tag, ready.is_script, order.kind, &files, &world);
        let recorded = recorded.to_value();
        manifest.extra = recorded.map_err(|error| unborn(How::Lasting, error))?;
        let unwritten = |error| unborn(How::Passing, error);
        self.registry.write(&manifest).map_err(unwritten)?;
        let started = self.stable.start(ready.birth);
        let worker = started.map_err(|error| {
            self.forget(order.id);
            not_started(&error)
        })?;
        let record = Record {
            secret: endpoint.is_some().then_some(secret),
            endpoint,
            instance,
            idle_timeout: order.kind.idle_timeout,
            has_cgroup: false,
        };
        let recorded = DaemonProcess::of_child(&worker.process, &ready.executable, record);
        let recorded = recorded
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
        if let Err(why) = recorded {
            // Nobody could find it again. That it has ended is told of nobody.
            let _gone = self.stable.signal(tag, nix::libc::SIGKILL);
            self.forget(order.id);
            return Err(unborn(How::Passing, why));
        }
        let born = self.born(worker, &manifest, false, Some("from its birth".to_owned()));
        let prober = prober(order.kind, &manifest);
        let member = Member {
            tag,
            manifest,
            prober,
        };
        self.members.insert(order.id.to_owned(), member);
        Ok(born)
    }

    /// Where a worker's questions are put.
    fn seat(&self, id: &str) -> Result<Seat, Errno> {
        self.board.seat(id)
    }

    fn on_ended(&mut self, tag: Tag, exit: Exit) -> Option<Happened> {
        let found = self.members.iter().find(|(_, member)| member.tag == tag);
        let worker = found.map(|(id, _)| id.clone())?;
        self.members.remove(&worker);
        self.forget(&worker);
        Some(Happened::Gone { worker, exit })
    }
}

impl Hands for StableHands {
    fn start(&mut self, order: &Order<'_>) -> Result<Born, Unborn> {
        self.begin(order)
    }

    fn ask(&mut self, worker: &str) -> Result<(), Errno> {
        match self.members.get(worker) {
            Some(member) => self.stable.signal(member.tag, nix::libc::SIGTERM),
            None => Ok(()),
        }
    }

    fn kill(&mut self, worker: &str) {
        if let Some(member) = self.members.get(worker) {
            // One that cannot be killed is tried to be killed again.
            let _again = self.stable.signal(member.tag, nix::libc::SIGKILL);
        }
    }

    fn reach(&mut self, worker: &str) {
        if let Some(member) = self.members.get(worker) {
            // The threads end with this process.
            let _sent = self.calls.send(Call {
                id: worker.to_owned(),
                manifest: Box::new(member.manifest.clone()),
                prober: member.prober,
            });
        }
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![
            self.stable.link().as_fd(),
            self.stable.events(),
            self.bell.as_fd(),
        ]
    }

    fn next(&mut self) -> Result<Option<Happened>, String> {
        self.stable.hear().map_err(|error| error.to_string())?;
        loop {
            let next = self.stable.next_happening();
            match next.map_err(|error| error.to_string())? {
                Some(Happening::Stop) => return Ok(Some(Happened::Stop)),
                Some(Happening::Ended { tag, how }) => {
                    let exit = match how {
                        Ok(Ending::Command(exit)) => exit,
                        Ok(Ending::TimedOut | Ending::GuardianLost) | Err(_) => {
                            Exit::Signal(nix::libc::SIGKILL)
                        }
                    };
                    if let Some(happened) = self.on_ended(tag, exit) {
                        return Ok(Some(happened));
                    }
                }
                None => break,
            }
        }
        // EAGAIN: it was not rung.
        let _reset = self.bell.read();
        let Ok(happened) = self.happened.try_recv() else {
            return Ok(None);
        };
        if let Happened::Reached { worker, .. } = &happened
            && let Some(member) = self.members.get_mut(worker)
            && member.manifest.state != State::Ready
        {
            member.manifest.state = State::Ready;
            if let Err(error) = self.registry.write(&member.manifest) {
                crate::render::warn(error);
            }
        }
        Ok(Some(happened))
    }

    fn findings(&self) -> Vec<Finding> {
        crate::setup::findings(&self.kernel, &self.ground.run())
    }

    fn reread(&mut self) -> Result<PoolFile, String> {
        let link = self.stable.link();
        link.reloading().map_err(|error| error.to_string())?;
        let read = super::read(&self.config);
        link.ready().map_err(|error| error.to_string())?;
        read
    }

    fn prepare_upgrade(&mut self, executable: Option<&str>) -> Result<(), String> {
        let own = super::own_program()?;
        let real = |path: &std::path::Path| {
            let found = path.canonicalize();
            found.map_err(|error| format!("{}: {error}", path.display()))
        };
        match executable {
            Some(other) if real(other.as_ref())? != real(&own)? => Err(format!(
                "the keeper starts {}: put the new program there, and say this again",
                own.display()
            )),
            _ => real(&own).map(drop),
        }
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

fn tag_of(manifest: &Manifest) -> Option<Tag> {
    Recorded::of(manifest)?.tag()
}

fn prober(kind: &Kind, manifest: &Manifest) -> Prober {
    let is_script = Recorded::of(manifest).is_some_and(|recorded| recorded.is_script);
    let executables = match kind.exe_check {
        // What was executed is the interpreter, and not what was recorded.
        _ if is_script => Executables::Skip,
        ExeCheck::Require => Executables::Require,
        ExeCheck::Prefer => Executables::Prefer,
        ExeCheck::Skip => Executables::Skip,
    };
    Prober {
        executables,
        deadline: PROBE,
    }
}

/// Reaches workers, until there is nobody who would want it.
fn reach_all(calls: &Mutex<Receiver<Call>>, sender: &Sender<Happened>, bell: &EventFd) {
    loop {
        let call = calls.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(call) = call else {
            return;
        };
        let worker = call.id;
        let process = call.manifest.process.as_ref();
        let instance = process.map_or_else(String::new, |process| process.instance.to_string());
        let reached = call.prober.try_from_manifest(&call.manifest);
        let reached = reached
            .map_err(|error| error.to_string())
            .and_then(|handle| {
                let handle = handle.ok_or("it has no process yet")?;
                let connection = handle.connect().map_err(|error| error.to_string())?;
                Ok((connection.into_inner(), handle.verification().to_string()))
            });
        let happened = match reached {
            Ok((stream, verified)) => Happened::Reached {
                worker,
                instance,
                stream,
                verified,
            },
            Err(why) => Happened::Unreached {
                worker,
                instance,
                why,
            },
        };
        if sender.send(happened).is_err() {
            return;
        }
        // A counter that is full is set already.
        let _set = bell.write(1);
    }
}
