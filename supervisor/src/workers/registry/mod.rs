//! The directory of manifests: one file for each worker, `ID.json`.
//!
//! The directory is opened once and used by its descriptor. It is ours alone, as is every file in it; what is otherwise is an error that
//! says how, and concerns nobody else's file. A manifest is written beside its place, synced, and put there by a rename, so a reader sees the
//! old one or the new one. Who writes holds the lock of the directory.

mod entries;

pub use entries::EntryError;

use super::identity::{Here, Mismatch};
use super::manifest::{Manifest, ManifestError};
use crate::audit::Digest;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::geteuid;
use std::fs::{DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long somebody else may be writing.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no registry, or why it could not be used as a whole.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is a symbolic link in its place.
    #[error("{}: is a symbolic link", path.display())]
    Symlink {
        /// Where.
        path: PathBuf,
    },
    /// There is something else in its place.
    #[error("{}: is not a directory", path.display())]
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// The directory is another user's.
    #[error("{}: belongs to user {owner}", path.display())]
    ForeignOwner {
        /// Where.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others may enter, read or write it.
    #[error("{}: has mode {mode:04o}, where nobody else may have access (0700)", path.display())]
    Insecure {
        /// Where.
        path: PathBuf,
        /// The permissions.
        mode: u32,
    },
    /// Somebody holds its lock and does not let go of it.
    #[error("{}: is locked by another process", path.display())]
    Locked {
        /// Where.
        path: PathBuf,
    },
    /// No worker can have that name.
    #[error("`{id}` names no worker")]
    BadId {
        /// The name.
        id: String,
    },
    /// A manifest cannot be written.
    #[error("the manifest of `{id}` cannot be written: {error}")]
    Manifest {
        /// Whose.
        id: String,
        /// What is wrong with it.
        error: ManifestError,
    },
    /// Where this process is could not be found out.
    #[error(transparent)]
    Here(#[from] Mismatch),
    /// A system call failed.
    #[error("{}: cannot {operation}: {errno}", path.display())]
    Io {
        /// Of what.
        path: PathBuf,
        /// What was to be done.
        operation: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

/// A directory of manifests.
#[derive(Debug)]
pub struct Registry {
    directory: OwnedFd,
    path: PathBuf,
}

/// A worker's name and its manifest, or why it cannot be read.
pub type Entry = (String, Result<Manifest, EntryError>);

impl Registry {
    /// Opens the directory; makes it, and those above it, where it is absent.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub fn open(path: &Path) -> Result<Self, RegistryError> {
        match Self::existing(path) {
            Err(RegistryError::Io {
                errno: Errno::ENOENT,
                ..
            }) => {
                let mut make = DirBuilder::new();
                let made = make.mode(0o700).recursive(true).create(path);
                made.map_err(|error| {
                    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
                    io(path, "make")(errno)
                })?;
                Self::existing(path)
            }
            opened => opened,
        }
    }

    fn existing(path: &Path) -> Result<Self, RegistryError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let directory = match open(path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                let path = path.to_owned();
                let is_link = path
                    .symlink_metadata()
                    .is_ok_and(|found| found.is_symlink());
                return Err(match is_link {
                    true => RegistryError::Symlink { path },
                    false => RegistryError::NotADirectory { path },
                });
            }
            Err(errno) => return Err(io(path, "open")(errno)),
        };
        let status = fstat(&directory).map_err(io(path, "look at"))?;
        let path = path.to_owned();
        if status.st_uid != geteuid().as_raw() {
            let owner = status.st_uid;
            return Err(RegistryError::ForeignOwner { path, owner });
        }
        let mode = status.st_mode & 0o7777;
        if mode & 0o077 != 0 {
            return Err(RegistryError::Insecure { path, mode });
        }
        Ok(Self { directory, path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest of a worker; `None` where there is none.
    ///
    /// # Errors
    /// [`EntryError`]
    pub fn read(&self, id: &str) -> Result<Option<Manifest>, EntryError> {
        entries::read(&self.directory, id)
    }

    /// All manifests, by name. One that cannot be read hides none of the others.
    ///
    /// # Errors
    /// [`RegistryError::Io`] when the directory cannot be listed.
    pub fn list(&self) -> Result<Vec<Entry>, RegistryError> {
        let names = entries::names(&self.directory).map_err(io(&self.path, "list"))?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(".json"));
        let entries = ids.filter_map(|id| match self.read(id) {
            Ok(None) => None,
            Ok(Some(manifest)) => Some((id.to_owned(), Ok(manifest))),
            Err(error) => Some((id.to_owned(), Err(error))),
        });
        Ok(entries.collect())
    }

    /// Writes a manifest, over the one of the same worker.
    ///
    /// # Errors
    /// [`RegistryError`]: the old one is then still there.
    pub fn write(&self, manifest: &Manifest) -> Result<(), RegistryError> {
        self.lock()?.write(manifest)
    }

    /// Removes the manifest of a worker, if it is there.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub fn remove(&self, id: &str) -> Result<(), RegistryError> {
        self.lock()?.remove(id)
    }

    /// Removes the manifests that were written before this machine was last started, and what writers left that were killed. Returns what was
    /// removed.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub fn collect(&self) -> Result<Vec<Manifest>, RegistryError> {
        self.sift().map(|(removed, _)| removed)
    }

    /// The same, and returns beside it all that are left, as [`Registry::list`] does.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub fn sift(&self) -> Result<(Vec<Manifest>, Vec<Entry>), RegistryError> {
        let here = Here::now()?;
        let locked = self.lock()?;
        entries::remove_unfinished(&self.directory).map_err(io(&self.path, "clear"))?;
        let (mut removed, mut left) = (Vec::new(), Vec::new());
        for (id, manifest) in self.list()? {
            match manifest {
                Ok(manifest) if manifest.boot_id != here.boot_id => {
                    locked.remove(&id)?;
                    removed.push(manifest);
                }
                // One that cannot be read is somebody's to look at.
                manifest => left.push((id, manifest)),
            }
        }
        Ok((removed, left))
    }

    /// Keeps everybody else from writing, until it is dropped. Whoever starts a worker only where there is none looks, starts and
    /// writes under one lock: of several that race, one starts it and the others find it.
    ///
    /// # Errors
    /// [`RegistryError::Locked`] when somebody holds it for more than ten seconds.
    pub fn lock(&self) -> Result<Locked<'_>, RegistryError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let deadline = Instant::now() + PATIENCE;
        // Opened anew: two threads that lock one open file do not keep each other out.
        let again = openat(&self.directory, ".", flags, Mode::empty());
        let mut file = File::from(again.map_err(io(&self.path, "open"))?);
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    return Ok(Locked {
                        registry: self,
                        _lock: lock,
                    });
                }
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < deadline => {
                    file = back;
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    let path = self.path.clone();
                    return Err(RegistryError::Locked { path });
                }
                Err((_, errno)) => return Err(io(&self.path, "lock")(errno)),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A registry that nobody else writes to.
