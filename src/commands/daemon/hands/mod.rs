//! The processes of workers, for the daemon's loop: started as `supervise run` starts its command, recorded before they run, reached
//! at their endpoints by threads of their own.

mod former;
mod making;
mod reaching;

use super::ground::{Ground, JOBS};
use super::pool_file::Kept;
use super::recorded::Recorded;
use nix::errno::Errno;
use nix::sys::eventfd::EventFd;
use protocol::control::Finding;
use reaching::{Call, Callers};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use supervisor::audit::Log;
use supervisor::broker::{Board, Seat};
use supervisor::launch::Exit;
use supervisor::sandbox::{Kernel, Listener, Tag};
use supervisor::session::Ending;
use supervisor::workers::config::{ExeCheck, Kind, PoolFile};
use supervisor::workers::daemon::{Born, Hands, Happened, Order, Unborn};
use supervisor::workers::handle::Prober;
use supervisor::workers::identity::{Executables, Here};
use supervisor::workers::lifecycle::End;
use supervisor::workers::logs::Stream;
use supervisor::workers::manifest::{Manifest, State};
use supervisor::workers::registry::Registry;
use supervisor::workers::stable::{Happening, Stable, Worker};

/// The processes of all workers.
#[derive(Debug)]
pub struct StableHands {
    stable: Stable,
    ground: Ground,
    kernel: Kernel,
    /// Whether workers can have one.
    listener: Listener,
    registry: Registry,
    pool_file: Kept,
    here: Here,
    members: BTreeMap<String, Member>,
    callers: Callers,
    board: Arc<Board>,
}

/// A worker that runs.
#[derive(Debug)]
struct Member {
    tag: Tag,
    manifest: Arc<Manifest>,
    rest: Option<Rest>,
    prober: Prober,
}

/// What a manifest says beside who the worker is. It is many times as much, so it is kept only as long as it is to be written again.
type Rest = serde_json::Value;

/// Takes it out of a manifest. `None`: that is not written again, as the worker is ready, or cannot be reached and never is.
fn rest_of(manifest: &mut Manifest) -> Option<Rest> {
    let rest = std::mem::take(&mut manifest.extra);
    let process = manifest.process.as_ref();
    let becomes_ready =
        manifest.state != State::Ready && process.is_some_and(|process| process.endpoint.is_some());
    becomes_ready.then_some(rest)
}

impl StableHands {
    /// Begins with no worker.
    pub fn new(
        stable: Stable,
        ground: Ground,
        registry: Registry,
        pool_file: Kept,
        board: Arc<Board>,
    ) -> Result<Self, String> {
        Ok(Self {
            stable,
            ground,
            kernel: Kernel::probe(),
            listener: Listener::Wanted,
            registry,
            pool_file,
            here: Here::now().map_err(|error| error.to_string())?,
            members: BTreeMap::new(),
            callers: Callers::begin()?,
            board,
        })
    }

    /// The stable, for what is said to the keeper.
    pub fn stable(&self) -> &Stable {
        &self.stable
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

    fn on_ended(&mut self, tag: Tag, end: End) -> Option<Happened> {
        let found = self.members.iter().find(|(_, member)| member.tag == tag);
        let worker = found.map(|(id, _)| id.clone())?;
        self.members.remove(&worker);
        self.forget(&worker);
        Some(Happened::Gone { worker, end })
    }
}

impl Hands for StableHands {
    fn start(&mut self, order: &Order<'_>) -> Result<Born, Unborn> {
        self.make(order)
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
            self.callers.call(Call {
                id: worker.to_owned(),
                manifest: Arc::clone(&member.manifest),
                prober: member.prober,
            });
        }
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![
            self.stable.link().as_fd(),
            self.stable.events(),
            self.callers.events(),
        ]
    }

