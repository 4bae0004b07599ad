//! The file system, as the policy room asks about it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2, readlink};
use nix::sys::stat::{SFlag, lstat};

use crate::policy::{Entry, FileId, Kind, World};

/// The file system that this process sees.
#[derive(Clone, Copy, Debug)]
pub struct FileSystem;

impl World for FileSystem {
    fn look(&self, path: &Path) -> Result<Option<Entry>, Errno> {
        let status = match lstat(path) {
            Ok(status) => status,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits());
        #[allow(
            clippy::useless_conversion,
            reason = "the number is narrower on other processors"
        )]
        let links = u64::from(status.st_nlink);
        Ok(Some(Entry {
            links,
            object: Some(FileId {
                dev: status.st_dev,
                ino: status.st_ino,
            }),
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
