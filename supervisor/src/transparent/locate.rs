//! Finding the object that a call means, once, as the calling thread sees it. From then on only the object counts.

use super::calls::{Base, Place};
use super::failure::{Failure, out_of_means};
use super::thread::Thread;
use super::walk;
use crate::broker::id_of;
use crate::policy::{Access, Subject};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use sys::metadata::{self, Facts};
use sys::openat2::{self, Lookup, is_local};

/// An object that was found.
#[derive(Debug)]
pub(super) struct Located {
    /// The object itself, `O_PATH`.
    pub fd: OwnedFd,
    /// What it is.
    pub facts: Facts,
    /// What it is called now.
    pub name: Name,
    /// Whether acting on it may wait for a file server.
    pub is_slow: bool,
    /// Whether it lies on a proc file system, where names mean something else to everybody who asks.
    pub is_proc: bool,
}

/// What a located object is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// This, from the root: canonical, no symbolic link in it.
    Path(PathBuf),
    /// Nothing (any more): it was unlinked, or never had a name.
    None {
        /// What the child may do to it through the descriptor by which it was found.
        held: Access,
    },
}

impl Located {
    /// What the child may do to it by the descriptor alone by which it was found: only of what has no name is that known.
    pub fn held(&self) -> Access {
        match self.name {
            Name::Path(_) => Access::NONE,
            Name::None { held } => held,
        }
    }

    /// Its name, when it has one.
    pub fn path(&self) -> Option<&Path> {
        match &self.name {
            Name::Path(path) => Some(path),
            Name::None { .. } => None,
        }
    }

    /// What the policy decides about; `None` for what has no name.
    pub fn subject(&self) -> Option<Subject<'_>> {
        let object = Some(id_of(&self.facts));
        self.path().map(|path| Subject { path, object })
    }

    /// Whether it and another are reached through different mounts, as far as the kernel can say.
    pub fn is_apart_from(&self, other: &Self) -> bool {
        let [one, other] = [self, other].map(|located| located.facts.mount);
        one != 0 && other != 0 && one != other
    }

    /// Looks at what was found, beginning wherever the child said. `held`: through which of its descriptors, if through one.
    pub fn look(fd: OwnedFd, held: Option<(Thread, i32)>, lookup: Lookup) -> Result<Self, Failure> {
        Self::look_on(fd, held, lookup, metadata::file_system_of)
    }

    /// Looks at what was found by a walk from the root, which comes by nothing but what is mounted.
    pub fn look_below_root(fd: OwnedFd, lookup: Lookup) -> Result<Self, Failure> {
        Self::look_on(fd, None, lookup, metadata::file_system_remembered)
    }

    fn look_on(
        fd: OwnedFd,
        held: Option<(Thread, i32)>,
        lookup: Lookup,
        file_system_of: fn(u64) -> Result<i64, Errno>,
    ) -> Result<Self, Failure> {
        let facts = metadata::facts(fd.as_fd())?;
        // What is mounted nowhere is the kernel's own, or was taken away with its mount: the name it had means something else.
        let system = file_system_of(facts.mount);
        let is_mounted = system != Err(Errno::ENOENT);
        let name = if is_mounted {
            name_of(fd.as_fd(), lookup)?
        } else {
            None
        };
        let name = match (name, held) {
            (Some(path), _) => Name::Path(path),
            (None, Some((thread, number))) => {
                let descriptor = thread.descriptor(number)?;
                Name::None {
                    // The number may mean another file since it was looked behind.
                    held: match descriptor.ino == Some(facts.ino) {
                        true => descriptor.access(),
                        false => Access::NONE,
                    },
                }
            }
            (None, None) => Name::None { held: Access::NONE },
        };
        Ok(Self {
            fd,
            facts,
            name,
            is_slow: is_mounted && !system.is_ok_and(is_local),
            is_proc: is_proc(&facts, system),
        })
    }
}

