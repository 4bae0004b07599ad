//! A path as the supervisor understands it: it does not know our directories.

use std::ffi::{CStr, OsStr};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The absolute path of `path` seen from the directory `at`; `None` when that directory has none.
/// Nothing else of it is resolved.
pub(crate) fn absolute(at: RawFd, path: &CStr) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path.to_bytes()));
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    let directory = match at {
        libc::AT_FDCWD => std::env::current_dir().ok()?,
        at => directory(at)?,
    };
    Some(directory.join(path))
}

/// The path of an open directory, if that is still its path.
fn directory(fd: RawFd) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{fd}");
    let path = std::fs::read_link(&link).ok()?;
    // A deleted one has a path that was made up, and which may be another's.
    let [there, open] = [
        std::fs::metadata(&path).ok()?,
        std::fs::metadata(&link).ok()?,
    ];
    let is_it = path.is_absolute() && (there.dev(), there.ino()) == (open.dev(), open.ino());
    is_it.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn a_path_is_seen_from_its_directory() {
        let none = -1;
        assert_eq!(absolute(none, c"/a/../b"), Some("/a/../b".into()));
        assert_eq!(absolute(none, c"a"), None);
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(absolute(libc::AT_FDCWD, c"a/"), Some(here.join("a/")));
        let usr = std::fs::File::open("/usr").expect("/usr");
        assert_eq!(absolute(usr.as_raw_fd(), c"../a"), Some("/usr/../a".into()));
    }

    #[test]
    fn a_directory_that_is_gone_has_no_path() {
        let path = std::env::temp_dir().join(format!("preload-gone-{}", std::process::id()));
        std::fs::create_dir(&path).expect("made");
        let open = std::fs::File::open(&path).expect("opened");
        std::fs::remove_dir(&path).expect("removed");
        assert_eq!(absolute(open.as_raw_fd(), c"a"), None);
        // Nor what is no directory at all.
        let (end, _other) = std::io::pipe().expect("a pipe");
        assert_eq!(absolute(end.as_raw_fd(), c"a"), None);
    }
}
