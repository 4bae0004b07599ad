//! Names in directories: what calls that make, remove and move entries act on.
//!
//! The directory is located, as the calling thread sees it. The name in it is looked at for the decision and never followed; the
//! call is then made with that directory and that name, so every errno is the kernel's own.

use super::calls::Spot;
use super::failure::{Failure, refused};
use super::locate::{Located, by_path, name_of, resolve_within};
use super::thread::Thread;
use crate::broker::{self, id_of};
use crate::policy::{Kind, Subject};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::metadata::{self, Facts};
use sys::openat2::Lookup;

/// A located directory, and the last name of a path, which is not looked up yet.
#[derive(Debug)]
pub(super) struct Parent {
    directory: Located,
    last: Last,
}

/// The end of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Last {
    /// A name; with the slashes that were behind it, which mean something to the kernel.
    Name(CString),
    /// Nothing that an entry is made or removed by.
    Odd(Odd),
}

/// What no entry is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Odd {
    /// `.`
    Itself,
    /// `..`
    Above,
    /// `/`
    Root,
}

/// A name in a located directory, and what has it now.
#[derive(Debug)]
pub(super) struct Entry {
    directory: Located,
    /// For the kernel: with the slashes that were behind it.
    name: CString,
    there: There,
    path: PathBuf,
}

/// What has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    /// Nothing.
    Nothing,
    /// An object, which was not followed if it is a symbolic link.
    Object(Facts),
    /// A directory or file on which something is mounted.
    Mount,
}

impl Parent {
    /// Finds the directory of a name.
    pub fn find(thread: Thread, spot: &Spot, lookup: Lookup) -> Result<Self, Failure> {
        let path = spot.path.as_deref().map_err(|failure| *failure)?;
        if path.is_empty() {
            return Err(Errno::ENOENT.into());
        }
        let (above, last) = split(path)?;
        let directory = by_path(thread, spot.base, &above, true, lookup)?;
        Ok(Self { directory, last })
    }

    /// Whether two names cannot be on one file system, as far as their mounts tell.
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.directory.is_apart_from(&other.directory)
    }

    /// The end of the path, if it is none that an entry has.
    pub fn odd(&self) -> Option<Odd> {
        match self.last {
            Last::Odd(odd) => Some(odd),
            Last::Name(_) => None,
        }
    }

    /// Looks at what has the name. `odd`: the errno of this call for what no entry is called.
    pub fn entry(self, odd: impl FnOnce(Odd) -> Errno, lookup: Lookup) -> Result<Entry, Failure> {
        let Self { directory, last } = self;
        let name = match last {
            Last::Name(name) => name,
            Last::Odd(end) => return Err(odd(end).into()),
        };
        let mut entry = Entry {
            directory,
            name,
            there: There::Nothing,
            path: PathBuf::new(),
        };
        entry.look(lookup)?;
        Ok(entry)
    }

    /// The name of something new. `is_directory`: whether it will be a directory.
    pub fn vacancy(self, is_directory: bool, lookup: Lookup) -> Result<Entry, Failure> {
        let entry = self.entry(|_| Errno::EEXIST, lookup)?;
        match entry.there {
            There::Nothing if !is_directory && entry.has_slash() => Err(Errno::ENOENT.into()),
            There::Nothing => Ok(entry),
            There::Object(_) | There::Mount => Err(Errno::EEXIST.into()),
        }
    }
}

impl There {
    fn kind(&self) -> Kind {
        match self {
            There::Object(facts) if facts.is(libc::S_IFLNK) => Kind::Link,
            There::Object(facts) if !facts.is(libc::S_IFDIR) => Kind::File,
            There::Object(_) | There::Mount | There::Nothing => Kind::Directory,
        }
    }
}

impl Entry {
    /// Looks at what has the name now, and what the directory is called now.
    fn look(&mut self, lookup: Lookup) -> Result<(), Failure> {
        self.there = self.found(lookup)?;
        self.name_it(lookup)
    }

    /// What has the name now.
    fn found(&self, lookup: Lookup) -> Result<There, Failure> {
        let bare = CString::new(self.bare()).map_err(|_| Errno::EINVAL)?;
        // One name in one directory: the kernel reads it itself, unless the file system is a server's.
        let lookup = match self.is_slow() {
            true => lookup,
            false => Lookup::Full,
        };
        let found = resolve_within(
            Some(self.directory.fd.as_fd()),
            &bare,
            OFlag::O_NOFOLLOW,
            libc::RESOLVE_NO_XDEV,
            lookup,
        );
        match found {
            Ok(fd) => Ok(There::Object(metadata::facts(fd.as_fd())?)),
            Err(Failure::Native(Errno::ENOENT)) => Ok(There::Nothing),
            Err(Failure::Native(Errno::EXDEV)) => Ok(There::Mount),
            Err(failure) => Err(failure),
        }
    }

