//! `supervise daemon`: the keeper, and the daemon that it keeps.

mod birth;
mod ground;
mod hands;
mod own_unit;
mod pool_file;
mod recorded;

use crate::exit;
use crate::places;
use crate::render::fail;
use ground::Ground;
use hands::StableHands;
use pool_file::Kept;
use protocol::control::{Hello, Severity};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use supervisor::broker::Board;
use supervisor::launch::Exit;
use supervisor::workers::config::PoolFile;
use supervisor::workers::control::{Admission, Control};
use supervisor::workers::daemon::{Daemon, Ending, Setup};
use supervisor::workers::desired::DesiredFile;
use supervisor::workers::jobs::{Ledger, LedgerError};
use supervisor::workers::keeper::{self, Link, Role};
use supervisor::workers::logs::Logs;
use supervisor::workers::poller::Poller;
use supervisor::workers::registry::Registry;
use supervisor::workers::stable::Stable;
use supervisor::workers::systemd::{Manager, Service};

pub use ground::{Ground as Place, bound};

/// How to serve.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  supervise daemon --config workers.toml &\n  supervise status\n  supervise daemon --upgrade            the same workers, served by the new program\n  supervise daemon --print-unit > ~/.config/systemd/user/supervise.service"
)]
pub struct DaemonArgs {
    /// The pool file
    #[arg(long, value_name = "FILE", default_value = "workers.toml")]
    pub config: PathBuf,
    /// Have the running daemon replaced by the program as it is on disk now; workers go on
    #[arg(long)]
    pub upgrade: bool,
    /// Print a unit for systemd that fits the pool file: a user's, or the system's where root asks
    #[arg(long, conflicts_with = "upgrade")]
    pub print_unit: bool,
    /// Say what is not as it should be in a unit; fails where something cannot work
    #[arg(long, value_name = "FILE", conflicts_with_all = ["upgrade", "print_unit"])]
    pub validate_unit: Option<PathBuf>,
    /// Print JSON, where something is validated
    #[arg(long, requires = "validate_unit")]
    pub json: bool,
    /// What the keeper starts
    #[arg(long, hide = true)]
    pub serve: bool,
    /// Where the daemon keeps the pool file as it was when it could last be read
    #[arg(long, hide = true, requires = "serve")]
    pub last: Option<PathBuf>,
    /// The directories that the keeper began with: runtime, state, workers
    #[arg(long, hide = true, requires = "serve", num_args = 3, value_names = ["RUNTIME", "STATE", "WORKERS"])]
    pub places: Option<Vec<PathBuf>>,
    /// How many files a worker may have open, where its policy does not say
    #[arg(long, hide = true, requires = "serve")]
    pub open_files: Option<u64>,
}

/// Does what the flags say.
pub fn daemon(args: &DaemonArgs) -> ExitCode {
    let done = match args.serve {
        true => serve(args),
        false if args.print_unit => unit(&args.config, None, args.json),
        false if args.validate_unit.is_some() => {
            unit(&args.config, args.validate_unit.as_deref(), args.json)
        }
        false if args.upgrade => crate::commands::workers::upgrade(&args.config),
        false => keep(&args.config),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(why) => fail(why),
    }
}

/// Reads the pool file.
pub fn read(path: &Path) -> Result<PoolFile, String> {
    pool_file::read(path).map(|(file, _)| file)
}

/// This program, as it is found again.
fn own_program() -> Result<PathBuf, String> {
    places::own_program().map_err(|error| format!("this program: {error}"))
}

/// Prints a unit, or what is wrong with one.
fn unit(config: &Path, given: Option<&Path>, json: bool) -> Result<u8, String> {
    let file = read(config)?;
    let real = config.canonicalize().map_err(|error| error.to_string())?;
    let program = own_program()?;
    let manager = match nix::unistd::geteuid().is_root() {
        true => Manager::System,
        false => Manager::User,
    };
    let service = Service {
        program: &program,
        config: &real,
        file: &file,
        manager,
    };
    let Some(given) = given else {
        print!("{}", service.unit());
        return Ok(0);
    };
    let text = std::fs::read_to_string(given);
    let text = text.map_err(|error| format!("{}: {error}", given.display()))?;
    let findings = service.validate(&text);
    match json {
        true => println!(
            "{}",
            serde_json::json!({ "schema": 1, "findings": findings })
        ),
        false => print!("{}", crate::setup::shown(&findings)),
    }
    let fails = findings
        .iter()
        .any(|found| found.severity == Severity::Error);
    Ok(if fails { exit::OURS } else { 0 })
}

