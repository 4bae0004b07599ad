//! `supervise [run]`: one command, in a sandbox, to its end.

use crate::args::RunArgs;
use crate::exit;
use crate::law::Law;
use crate::places;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use std::ffi::{CString, OsStr, OsString};
use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use supervisor::audit::{Bytes, Event, Log, Start, Status};
use supervisor::launch::{
    Command, Exit, FindError, LaunchError, Orphans, Program, Step, collect, launch,
};
use supervisor::policy::{Access, FileId, Ruleset, Subject, Tmp};
use supervisor::sandbox::{Confinement, Kernel, Layers, Listener, Tag, prepare};
use supervisor::session::{self, Ending, Parts, Place, Session, Signals, Terminal, Watch};

/// Why there is an exit status that is not the command's.
#[derive(Debug)]
struct Failure {
    status: u8,
    message: String,
}

fn ours(message: impl Display) -> Failure {
    Failure {
        status: exit::OURS,
        message: message.to_string(),
    }
}

/// Runs the command and returns its exit status, or ours.
pub fn run(args: &RunArgs) -> ExitCode {
    let status = match supervise(args) {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("supervise: {}", failure.message);
            failure.status
        }
    };
    ExitCode::from(status)
}

fn supervise(args: &RunArgs) -> Result<u8, Failure> {
    check_standard_streams()?;
    let signals = Signals::take().map_err(|errno| ours(format!("cannot take signals: {errno}")))?;
    let new_tag = Tag::random().map_err(|error| ours(format!("no random numbers: {error}")))?;
    let id = format!("{}-{}", std::process::id(), new_tag.short());
    let tmp = places::temporary().join(format!("supervise-{id}"));
    let law = Law::read(&args.policy, tmp.clone()).map_err(ours)?;
    if let Err(error) = session::collect_abandoned(&law.runtime) {
        eprintln!("supervise: cannot clean up after a session that was killed: {error}");
    }
    let ruleset = Arc::new(law.compile(args.audit.as_deref()).map_err(ours)?);
    let kernel = Kernel::probe();
    let tag = kernel.no_tag.is_none().then_some(new_tag);
    if args.dry_run {
        return dry_run(args, &law, &ruleset, &kernel, tag);
    }
    let place = Place::create(
        &law.runtime,
        &id,
        tag,
        Law::wants_tmp(&ruleset).then_some(&*tmp),
    )
    .map_err(ours)?;
    let result = in_place(args, &law, &ruleset, &place, &kernel, tag, signals);
    match (place.remove(), result) {
        (Err(error), result) => {
            eprintln!("supervise: {error}");
            result.map(|status| if status == 0 { exit::OURS } else { status })
        }
        (Ok(()), result) => result,
    }
}

/// Everything between a place to run in and the end of the command.
fn in_place(
    args: &RunArgs,
    law: &Law,
    ruleset: &Arc<Ruleset>,
    place: &Place,
    kernel: &Kernel,
    tag: Option<Tag>,
    signals: Signals,
) -> Result<u8, Failure> {
    if !args.quiet {
        let said = ruleset.warnings().iter();
        for warning in said.filter(|warning| warning.at_start || args.verbose) {
            eprintln!("supervise: warning: {warning}");
        }
    }
    make_directories(ruleset)?;
    let directory = working_directory(ruleset, law.cwd())?;
    let environment = environment(ruleset, law, Some(place));
    let program = find_program(&args.command[0], &environment, law.cwd(), ruleset)?;
    let (socket, inner) = session::pair().map_err(ours)?;
    let command = |listener| -> Result<(Command, Arc<Confinement>), Failure> {
        let confinement = prepare(ruleset, kernel, listener, tag).map_err(ours)?;
        let command = Command {
            program: program
                .try_clone()
                .map_err(|errno| ours(format!("cannot hold the program: {errno}")))?,
            argv: c_strings(args.command.iter().map(OsString::as_os_str))?,
            envp: c_strings(environment.iter().map(|(name, value)| {
                let mut pair = name.clone();
                pair.push("=");
                pair.push(value);
                pair
            }))?,
            working_directory: directory
                .try_clone()
                .map_err(|error| ours(format!("cannot hold the working directory: {error}")))?,
            pass: vec![
                inner
                    .try_clone()
                    .map_err(|error| ours(format!("cannot hold the socket: {error}")))?,
            ],
            signal_mask: signals.caller_mask(),
            orphans: Orphans::Kill,
        };
        Ok((command, Arc::new(confinement)))
    };
    let mut log = match &args.audit {
        Some(path) => Log::create(path),
        None => Log::in_directory(&law.state),
    }
    .map_err(ours)?;
    let (first, confinement) = command(Listener::Wanted)?;
    record_start(&mut log, args, law, place, confinement.layers())?;
    let (child, confinement) = match launch(first, confinement.clone()) {
        // Only one listener can be above a process: another supervisor, or a container runtime, has it.
        Err(LaunchError::Step {
            step: Step::Seccomp,
            errno: Errno::EBUSY,
        }) => {
            let (again, confinement) = command(Listener::Taken)?;
            record_start(&mut log, args, law, place, confinement.layers())?;
            (launch(again, confinement.clone()), confinement)
        }
        result => (result, confinement),
    };
    let child = match child {
        Ok(child) => child,
        Err(error) => {
            let failure = not_started(&error, &program);
            log.finish(Status::Failed(failure.status.into()))
                .map_err(ours)?;
            return Err(failure);
        }
    };
    let session = Session::open(Parts {
        child,
        confinement: &confinement,
        tag,
        ruleset: ruleset.clone(),
        log,
        signals,
        terminal: Terminal::find(),
        wall: [args.timeout, ruleset.limits().wall]
            .into_iter()
            .flatten()
            .min(),
        socket,
        socket_path: socket_path(place),
    })
    .map_err(ours)?;
    serve(args, session, tag)
}

