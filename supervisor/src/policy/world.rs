//! The file system, as compiling a policy needs to see it: a trait, so that nothing here touches it.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use super::pattern::is_canonical;
use super::subject::FileId;

/// What is known about names of files.
pub trait World {
    /// What a path names, not following a link at its end. It is asked only once every component before the last was seen to
    /// be a directory. `None`: nothing.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn look(&self, path: &Path) -> Result<Option<Entry>, Errno>;

    /// Where a symbolic link leads, as it is written.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn link(&self, path: &Path) -> Result<PathBuf, Errno>;

    /// The names in a directory.
    ///
    /// # Errors
    /// When it cannot be listed.
    fn list(&self, path: &Path) -> Result<Vec<OsString>, Errno>;
}

/// An object in the file system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Its identity; `None` for a directory that is about to be made.
    pub object: Option<FileId>,
    /// What it is.
    pub kind: Kind,
    /// How many names it has.
    pub links: u64,
}

/// Kinds of objects, as far as rights differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A character device.
    Device,
    /// A symbolic link.
    Link,
    /// A socket, a FIFO, a block device.
    Other,
}

/// A path, followed to its end.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    /// The name without any link in it.
    pub canonical: PathBuf,
    /// Every other name that leads there: the one that was written, and one for each link that was followed.
    pub others: Vec<PathBuf>,
    /// Where each link stands that was followed.
    pub links: Vec<PathBuf>,
    /// What is there.
    pub entry: Option<Entry>,
}

impl Traced {
    /// A path that nothing is known about but its name.
    pub fn unseen(path: &Path) -> Self {
        Self {
            canonical: path.to_owned(),
            others: Vec::new(),
            links: Vec::new(),
            entry: None,
        }
    }

    /// Every name that leads there, the canonical one last.
    pub fn names(&self) -> impl Iterator<Item = &Path> {
        let others = self.others.iter().map(PathBuf::as_path);
        others.chain([self.canonical.as_path()])
    }
}

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// Follows a path, link by link.
///
/// What is seen component by component may change between one look and the next. That is of no use to anybody: whoever opens
/// what was decided on does so without following any link, and makes sure that it is the same object.
pub(super) fn trace(world: &Planned<'_>, path: &Path) -> Result<Traced, Errno> {
    let mut others = Vec::new();
    let mut links = Vec::new();
    // Most rules name something in a directory that an earlier one led to.
    let is_near = is_canonical(path) && path.parent().is_some_and(|above| world.has_seen(above));
    let (mut here, mut rest) = match is_near {
        true => (path.to_owned(), VecDeque::new()),
        false => (PathBuf::from("/"), parts(path).collect::<VecDeque<_>>()),
    };
    let mut entry = world.look(&here)?;
    loop {
        if entry.is_some_and(|found| found.kind == Kind::Link) {
            if links.len() >= LINKS {
                return Err(Errno::ELOOP);
            }
            let name = rest.iter().fold(here.clone(), |name, part| name.join(part));
            remember(&mut others, name);
            links.push(here.clone());
            let target = world.link(&here)?;
            here.pop();
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            entry = world.look(&here)?;
            for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(part);
            }
        }
        let Some(part) = rest.pop_front() else {
            break;
        };
        if part == ".." {
            here.pop();
            entry = world.look(&here)?;
            continue;
        }
        here.push(&part);
        // Below what is missing, or is no directory, is nothing.
        entry = match entry {
            Some(above) if above.kind == Kind::Directory => world.look(&here)?,
            _ => None,
        };
    }
    others.retain(|name| *name != here);
    Ok(Traced {
        canonical: here,
        others,
        links,
        entry,
    })
}

fn remember(names: &mut Vec<PathBuf>, name: PathBuf) {
    if !names.contains(&name) {
        names.push(name);
    }
}

fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        _ => None,
    })
}

/// The world as it will be when the directories that a policy makes have been made. It remembers directories: most rules lie
/// in the same few.
pub(super) struct Planned<'w> {
    world: &'w dyn World,
    made: BTreeSet<PathBuf>,
    /// Those that were seen, and those that will be made.
    directories: RefCell<HashMap<OsString, Entry>>,
}

impl<'w> Planned<'w> {
    pub fn new(world: &'w dyn World) -> Self {
        Self {
            world,
            made: BTreeSet::new(),
            directories: RefCell::new(HashMap::with_capacity(64)),
        }
    }

    /// Plans a directory, and those above it that are missing. Yields what must be made, outermost first.
    pub fn plan(&mut self, path: &Path) -> Result<Vec<PathBuf>, Errno> {
        let traced = trace(self, path)?;
        match traced.entry {
            Some(entry) if entry.kind == Kind::Directory => return Ok(Vec::new()),
            Some(_) => return Err(Errno::ENOTDIR),
            None => {}
        }
        let mut missing = Vec::new();
        let mut above: Vec<&Path> = traced.canonical.ancestors().collect();
        above.reverse();
        for directory in above {
            if !missing.is_empty() {
                missing.push(directory.to_owned());
                continue;
            }
            match self.look(directory)? {
                None => missing.push(directory.to_owned()),
                Some(entry) if entry.kind == Kind::Directory => {}
                Some(_) => return Err(Errno::ENOTDIR),
            }
        }
        for path in &missing {
            let entry = Entry {
                object: None,
                kind: Kind::Directory,
                links: 1,
            };
            self.directories.get_mut().insert(path.into(), entry);
            self.made.insert(path.clone());
        }
        Ok(missing)
    }

    /// Whether a directory of this name was seen. Links are followed before a name is looked at, so none leads there.
    fn has_seen(&self, path: &Path) -> bool {
        self.directories.borrow().contains_key(path.as_os_str())
    }

    /// What a path names; see [`World::look`].
    pub fn look(&self, path: &Path) -> Result<Option<Entry>, Errno> {
        if let Some(entry) = self.directories.borrow().get(path.as_os_str()) {
            return Ok(Some(*entry));
        }
        let found = self.world.look(path)?;
        if let Some(entry) = found
            && entry.kind == Kind::Directory
        {
            self.directories.borrow_mut().insert(path.into(), entry);
        }
        Ok(found)
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        self.world.link(path)
    }

    /// The names in a directory, with those of directories that will be made there.
    pub fn list(&self, path: &Path) -> Result<Vec<OsString>, Errno> {
        let mut names = if self.made.contains(path) {
            Vec::new()
        } else {
            self.world.list(path)?
        };
        let below = self.made.iter().filter(|made| made.parent() == Some(path));
        names.extend(below.filter_map(|made| made.file_name().map(OsStr::to_owned)));
        Ok(names)
    }
}
