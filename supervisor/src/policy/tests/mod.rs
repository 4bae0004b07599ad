//! What policies mean, on a world in memory.

mod files;
mod native;
mod network;
mod places;
mod texts;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{
    Access, Entry, Facts, FileId, Kind, Library, NoFiles, Policy, PolicyError, PolicyText,
    Repository, Ruleset, Subject, World,
};

/// A file system of a few names: directories, files and links.
pub(super) struct Memory {
    entries: BTreeMap<PathBuf, Node>,
    /// How often it was asked.
    pub asked: RefCell<usize>,
}

#[derive(Clone)]
enum Node {
    Object(Kind, u64),
    Link(PathBuf),
}

impl Memory {
    /// Paths, one each: `dir/` a directory, `a -> b` a link, `a = b` another name of the same file, else a file.
    pub fn new(paths: &[&str]) -> Self {
        let mut memory = Self {
            entries: BTreeMap::new(),
            asked: RefCell::new(0),
        };
        memory.object("/", Kind::Directory);
        for path in paths {
            if let Some((link, target)) = path.split_once(" -> ") {
                memory.parents(link);
                let node = Node::Link(target.into());
                memory.entries.insert(link.into(), node);
            } else if let Some((alias, file)) = path.split_once(" = ") {
                memory.parents(alias);
                let node = memory.entries[Path::new(file)].clone();
                memory.entries.insert(alias.into(), node);
            } else if let Some(directory) = path.strip_suffix('/') {
                memory.parents(directory);
                memory.object(directory, Kind::Directory);
            } else {
                memory.parents(path);
                let is_device = path.starts_with("/dev/");
                memory.object(path, if is_device { Kind::Device } else { Kind::File });
            }
        }
        memory
    }

    fn parents(&mut self, path: &str) {
        for above in Path::new(path).ancestors().skip(1) {
            if !self.entries.contains_key(above) {
                self.object(above, Kind::Directory);
            }
        }
    }

    fn object(&mut self, path: impl Into<PathBuf>, kind: Kind) {
        let number = self.entries.len() as u64 + 1;
        self.entries.insert(path.into(), Node::Object(kind, number));
    }

    fn names(&self, number: u64) -> u64 {
        let same = |node: &&Node| matches!(node, Node::Object(_, ino) if *ino == number);
        self.entries.values().filter(same).count() as u64
    }

    pub fn exists(&self, path: &str) -> bool {
        self.entries.contains_key(Path::new(path))
    }

    pub fn id(&self, path: &str) -> FileId {
        match self.entries[Path::new(path)] {
            Node::Object(_, ino) => FileId::new(1, ino),
            Node::Link(_) => panic!("{path} is a link"),
        }
    }
}

impl World for Memory {
    fn look(&self, path: &Path) -> Result<Option<Entry>, Errno> {
        *self.asked.borrow_mut() += 1;
        for above in path.ancestors().skip(1) {
            let node = self.entries.get(above);
            let is_directory = matches!(node, Some(Node::Object(Kind::Directory, _)));
            assert!(is_directory, "{} is asked about too early", path.display());
        }
        Ok(self.entries.get(path).map(|node| match node {
            Node::Object(kind, ino) => Entry {
                object: Some(FileId::new(1, *ino)),
                kind: *kind,
                links: self.names(*ino),
            },
            Node::Link(_) => Entry {
                object: Some(FileId::new(1, 0)),
                kind: Kind::Link,
                links: 1,
            },
        }))
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        match self.entries.get(path) {
            Some(Node::Link(target)) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, Errno> {
        let below = self
            .entries
            .keys()
            .filter(|name| name.parent() == Some(path));
        Ok(below
            .filter_map(|name| name.file_name().map(OsStr::to_owned))
            .collect())
    }
}

/// Policy files by name.
struct Shelf(BTreeMap<&'static str, &'static str>);

impl Library for Shelf {
    fn text(&mut self, path: &Path) -> Result<PolicyText, String> {
        let name = path.to_str().expect("a name of ours");
        let text = self.0.get(name).ok_or("No such file or directory")?;
        Ok(PolicyText {
            text: (*text).to_owned(),
            path: Path::new("/policies").join(name),
        })
    }
}

const SYSTEM: [&str; 16] = [
    "/usr/bin/sh",
    "/usr/lib/libc.so",
    "/bin -> usr/bin",
    "/lib -> usr/lib",
    "/etc/passwd",
    "/etc/shadow",
    "/dev/null",
    "/dev/tty",
    "/home/me/.ssh/id",
    "/repo/src/main.rs",
    "/repo/secret/key",
    "/repo/notes.txt",
    "/repo/.git/hooks/",
    "/repo/.git/config",
    "/repo/out/",
    "/proc/cpuinfo",
];

pub(super) fn facts() -> Facts {
    Facts {
        cwd: "/repo".into(),
        home: Some("/home/me".into()),
        user: Some("me".to_owned()),
        tmpdir: "/run/private".into(),
        repository: Some(Repository {
            root: "/repo".into(),
            common: None,
        }),
        variables: BTreeMap::new(),
    }
}

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(
        "policy.toml",
        &format!("version = 1\nbase = false\n{text}"),
        &mut NoFiles,
    )
}

pub(super) fn compile_in(world: &Memory, texts: &[&str]) -> Result<Ruleset, PolicyError> {
    let policies: Result<Vec<Policy>, PolicyError> = texts.iter().map(|text| parse(text)).collect();
    Ruleset::compile(&policies?, &facts(), world, &[])
}

fn compile(text: &str) -> Ruleset {
    compile_in(&Memory::new(&SYSTEM), &[text]).expect("a good policy")
}

fn error(text: &str) -> String {
    compile_in(&Memory::new(&SYSTEM), &[text])
        .expect_err("a bad policy")
        .to_string()
}

fn allows(ruleset: &Ruleset, path: &str, access: Access) -> bool {
    ruleset
        .decide(&Subject::named(Path::new(path)), access)
        .is_allowed()
}

/// The paths that the kernel is told to grant this right on, in the first layer.
fn natively(ruleset: &Ruleset, right: Access) -> Vec<String> {
    let first = ruleset.native_layers().next().expect("a layer");
    first
        .iter()
        .filter(|grant| grant.access.contains(right) && !grant.path.starts_with("/run/private"))
        .map(|grant| grant.path.display().to_string())
        .collect()
}