    fn next(&mut self) -> Result<Option<Happened>, String> {
        self.stable.hear().map_err(|error| error.to_string())?;
        loop {
            let next = self.stable.next_happening();
            match next.map_err(|error| error.to_string())? {
                Some(Happening::Stop) => return Ok(Some(Happened::Stop)),
                Some(Happening::Ended { tag, how }) => {
                    let end = match how {
                        Ok(Ending::Command(exit)) => End::Itself(exit),
                        Ok(Ending::TimedOut) => End::TimedOut,
                        // Kept workers have none.
                        Ok(Ending::GuardianLost) => End::Itself(Exit::Unknown),
                        Err(why) => End::Unserved(why.to_string()),
                    };
                    if let Some(happened) = self.on_ended(tag, end) {
                        return Ok(Some(happened));
                    }
                }
                None => break,
            }
        }
        let Some(happened) = self.callers.next() else {
            return Ok(None);
        };
        if let Happened::Reached { worker, .. } = &happened
            && let Some(member) = self.members.get_mut(worker)
            && let Some(rest) = member.rest.take()
        {
            let manifest = Arc::make_mut(&mut member.manifest);
            (manifest.state, manifest.extra) = (State::Ready, rest);
            if let Err(error) = self.registry.write(manifest) {
                crate::render::warn(error);
            }
            manifest.extra = Rest::Null;
        }
        Ok(Some(happened))
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = crate::setup::findings(&self.kernel, &self.ground.run());
        findings.extend(super::own_unit::findings(&self.pool_file.config));
        findings
    }

    fn reread(&mut self) -> Result<PoolFile, String> {
        let link = self.stable.link();
        link.reloading().map_err(|error| error.to_string())?;
        let read = self.pool_file.read(|file| {
            let named = Ground::of(&file.daemon)?;
            self.ground.is_same(&named)
        });
        link.ready().map_err(|error| error.to_string())?;
        read
    }

    fn prepare_upgrade(&mut self, executable: Option<&str>) -> Result<(), String> {
        let own = super::own_program()?;
        let real = |path: &Path| {
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

/// A process of the worker that the manifest records, as the daemon's loop is told of it; nobody is known to hear it.
fn born(manifest: &Manifest, pid: i32) -> Born {
    let process = manifest.process.as_ref();
    let endpoint = process.and_then(|process| process.endpoint.as_ref());
    Born {
        pid: u32::try_from(pid).unwrap_or(0),
        instance: process.map_or_else(String::new, |process| process.instance.to_string()),
        endpoint: endpoint.map(|endpoint| super::birth::shown(&endpoint.path)),
        output: Vec::new(),
        is_reattached: false,
        verified: None,
        degraded: None,
    }
}

/// The same of one that is served.
fn born_of(worker: Worker, manifest: &Manifest) -> Born {
    let output = [
        (Stream::Output, worker.output),
        (Stream::Errors, worker.errors),
    ];
    let heard = |(stream, fd): (Stream, Option<OwnedFd>)| Some((stream, fd?));
    Born {
        output: output.into_iter().filter_map(heard).collect(),
        ..born(manifest, worker.pid)
    }
}

/// Where decisions about a worker are recorded and told of, and where its questions are put.
fn desk(ground: &Ground, board: &Arc<Board>, id: &str) -> Result<(Log, Seat), String> {
    let mut log = Log::create(&ground.audit(id)).map_err(|error| error.to_string())?;
    log.tell(Box::new(board.announcer(id)));
    let seat = board.seat(id).map_err(|errno| errno.to_string())?;
    Ok((log, seat))
}

/// How it is made sure that who answers for the worker is the one that was recorded.
fn prober(kind: &Kind, recorded: &Recorded) -> Prober {
    let executables = match kind.exe_check {
        // What was executed is the interpreter, and not what was recorded.
        _ if recorded.is_script => Executables::Skip,
        ExeCheck::Require => Executables::Require,
        ExeCheck::Prefer => Executables::Prefer,
        ExeCheck::Skip => Executables::Skip,
    };
    Prober {
        executables,
        deadline: reaching::PROBE,
    }
}
