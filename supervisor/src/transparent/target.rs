//! Finding what an open means: an object that is there, or the place of one that is to be made.

use super::calls::{Base, Opening, Target};
use super::failure::{Failure, out_of_means, refused};
use super::locate::{Located, as_path, resolve_within, target_of};
use super::parents::{self, Last};
use super::thread::Thread;
use super::walk;
use crate::policy::Subject;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use sys::openat2::Lookup;

/// As many symbolic links as the kernel follows (`MAXSYMLINKS`).
const LINKS: usize = 40;

/// What an open means.
#[derive(Debug)]
pub(super) enum Found {
    /// It is there.
    There(Located),
    /// It is to be made: in that directory, under that name.
    New {
        parent: Located,
        name: CString,
        /// Its canonical name, when it will have been made.
        path: PathBuf,
    },
}

impl Found {
    /// What the policy decides about; `None` for what has no name.
    pub fn subject(&self) -> Option<Subject<'_>> {
        match self {
            Self::There(located) => located.subject(),
            Self::New { path, .. } => Some(Subject { path, object: None }),
        }
    }

    /// Whether acting on it may wait for a file server.
    pub fn is_slow(&self) -> bool {
        match self {
            Self::There(located) => located.is_slow,
            Self::New { parent, .. } => parent.is_slow,
        }
    }
}

/// Finds what an open means. With [`Lookup::Cached`] nothing here waits for a file server.
pub(super) fn find(thread: Thread, target: &Target, lookup: Lookup) -> Result<Found, Failure> {
    let Target { base, path, how } = target;
    if path.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    let is_absolute = path.to_bytes().starts_with(b"/");
    let start = match base {
        _ if is_absolute && !how.is_contained() => None,
        Base::WorkingDirectory => Some(thread.working_directory()?),
        Base::Descriptor(number) => Some(thread.behind(*number)?),
    };
    let walk = Walk {
        thread,
        how: *how,
        lookup,
    };
    if how.creates()
        && let Ok((above, None)) = split(path)
    {
        // Only a directory's name can end in a slash, and none is made by an open.
        let found = walk.look(start.as_ref(), &above, true, OFlag::O_DIRECTORY);
        return Err(found.err().unwrap_or(Errno::EISDIR.into()));
    }
    match walk.look(start.as_ref(), path, how.follows(), how.flags) {
        Ok(located) => Ok(Found::There(located)),
        Err(Failure::Native(Errno::ENOENT)) if how.creates() => walk.place(start, path),
        Err(Failure::WouldWait) => walk.nearby(start.as_ref(), path),
        Err(failure) => Err(failure),
    }
}

/// One way of looking.
#[derive(Clone, Copy)]
struct Walk {
    thread: Thread,
    how: Opening,
    lookup: Lookup,
}

impl Walk {
    /// What a path leads to, if there is anything.
    fn look(
        &self,
        start: Option<&OwnedFd>,
        path: &CStr,
        follow: bool,
        flags: OFlag,
    ) -> Result<Located, Failure> {
        let is_directory = flags.contains(OFlag::O_DIRECTORY);
        let mut flags = flags & OFlag::O_DIRECTORY;
        flags.set(OFlag::O_NOFOLLOW, !follow);
        let from = start.map(AsFd::as_fd);
        let slowly = || {
            if self.how.resolve != 0 {
                return Err(refused("a walk with restrictions through /proc"));
            }
            let start = start.map(OwnedFd::try_clone).transpose();
            let start = start.map_err(out_of_means)?;
            let located = walk::walk(self.thread, start, path, follow, self.lookup)?;
            match is_directory && !located.facts.is(libc::S_IFDIR) {
                true => Err(Errno::ENOTDIR.into()),
                false => Ok(located),
            }
        };
        match resolve_within(from, path, flags, self.how.resolve, self.lookup) {
            // A magic link, which is refused to us and may be the caller's own.
            Err(Failure::Native(Errno::ELOOP)) if self.how.resolve == 0 => slowly(),
            Err(Failure::Native(Errno::ENOENT)) if may_be_own(path) => slowly(),
            Err(failure) => Err(failure),
            Ok(fd) => {
                let located = match start {
                    None => Located::look_below_root(fd, self.lookup)?,
                    Some(_) => Located::look(fd, None, self.lookup)?,
                };
                if located.is_proc {
                    slowly()
                } else {
                    Ok(located)
                }
            }
        }
    }