/// Finds the object of a place.
pub(super) fn locate(thread: Thread, place: &Place, lookup: Lookup) -> Result<Located, Failure> {
    match place {
        Place::WorkingDirectory => Located::look(thread.working_directory()?, None, lookup),
        Place::Descriptor {
            number,
            accepts_path_only,
        } => {
            let fd = thread.behind(*number)?;
            if !accepts_path_only && thread.is_path_only(*number)? {
                return Err(Errno::EBADF.into());
            }
            Located::look(fd, Some((thread, *number)), lookup)
        }
        Place::Path { base, path, follow } => by_path(thread, *base, path, *follow, lookup),
    }
}

/// Finds the object of a path.
pub(super) fn by_path(
    thread: Thread,
    base: Base,
    path: &CStr,
    follow: bool,
    lookup: Lookup,
) -> Result<Located, Failure> {
    if path.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let base = match base {
        _ if path.to_bytes().starts_with(b"/") => None,
        Base::WorkingDirectory => Some(thread.working_directory()?),
        Base::Descriptor(number) => Some(thread.behind(number)?),
    };
    let from = base.as_ref().map(AsFd::as_fd);
    match resolve(from, path, follow, lookup) {
        // Something on the way may have meant *our* process, or was a magic link, which is refused.
        Err(Failure::Native(Errno::ELOOP | Errno::ENOENT)) => {
            walk::walk(thread, base, path, follow, lookup)
        }
        Err(failure) => Err(failure),
        Ok(fd) => {
            let located = match base {
                None => Located::look_below_root(fd, lookup)?,
                Some(_) => Located::look(fd, None, lookup)?,
            };
            if located.is_proc {
                walk::walk(thread, base, path, follow, lookup)
            } else {
                Ok(located)
            }
        }
    }
}

/// One walk by the kernel: `from` there, or from the root. Magic links are refused (`ELOOP`).
pub(super) fn resolve(
    from: Option<BorrowedFd<'_>>,
    path: &CStr,
    follow: bool,
    lookup: Lookup,
) -> Result<OwnedFd, Failure> {
    let flags = if follow {
        OFlag::empty()
    } else {
        OFlag::O_NOFOLLOW
    };
    resolve_within(from, path, flags, 0, lookup)
}

/// The same, with flags of an open and restrictions of `openat2(2)`.
pub(super) fn resolve_within(
    from: Option<BorrowedFd<'_>>,
    path: &CStr,
    flags: OFlag,
    restrictions: u64,
    lookup: Lookup,
) -> Result<OwnedFd, Failure> {
    match openat2::locate_within(from, as_path(path), flags, restrictions, lookup) {
        Ok(fd) => Ok(fd),
        Err(errno) => Err(unresolved(errno, lookup)),
    }
}

/// Why a walk by the kernel came to nothing.
fn unresolved(errno: Errno, lookup: Lookup) -> Failure {
    match errno {
        Errno::EAGAIN if lookup == Lookup::Cached => Failure::WouldWait,
        Errno::EMFILE | Errno::ENFILE => out_of_means(errno),
        errno => errno.into(),
    }
}

/// What the kernel calls an open object.
pub(super) fn name_of(fd: BorrowedFd<'_>, lookup: Lookup) -> Result<Option<PathBuf>, Failure> {
    match openat2::path_of(fd, lookup) {
        Ok(name) => Ok(name),
        Err(Errno::ENAMETOOLONG) => Err(Failure::TooDeep),
        Err(errno) => Err(unresolved(errno, lookup)),
    }
}

/// Whether it lies on a proc file system; `system` is what [`metadata::file_system_of`] says of it.
fn is_proc(facts: &Facts, system: Result<i64, Errno>) -> bool {
    match system {
        Ok(magic) => magic == libc::PROC_SUPER_MAGIC,
        // The number of the device that /proc itself is on can tell as well. /proc is local and never waits.
        Err(_) => std::fs::metadata("/proc").is_ok_and(|proc| proc.dev() == facts.dev),
    }
}

/// Whether a file that was not looked at otherwise lies on a proc file system.
pub(super) fn is_on_proc(facts: &Facts) -> bool {
    is_proc(facts, metadata::file_system_of(facts.mount))
}

/// The bytes of a path as a path.
pub(super) fn as_path(path: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(path.to_bytes()))
}

/// The target of a symbolic link that was located.
pub(super) fn target_of(link: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    nix::fcntl::readlinkat(link, c"").map(OsStringExt::into_vec)
}
