//! The file system, as the policy room asks about it.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlink};
use nix::sys::stat::SFlag;
use sys::metadata::{Facts, facts_of};
use sys::openat2::birth;

use crate::policy::{Entry, FileId, Kind, World};

/// The file system that this process sees.
#[derive(Clone, Copy, Debug)]
pub struct FileSystem;

/// The kernel's identity of a file that was looked at.
fn id_of(facts: &Facts) -> FileId {
    FileId {
        dev: facts.dev,
        ino: facts.ino,
        born: birth(facts),
    }
}

impl World for FileSystem {
    fn look(&self, path: &Path) -> Result<Option<Entry>, Errno> {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        let facts = match facts_of(&name) {
            Ok(facts) => facts,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = SFlag::from_bits_truncate(facts.mode & SFlag::S_IFMT.bits());
        Ok(Some(Entry {
            links: facts.links,
            object: Some(id_of(&facts)),
            kind: match kind {
                SFlag::S_IFDIR => Kind::Directory,
                SFlag::S_IFREG => Kind::File,
                SFlag::S_IFCHR => Kind::Device,
                SFlag::S_IFLNK => Kind::Link,
                _ => Kind::Other,
            },
        }))
    }

    fn link(&self, path: &Path) -> Result<PathBuf, Errno> {
        readlink(path).map(PathBuf::from)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, Errno> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
        let directory = openat2(AT_FDCWD, path, how)?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(directory)?.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use sys::metadata::facts;

    #[test]
    fn a_file_is_known_by_name_as_it_is_known_when_it_is_open() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().canonicalize().unwrap().join("a");
        std::fs::write(&path, "").unwrap();
        let file = std::fs::File::open(&path).unwrap();
        let look = || FileSystem.look(&path).unwrap().unwrap();
        let facts = facts(file.as_fd()).unwrap();
        let (known, open) = (look().object.unwrap(), id_of(&facts));
        let words = |id: FileId| (id.dev, id.ino, id.born);
        assert_eq!(words(known), words(open));
        assert_eq!((look().kind, look().links), (Kind::File, 1));
        // Whatever is done to it, that stays.
        std::fs::hard_link(&path, path.with_file_name("b")).unwrap();
        let long_ago = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_times(long_ago)
            .unwrap();
        assert_eq!(words(look().object.unwrap()), words(open));
        assert_eq!(look().links, 2);
        match sys::openat2::birth(&facts) {
            0 => eprintln!("SKIP birth: this file system or kernel does not tell"),
            born => assert_eq!(born, known.born),
        }
        assert_eq!(FileSystem.look(&path.join("x")).unwrap(), None);
        assert_eq!(FileSystem.look(&path.with_file_name("c")).unwrap(), None);
    }
}