    /// Finds out what it is called now.
    fn name_it(&mut self, lookup: Lookup) -> Result<(), Failure> {
        let directory = match self.directory.path() {
            Some(_) => name_of(self.directory.fd.as_fd(), lookup)?,
            None => None,
        };
        match directory {
            Some(directory) => {
                self.path = directory.join(OsStr::from_bytes(self.bare()));
                Ok(())
            }
            None => Err(self.nameless()),
        }
    }

    /// A directory that was removed has no entries and gets none.
    fn nameless(&self) -> Failure {
        match fstat(&self.directory.fd) {
            Ok(stat) if stat.st_nlink == 0 => Errno::ENOENT.into(),
            _ => refused("its directory has no name any more"),
        }
    }

    /// Looks again, without waiting, after somebody else looked and waited. What a file server told stands.
    pub fn refresh(&mut self) -> Result<(), Failure> {
        match self.is_slow() {
            true => self.name_it(Lookup::Cached),
            false => self.look(Lookup::Full),
        }
    }

    /// Whether the directory is still called what it was.
    pub fn is_in_place(&self) -> bool {
        let lookup = match self.is_slow() {
            true => Lookup::Cached,
            false => Lookup::Full,
        };
        let parent = name_of(self.directory.fd.as_fd(), lookup);
        matches!(parent, Ok(Some(parent)) if Some(parent.as_path()) == self.path.parent())
    }

    /// Whether what has the name is still of the kind that was found. May wait.
    pub fn is_of_its_kind(&self) -> bool {
        let now = self.found(Lookup::Full);
        now.is_ok_and(|now| now.kind() == self.kind() && (now == There::Nothing) != self.is_there())
    }

    /// Whether it has what was found there, or nothing, as then. May wait.
    pub fn is_what_it_was(&self) -> bool {
        match (self.found(Lookup::Full), self.there) {
            (Ok(There::Object(now)), There::Object(then)) => id_of(&now) == id_of(&then),
            (Ok(now), then) => now == then,
            (Err(_), _) => false,
        }
    }

    /// The place, for a question. The directory is held as long as that waits.
    pub fn for_the_broker(&self) -> Result<broker::Located, Errno> {
        let directory = self.directory.fd.try_clone().map_err(|_| Errno::EMFILE)?;
        let name = OsStr::from_bytes(self.bare()).to_owned();
        let path = self.path.clone();
        let facts = self.directory.facts;
        Ok(broker::Located::to_be_made(path, directory, facts, name))
    }

    /// The directory and the name, for the kernel.
    pub fn at(&self) -> (std::os::fd::BorrowedFd<'_>, &CStr) {
        (self.directory.fd.as_fd(), &self.name)
    }

    /// Its canonical path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the policy decides about.
    pub fn subject(&self) -> Subject<'_> {
        let object = match self.there {
            There::Object(facts) => Some(id_of(&facts)),
            There::Nothing | There::Mount => None,
        };
        Subject {
            path: &self.path,
            object,
        }
    }

    /// Whether something has the name.
    pub fn is_there(&self) -> bool {
        self.there != There::Nothing
    }

    /// What has the name. Of what is hidden by a mount it is not known, and a directory is what most is asked of.
    pub fn kind(&self) -> Kind {
        self.there.kind()
    }

    /// What the kernel says when a name is not as a call wants it: on a file system that is read-only, that.
    pub fn unsuited(&self, errno: Errno) -> Errno {
        let is_read_only = || {
            fstatvfs(&self.directory.fd)
                .is_ok_and(|system| system.flags().contains(FsFlags::ST_RDONLY))
        };
        match !self.is_slow() && is_read_only() {
            true => Errno::EROFS,
            false => errno,
        }
    }

    /// Whether acting on it may wait for a file server.
    pub fn is_slow(&self) -> bool {
        self.directory.is_slow
    }

    /// Whether the object cannot be on the file system of this name, as far as mounts tell.
    pub fn is_apart_from(&self, object: &Located) -> bool {
        self.directory.is_apart_from(object)
    }

    fn has_slash(&self) -> bool {
        self.name.to_bytes().ends_with(b"/")
    }

    fn bare(&self) -> &[u8] {
        bare(self.name.to_bytes())
    }
}

fn bare(name: &[u8]) -> &[u8] {
    let end = name.iter().rposition(|byte| *byte != b'/');
    &name[..end.map_or(0, |end| end + 1)]
}

