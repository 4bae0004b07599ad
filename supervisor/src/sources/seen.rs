//! What was seen of the file system when a policy was compiled, so that whoever goes on with what was started then compiles the same.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::world::FileSystem;
use crate::policy::{Entry, FileId, Kind, World};

/// The file system, each name of which is looked at once, by whoever was first.
///
/// What the kernel was told was compiled from this; what changes later changes neither. A name that nobody looked at is looked at now.
#[derive(Debug, Default)]
pub struct Seen {
    entries: RefCell<BTreeMap<PathBuf, Option<Entry>>>,
    links: RefCell<BTreeMap<PathBuf, PathBuf>>,
    lists: RefCell<BTreeMap<PathBuf, Vec<OsString>>>,
}

impl World for Seen {
    fn look(&self, path: &Path) -> Result<Option<Entry>, Errno> {
        if let Some(entry) = self.entries.borrow().get(path) {
            return Ok(*entry);
        }
        let entry = FileSystem.look(path)?;
        self.entries.borrow_mut().insert(path.to_owned(), entry);
        Ok(entry)
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        if let Some(target) = self.links.borrow().get(path) {
            return Ok(target.clone());
        }
        let target = FileSystem.link(path)?;
        self.links
            .borrow_mut()
            .insert(path.to_owned(), target.clone());
        Ok(target)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, Errno> {
        if let Some(names) = self.lists.borrow().get(path) {
            return Ok(names.clone());
        }
        let names = FileSystem.list(path)?;
        self.lists
            .borrow_mut()
            .insert(path.to_owned(), names.clone());
        Ok(names)
    }
}

/// What was seen, to be written down. Names that are no text are not in it: they are looked at anew.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Sight {
    /// A name, what kind of object has it ([`code`]; 0: none), its device, number and count of names.
    entries: Vec<(String, u8, u64, u64, u64)>,
    links: Vec<(String, String)>,
    lists: Vec<(String, Vec<String>)>,
    /// When the objects were born, as far as that is known.
    #[serde(default)]
    births: BTreeMap<String, u64>,
}

impl Seen {
    /// What was seen so far.
    pub fn sight(&self) -> Sight {
        let text = |path: &Path| path.to_str().map(str::to_owned);
        let entry = |(path, entry): (&PathBuf, &Option<Entry>)| {
            let path = text(path)?;
            let Some(entry) = entry else {
                return Some((path, 0, 0, 0, 0));
            };
            let object = entry.object?;
            Some((path, code(entry.kind), object.dev, object.ino, entry.links))
        };
        let list = |(path, names): (&PathBuf, &Vec<OsString>)| {
            let names = names.iter().map(|name| name.to_str().map(str::to_owned));
            Some((text(path)?, names.collect::<Option<_>>()?))
        };
        let birth = |(path, entry): (&PathBuf, &Option<Entry>)| {
            let object = entry.as_ref()?.object.filter(|object| object.born != 0)?;
            Some((text(path)?, object.born))
        };
        let links = self.links.borrow();
        let links = links.iter();
        Sight {
            births: self.entries.borrow().iter().filter_map(birth).collect(),
            entries: self.entries.borrow().iter().filter_map(entry).collect(),
            links: links
                .filter_map(|(path, target)| Some((text(path)?, text(target)?)))
                .collect(),
            lists: self.lists.borrow().iter().filter_map(list).collect(),
        }
    }
}

impl From<Sight> for Seen {
    fn from(sight: Sight) -> Self {
        let births = sight.births;
        let entry = |(path, number, dev, ino, links): (String, u8, u64, u64, u64)| {
            let born = births.get(&path).copied().unwrap_or(0);
            let object = Some(FileId { dev, ino, born });
            let entry = |kind| Entry {
                object,
                kind,
                links,
            };
            match number {
                0 => Some((path.into(), None)),
                number => Some((path.into(), Some(entry(kind_of(number)?)))),
            }
        };
        let links = sight.links.into_iter();
        let lists = sight.lists.into_iter();
        let names = |names: Vec<String>| names.into_iter().map(OsString::from).collect();
        Self {
            entries: RefCell::new(sight.entries.into_iter().filter_map(entry).collect()),
            links: RefCell::new(links.map(|(at, to)| (at.into(), to.into())).collect()),
            lists: RefCell::new(lists.map(|(at, all)| (at.into(), names(all))).collect()),
        }
    }
}

const KINDS: [Kind; 5] = [
    Kind::Directory,
    Kind::File,
    Kind::Device,
    Kind::Link,
    Kind::Other,
];

/// From 1.
fn code(kind: Kind) -> u8 {
    let at = KINDS.iter().position(|known| *known == kind);
    at.map_or(0, |at| at as u8 + 1)
}

fn kind_of(number: u8) -> Option<Kind> {
    KINDS.get(usize::from(number).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_was_seen_stays_as_it_was_when_it_was_written_down() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), "x").unwrap();
        symlink("file", at("link")).unwrap();
        let seen = Seen::default();
        let look = |seen: &Seen| {
            let names = ["file", "link", "nothing"].map(|name| seen.look(&at(name)).unwrap());
            let mut list = seen.list(directory.path()).unwrap();
            list.sort();
            (names, seen.link(&at("link")).unwrap(), list)
        };
        let first = look(&seen);
        assert_eq!(first.0[0].unwrap().kind, Kind::File);
        assert_eq!(first.0[1].unwrap().kind, Kind::Link);
        assert_eq!(first.0[2], None);
        let text = serde_json::to_string(&seen.sight()).unwrap();
        fs::remove_file(at("file")).unwrap();
        fs::remove_file(at("link")).unwrap();
        fs::create_dir(at("nothing")).unwrap();
        let sight: Sight = serde_json::from_str(&text).unwrap();
        let later = Seen::from(sight);
        assert_eq!(look(&later), first);
        // What nobody had looked at is as it is.
        fs::write(at("new"), "x").unwrap();
        assert_eq!(later.look(&at("new")).unwrap().unwrap().kind, Kind::File);
    }

    #[test]
    fn each_kind_has_a_number_of_its_own() {
        for kind in KINDS {
            assert_eq!(kind_of(code(kind)), Some(kind));
        }
        assert_eq!(kind_of(0), None);
        assert_eq!(kind_of(6), None);
    }
}