/// The keeper.
fn keep(config: &Path) -> Result<u8, String> {
    let file = read(config)?;
    let config = config.canonicalize().map_err(|error| error.to_string())?;
    let ground = Ground::of(&file.daemon)?;
    ground.prepare(Ground::group(&file)?)?;
    let files = keeper::open_many_files();
    let files = files.map_err(|errno| format!("cannot have many files open: {}", errno.desc()))?;
    let daemon = keeper::Daemon {
        place: ground.run(),
        program: own_program()?,
        arguments: [
            "daemon".into(),
            "--serve".into(),
            "--config".into(),
            config.into_os_string(),
            "--last".into(),
            ground.last().into_os_string(),
            "--places".into(),
            ground.runtime.clone().into_os_string(),
            ground.state.clone().into_os_string(),
            ground.workers.clone().into_os_string(),
            "--open-files".into(),
            files.to_string().into(),
        ]
        .into(),
    };
    let exit = keeper::keep(&daemon).map_err(|error| error.to_string())?;
    Ok(match exit {
        Exit::Code(0) => 0,
        exit => exit::of(exit),
    })
}

/// The daemon.
fn serve(args: &DaemonArgs) -> Result<u8, String> {
    let kept = Kept {
        config: args.config.clone(),
        last: args.last.clone(),
    };
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    let inheritance = Link::open(socket.map_err(|error| text(&error))?);
    let inheritance = inheritance.map_err(|error| {
        format!("{error}; --serve is for the keeper, `supervise daemon` starts both")
    })?;
    let stable = Stable::new(inheritance.link).map_err(|errno| text(&errno))?;
    let file = kept.read_or_last()?;
    let named = Ground::of(&file.daemon);
    let mut ground = match &args.places {
        None => named?,
        Some(places) => {
            let own = Ground::at(places).ok_or("--places: three directories")?;
            // Whoever waits for this daemon does not wait for whoever edits a file.
            if let Err(why) = named.and_then(|named| own.is_same(&named)) {
                crate::render::warn(why);
            }
            own
        }
    };
    ground.open_files = args.open_files;
    let group = Ground::group(&file)?;
    let mut own = inheritance.own.into_iter();
    let held = own.find(|held| held.role == Role::Control);
    let listener = match held {
        Some(held) if ground.control().exists() => held.fd,
        held => {
            if held.is_some() {
                // Nobody can connect to it any more.
                let dropped = stable.link().drop_own(Role::Control);
                dropped.map_err(|error| text(&error))?;
            }
            let listener = ground.listen(group)?;
            let kept = stable.link().keep_own(Role::Control, listener.as_fd());
            kept.map_err(|error| text(&error))?;
            listener
        }
    };
    let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
    nix::fcntl::fcntl(&listener, flags).map_err(|errno| text(&errno))?;
    let registry = Registry::open(&ground.registry()).map_err(|error| text(&error))?;
    let board = Board::new().map_err(|errno| text(&errno))?;
    let questions = Arc::clone(&board);
    let mut hands = StableHands::new(stable, ground.clone(), registry, kept, questions)?;
    let former = hands.take_over(&file, inheritance.workers)?;
    let jobs = ground.run().join("jobs");
    let ledger = match Ledger::open(&jobs) {
        Err(error @ LedgerError::Corrupt { .. }) => {
            crate::render::warn(format!(
                "{error}; it is put aside, and what workers say counts"
            ));
            Ledger::begin_anew(&jobs)
        }
        ledger => ledger,
    };
    let poller = Poller::new().map_err(|errno| text(&errno))?;
    let name = format!("{}-{}", std::process::id(), unix_ms());
    let hello = Hello {
        version: protocol::control::VERSION,
        server: concat!("supervise ", env!("CARGO_PKG_VERSION")).to_owned(),
        daemon: name.clone(),
    };
    let control = Control::new(listener, Admission { group }, hello, &poller);
    let mut daemon = Daemon::begin(Setup {
        file,
        config: Some(args.config.clone()),
        daemon: name,
        poller,
        control: control.map_err(|errno| text(&errno))?,
        desired: DesiredFile::in_directory(&ground.state).map_err(|error| text(&error))?,
        ledger: ledger.map_err(|error| text(&error))?,
        logs: Logs::begin(&ground.logs()).map_err(|error| text(&error))?,
        hands,
        board,
        former,
    })
    .map_err(|error| text(&error))?;
    let ready = daemon.hands().stable().link().ready();
    ready.map_err(|error| text(&error))?;
    match daemon.serve().map_err(|error| text(&error))? {
        Ending::Upgrade => {
            let told = daemon.hands().stable().link().reloading();
            told.map_err(|error| text(&error))?;
        }
        Ending::Shutdown | Ending::Left => {
            let last = daemon.hands().stable().link().last();
            last.map_err(|error| text(&error))?;
            // The next one makes its own.
            let _unremoved = std::fs::remove_file(ground.control());
        }
    }
    Ok(0)
}

fn unix_ms() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis())
}
