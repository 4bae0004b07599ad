//! The files in the directory.

use super::super::manifest::{Manifest, ManifestError};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, fsync, geteuid, unlinkat};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

/// No manifest is larger: policies are stored in it, and those are written by people.
const MAX: u64 = 4 * 1024 * 1024;

/// How a manifest is called that is not in its place yet.
const UNFINISHED: &str = ".new";

/// Why a worker's manifest cannot be read. It says nothing about any other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// It is a symbolic link.
    #[error("is a symbolic link")]
    Symlink,
    /// It is no regular file.
    #[error("is not a regular file")]
    NotAFile,
    /// It is another user's.
    #[error("belongs to user {owner}")]
    ForeignOwner {
        /// Whose it is.
        owner: u32,
    },
    /// Others may read or write it.
    #[error("has mode {mode:04o}, where 0600 is needed")]
    Insecure {
        /// Its permissions.
        mode: u32,
    },
    /// It is larger than any manifest.
    #[error("has {size} bytes, which no manifest has")]
    TooLarge {
        /// How large.
        size: u64,
    },
    /// Its content is no manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its content is the manifest of another worker.
    #[error("is the manifest of `{id}`")]
    OtherWorker {
        /// Whose.
        id: String,
    },
    /// No worker can have that name.
    #[error("names no worker")]
    BadId,
    /// A system call failed.
    #[error("cannot {operation}: {errno}")]
    Io {
        /// What was to be done.
        operation: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

fn name(id: &str) -> String {
    format!("{id}.json")
}

pub(super) fn read(directory: &OwnedFd, id: &str) -> Result<Option<Manifest>, EntryError> {
    if !Manifest::is_id(id) {
        return Err(EntryError::BadId);
    }
    let io = |operation| move |errno| EntryError::Io { operation, errno };
    // A FIFO in its place keeps nobody waiting.
    let flags = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let file = match openat(directory, name(id).as_str(), flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ELOOP) => return Err(EntryError::Symlink),
        // A socket cannot be opened.
        Err(Errno::ENXIO) => return Err(EntryError::NotAFile),
        opened => File::from(opened.map_err(io("open"))?),
    };
    let status = fstat(&file).map_err(io("look at"))?;
    let kind = SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT;
    let mode = status.st_mode & 0o7777;
    let size = u64::try_from(status.st_size).unwrap_or(u64::MAX);
    if kind != SFlag::S_IFREG {
        return Err(EntryError::NotAFile);
    }
    if status.st_uid != geteuid().as_raw() {
        let owner = status.st_uid;
        return Err(EntryError::ForeignOwner { owner });
    }
    if mode & 0o077 != 0 {
        return Err(EntryError::Insecure { mode });
    }
    if size > MAX {
        return Err(EntryError::TooLarge { size });
    }
    let mut text = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    // It may have grown since.
    let read = file.take(MAX + 1).read_to_end(&mut text);
    read.map_err(errno).map_err(io("read"))?;
    let manifest = Manifest::decode(&text)?;
    match manifest.id == id {
        true => Ok(Some(manifest)),
        false => Err(EntryError::OtherWorker { id: manifest.id }),
    }
}

/// What failed, and why.
type Failed = (&'static str, Errno);

pub(super) fn write(directory: &OwnedFd, id: &str, text: &[u8]) -> Result<(), Failed> {
    let failed = |operation| move |errno| (operation, errno);
    let unfinished = format!("{id}{UNFINISHED}");
    let flags = OFlag::O_WRONLY
        | OFlag::O_CREAT
        | OFlag::O_EXCL
        | OFlag::O_NOFOLLOW
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let private = Mode::S_IRUSR | Mode::S_IWUSR;
    // The lock is held: what lies there is of a writer that was killed.
    unlink(directory, &unfinished).map_err(failed("remove what is left"))?;
    let file = openat(directory, unfinished.as_str(), flags, private);
    let mut file = File::from(file.map_err(failed("make"))?);
    let written = fchmod(&file, private)
        .map_err(failed("make private"))
        .and_then(|()| file.write_all(text).map_err(errno).map_err(failed("write")))
        .and_then(|()| fsync(&file).map_err(failed("sync")))
        .and_then(|()| {
            renameat(directory, unfinished.as_str(), directory, name(id).as_str())
                .map_err(failed("rename"))
        });
    if let Err(error) = written {
        // The next writer would remove it too.
        let _left = unlink(directory, &unfinished);
        return Err(error);
    }
    fsync(directory).map_err(failed("sync the directory"))
}

pub(super) fn remove(directory: &OwnedFd, id: &str) -> Result<(), Errno> {
    unlink(directory, &name(id))?;
    fsync(directory)
}

/// Removes what writers left that were killed. Only for who holds the lock.
pub(super) fn remove_unfinished(directory: &OwnedFd) -> Result<(), Errno> {
    let names = names(directory)?;
    let mut left = names.iter().filter(|name| name.ends_with(UNFINISHED));
    left.try_for_each(|name| unlink(directory, name))
}

/// What lies in the directory, sorted. What is called in no text is nothing of ours.
pub(super) fn names(directory: &OwnedFd) -> Result<Vec<String>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(directory, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        if let Ok(name) = entry?.file_name().to_str() {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn unlink(directory: &OwnedFd, name: &str) -> Result<(), Errno> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::ENOENT) => Ok(()),
        removed => removed,
    }
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
