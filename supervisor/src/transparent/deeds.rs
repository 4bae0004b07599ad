//! What is to become of which names, located: judged, and done.
//!
//! The checks stand in the kernel's order, so that a call with several faults gets the errno that it would get without us. What the
//! kernel checks after it would have asked Landlock is left to it: it is the kernel that acts, on the located directory.

use super::calls::{Act, Node};
use super::elsewhere;
use super::ends::{doer, judge_link, judge_move};
use super::failure::{Failure, refused};
use super::law::Law;
use super::locate::{Located, as_path, locate};
use super::objection::{NAMELESS, Objection};
use super::parents::{Entry, Odd, Parent};
use super::thread::Thread;
use crate::audit::Seen;
use crate::broker::{self, umask};
use crate::policy::{Access, FileId, Kind};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use sys::entries::{self, Removal};
use sys::making::Making;
use sys::openat2::Lookup;
use sys::process::{limit_of, resource};

/// An [`Act`] whose objects and directories were located.
#[derive(Debug)]
pub(super) enum Deed {
    SetLength(Located, i64),
    Make(Entry, Node),
    Remove(Entry, Removal),
    Move(Entry, Entry, u32),
    Link(Located, Entry),
    Symlink(CString, Entry),
}

/// Who is to do what was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doer {
    /// The caller, whom the kernel judges again and by the same rules.
    Caller,
    /// The supervisor.
    Supervisor,
}

impl Deed {
    /// Locates what an act is about.
    pub fn find(thread: Thread, act: &Act, lookup: Lookup) -> Result<Self, Failure> {
        let parent = |spot| Parent::find(thread, spot, lookup);
        let deed = match act {
            Act::SetLength(place, length) => {
                let object = locate(thread, place, lookup)?;
                match object.facts.mode & libc::S_IFMT {
                    libc::S_IFREG => Self::SetLength(object, *length),
                    libc::S_IFDIR => return Err(Errno::EISDIR.into()),
                    _ => return Err(Errno::EINVAL.into()),
                }
            }
            Act::Make(spot, node) => {
                let is_directory = matches!(node, Node::Directory(_));
                Self::Make(parent(spot)?.vacancy(is_directory, lookup)?, *node)
            }
            Act::Remove(spot, kind) => {
                let odd = |odd| match (kind, odd) {
                    (Removal::Other, _) => Errno::EISDIR,
                    (Removal::Directory, Odd::Itself) => Errno::EINVAL,
                    (Removal::Directory, Odd::Above) => Errno::ENOTEMPTY,
                    (Removal::Directory, Odd::Root) => Errno::EBUSY,
                };
                Self::Remove(parent(spot)?.entry(odd, lookup)?, *kind)
            }
            Act::Move(from, to, flags) => {
                let (from, to) = (parent(from)?, parent(to)?);
                if from.is_apart_from(&to) {
                    return Err(Errno::EXDEV.into());
                }
                // Both ends of paths are looked at before any name.
                let odd = match flags & libc::RENAME_NOREPLACE {
                    0 => Errno::EBUSY,
                    _ => Errno::EEXIST,
                };
                match (from.odd(), to.odd()) {
                    (Some(_), _) => return Err(Errno::EBUSY.into()),
                    (None, Some(_)) => return Err(odd.into()),
                    (None, None) => {}
                }
                let from = from.entry(|_| Errno::EBUSY, lookup)?;
                if !from.is_there() {
                    return Err(from.unsuited(Errno::ENOENT).into());
                }
                Self::Move(from, to.entry(|_| odd, lookup)?, *flags)
            }
            Act::Link(place, spot) => {
                let object = locate(thread, place, lookup)?;
                let entry = parent(spot)?.vacancy(false, lookup)?;
                match entry.is_apart_from(&object) {
                    true => return Err(Errno::EXDEV.into()),
                    false => Self::Link(object, entry),
                }
            }
            Act::Symlink(target, spot) => {
                Self::Symlink(target.clone(), parent(spot)?.vacancy(false, lookup)?)
            }
        };
        deed.check()?;
        Ok(deed)
    }