/// The name of the session's door for those who have no descriptor of it. No file of that name is ever made: who connects to
/// it from inside is connected by the supervisor, and for everybody else there is nothing there.
fn socket_path(place: &Place) -> PathBuf {
    place.directory().join("socket")
}

fn serve(args: &RunArgs, mut session: Session, tag: Option<Tag>) -> Result<u8, Failure> {
    let ending = session.serve(&mut Teller { quiet: args.quiet });
    let (status, recorded) = match &ending {
        Ok(Ending::Command(exit)) => (
            exit::of(*exit),
            match exit {
                Exit::Code(code) => Status::Exited(*code),
                Exit::Signal(signal) => Status::Killed(*signal),
            },
        ),
        Ok(Ending::TimedOut) => (exit::TIMED_OUT, Status::TimedOut),
        Ok(Ending::GuardianLost) | Err(_) => (exit::OURS, Status::Failed(exit::OURS.into())),
    };
    let closed = session.close(recorded);
    if let (Ok(Ending::GuardianLost), Some(tag)) = (&ending, tag) {
        collect(tag).map_err(|errno| {
            ours(format!(
                "the guardian was killed, and its session could not be ended: {errno}"
            ))
        })?;
        return Err(ours("the guardian was killed; its session was ended"));
    }
    ending.map_err(ours)?;
    closed.map_err(ours)?;
    Ok(status)
}

/// Writes what is about to run, under which policy, and what enforces it.
fn record_start(
    log: &mut Log,
    args: &RunArgs,
    law: &Law,
    place: &Place,
    layers: &Layers,
) -> Result<(), Failure> {
    let (argv, argv_more) = Start::fit(&args.command);
    let kernel = nix::sys::utsname::uname().map_err(|errno| ours(format!("uname: {errno}")))?;
    let start = Start {
        session: place.id(),
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        uid: nix::unistd::geteuid().as_raw(),
        argv,
        argv_more,
        directory: Bytes::from(law.cwd()),
        policies: law.named(),
        kernel: Bytes::from(kernel.release()),
        landlock_abi: layers.landlock_abi,
        landlock_errata: layers.landlock_errata,
        layers: layers.recorded(),
    };
    log.record(&Event::Start(start)).map_err(ours)
}

/// Says what happens to whoever reads standard error.
struct Teller {
    quiet: bool,
}

impl Watch for Teller {
    fn orphans(&mut self, _: Exit) {}

    fn timed_out(&mut self) {
        if !self.quiet {
            eprintln!("supervise: the time is over");
        }
    }
}

