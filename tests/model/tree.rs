//! A small tree with everything in it that can give a file another name, and a walk through it that asks the kernel for nothing but
//! what a name stands for and where a link leads.

use crate::chance::Chance;
use nix::errno::Errno;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// A file, whatever it is called: its device and its number there. No number is given twice: nothing here is ever removed but links.
pub type Id = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    Link,
}

/// What a name leads to.
#[derive(Clone, Debug)]
pub enum Seen {
    There {
        path: PathBuf,
        id: Id,
        kind: Kind,
    },
    /// Nothing is there, but the directory is in which it would be.
    Missing {
        path: PathBuf,
    },
}

/// Few, so that they meet: also in one directory that a rule is about and in another that it is not.
pub const NAMES: [&str; 8] = ["a", "b", "c", "d", "x.key", "y.txt", "a b", "é"];

pub fn look(path: &Path) -> Option<(Id, Kind)> {
    let found = path.symlink_metadata().ok()?;
    let kind = match found.file_type() {
        kind if kind.is_symlink() => Kind::Link,
        kind if kind.is_dir() => Kind::Directory,
        _ => Kind::File,
    };
    Some(((found.dev(), found.ino()), kind))
}

/// The names in a path; with a slash at its end, one more that only a directory has.
fn names(path: &[u8]) -> VecDeque<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/');
    let mut names: VecDeque<Vec<u8>> = parts
        .filter(|part| !part.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    if path.ends_with(b"/") {
        names.push_back(b".".to_vec());
    }
    names
}

fn named(here: &Path, name: &[u8]) -> PathBuf {
    here.join(OsStr::from_bytes(name))
}

/// Follows a name as path_resolution(7) has it.
pub fn walk(path: &[u8], follow: bool) -> Result<Seen, Errno> {
    let mut here = PathBuf::from("/");
    let mut rest = names(path);
    let mut links = 0;
    while let Some(name) = rest.pop_front() {
        let (_, kind) = look(&here).ok_or(Errno::ENOENT)?;
        if kind != Kind::Directory {
            return Err(Errno::ENOTDIR);
        }
        match name.as_slice() {
            b"." => continue,
            b".." => {
                here.pop();
                continue;
            }
            _ => {}
        }
        let next = named(&here, &name);
        match look(&next) {
            None if rest.is_empty() => return Ok(Seen::Missing { path: next }),
            None => return Err(Errno::ENOENT),
            Some((_, Kind::Link)) if follow || !rest.is_empty() => {
                links += 1;
                if links > 40 {
                    return Err(Errno::ELOOP);
                }
                let target = fs::read_link(&next).expect("a link");
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                let mut through = names(target.as_os_str().as_bytes());
                through.append(&mut rest);
                rest = through;
            }
            Some(_) => here = next,
        }
    }
    let (id, kind) = look(&here).ok_or(Errno::ENOENT)?;
    let path = here;
    Ok(Seen::There { path, id, kind })
}

/// What a rule's name led to when the rule was read.
#[derive(Debug)]
pub struct Settled {
    /// The name without links in it, and what it was called on the way there.
    pub names: Vec<PathBuf>,
    pub object: Option<(Id, Kind)>,
}

/// Follows the name that stands in a rule. What is missing goes on by its name. `None`: it leads nowhere, in a circle.
pub fn settle(path: &Path) -> Option<Settled> {
    let mut here = PathBuf::from("/");
    let mut rest = names(path.as_os_str().as_bytes());
    let mut on_the_way = Vec::new();
    while let Some(name) = rest.pop_front() {
        match name.as_slice() {
            b"." => continue,
            b".." => {
                here.pop();
                continue;
            }
            _ => {}
        }
        let is_directory = matches!(look(&here), Some((_, Kind::Directory)));
        here = named(&here, &name);
        if is_directory && matches!(look(&here), Some((_, Kind::Link))) {
            if on_the_way.len() >= 40 {
                return None;
            }
            let other = rest
                .iter()
                .fold(here.clone(), |all, name| named(&all, name));
            on_the_way.push(other);
            let target = fs::read_link(&here).expect("a link");
            here.pop();
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            let mut through = names(target.as_os_str().as_bytes());
            through.append(&mut rest);
            rest = through;
        }
    }
    let object = look(&here);
    on_the_way.push(here);
    on_the_way.reverse();
    Some(Settled {
        names: on_the_way,
        object,
    })
}