/// The path of a path's directory, and its end. The directory's ends in `.`: then the kernel checks, as it would, that it is
/// one and can be searched.
pub(super) fn split(path: &CStr) -> Result<(CString, Last), Failure> {
    let path = path.to_bytes();
    let names = bare(path);
    let start = names.iter().rposition(|byte| *byte == b'/');
    let start = start.map_or(0, |at| at + 1);
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Failure::Native(Errno::EINVAL));
    let last = match &names[start..] {
        b"" => return Ok((c"/.".to_owned(), Last::Odd(Odd::Root))),
        b"." => Last::Odd(Odd::Itself),
        b".." => Last::Odd(Odd::Above),
        _ => Last::Name(text(&path[start..])?),
    };
    Ok((text(&[&path[..start], b"."].concat())?, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transparent::calls::Base;

    fn parts(path: &str) -> (String, Result<String, Odd>) {
        let path = CString::new(path).unwrap();
        let (above, last) = split(&path).unwrap();
        let last = match last {
            Last::Name(name) => Ok(name.into_string().unwrap()),
            Last::Odd(odd) => Err(odd),
        };
        (above.into_string().unwrap(), last)
    }

    #[test]
    fn a_path_is_taken_apart_as_the_kernel_does() {
        for (path, above, last) in [
            ("a", ".", Ok("a")),
            ("a/", ".", Ok("a/")),
            ("/a", "/.", Ok("a")),
            ("//a//b///", "//a//.", Ok("b///")),
            ("a/b", "a/.", Ok("b")),
            ("...", ".", Ok("...")),
            (".", ".", Err(Odd::Itself)),
            ("a/./", "a/.", Err(Odd::Itself)),
            ("a/..", "a/.", Err(Odd::Above)),
            ("/..", "/.", Err(Odd::Above)),
            ("/", "/.", Err(Odd::Root)),
            ("///", "/.", Err(Odd::Root)),
        ] {
            let last = last.map(str::to_owned);
            assert_eq!(parts(path), (above.to_owned(), last), "{path}");
        }
    }

    fn find(path: &Path) -> Result<Entry, Failure> {
        let spot = Spot {
            base: Base::WorkingDirectory,
            path: Ok(CString::new(path.as_os_str().as_bytes()).unwrap()),
        };
        let thread = Thread(nix::unistd::gettid().as_raw());
        Parent::find(thread, &spot, Lookup::Full)?.entry(|_| Errno::EBUSY, Lookup::Full)
    }

    #[test]
    fn a_name_is_looked_at_and_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(place.join("d/e")).unwrap();
        std::os::unix::fs::symlink("d", place.join("link")).unwrap();
        let entry = find(&place.join("link/e/../../link")).unwrap();
        assert_eq!(entry.path(), place.join("link"));
        assert_eq!(entry.kind(), Kind::Link);
        let entry = find(&place.join("link/e/")).unwrap();
        assert_eq!(entry.path(), place.join("d/e"));
        assert!(entry.kind() == Kind::Directory && entry.subject().object.is_some());
        let entry = find(&place.join("d/new")).unwrap();
        assert!(!entry.is_there() && entry.subject().object.is_none());
        assert_eq!(entry.unsuited(Errno::ENOENT), Errno::ENOENT);
        let mount = find(Path::new("/proc")).unwrap();
        assert!(mount.is_there() && mount.subject().object.is_none());
        assert_eq!(mount.kind(), Kind::Directory);
        for (path, errno) in [
            (place.join("d/."), Errno::EBUSY),
            (place.join("nowhere/."), Errno::ENOENT),
            (place.join("nowhere/x"), Errno::ENOENT),
            (place.join("n".repeat(256)), Errno::ENAMETOOLONG),
        ] {
            assert_eq!(find(&path).err(), Some(errno.into()), "{path:?}");
        }
    }

    #[test]
    fn what_moved_since_is_looked_at_where_it_is() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().canonicalize().unwrap();
        std::fs::create_dir(place.join("d")).unwrap();
        let mut entry = find(&place.join("d/x")).unwrap();
        assert!(entry.is_in_place());
        std::fs::rename(place.join("d"), place.join("moved")).unwrap();
        std::fs::write(place.join("moved/x"), "").unwrap();
        assert!(!entry.is_in_place() && !entry.is_there());
        entry.refresh().unwrap();
        assert!(entry.is_in_place() && entry.is_there());
        assert_eq!(entry.path(), place.join("moved/x"));
        std::fs::remove_dir_all(place.join("moved")).unwrap();
        assert_eq!(entry.refresh(), Err(Errno::ENOENT.into()));
    }
}
