//! The file system, as compiling a policy needs to see it: a trait, so that nothing here touches it.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;

use super::subject::FileId;

/// What is known about names of files.
pub trait World {
    /// What a path names. No symbolic link is followed, in no component.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn look(&self, path: &Path) -> Result<Look, Errno>;

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

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// This, and no link leads to it.
    Found(Entry),
    /// A component before the last is a symbolic link.
    Indirect,
    /// Nothing.
    Missing,
}

/// An object in the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its identity; `None` for a directory that is about to be made.
    pub object: Option<FileId>,
    /// What it is.
    pub kind: Kind,
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
    /// Every name that leads there: the one that was written, one for each link that was followed, and last the
    /// canonical one.
    pub names: Vec<PathBuf>,
    /// Where each link stands that was followed.
    pub links: Vec<PathBuf>,
    /// What is there.
    pub entry: Option<Entry>,
}

impl Traced {
    /// A path that no link leads to.
    pub fn direct(path: &Path, entry: Option<Entry>) -> Self {
        Self {
            names: vec![path.to_owned()],
            links: Vec::new(),
            entry,
        }
    }

    /// The name without any link in it.
    pub fn canonical(&self) -> &Path {
        // There is always the name that was written.
        self.names.last().map_or(Path::new("/"), PathBuf::as_path)
    }
}

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// Follows a path, link by link.
pub(super) fn trace(world: &dyn World, path: &Path) -> Result<Traced, Errno> {
    let climbs = path.components().any(|part| part == Component::ParentDir);
    if !climbs {
        match world.look(path)? {
            Look::Found(entry) if entry.kind != Kind::Link => {
                return Ok(Traced::direct(path, Some(entry)));
            }
            Look::Missing => {
                return Ok(Traced::direct(path, None));
            }
            Look::Found(_) | Look::Indirect => {}
        }
    }
    walk(world, path, climbs)
}

fn walk(world: &dyn World, path: &Path, climbs: bool) -> Result<Traced, Errno> {
    let mut names = Vec::new();
    if !climbs {
        names.push(path.to_owned());
    }
    let mut rest: VecDeque<OsString> = parts(path).collect();
    let mut here = PathBuf::from("/");
    let mut entry = None;
    let mut links = Vec::new();
    let mut is_missing = false;
    while let Some(part) = rest.pop_front() {
        if part == ".." {
            here.pop();
            continue;
        }
        here.push(&part);
        let look = if is_missing {
            Look::Missing
        } else {
            world.look(&here)?
        };
        match look {
            Look::Found(found) if found.kind == Kind::Link => {
                links.push(here.clone());
                if links.len() > LINKS {
                    return Err(Errno::ELOOP);
                }
                let name = rest.iter().fold(here.clone(), |name, part| name.join(part));
                remember(&mut names, name);
                let target = world.link(&here)?;
                here.pop();
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(part);
                }
            }
            Look::Found(found) => entry = Some(found),
            // What was found not to be a link became one meanwhile: nothing here can be relied on.
            Look::Indirect => return Err(Errno::ELOOP),
            Look::Missing => {
                is_missing = true;
                entry = None;
            }
        }
    }
    if !is_missing {
        // After `..` the last thing looked at is not the one that is meant.
        entry = match world.look(&here)? {
            Look::Found(found) => Some(found),
            Look::Indirect | Look::Missing => entry,
        };
    }
    names.retain(|name| *name != here);
    names.push(here);
    Ok(Traced {
        names,
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

/// The world as it will be when the directories that a policy makes have been made.
pub(super) struct Planned<'w> {
    world: &'w dyn World,
    made: BTreeSet<PathBuf>,
}

impl<'w> Planned<'w> {
    pub fn new(world: &'w dyn World) -> Self {
        Self {
            world,
            made: BTreeSet::new(),
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
        for above in traced.canonical().ancestors() {
            match self.look(above)? {
                Look::Missing => missing.push(above.to_owned()),
                Look::Found(entry) if entry.kind == Kind::Directory => break,
                Look::Found(_) | Look::Indirect => return Err(Errno::ENOTDIR),
            }
        }
        missing.reverse();
        self.made.extend(missing.iter().cloned());
        Ok(missing)
    }
}

impl World for Planned<'_> {
    fn look(&self, path: &Path) -> Result<Look, Errno> {
        if self.made.contains(path) {
            return Ok(Look::Found(Entry {
                object: None,
                kind: Kind::Directory,
            }));
        }
        self.world.look(path)
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        self.world.link(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, Errno> {
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
