//! From a kind of worker to a program that is ready to run: policy, environment, sockets, as for `supervise run`.

use super::ground::{Ground, JOBS, bound, make_private};
use crate::args::PolicyArgs;
use crate::commands::run::door::{Confined, Refusals};
use crate::commands::run::found::{
    c_strings, check_approver, environment, find_program, make_directories, pair, pairs,
    socket_path, working_directory,
};
use crate::commands::run::{Failure, Origin, ours};
use crate::law::Law;
use protocol::probe::Commission;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use supervisor::audit::Log;
use supervisor::broker::Seat;
use supervisor::launch::{Command, Orphans};
use supervisor::policy::Ruleset;
use supervisor::sandbox::{Kernel, Listener, Opens, Tag};
use supervisor::sources::{Remembered, Seen};
use supervisor::workers::config::{OnSupervisorExit, Speaks, Variables};
use supervisor::workers::daemon::Order;
use supervisor::workers::identity::Executable;
use supervisor::workers::stable::Birth;

/// The law of a worker, compiled, and where it is.
#[derive(Debug)]
pub struct Lawful {
    law: Law,
    /// What decides.
    pub ruleset: Arc<Ruleset>,
    /// The directory of its own.
    directory: PathBuf,
    tmp: PathBuf,
    place: PathBuf,
    open_files: Option<u64>,
}

/// A worker that can be started.
#[derive(Debug)]
pub struct Ready {
    /// For the stable.
    pub birth: Birth,
    /// What is executed.
    pub executable: Executable,
    /// It is a script: what runs is its interpreter.
    pub is_script: bool,
    /// What it has to do without.
    pub degraded: Option<String>,
}

impl Lawful {
    /// Reads the policy of a worker from `files`, and what it means in this world.
    pub fn read(
        ground: &Ground,
        order: &Order<'_>,
        (files, world): (&mut Remembered, &Seen),
    ) -> Result<Self, Failure> {
        let directory = ground.workers.join(order.id);
        make_private(&directory).map_err(ours)?;
        let directory = directory.canonicalize().map_err(ours)?;
        let tmp = directory.join("tmp");
        let variables = Variables {
            id: order.id,
            directory: &directory,
        };
        let start = order.kind.directory.as_deref();
        let start = start.map(|start| variables.expand(start).into());
        let env = order.kind.env.iter();
        let args = PolicyArgs {
            policy: order.kind.policy.iter().map(OsString::from).collect(),
            // A directory of its own is of no use to whoever may not write it.
            write: vec![directory.as_os_str().to_owned()],
            chdir: Some(start.unwrap_or_else(|| directory.clone())),
            var: vec![pair("WORKER_ID", order.id), pair("WORKER_DIR", &directory)],
            env: env
                .map(|(name, value)| pair(name, variables.expand(value)))
                .collect(),
            ..PolicyArgs::default()
        };
        let mut law = Law::read_from(files, &args, tmp.clone()).map_err(ours)?;
        law.protect(ground.own());
        let ruleset = law.compile_for(world, Some(&ground.audit(order.id)));
        let ruleset = ruleset.map_err(ours)?;
        check_approver(&ruleset)?;
        Ok(Self {
            law,
            ruleset: Arc::new(ruleset),
            place: ground.place(order.id),
            open_files: ground.open_files,
            directory,
            tmp,
        })
    }

    /// What confines it, from its birth on.
    fn confine(
        &self,
        (kernel, listener): (&Kernel, Listener),
        tag: Tag,
    ) -> Result<Confined, Failure> {
        // What confines it names them.
        if Law::wants_tmp(&self.ruleset) {
            make_private(&self.tmp).map_err(ours)?;
        }
        make_directories(&self.ruleset)?;
        let (law, ruleset) = (&self.law, &self.ruleset);
        let mut confined =
            Confined::prepare(law, ruleset, kernel, Some(tag), listener, Refusals::Unheard)?;
        if let Some(soft) = self.open_files {
            confined.limit_open_files(soft).map_err(ours)?;
        }
        Ok(confined)
    }

    /// The name under which its programs reach us when they have no descriptor.
    pub fn socket_path(&self) -> PathBuf {
        socket_path(&self.place)
    }

    /// Where it listens for its jobs.
    pub fn endpoint(&self) -> PathBuf {
        self.place.join(JOBS)
    }

