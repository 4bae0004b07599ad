//! What a program left behind.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{read, read_dir, read_link, symlink_metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// One entry: all that is told of it by what looks at it, but for when it was changed and how it is numbered.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    mode: u32,
    links: u64,
    target: Option<PathBuf>,
    /// Of files, and only where two runs are expected to leave the same.
    content: Option<Vec<u8>>,
    /// What is the same file under another name, the first one.
    same_as: Option<OsString>,
}

/// Everything below `top`. `is_fixed`: whether the content of a file is the same each time.
pub fn look(top: &Path, is_fixed: &dyn Fn(&Path) -> bool) -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::new();
    let mut left = vec![top.to_owned()];
    let mut paths = Vec::new();
    while let Some(directory) = left.pop() {
        for entry in read_dir(&directory).expect("the directory is ours") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() && !path.is_symlink() {
                left.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    let mut seen: HashMap<u64, OsString> = HashMap::new();
    for path in paths {
        let facts = symlink_metadata(&path).expect("an entry can be looked at");
        let name = path.strip_prefix(top).expect("it lies below").to_owned();
        if facts.is_dir() && !is_fixed(&name.join("")) {
            continue;
        }
        let same_as = match facts.is_file() && facts.nlink() > 1 {
            true => seen.get(&facts.ino()).cloned(),
            false => None,
        };
        seen.entry(facts.ino())
            .or_insert_with(|| name.clone().into_os_string());
        let is_read = facts.is_file() && is_fixed(&name);
        let entry = Entry {
            mode: facts.mode(),
            // Of a directory it is the number of those in it, on some file systems.
            links: if facts.is_dir() { 0 } else { facts.nlink() },
            target: facts
                .is_symlink()
                .then(|| read_link(&path).expect("a link")),
            content: is_read.then(|| read(&path).expect("the file is ours")),
            same_as,
        };
        entries.insert(name, entry);
    }
    entries
}
