//! What is decided about: a file that was located, never a name that a child gave.

use std::path::Path;

/// The kernel's identity of a file.
///
/// The number of a file that is gone is given to another; those two were born at different times. Where that is known of one of two
/// only, they are taken for the same: so equality is not transitive, and there is no order.
#[derive(Clone, Copy, Debug)]
pub struct FileId {
    /// The device that holds the file.
    pub dev: u64,
    /// The file's number there.
    pub ino: u64,
    /// When it was born, in nanoseconds, where the file system says so and nobody can set it; else 0.
    pub born: u64,
}

impl FileId {
    /// The identity of a file of which it is not known when it was born.
    #[must_use]
    pub fn new(dev: u64, ino: u64) -> Self {
        Self { dev, ino, born: 0 }
    }
}

impl PartialEq for FileId {
    fn eq(&self, other: &Self) -> bool {
        let is_another = self.born != other.born && self.born != 0 && other.born != 0;
        (self.dev, self.ino) == (other.dev, other.ino) && !is_another
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_given_again_means_another_file() {
        let born = |born| FileId {
            born,
            ..FileId::new(1, 7)
        };
        assert_eq!(born(5), born(5));
        assert_ne!(born(5), born(6));
        // Who does not know better takes it for the one that was denied.
        assert_eq!(born(5), born(0));
        assert_eq!(FileId::new(1, 7), born(6));
        assert_ne!(FileId::new(1, 7), FileId::new(2, 7));
        assert_ne!(FileId::new(1, 7), FileId::new(1, 8));
    }
}