    /// Prepares everything that a start needs. With a commission it gets a socket, bound to its endpoint, and is told who it is.
    pub fn ready(
        &self,
        order: &Order<'_>,
        doors: (&Kernel, Listener),
        tag: Tag,
        (mut log, seat): (Log, Seat),
        commission: Option<&Commission>,
    ) -> Result<Ready, Failure> {
        let confined = self.confine(doors, tag)?;
        make_private(&self.place).map_err(ours)?;
        let cwd = self.law.cwd();
        let directory = working_directory(&self.ruleset, cwd)?;
        let mut caller: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        for (name, value) in order.env {
            caller.retain(|(other, _)| other != name.as_str());
            caller.push((name.into(), value.into()));
        }
        let tmp = Law::wants_tmp(&self.ruleset).then_some(&*self.tmp);
        let socket = self.socket_path();
        let mut environment = environment(&caller, &self.ruleset, &self.law, tmp, &socket);
        let mut set = |name: &str, value: &OsStr| environment.push((name.into(), value.into()));
        set("SUPERVISE_WORKER_ID", order.id.as_ref());
        set("SUPERVISE_WORKER_DIR", self.directory.as_os_str());
        let mut pass = Vec::new();
        if let (Speaks::Pool, Some(commission)) = (order.kind.speaks, commission) {
            set("SUPERVISE_WORKER_FD", "4".as_ref());
            set("SUPERVISE_WORKER_SECRET_FD", "5".as_ref());
            pass = vec![self.listening()?, told(commission)?];
        }
        let environment = confined.adapt(&environment);
        let variables = Variables {
            id: order.id,
            directory: &self.directory,
        };
        let words = order.kind.command.iter();
        let words: Vec<OsString> = words.map(|word| variables.expand(word).into()).collect();
        let program = find_program(&words[0], &environment, cwd, &self.ruleset)?;
        let file = program.file().try_clone().map_err(ours)?;
        let executable = Executable::of(&File::from(file), program.path()).map_err(ours)?;
        let is_script = program.is_executed_by_path();
        let command = Command {
            argv: c_strings(&words)?,
            envp: pairs(&environment)?,
            program,
            working_directory: directory,
            pass,
            streams: [None, None, None],
            terminal: None,
            signal_mask: 0,
            orphans: Orphans::Kill,
        };
        let origin = Origin {
            session: &session(order.id, tag),
            command: &words,
            law: &self.law,
            ruleset: &self.ruleset,
            layers: confined.confinement.layers(),
        };
        origin.record(&mut log)?;
        let birth = Birth {
            command,
            confinement: Arc::clone(&confined.confinement),
            ruleset: Arc::clone(&self.ruleset),
            tag,
            is_bound: order.kind.on_supervisor_exit == OnSupervisorExit::Kill,
            log,
            seat: Some(seat),
            socket_path: socket,
        };
        Ok(Ready {
            birth,
            executable,
            is_script,
            degraded: degraded(&confined, doors),
        })
    }

    /// The socket on which the worker itself will listen.
    fn listening(&self) -> Result<OwnedFd, Failure> {
        let path = self.endpoint();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ours(format!("{}: {error}", path.display())));
            }
            _ => {}
        }
        bound(&path).map_err(|errno| ours(format!("{}: {}", path.display(), errno.desc())))
    }
}

/// What a worker has to do without where somebody above this process has the listener, or the kernel has none.
fn degraded(confined: &Confined, (kernel, listener): (&Kernel, Listener)) -> Option<String> {
    let layers = confined.confinement.layers();
    let can_be_had = listener == Listener::Wanted && kernel.notification;
    if layers.listener || can_be_had {
        return None;
    }
    let why = match (layers.opens, &confined.without) {
        (Opens::Preloaded(_), _) => {
            "a library that it preloads asks for what the kernel does not give it".to_owned()
        }
        (Opens::SocketOnly(_), Some(why)) => {
            format!("what the kernel does not give it is refused ({why})")
        }
        _ => "what the kernel does not give it is refused".to_owned(),
    };
    Some(format!("it has no listener: {why}"))
}

/// What a worker is told about itself, to be read once.
fn told(commission: &Commission) -> Result<OwnedFd, Failure> {
    let (reader, mut writer) = std::io::pipe().map_err(ours)?;
    // One line of far less than a pipe holds.
    writer.write_all(&commission.encode()).map_err(ours)?;
    Ok(reader.into())
}

/// The name of a worker's session in its record.
pub fn session(id: &str, tag: Tag) -> String {
    format!("{id}-{}", tag.short())
}

/// Of a path, for people.
pub fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
