//! What is decided about: a file that was located, never a name that a child gave.

use std::path::Path;

/// The kernel's identity of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// The device that holds the file.
    pub dev: u64,
    /// The file's number there.
    pub ino: u64,
}

/// A located file, or the place where one is to be created.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Canonical and absolute: no symbolic link, no `.` or `..`. For a file that does not exist yet, its
    /// directory's canonical path and the new name.
    pub path: &'a Path,
    /// The file itself; `None` when it does not exist yet.
    pub object: Option<FileId>,
}

impl<'a> Subject<'a> {
    /// A subject known by its name only.
    #[must_use]
    pub fn named(path: &'a Path) -> Self {
        Self { path, object: None }
    }
}