/// Makes the directories that the policy wants made, so that what the command builds in them can be executed. A link put into
/// their way since the policy was compiled is not followed.
fn make_directories(ruleset: &Ruleset) -> Result<(), Failure> {
    for path in ruleset.make_dirs() {
        let failed =
            |errno: Errno| ours(format!("cannot make {}: {}", path.display(), errno.desc()));
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            continue;
        };
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let parent = openat2(AT_FDCWD, parent, how).map_err(failed)?;
        match mkdirat(&parent, name, Mode::from_bits_truncate(0o777)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

/// Opens the directory that the command starts in, which the policy must let it read.
fn working_directory(ruleset: &Ruleset, cwd: &Path) -> Result<OwnedFd, Failure> {
    let refused =
        |reason: &dyn Display| ours(format!("working directory {}: {reason}", cwd.display()));
    let directory = open(
        cwd,
        OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(|errno| refused(&errno.desc()))?;
    let status = fstat(&directory).map_err(|errno| refused(&errno.desc()))?;
    if !ruleset
        .decide(&subject(cwd, &status), Access::READ)
        .is_allowed()
    {
        return Err(refused(
            &"outside the policy; start in a directory that it grants (--chdir), or grant this one (--read)",
        ));
    }
    Ok(directory)
}

fn subject<'a>(path: &'a Path, status: &FileStat) -> Subject<'a> {
    Subject {
        path,
        object: Some(FileId {
            dev: status.st_dev,
            ino: status.st_ino,
        }),
    }
}

/// The command's environment: what the policy passes and sets, and what we tell.
fn environment(ruleset: &Ruleset, law: &Law, place: Option<&Place>) -> Vec<(OsString, OsString)> {
    let caller: Vec<_> = std::env::vars_os().collect();
    let mut environment = ruleset.environment(&caller);
    let mut set = |name: &str, value: &OsStr| {
        environment.retain(|(other, _)| other != name);
        environment.push((name.into(), value.to_owned()));
    };
    match (ruleset.tmp(), place.and_then(Place::tmp)) {
        (Tmp::Private, Some(tmp)) => set("TMPDIR", tmp.as_os_str()),
        (Tmp::Shared, _) => set("TMPDIR", OsStr::new("/tmp")),
        (Tmp::Private, None) | (Tmp::None, _) => {}
    }
    set("PWD", law.cwd().as_os_str());
    set("SUPERVISE", OsStr::new("1"));
    if let Some(place) = place {
        set("SUPERVISE_FD", OsStr::new("3"));
        set("SUPERVISE_SOCKET", socket_path(place).as_os_str());
    }
    if let Ok(own) = std::env::current_exe() {
        set("SUPERVISE_EXE", own.as_os_str());
    }
    environment
}

/// Where commands are looked for when the policy passes no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn find_program(
    name: &OsStr,
    environment: &[(OsString, OsString)],
    cwd: &Path,
    ruleset: &Ruleset,
) -> Result<Program, Failure> {
    let search = environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
    let allowed = |program: &Program| {
        let real = program
            .path()
            .canonicalize()
            .map_err(|error| error.to_string())?;
        let status = fstat(program.file()).map_err(|errno| errno.desc().to_owned())?;
        match ruleset.decide(&subject(&real, &status), Access::EXEC) {
            verdict if verdict.is_allowed() => Ok(()),
            _ => Err(format!(
                "the policy does not allow it; add it to exec, or say --exec {}",
                real.display()
            )),
        }
    };
    Program::find(name, search, cwd, &allowed).map_err(|error: FindError| Failure {
        status: error.exit_status(),
        message: error.to_string(),
    })
}

fn not_started(error: &LaunchError, program: &Program) -> Failure {
    match error {
        LaunchError::Step {
            step: Step::Exec,
            errno,
        } => {
            let hint = match errno {
                Errno::EACCES if program.is_executed_by_path() => {
                    ": the interpreter in its first line may not be executed by the policy"
                }
                Errno::ENOENT => ": its interpreter or loader is not there",
                Errno::ENOEXEC => ": it is neither a program nor a script with a #! line",
                _ => "",
            };
            Failure {
                status: exit::NOT_EXECUTABLE,
                message: format!("{}: {}{hint}", program.path().display(), errno.desc()),
            }
        }
        error => ours(error),
    }
}

fn c_strings(
    strings: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Result<Vec<CString>, Failure> {
    let c_string = |string: &OsStr| {
        CString::new(string.as_bytes())
            .map_err(|_| ours("an argument or variable holds a NUL byte"))
    };
    strings
        .into_iter()
        .map(|string| c_string(string.as_ref()))
        .collect()
}

/// Standard streams are the caller's, unless they would be a way out: a directory can be read and left upwards, a block device
/// is the disk below every rule, a datagram socket can be sent to anybody.
fn check_standard_streams() -> Result<(), Failure> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for (name, fd) in [
        ("input", stdin.as_fd()),
        ("output", stdout.as_fd()),
        ("error", stderr.as_fd()),
    ] {
        // A closed one was opened as /dev/null by the Rust runtime, before main.
        let status = fstat(fd).map_err(|errno| ours(format!("standard {name}: {errno}")))?;
        let what = match SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => "a directory",
            SFlag::S_IFBLK => "a block device",
            SFlag::S_IFSOCK
                if nix::sys::socket::getsockopt(&fd, nix::sys::socket::sockopt::SockType)
                    == Ok(nix::sys::socket::SockType::Datagram) =>
            {
                "a datagram socket"
            }
            _ => continue,
        };
        return Err(ours(format!(
            "standard {name} is {what}, which would lead out of the sandbox; redirect it"
        )));
    }
    Ok(())
}

/// Says what would be run and what would enforce the policy, and runs nothing.
fn dry_run(
    args: &RunArgs,
    law: &Law,
    ruleset: &Ruleset,
    kernel: &Kernel,
    tag: Option<Tag>,
) -> Result<u8, Failure> {
    drop(working_directory(ruleset, law.cwd())?);
    let environment = environment(ruleset, law, None);
    let program = find_program(&args.command[0], &environment, law.cwd(), ruleset)?;
    let planned = prepare(ruleset, kernel, Listener::Wanted, tag);
    println!(
        "would run {} in {}",
        program.path().display(),
        law.cwd().display()
    );
    match planned {
        Ok(confinement) => {
            println!(
                "{}",
                serde_json::to_string_pretty(confinement.layers()).map_err(ours)?
            );
            Ok(0)
        }
        Err(error) => Err(ours(error)),
    }
}