#[derive(Debug)]
pub struct Locked<'a> {
    registry: &'a Registry,
    _lock: Flock<File>,
}

impl Locked<'_> {
    /// Writes a manifest, over the one of the same worker.
    ///
    /// # Errors
    /// [`RegistryError`]: the old one is then still there.
    pub fn write(&self, manifest: &Manifest) -> Result<(), RegistryError> {
        let id = checked(&manifest.id)?;
        let text = manifest.encode().map_err(|error| RegistryError::Manifest {
            id: id.to_owned(),
            error,
        })?;
        let written = entries::write(&self.registry.directory, id, &text);
        written.map_err(|(operation, errno)| io(&self.registry.path.join(id), operation)(errno))
    }

    /// Removes the manifest of a worker, if it is there.
    ///
    /// # Errors
    /// [`RegistryError`]
    pub fn remove(&self, id: &str) -> Result<(), RegistryError> {
        let id = checked(id)?;
        let removed = entries::remove(&self.registry.directory, id);
        removed.map_err(io(&self.registry.path.join(id), "remove"))
    }

    /// The workers of one service in one version that execute one program. Two builds of the same version are two programs.
    ///
    /// # Errors
    /// [`RegistryError::Io`] when the directory cannot be listed.
    pub fn find(
        &self,
        service_name: &str,
        service_version: &str,
        executable: &Digest,
    ) -> Result<Vec<Manifest>, RegistryError> {
        let good = self.registry.list()?.into_iter();
        let good = good.filter_map(|(_, manifest)| manifest.ok());
        let meant = good.filter(|manifest| {
            let process = manifest.process.as_ref();
            manifest.service_name == service_name
                && manifest.service_version == service_version
                && process.is_some_and(|process| process.exe_sha256 == *executable)
        });
        Ok(meant.collect())
    }
}

fn checked(id: &str) -> Result<&str, RegistryError> {
    match Manifest::is_id(id) {
        true => Ok(id),
        false => Err(RegistryError::BadId { id: id.to_owned() }),
    }
}

fn io(path: &Path, operation: &'static str) -> impl Fn(Errno) -> RegistryError {
    let path = path.to_owned();
    move |errno| RegistryError::Io {
        path: path.clone(),
        operation,
        errno,
    }
}