    /// Whether the names are there, or not there, as it takes.
    fn check(&self) -> Result<(), Failure> {
        let absent = |entry: &Entry| (!entry.is_there()).then(|| entry.unsuited(Errno::ENOENT));
        let errno = match self {
            Self::SetLength(..) => None,
            Self::Make(entry, _) | Self::Link(_, entry) | Self::Symlink(_, entry) => {
                entry.is_there().then_some(Errno::EEXIST)
            }
            Self::Remove(entry, _) => absent(entry),
            Self::Move(from, to, flags) => absent(from).or_else(|| match *flags {
                libc::RENAME_EXCHANGE => absent(to),
                libc::RENAME_NOREPLACE => to.is_there().then(|| to.unsuited(Errno::EEXIST)),
                _ => None,
            }),
        };
        errno.map_or(Ok(()), |errno| Err(errno.into()))
    }

    /// Looks again at names, without waiting, after somebody else looked and waited.
    pub fn refresh(&mut self) -> Result<(), Failure> {
        for entry in self.entries_mut().into_iter().flatten() {
            entry.refresh()?;
        }
        self.check()
    }

    /// Whether the kernel may be left to judge it, by the grants that it was given.
    ///
    /// Directories are made and names moved by us alone, one after the other. So nobody of the session puts a directory where a
    /// file was seen whose move was allowed. And what an object gains by another name the kernel judges by less than the rules.
    pub fn may_be_left(&self) -> bool {
        match self {
            Self::SetLength(..) | Self::Remove(..) | Self::Symlink(..) => true,
            Self::Make(_, node) => matches!(node, Node::Other(_)),
            Self::Move(..) | Self::Link(..) => false,
        }
    }

    /// Whether its directories are still called what they were when it was judged, and what is moved is what it was: a directory
    /// takes along what a file has not.
    pub fn is_in_place(&self) -> bool {
        let are_kinds = match self {
            Self::Move(from, to, flags) => {
                let is_exchange = flags & libc::RENAME_EXCHANGE != 0;
                from.is_of_its_kind() && (!is_exchange || to.is_of_its_kind())
            }
            _ => true,
        };
        are_kinds && self.entries().into_iter().flatten().all(Entry::is_in_place)
    }

