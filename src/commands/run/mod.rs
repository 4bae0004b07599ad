//! `supervise [run]`: one command, in a sandbox, to its end.

pub mod desk;
pub mod door;
mod dry;
pub mod found;
mod terminal;
mod unexecuted;

use crate::amend;
use crate::args::RunArgs;
use crate::commands::learn::ground::OwnText;
use crate::exit;
use crate::law::{Law, LawError};
use crate::places;
use crate::report::{Ended, Loudness, Reporter, Started};
use desk::Desk;
use door::{Confined, Refusals};
use found::{
    c_strings, check_approver, check_standard_streams, environment, find_program, make_directories,
    pairs, socket_path, working_directory,
};
use nix::errno::Errno;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use supervisor::advice::Setting;
use supervisor::audit::{Bytes, Event, Log, Start, Status};
use supervisor::launch::{
    Child, Command, Exit, LaunchError, Orphans, Program, Step, collect, launch,
};
use supervisor::policy::Ruleset;
use supervisor::sandbox::{Confinement, Kernel, Layers, Listener, Opens, Tag};
use supervisor::session::{self, Caller, Ending, Locks, Parts, Place, Session, Signals, Terminal};
use supervisor::witness::{self, Joined, Known, Witness};
use unexecuted::Unexecuted;

/// Why there is an exit status that is not the command's.
#[derive(Debug)]
pub struct Failure {
    /// Ours.
    pub status: u8,
    /// What to say.
    pub message: String,
}

/// A failure of our own.
pub fn ours(message: impl Display) -> Failure {
    Failure {
        status: exit::OURS,
        message: message.to_string(),
    }
}

/// Runs the command and returns its exit status, or ours.
pub fn run(args: &RunArgs) -> ExitCode {
    let loudness = match (args.quiet, args.verbose) {
        (true, _) => Loudness::Quiet,
        (false, true) => Loudness::Verbose,
        (false, false) => Loudness::Usual,
    };
    let mut reporter = match Reporter::open(loudness, args.status_fd) {
        Ok(reporter) => reporter,
        Err(error) => return crate::render::fail(error),
    };
    let status = match supervise(args, &mut reporter) {
        Ok(status) => status,
        Err(failure) => {
            reporter.failed(failure.status, &failure.message);
            failure.status
        }
    };
    if let Err(error) = reporter.finish() {
        // The command has had its run, and its status stands.
        crate::render::warn(error);
    }
    ExitCode::from(status)
}

fn supervise(args: &RunArgs, reporter: &mut Reporter) -> Result<u8, Failure> {
    check_standard_streams()?;
    let signals = Signals::take().map_err(|errno| ours(format!("cannot take signals: {errno}")))?;
    let new_tag = Tag::random().map_err(|error| ours(format!("no random numbers: {error}")))?;
    let id = format!("{}-{}", std::process::id(), new_tag.short());
    let tmp = places::temporary().join(format!("supervise-{id}"));
    // Named from where the operator is, whatever --chdir says.
    let audit = args.audit.as_deref().map(std::path::absolute).transpose();
    let audit = audit.map_err(|error| ours(format!("--audit: {error}")))?;
    // Neither this nor the ruleset is given back piece by piece: the end of the process frees both at once.
    let law: &Law = Box::leak(Box::new(read_law(args, tmp.clone()).map_err(ours)?));
    match session::collect_abandoned(&law.runtime) {
        Ok(0) => {}
        Ok(sessions) => reporter.verbose(format_args!(
            "sessions that were killed and cleaned up after: {sessions}"
        )),
        Err(error) => reporter.warn(format_args!(
            "cannot clean up after a session that was killed: {error}"
        )),
    }
    let ruleset = Arc::new(law.compile(audit.as_deref()).map_err(ours)?);
    std::mem::forget(Arc::clone(&ruleset));
    check_approver(&ruleset)?;
    let kernel = Kernel::probe();
    let tag = kernel.no_tag.is_none().then_some(new_tag);
    let place = Place::create(
        &law.runtime,
        &id,
        tag,
        Law::wants_tmp(&ruleset).then_some(&*tmp),
    )
    .map_err(|error| {
        ours(format!(
            "{error}; XDG_RUNTIME_DIR and TMPDIR say where else sessions can be"
        ))
    })?;
    let run = Run {
        args,
        audit,
        law,
        ruleset: &ruleset,
        place: &place,
        tmp,
        kernel: &kernel,
        tag,
    };
    let result = if args.dry_run {
        dry::run(&run, reporter)
    } else {
        run.to_its_end(signals, reporter)
    };
    match (place.remove(), result) {
        (Err(error), Ok(status)) => {
            reporter.failed(exit::OURS, &error.to_string());
            Ok(if status == 0 { exit::OURS } else { status })
        }
        (Err(error), Err(failure)) => {
            reporter.warn(format_args!("{error}"));
            Err(failure)
        }
        (Ok(()), result) => result,
    }
}

