//! What the learner must know of the world.

use super::super::sensitive::{self, Secret};
use crate::policy::{Access, Kind};
use std::path::{Path, PathBuf};

/// Who knows what is there, and what a policy allows without learning.
pub trait World {
    /// What has this name after the run.
    fn kind(&self, path: &Path) -> Option<Kind>;
    /// How many entries a directory has after the run.
    fn entries(&self, directory: &Path) -> usize;
    /// Whether the kernel grants it by what the new policy extends.
    fn is_given(&self, path: &Path, access: Access) -> bool;
    /// Whether a name may be made and taken away by what the new policy extends.
    fn may_be_made(&self, path: &Path) -> bool;
    /// The files below a directory whose names are those of secrets, as far as they were looked for.
    fn secrets_in(&self, directory: &Path) -> Vec<PathBuf>;
}

/// Where the run took place.
pub struct Scene<'a> {
    /// `$HOME`.
    pub home: Option<&'a Path>,
    /// `$PWD`.
    pub cwd: &'a Path,
    /// Where the run's own temporary directory was.
    pub tmpdir: &'a Path,
    /// Sensitive places that the operator named.
    pub named: &'a [PathBuf],
    /// What is there.
    pub world: &'a dyn World,
}

/// Directories that no tree may be made of: too much is in them.
const WIDE: [&str; 12] = [
    "/var/lib",
    "/var/cache",
    "/var/log",
    "/var/tmp",
    "/usr/share",
    "/usr/local",
    "/run/user",
    ".config",
    ".cache",
    ".local",
    ".local/share",
    ".local/state",
];

impl Scene<'_> {
    /// Why a path is sensitive, unless the operator named it.
    pub fn secret(&self, path: &Path) -> Option<Secret> {
        let is_named = self.named.iter().any(|named| path.starts_with(named));
        sensitive::of(path, self.home).filter(|_| !is_named)
    }

    /// Whether a directory is one of which no tree is made: everybody's files are in it.
    pub fn is_wide(&self, directory: &Path) -> bool {
        let is_above = |path: &Path| path.starts_with(directory) && path != directory;
        directory.components().count() <= 2
            || self.home.is_some_and(|home| home.starts_with(directory))
            || is_above(self.cwd)
            || WIDE.iter().any(|wide| match self.home {
                Some(home) if !wide.starts_with('/') => home.join(wide) == directory,
                _ => Path::new(wide) == directory,
            })
    }

    /// Whether a sensitive place lies in a directory, by a name of its own.
    pub fn holds_secrets(&self, directory: &Path) -> bool {
        let mut below = sensitive::below(directory, self.home);
        below.any(|place| {
            self.secret(&place.path).is_some() && self.world.kind(&place.path).is_some()
        })
    }

    /// Whether it lies in the run's own temporary directory, which every run has.
    pub fn is_temporary(&self, path: &Path) -> bool {
        path.starts_with(self.tmpdir)
    }

    /// The path as a policy spells it.
    pub fn spelled(&self, path: &Path) -> Option<String> {
        let text = path.to_str()?;
        if text.contains(['$', '*', '?', '[']) {
            return None;
        }
        for (directory, name) in [(Some(self.cwd), "$PWD"), (self.home, "$HOME")] {
            let Some(directory) = directory.filter(|directory| directory.parent().is_some()) else {
                continue;
            };
            if let Ok(rest) = path.strip_prefix(directory) {
                return Some(match rest.to_str()? {
                    "" => name.to_owned(),
                    rest => format!("{name}/{rest}"),
                });
            }
        }
        Some(text.to_owned())
    }

    /// The path as a pattern that matches it alone, and not what is below it.
    pub fn spelled_exactly(&self, path: &Path) -> Option<String> {
        let text = path.to_str()?;
        let last = text
            .chars()
            .next_back()
            .filter(|last| last.is_ascii_alphanumeric())?;
        let before = text.strip_suffix(last)?;
        (!before.contains(['$', '*', '?', '['])).then(|| format!("{before}[{last}]"))
    }
}