    /// Does it at once, on the thread that serves. `None`: it would move a directory above what is being done elsewhere, and has
    /// to wait for that.
    pub fn at_once<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        match self.moved().as_slice() {
            [] => Some(act()),
            moved => elsewhere::unless_above(moved, act),
        }
    }

    /// Does it elsewhere, while nobody moves a directory above it, and what makes directories or moves names while nobody else does
    /// that either: what was looked at just before is still so. Not for ever where a file server does not answer: `None`.
    pub fn alone<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        static NAMES: Mutex<()> = Mutex::new(());
        let entries: Vec<&Entry> = self.entries().into_iter().flatten().collect();
        if entries.is_empty() {
            return Some(act());
        }
        let moved = self.moved();
        let _kept = soon(|| elsewhere::keep(&entries, &moved))?;
        let _names = match self {
            Self::Move(..) | Self::Make(_, Node::Directory(_)) => {
                Some(soon(|| NAMES.try_lock().ok())?)
            }
            _ => None,
        };
        Some(act())
    }

    /// The directories that get another place, as far as is known.
    fn moved(&self) -> Vec<FileId> {
        let Self::Move(from, to, flags) = self else {
            return Vec::new();
        };
        let is_exchange = flags & libc::RENAME_EXCHANGE != 0;
        let ends = [Some(from), Some(to).filter(|_| is_exchange)];
        let directories = ends.into_iter().flatten();
        let directories = directories.filter(|end| end.kind() == Kind::Directory);
        directories.filter_map(|end| end.subject().object).collect()
    }

    /// Whether doing it may take its time: a file server is asked, a lease is waited for, directories change places.
    pub fn is_slow(&self) -> bool {
        let is_server = self.entries().into_iter().flatten().any(Entry::is_slow);
        match self {
            Self::SetLength(..) => true,
            Self::Link(object, _) => is_server || object.is_slow,
            _ => is_server,
        }
    }

    fn entries(&self) -> [Option<&Entry>; 2] {
        match self {
            Self::SetLength(..) => [None, None],
            Self::Make(entry, _)
            | Self::Remove(entry, _)
            | Self::Link(_, entry)
            | Self::Symlink(_, entry) => [Some(entry), None],
            Self::Move(from, to, _) => [Some(from), Some(to)],
        }
    }

    fn entries_mut(&mut self) -> [Option<&mut Entry>; 2] {
        match self {
            Self::SetLength(..) => [None, None],
            Self::Make(entry, _)
            | Self::Remove(entry, _)
            | Self::Link(_, entry)
            | Self::Symlink(_, entry) => [Some(entry), None],
            Self::Move(from, to, _) => [Some(from), Some(to)],
        }
    }

    /// Whether its names still mean what they meant when it was judged. May wait.
    pub fn is_as_shown(&self) -> bool {
        let mut entries = self.entries().into_iter().flatten();
        entries.all(|entry| entry.is_in_place() && entry.is_what_it_was())
    }

    /// What is done, for whoever is asked whether it may be.
    pub fn what(&self) -> &'static str {
        match self {
            Self::SetLength(..) => "set the length of",
            Self::Make(_, Node::Directory(_)) => "make the directory",
            Self::Make(_, Node::Other(_)) => "make",
            Self::Remove(_, Removal::Directory) => "remove the directory",
            Self::Remove(_, Removal::Other) => "remove",
            Self::Move(_, _, flags) if flags & libc::RENAME_EXCHANGE != 0 => "exchange",
            Self::Move(..) => "move",
            Self::Link(..) => "link",
            Self::Symlink(..) => "make the link",
        }
    }

    /// What whoever is asked is shown: the place that it is about, which is held meanwhile, and the second name.
    pub fn for_the_broker(&self) -> Result<(broker::Located, Option<PathBuf>), Errno> {
        let at = |entry: &Entry| entry.for_the_broker();
        let there = |object: &Located, path: &Path| {
            let fd = object.fd.try_clone().map_err(|_| Errno::EMFILE)?;
            let facts = object.facts;
            Ok(broker::Located::there(path.to_owned(), fd, facts))
        };
        match self {
            Self::SetLength(object, _) => {
                let path = object.path().ok_or(Errno::EACCES)?;
                Ok((there(object, path)?, None))
            }
            Self::Make(entry, _) | Self::Remove(entry, _) => Ok((at(entry)?, None)),
            Self::Move(from, to, _) => Ok((at(from)?, Some(to.path().to_owned()))),
            Self::Link(object, entry) => match object.path() {
                Some(path) => Ok((there(object, path)?, Some(entry.path().to_owned()))),
                None => Ok((at(entry)?, None)),
            },
            Self::Symlink(target, entry) => Ok((at(entry)?, Some(as_path(target).to_owned()))),
        }
    }

    /// Which names it is done to, and what is done to each.
    pub fn done_to(&self) -> Vec<(&Path, Seen)> {
        let made = |entry: &Entry| match entry.kind() {
            Kind::Directory => Seen::MadeDirectory,
            _ => Seen::Made,
        };
        match self {
            Self::SetLength(object, _) => {
                let path = object.path();
                path.map(|path| (path, Seen::Opened)).into_iter().collect()
            }
            Self::Make(entry, Node::Directory(_)) => vec![(entry.path(), Seen::MadeDirectory)],
            Self::Make(entry, Node::Other(_)) | Self::Link(_, entry) | Self::Symlink(_, entry) => {
                vec![(entry.path(), Seen::Made)]
            }
            Self::Remove(entry, _) => vec![(entry.path(), Seen::Removed)],
            Self::Move(from, to, flags) => match flags & libc::RENAME_EXCHANGE {
                0 => vec![(from.path(), Seen::Removed), (to.path(), made(from))],
                _ => vec![(from.path(), made(to)), (to.path(), made(from))],
            },
        }
    }

    /// Asks the law.
    pub fn judge(&self, law: &dyn Law) -> Result<Doer, Objection<'_>> {
        match self {
            Self::SetLength(object, _) => {
                match (object.subject(), object.held().contains(Access::WRITE)) {
                    (Some(subject), _) => {
                        let verdict = law.decide_open(&subject, Access::WRITE);
                        doer(verdict, subject.path)
                    }
                    (None, true) => Ok(Doer::Supervisor),
                    (None, false) => Err(NAMELESS),
                }
            }
            Self::Make(entry, node) => {
                if let Node::Other(mode) = node
                    && matches!(mode & libc::S_IFMT, libc::S_IFCHR | libc::S_IFBLK)
                {
                    return Err(Objection::Refused(
                        Errno::EPERM,
                        "a device",
                        Some(entry.path()),
                    ));
                }
                let kind = match node {
                    Node::Directory(_) => Kind::Directory,
                    Node::Other(_) => Kind::File,
                };
                doer(law.decide_make(&entry.subject(), kind), entry.path())
            }
            Self::Remove(entry, removal) => {
                let subject = entry.subject();
                let verdict = match (removal, entry.kind()) {
                    (Removal::Other, Kind::File) => law.decide_remove(&subject),
                    _ => law.decide_replace(&subject),
                };
                doer(verdict, entry.path())
            }
            Self::Symlink(_, entry) => {
                let verdict = law.decide_make(&entry.subject(), Kind::Link);
                doer(verdict, entry.path())
            }
            Self::Link(object, entry) => judge_link(law, object, entry),
            Self::Move(from, to, flags) => judge_move(law, from, to, *flags),
        }
    }

    /// Does it. `waits`: whether the caller still waits, so that what was found out about its thread is about it.
    pub fn perform(&self, thread: Thread, waits: impl Fn() -> bool) -> Result<(), Failure> {
        let waits = || if waits() { Ok(()) } else { Err(Errno::EINTR) };
        match self {
            Self::SetLength(object, length) => {
                let limit = limit_of(thread.0, resource::FSIZE)
                    .map_err(|_| refused("the limits of the caller cannot be read"))?;
                let (process, _) = thread.process_descriptor()?;
                waits()?;
                let size = fstat(&object.fd)?.st_size;
                if *length > size && *length as u64 > limit.soft {
                    process.send_signal(libc::SIGXFSZ)?;
                    return Err(Errno::EFBIG.into());
                }
                entries::set_length(object.fd.as_fd(), *length)?;
            }
            Self::Make(entry, node) => {
                let (directory, name) = entry.at();
                let mask = thread.umask()?;
                waits()?;
                let making = match node {
                    Node::Directory(mode) => Making::Directory(*mode),
                    Node::Other(mode) => Making::Node(*mode),
                };
                umask::make_under(mask, making, directory, name)?;
            }
            Self::Remove(entry, kind) => {
                let (directory, name) = entry.at();
                waits()?;
                entries::remove(directory, name, *kind)?;
            }
            Self::Move(from, to, flags) => {
                waits()?;
                entries::rename(from.at(), to.at(), *flags)?;
            }
            Self::Link(object, entry) => {
                let (directory, name) = entry.at();
                waits()?;
                entries::link(object.fd.as_fd(), directory, name)?;
            }
            Self::Symlink(target, entry) => {
                let (directory, name) = entry.at();
                waits()?;
                entries::symlink(target, directory, name)?;
            }
        }
        Ok(())
    }
}

/// How long somebody else may be moving names.
const PATIENCE: Duration = Duration::from_secs(1);

/// What becomes free before long.
fn soon<T>(take: impl Fn() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        match take() {
            None if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            taken => return taken,
        }
    }
}