fn read_law(args: &RunArgs, tmp: PathBuf) -> Result<Law, LawError> {
    match &args.text {
        None => Law::read(&args.policy, tmp),
        Some((text, path)) => {
            Law::read_from(&mut OwnText::new(text, path.clone()), &args.policy, tmp)
        }
    }
}

/// A run that is about to be.
struct Run<'a> {
    args: &'a RunArgs,
    /// The file that was named for its record.
    audit: Option<PathBuf>,
    law: &'a Law,
    ruleset: &'a Arc<Ruleset>,
    place: &'a Place,
    /// Where its private temporary directory is, or would be.
    tmp: PathBuf,
    kernel: &'a Kernel,
    tag: Option<Tag>,
}

impl Run<'_> {
    /// The command's environment.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let caller: Vec<_> = std::env::vars_os().collect();
        let socket = socket_path(self.place.directory());
        environment(&caller, self.ruleset, self.law, self.place.tmp(), &socket)
    }

    /// What those who act for it must know.
    fn locks(&self, confinement: &Confinement) -> Result<Locks, Failure> {
        let locks = Locks::of(confinement);
        let locks = locks.map_err(|errno| ours(format!("cannot hold the rulesets: {errno}")))?;
        Ok(match self.args.everything {
            true => locks.recording_everything(),
            false => locks,
        })
    }

    /// What advice is made for.
    fn setting(&self) -> Setting<'_> {
        Setting {
            home: self.law.home(),
            is_stacked: self.law.is_stacked(),
        }
    }

    /// The listener that it is to have.
    fn listener(&self) -> Listener {
        match self.args.trace {
            true => Listener::Watching,
            false => Listener::Wanted,
        }
    }

    /// What confines it.
    fn confined(&self, listener: Listener, refusals: Refusals) -> Result<Confined, Failure> {
        let (law, ruleset) = (self.law, self.ruleset);
        Confined::prepare(law, ruleset, self.kernel, self.tag, listener, refusals)
    }

    /// Everything between a place to run in and the end of the command.
    fn to_its_end(&self, signals: Signals, reporter: &mut Reporter) -> Result<u8, Failure> {
        let (args, law, ruleset) = (self.args, self.law, self.ruleset);
        reporter.warnings(ruleset.warnings());
        reporter.verbose(format_args!("policy: {}", law.describe()));
        make_directories(ruleset)?;
        let directory = working_directory(ruleset, law.cwd())?;
        let environment = self.environment();
        let program = find_program(&args.command[0], &environment, law.cwd(), ruleset)?;
        reporter.verbose(format_args!("program: {}", program.path().display()));
        let (socket, inner) = session::pair().map_err(ours)?;
        let desk = Desk::ready(ruleset, self.place)?;
        let relay = terminal::relay(args.pty, ruleset, reporter)?;
        // Before there is a command that could be refused anything.
        let joined = witness::join(self.kernel);
        let refusals = match joined {
            Ok(_) => Refusals::Heard,
            Err(_) => Refusals::Unheard,
        };
        let command = |listener| -> Result<(Command, Confined), Failure> {
            let confined = self.confined(listener, refusals)?;
            let environment = confined.adapt(&environment);
            let command = Command {
                program: program
                    .try_clone()
                    .map_err(|errno| ours(format!("cannot hold the program: {errno}")))?,
                argv: c_strings(args.command.iter().map(OsString::as_os_str))?,
                envp: pairs(&environment)?,
                working_directory: directory
                    .try_clone()
                    .map_err(|error| ours(format!("cannot hold the working directory: {error}")))?,
                pass: vec![
                    inner
                        .try_clone()
                        .map_err(|error| ours(format!("cannot hold the socket: {error}")))?,
                ],
                streams: terminal::streams(relay.as_ref())?,
                terminal: terminal::own(relay.as_ref())?,
                signal_mask: signals.caller_mask(),
                orphans: match ruleset.process().orphans_awaited {
                    true => Orphans::Wait,
                    false => Orphans::Kill,
                },
            };
            Ok((command, confined))
        };
        let mut log = self.log()?;
        let audit = log.path().to_owned();
        let (first, confined) = command(self.listener())?;
        self.record_start(&mut log, confined.confinement.layers())?;
        // Before there is a child that could have taken its foreground.
        let terminal = Terminal::find();
        let (child, confined) = match launch(first, confined.confinement.clone()) {
            // Only one listener can be above a process: another supervisor, or a container runtime, has it.
            Err(LaunchError::Step {
                step: Step::Seccomp,
                errno: Errno::EBUSY,
            }) => {
                if self.args.trace {
                    return Err(ours(
                        "nothing can be traced: another supervisor above this process already listens (EBUSY)",
                    ));
                }
                let (again, confined) = command(Listener::Taken)?;
                self.record_start(&mut log, confined.confinement.layers())?;
                (launch(again, confined.confinement.clone()), confined)
            }
            result => (result, confined),
        };
        let mut child = match child {
            Ok(child) => child,
            Err(error) => {
                let is_refused = matches!(
                    error,
                    LaunchError::Step {
                        step: Step::Exec,
                        errno: Errno::EACCES
                    }
                );
                let refused = match is_refused {
                    true => Unexecuted::find(program.path(), law.cwd(), ruleset),
                    false => None,
                };
                let setting = self.setting();
                let why = refused.map(|it| it.record(&mut log, program.path(), setting));
                let failure = not_started(&error, &program, why);
                log.finish(Status::Failed(failure.status.into()))
                    .map_err(ours)?;
                return Err(failure);
            }
        };
        let confinement = &confined.confinement;
        let opens = confinement.layers().opens;
        if !matches!(opens, Opens::Preloaded(_) | Opens::SocketOnly(_)) {
            reporter.nothing_is_in_the_way();
        }
        if let Some(why) = &confined.without {
            reporter.verbose(format_args!(
                "nothing asks for what the kernel refuses: {why}"
            ));
        }
        reporter.started(&Started {
            session: self.place.id(),
            pid: child.pid(),
            audit: &audit,
            layers: &confinement.layers().recorded(),
        });
        let seat = match desk {
            Some(desk) => Some(desk.open(args, child.pid(), &mut log)?),
            None => None,
        };
        let witness = match joined {
            Ok(joined) => Some(attend(joined, &child, confinement)),
            Err(why) => {
                reporter.verbose(format_args!(
                    "what the kernel refuses alone is not heard of: {why}"
                ));
                None
            }
        };
        let session = Session::open(Parts {
            root: child.guardian_pid(),
            listener: child.take_listener(),
            journal: None,
            locks: self.locks(confinement)?,
            life: Box::new(child),
            tag: self.tag,
            ruleset: ruleset.clone(),
            log,
            seat,
            clerk: amend::clerk(args, law, ruleset, &self.tmp),
            caller: Some(Caller {
                signals,
                terminal,
                relay,
            }),
            wall: [args.timeout, ruleset.limits().wall]
                .into_iter()
                .flatten()
                .min(),
            socket,
            socket_path: socket_path(self.place.directory()),
            connections: Vec::new(),
            hold: None,
            witness,
        })
        .map_err(ours)?;
        self.serve(session, &audit, reporter)
    }

    fn log(&self) -> Result<Log, Failure> {
        let log = match &self.audit {
            Some(path) => Log::create(path),
            None => Log::in_directory(&self.law.state),
        };
        log.map_err(|error| ours(format!("{error}; --audit FILE names another place for it")))
    }

    fn serve(
        &self,
        mut session: Session,
        audit: &Path,
        reporter: &mut Reporter,
    ) -> Result<u8, Failure> {
        let ending = session.serve(reporter);
        let (exit, status) = match &ending {
            Ok(Ending::Command(exit)) => (
                exit::of(*exit),
                match exit {
                    Exit::Code(code) => Status::Exited(*code),
                    Exit::Signal(signal) => Status::Killed(*signal),
                    Exit::Unknown => Status::Failed(exit::OURS.into()),
                },
            ),
            Ok(Ending::TimedOut) => (exit::TIMED_OUT, Status::TimedOut),
            Ok(Ending::GuardianLost) | Err(_) => (exit::OURS, Status::Failed(exit::OURS.into())),
        };
        let (counts, refused) = (session.counts(), session.refusals());
        let closed = session.close(status);
        reporter.ended(&Ended {
            session: self.place.id(),
            status,
            exit,
            counts,
            refused: &refused,
            setting: self.setting(),
            audit,
        });
        if let (Ok(Ending::GuardianLost), Some(tag)) = (&ending, self.tag) {
            collect(tag).map_err(|errno| {
                ours(format!(
                    "the guardian was killed, and its session could not be ended: {errno}"
                ))
            })?;
            return Err(ours("the guardian was killed; its session was ended"));
        }
        ending.map_err(ours)?;
        closed.map_err(ours)?;
        Ok(exit)
    }

    fn record_start(&self, log: &mut Log, layers: &Layers) -> Result<(), Failure> {
        let origin = Origin {
            session: self.place.id(),
            command: &self.args.command,
            law: self.law,
            ruleset: self.ruleset,
            layers,
        };
        origin.record(log)
    }
}