    /// The place of what is not there. As the kernel does it, a symbolic link to nothing is followed.
    fn place(&self, start: Option<OwnedFd>, path: &CStr) -> Result<Found, Failure> {
        let mut start = start;
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            let (above, name) = split(&path)?;
            let parent = self.look(start.as_ref(), &above, true, OFlag::O_DIRECTORY)?;
            let name = name.ok_or(Errno::EISDIR)?;
            let resolve = self.how.resolve & !BENEATH_OR_IN_ROOT;
            let from = Some(parent.fd.as_fd());
            // One name in one directory, which the kernel reads itself unless the file system is a server's.
            let lookup = if parent.is_slow {
                self.lookup
            } else {
                Lookup::Full
            };
            let fd = match resolve_within(from, &name, OFlag::O_NOFOLLOW, resolve, lookup) {
                Err(Failure::Native(Errno::ENOENT)) => return Self::to_be_made(parent, name),
                found => found?,
            };
            let located = Located::look(fd, None, lookup)?;
            if !located.facts.is(libc::S_IFLNK) {
                // Somebody made it in this very moment.
                return Ok(Found::There(located));
            }
            match self.how {
                how if how.has(OFlag::O_EXCL) => return Err(Errno::EEXIST.into()),
                how if how.has(OFlag::O_NOFOLLOW) => return Err(Errno::ELOOP.into()),
                how if how.resolve & libc::RESOLVE_NO_SYMLINKS != 0 => {
                    return Err(Errno::ELOOP.into());
                }
                how if how.is_contained() => {
                    return Err(refused(
                        "to be made behind a link, in a walk with restrictions",
                    ));
                }
                _ => {}
            }
            path = CString::new(target_of(located.fd.as_fd())?).map_err(|_| Errno::EINVAL)?;
            start = match path.to_bytes().starts_with(b"/") {
                true => None,
                false => Some(parent.fd),
            };
        }
        Err(Errno::ELOOP.into())
    }

    fn to_be_made(parent: Located, name: CString) -> Result<Found, Failure> {
        // A directory that is gone takes no new entries.
        let path = parent.path().ok_or(Errno::ENOENT)?.join(as_path(&name));
        Ok(Found::New { parent, name, path })
    }

    /// Looks for what is not in memory where only the kernel has to be waited for: when everything but the last name is, and
    /// lies on a file system that no server answers for.
    fn nearby(&self, start: Option<&OwnedFd>, path: &CStr) -> Result<Found, Failure> {
        let wait = Err(Failure::WouldWait);
        if self.lookup == Lookup::Full || self.how.resolve != 0 {
            return wait;
        }
        let Ok((above, Some(name))) = split(path) else {
            return wait;
        };
        let parent = self.look(start, &above, true, OFlag::O_DIRECTORY)?;
        if parent.is_slow || parent.is_proc {
            return wait;
        }
        let flags = (self.how.flags & OFlag::O_DIRECTORY) | OFlag::O_NOFOLLOW;
        let same = libc::RESOLVE_NO_XDEV;
        match resolve_within(Some(parent.fd.as_fd()), &name, flags, same, Lookup::Full) {
            Err(Failure::Native(Errno::ENOENT)) if self.how.creates() => {
                Self::to_be_made(parent, name)
            }
            // A link that is to be a directory: it may lead to one.
            Err(Failure::Native(Errno::EXDEV | Errno::ENOTDIR)) => wait,
            Err(failure) => Err(failure),
            Ok(fd) => match Located::look(fd, None, Lookup::Full)? {
                link if link.facts.is(libc::S_IFLNK) && self.how.follows() => wait,
                located => Ok(Found::There(located)),
            },
        }
    }
}

/// Those of `RESOLVE_*` that bind a walk to where it begins. They did that when the directory was found.
const BENEATH_OR_IN_ROOT: u64 = libc::RESOLVE_BENEATH | libc::RESOLVE_IN_ROOT;

/// Whether a path that leads nowhere for us may lead somewhere for the caller, by what its process has open. (A symbolic link
/// elsewhere to such a name is not seen here: then it leads nowhere.)
fn may_be_own(path: &CStr) -> bool {
    let path = path.to_bytes();
    path.starts_with(b"/dev/") || path.windows(5).any(|part| part == b"/proc")
}

/// A path without its last name, and that name; `None` when there is a slash at the end. `.` and `..` are no names: what they
/// stand for is there if anything is.
fn split(path: &CStr) -> Result<(CString, Option<CString>), Failure> {
    match parents::split(path)? {
        (_, Last::Odd(_)) => Err(Errno::ENOENT.into()),
        (above, Last::Name(name)) => {
            let has_slash = name.to_bytes().ends_with(b"/");
            Ok((above, (!has_slash).then_some(name)))
        }
    }
}