/// Every name of everything below a directory, and itself.
pub fn scan(directory: &Path, see: &mut impl FnMut(&Path, Id, Kind)) {
    let Some((id, kind)) = look(directory) else {
        return;
    };
    see(directory, id, kind);
    if kind != Kind::Directory {
        return;
    }
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        scan(&entry.path(), see);
    }
}

pub fn names_of_all(directory: &Path) -> BTreeMap<Id, Vec<PathBuf>> {
    let mut all: BTreeMap<Id, Vec<PathBuf>> = BTreeMap::new();
    scan(directory, &mut |path, id, _| {
        all.entry(id).or_default().push(path.to_owned());
    });
    all
}

pub fn show(directory: &Path) -> String {
    let mut text = String::new();
    scan(directory, &mut |path, id, kind| {
        let leads = fs::read_link(path).map(|to| format!(" -> {}", to.display()));
        let line = format!("{} {kind:?} {}:{}", path.display(), id.0, id.1);
        text += &format!("{line}{}\n", leads.unwrap_or_default());
    });
    text
}

/// A name somewhere below: often of what is there, sometimes of what is not.
pub fn some_name(chance: &mut Chance, top: &Path) -> PathBuf {
    let mut here = top.to_owned();
    for _ in 0..=chance.below(4) {
        here.push(*chance.pick(&NAMES));
        let is_end = chance.one_in(4) || look(&here).is_none();
        if is_end && !chance.one_in(4) {
            break;
        }
    }
    here
}

/// Of what is there.
pub fn some_entry(chance: &mut Chance, top: &Path) -> PathBuf {
    let mut all = Vec::new();
    scan(top, &mut |path, _, _| all.push(path.to_owned()));
    // Above the two is nothing that counts.
    all.retain(|path| path != top);
    match all.is_empty() {
        true => top.join("a"),
        false => chance.pick(&all).clone(),
    }
}

/// Where a link leads: somewhere below, up and down again, to nothing, to itself.
pub fn some_target(chance: &mut Chance, top: &Path) -> PathBuf {
    let there = match chance.one_in(3) {
        true => some_name(chance, top),
        false => some_entry(chance, top),
    };
    match chance.below(6) {
        0 | 1 => there,
        2 => PathBuf::from(*chance.pick(&NAMES)),
        3 => Path::new("..").join(*chance.pick(&NAMES)),
        4 => Path::new(*chance.pick(&NAMES))
            .join("..")
            .join(*chance.pick(&NAMES)),
        _ => {
            let mut slash = there.into_os_string();
            slash.push("/");
            slash.into()
        }
    }
}

/// One more thing in the tree, if its name is free.
pub fn grow(chance: &mut Chance, top: &Path) {
    let path = some_name(chance, top);
    let parent = path.parent().expect("it lies below");
    if look(&path).is_some() || !matches!(look(parent), Some((_, Kind::Directory))) {
        return;
    }
    let done = match chance.below(12) {
        0..=3 => fs::create_dir(&path),
        4..=8 => fs::write(&path, "x"),
        9 | 10 => symlink(some_target(chance, top), &path),
        _ => {
            let other = some_entry(chance, top);
            if let Some((_, Kind::File)) = look(&other) {
                // Not from one mount to another.
                let _unlinked = fs::hard_link(other, &path);
            }
            Ok(())
        }
    };
    done.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A tree of some thirty things.
pub fn plant(chance: &mut Chance, top: &Path) {
    for name in &NAMES[..4] {
        fs::create_dir(top.join(name)).expect("a directory");
    }
    for _ in 0..25 + chance.below(30) {
        grow(chance, top);
    }
}

/// Somebody else changes something: never so that a number is free again.
pub fn change(chance: &mut Chance, top: &Path) {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    let (one, other) = (some_entry(chance, top), some_name(chance, top));
    let moved = |to: &Path, flags| {
        // Into itself, over something, beside nothing: then nothing is changed.
        let _unchanged = renameat2(AT_FDCWD, &one, AT_FDCWD, to, flags);
    };
    match chance.below(5) {
        0 | 1 => grow(chance, top),
        2 | 3 => moved(&other, RenameFlags::RENAME_NOREPLACE),
        _ => moved(&some_entry(chance, top), RenameFlags::RENAME_EXCHANGE),
    }
}