/// Has the kernel's records read for a command that was just started.
fn attend(joined: Joined, child: &Child, confinement: &Confinement) -> Witness {
    let are_opens_asked = matches!(confinement.layers().opens, Opens::Preloaded(_));
    let layers = confinement.rulesets().len();
    joined.attend(child.pid(), layers, Known::nothing(are_opens_asked))
}

/// What is about to run, under which policy, and what enforces it.
pub struct Origin<'a> {
    /// The session's name.
    pub session: &'a str,
    /// The command.
    pub command: &'a [OsString],
    /// Its policies.
    pub law: &'a Law,
    /// What they mean.
    pub ruleset: &'a Ruleset,
    /// What is in force.
    pub layers: &'a Layers,
}

impl Origin<'_> {
    /// Writes it down.
    pub fn record(&self, log: &mut Log) -> Result<(), Failure> {
        let (argv, argv_more) = Start::fit(self.command);
        let layers = self.layers;
        let kernel = nix::sys::utsname::uname().map_err(|errno| ours(format!("uname: {errno}")))?;
        let start = Start {
            session: self.session,
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uid: nix::unistd::geteuid().as_raw(),
            argv,
            argv_more,
            directory: Bytes::from(self.law.cwd()),
            policies: self.law.named(),
            kernel: Bytes::from(kernel.release()),
            landlock_abi: layers.landlock_abi,
            landlock_errata: layers.landlock_errata,
            layers: layers.recorded(),
            budgets: self.ruleset.budgets(),
        };
        log.record(&Event::Start(start)).map_err(ours)
    }
}

fn not_started(error: &LaunchError, program: &Program, why: Option<String>) -> Failure {
    match error {
        LaunchError::Step {
            step: Step::Exec,
            errno,
        } => {
            let hint = match (errno, why) {
                (Errno::EACCES, Some(why)) => format!(": {why}"),
                (Errno::ENOENT, _) => ": its interpreter or loader is not there".to_owned(),
                (Errno::ENOEXEC, _) => {
                    ": it is neither a program nor a script with a #! line".to_owned()
                }
                _ => String::new(),
            };
            Failure {
                status: exit::NOT_EXECUTABLE,
                message: format!("{}: {}{hint}", program.path().display(), errno.desc()),
            }
        }
        error => ours(error),
    }
}
