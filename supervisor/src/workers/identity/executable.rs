//! What a file that is executed contains, read through a descriptor and never through its name.

use super::machine::errno;
use crate::audit::Digest;
use nix::errno::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A file in one state of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The device.
    pub dev: u64,
    /// The inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// When its content was last changed: seconds and nanoseconds.
    pub mtime: (i64, i64),
    /// When anything of it was last changed; nobody can set this one.
    pub ctime: (i64, i64),
}

impl From<&Metadata> for FileId {
    fn from(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A program as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executable {
    /// Where. For people: no decision rests on it.
    pub path: PathBuf,
    /// Which file.
    pub file: FileId,
    /// Its content.
    pub sha256: Digest,
}

/// How many hashes are kept. Pools have a handful of programs.
const CACHED: usize = 64;

/// A file that was changed less long ago may be changed again and keep its times.
const SETTLED: Duration = Duration::from_secs(2);

static CACHE: Mutex<Option<HashMap<FileId, Digest>>> = Mutex::new(None);

impl Executable {
    /// Hashes an open file. To be sure that this is what runs, execute this very descriptor.
    ///
    /// # Errors
    /// The errno of reading it; `ETXTBSY` where it is changed all the while.
    pub fn of(file: &File, path: &Path) -> Result<Self, Errno> {
        for _ in 0..3 {
            let before = file.metadata().map_err(errno)?;
            let id = FileId::from(&before);
            let sha256 = match cached(&id) {
                Some(known) => known,
                None => hash(file)?,
            };
            if FileId::from(&file.metadata().map_err(errno)?) == id {
                keep(id, sha256);
                return Ok(Self {
                    path: path.to_owned(),
                    file: id,
                    sha256,
                });
            }
        }
        Err(Errno::ETXTBSY)
    }
}

fn hash(file: &File) -> Result<Digest, Errno> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 128 * 1024];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => return Ok(Digest::finish(hash)),
            Ok(count) => {
                hash.update(&buffer[..count]);
                at += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(errno(error)),
        }
    }
}

fn cached(id: &FileId) -> Option<Digest> {
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.as_ref()?.get(id).copied()
}

fn keep(id: FileId, sha256: Digest) {
    let (seconds, nanoseconds) = id.ctime;
    let changed = Duration::new(
        u64::try_from(seconds).unwrap_or(0),
        u32::try_from(nanoseconds).unwrap_or(0),
    );
    let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed);
    if !passed.is_ok_and(|passed| passed > SETTLED) {
        return;
    }
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = cache.get_or_insert_default();
    if cache.len() >= CACHED {
        cache.clear();
    }
    cache.insert(id, sha256);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &Path) -> Executable {
        Executable::of(&File::open(path).unwrap(), path).unwrap()
    }

    #[test]
    fn a_file_is_known_by_its_content_also_when_only_that_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        std::fs::write(&path, b"one").unwrap();
        let one = of(&path);
        assert_eq!(one.sha256, Digest::of(b"one"));
        // As fast as can be, with the same length, and with the times that it had.
        let times = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, b"two").unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(times)
            .unwrap();
        let two = of(&path);
        assert_eq!(two.file.mtime, one.file.mtime);
        assert_eq!(two.sha256, Digest::of(b"two"));
    }

    #[test]
    fn what_was_hashed_long_after_its_last_change_is_not_read_again() {
        let path = std::env::current_exe().unwrap();
        let mut id = FileId::from(&std::fs::metadata(&path).unwrap());
        id.ino = u64::MAX;
        id.ctime = (1, 0);
        keep(id, Digest::of(b"kept"));
        assert_eq!(cached(&id), Some(Digest::of(b"kept")));
        id.ctime.1 += 1;
        assert_eq!(cached(&id), None, "in another state it is another file");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        id.ctime = (now.unwrap().as_secs() as i64, 0);
        keep(id, Digest::of(b"fresh"));
        assert_eq!(cached(&id), None, "it may change within the same tick");
    }
}
