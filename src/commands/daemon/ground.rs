//! Where a daemon has what it needs: directories of its own, its lock, its socket.

use crate::places;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::Gid;
use std::fmt::Display;
use std::fs::DirBuilder;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use supervisor::session::DAEMON;
use supervisor::workers::config::{DaemonSettings, PoolFile};

/// The directories of a daemon.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Where the control socket is.
    pub runtime: PathBuf,
    /// What is kept.
    pub state: PathBuf,
    /// Where each worker has its directory.
    pub workers: PathBuf,
    /// How many files a worker may have open, where its policy does not say, and it is not as many as the daemon.
    pub open_files: Option<u64>,
}

/// The name of the control socket.
const CONTROL: &str = "control.sock";

/// The name of the socket of a worker's jobs, in the directory of its sockets.
pub const JOBS: &str = "jobs";

impl Ground {
    /// The directories that the pool file names, or the usual ones.
    pub fn of(settings: &DaemonSettings) -> Result<Self, String> {
        let home = places::home().map_err(|error| error.to_string())?;
        let named = |path: &Option<PathBuf>, usual: PathBuf| path.clone().unwrap_or(usual);
        if settings.control_group.is_some() && settings.runtime.is_none() {
            return Err(
                "control_group needs a `runtime` directory of its own under [daemon]: the usual one is closed to others"
                    .to_owned(),
            );
        }
        Ok(Self {
            runtime: named(&settings.runtime, places::runtime(&home)),
            state: named(&settings.state, places::state(&home)).join(DAEMON),
            workers: named(&settings.workers, places::data(&home).join("workers")),
            open_files: None,
        })
    }

    /// Those that a keeper began with.
    pub fn at(places: &[PathBuf]) -> Option<Self> {
        let [runtime, state, workers] = places else {
            return None;
        };
        Some(Self {
            runtime: runtime.clone(),
            state: state.clone(),
            workers: workers.clone(),
            open_files: None,
        })
    }

    /// That a pool file that was read later names no other directories.
    pub fn is_same(&self, named: &Self) -> Result<(), String> {
        let places = |ground: &Self| {
            let Self {
                runtime,
                state,
                workers,
                ..
            } = ground;
            [runtime, state, workers].map(PathBuf::clone)
        };
        match places(self) == places(named) {
            true => Ok(()),
            false => Err("the pool file names other directories under [daemon] than those that this daemon began with, and goes on with: `supervise shutdown` and a new start change them".to_owned()),
        }
    }

    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.runtime.join(CONTROL)
    }

    /// Where sockets of workers, the lock and the ledger are.
    pub fn run(&self) -> PathBuf {
        self.runtime.join(DAEMON)
    }

    /// The pool file as it was when it could last be read.
    pub fn last(&self) -> PathBuf {
        self.run().join("last.toml")
    }

    /// Where the manifests are.
    pub fn registry(&self) -> PathBuf {
        self.run().join("registry")
    }

    /// Where logs of workers are.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }

    /// Where decisions about a worker are recorded.
    pub fn audit(&self, worker: &str) -> PathBuf {
        self.state.join("audit").join(format!("{worker}.jsonl"))
    }

    /// The directory of a worker's sockets.
    pub fn place(&self, worker: &str) -> PathBuf {
        self.run().join(worker)
    }

    /// What no worker may touch, beside what no sandbox may.
    pub fn own(&self) -> Vec<PathBuf> {
        vec![self.runtime.clone(), self.state.clone()]
    }

    /// Makes the directories, readable by nobody else.
    pub fn prepare(&self, group: Option<Gid>) -> Result<(), String> {
        let audit = self.state.join("audit");
        for path in [
            &self.runtime,
            &self.run(),
            &self.state,
            &self.logs(),
            &audit,
            &self.workers,
        ] {
            make_private(path)?;
        }
        if let Some(group) = group {
            let failed = |error: &dyn Display| format!("{}: {error}", self.runtime.display());
            nix::unistd::chown(&self.runtime, None, Some(group)).map_err(|error| failed(&error))?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o710);
            std::fs::set_permissions(&self.runtime, mode).map_err(|error| failed(&error))?;
        }
        Ok(())
    }

    /// The control socket, listening. A socket that a dead daemon left is replaced: the lock says that nobody else is there.
    pub fn listen(&self, group: Option<Gid>) -> Result<OwnedFd, String> {
        let path = self.control();
        let failed = |error: &dyn Display| format!("control socket {}: {error}", path.display());
        let is_left =
            std::fs::symlink_metadata(&path).is_ok_and(|file| file.file_type().is_socket());
        if is_left {
            std::fs::remove_file(&path).map_err(|error| failed(&error))?;
        }
        let socket = bound(&path).map_err(|errno| failed(&errno.desc()))?;
        if let Some(group) = group {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o660);
            nix::unistd::chown(&path, None, Some(group)).map_err(|error| failed(&error))?;
            std::fs::set_permissions(&path, mode).map_err(|error| failed(&error))?;
        }
        listen(&socket, Backlog::MAXCONN).map_err(|errno| failed(&errno.desc()))?;
        Ok(socket)
    }

    /// The group that may control the daemon.
    pub fn group(file: &PoolFile) -> Result<Option<Gid>, String> {
        let Some(name) = &file.daemon.control_group else {
            return Ok(None);
        };
        match nix::unistd::Group::from_name(name) {
            Ok(Some(group)) => Ok(Some(group.gid)),
            Ok(None) => Err(format!("control_group: there is no group `{name}`")),
            Err(errno) => Err(format!("control_group `{name}`: {}", errno.desc())),
        }
    }
}

/// A stream socket with that name, of mode 0600 from the moment that it is there. Nobody listens on it yet.
pub fn bound(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    fchmod(fd.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// Makes a directory that is ours alone, or sees that it is.
pub fn make_private(path: &Path) -> Result<(), String> {
    let failed = |error: &dyn Display| format!("{}: {error}", path.display());
    let mut make = DirBuilder::new();
    let made = make.mode(0o700).recursive(true).create(path);
    made.map_err(|error| failed(&error))?;
    let status = std::fs::symlink_metadata(path).map_err(|error| failed(&error))?;
    let is_ours = status.is_dir() && status.uid() == nix::unistd::geteuid().as_raw();
    match is_ours && status.mode() & 0o022 == 0 {
        true => Ok(()),
        false => Err(failed(&"it must be a directory that only you can write")),
    }
}
