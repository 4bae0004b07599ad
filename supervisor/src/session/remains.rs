//! The place of a session on disk, and what sessions left that were killed before they could clean up.
//!
//! A session owns a directory below the runtime directory and holds a lock on it for life; its guardian holds the same lock,
//! since both share one table of descriptors. A directory whose lock is free belongs to a session of which both are dead: its
//! processes, known by the tag, are ended and its files removed by whoever starts next.

use crate::sandbox::Tag;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a session has on disk while it lives.
#[derive(Debug)]
pub struct Place {
    id: String,
    directory: PathBuf,
    tmp: Option<PathBuf>,
    _lock: Flock<File>,
}

/// Why a session has no place.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct PlaceError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> PlaceError + 'a {
    move |source| PlaceError {
        action,
        path: path.to_owned(),
        source,
    }
}

/// The file in a session's directory that says what belongs to it.
const RECORD: &str = "session";

/// The directory among those of sessions that is none: what a daemon has there outlives it.
pub const DAEMON: &str = "daemon";

impl Place {
    /// Makes the directory of session `id` below `runtime`, and with `tmp` a private temporary directory of that name.
    /// `runtime` is made when absent; it must belong to the caller alone.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub fn create(
        runtime: &Path,
        id: &str,
        tag: Option<Tag>,
        tmp: Option<&Path>,
    ) -> Result<Self, PlaceError> {
        let parent = own_directory(runtime)?;
        let _parent = lock(parent, FlockArg::LockExclusive).map_err(failed("lock", runtime))?;
        let directory = runtime.join(id);
        make_private(&directory).map_err(failed("make", &directory))?;
        let held = File::open(&directory).map_err(failed("open", &directory))?;
        let held =
            lock(held, FlockArg::LockExclusiveNonblock).map_err(failed("lock", &directory))?;
        let tmp = tmp.map(Path::to_owned);
        let record = directory.join(RECORD);
        write_record(&record, tag, tmp.as_deref()).map_err(failed("write", &record))?;
        if let Some(tmp) = &tmp {
            make_private(tmp).map_err(failed("make", tmp))?;
        }
        Ok(Self {
            id: id.to_owned(),
            directory,
            tmp,
            _lock: held,
        })
    }

    /// The session's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The session's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The session's private temporary directory.
    pub fn tmp(&self) -> Option<&Path> {
        self.tmp.as_deref()
    }

    /// Removes everything that [`Place::create`] made and what the session put into it.
    ///
    /// # Errors
    /// [`PlaceError`], naming what is left.
    pub fn remove(self) -> Result<(), PlaceError> {
        clear(&self.directory, self.tmp.as_deref())
    }
}

fn clear(directory: &Path, tmp: Option<&Path>) -> Result<(), PlaceError> {
    if let Some(tmp) = tmp {
        remove_tree(tmp).map_err(failed("remove", tmp))?;
    }
    // Mostly that is all that lies there. What keeps it there is said by what comes next.
    let _removed = std::fs::remove_file(directory.join(RECORD));
    remove_tree(directory).map_err(failed("remove", directory))
}

/// Ends the processes and removes the files of every session below `runtime` that nobody watches any more. Returns how many
/// sessions that were.
///
/// # Errors
/// [`PlaceError`] of the first session that could not be cleared.
pub fn collect_abandoned(runtime: &Path) -> Result<usize, PlaceError> {
    let parent = match File::open(runtime) {
        Ok(parent) => parent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(failed("open", runtime)(error)),
    };
    // Nobody makes a directory and has not yet locked it while this is held.
    let held = lock(parent, FlockArg::LockExclusive).map_err(failed("lock", runtime))?;
    if is_surely_empty(&held).map_err(failed("look at", runtime))? {
        return Ok(0);
    }
    let mut abandoned = Vec::new();
    for entry in std::fs::read_dir(runtime).map_err(failed("list", runtime))? {
        let entry = entry.map_err(failed("list", runtime))?;
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        if entry.file_name() == DAEMON {
            continue;
        }
        let Ok(directory) = File::open(&path) else {
            continue;
        };
        if let Ok(lock) = lock(directory, FlockArg::LockExclusiveNonblock) {
            abandoned.push((path, lock));
        }
    }
    drop(held);
    for (path, _lock) in &abandoned {
        let (tag, tmp) = read_record(&path.join(RECORD));
        if let Some(tag) = tag {
            crate::launch::collect(tag)
                .map_err(|errno| failed("end the processes of", path)(errno.into()))?;
        }
        clear(path, tmp.as_deref())?;
    }
    Ok(abandoned.len())
}

/// Whether there is no directory in this one, as far as that can be told without listing it: a tmpfs counts a link for each, and
/// most runtime directories are one.
fn is_surely_empty(directory: &File) -> io::Result<bool> {
    let is_counted = fstatfs(directory)?.filesystem_type() == TMPFS_MAGIC;
    Ok(is_counted && directory.metadata()?.nlink() == 2)
}

fn lock(file: File, how: FlockArg) -> io::Result<Flock<File>> {
    Flock::lock(file, how).map_err(|(_, errno)| errno.into())
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Opens `path`, made when absent, and makes sure that it is a directory of ours that nobody else can enter.
pub(crate) fn own_directory(path: &Path) -> Result<File, PlaceError> {
    let flags = (nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_NOFOLLOW).bits();
    let open = || OpenOptions::new().read(true).custom_flags(flags).open(path);
    let directory = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let make = DirBuilder::new().mode(0o700).recursive(true).create(path);
            make.map_err(failed("make", path))?;
            open()
        }
        result => result,
    };
    let directory = directory.map_err(failed("open", path))?;
    let status = directory.metadata().map_err(failed("look at", path))?;
    if status.uid() != nix::unistd::geteuid().as_raw() || status.mode() & 0o077 != 0 {
        let reason = "it must belong to you and have mode 0700; remove it or set XDG_RUNTIME_DIR";
        return Err(failed("use", path)(io::Error::new(
            io::ErrorKind::PermissionDenied,
            reason,
        )));
    }
    Ok(directory)
}

fn write_record(path: &Path, tag: Option<Tag>, tmp: Option<&Path>) -> io::Result<()> {
    let mut text = tag
        .map(|tag| tag.to_string())
        .unwrap_or_default()
        .into_bytes();
    text.push(b'\n');
    text.extend(
        tmp.map(|tmp| tmp.as_os_str().as_bytes())
            .unwrap_or_default(),
    );
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(&text)
}

/// What a record says. One that was never written says nothing: its session had not started anything.
fn read_record(path: &Path) -> (Option<Tag>, Option<PathBuf>) {
    let mut text = Vec::new();
    if File::open(path)
        .and_then(|mut file| file.read_to_end(&mut text))
        .is_err()
    {
        return (None, None);
    }
    let mut parts = text.splitn(2, |byte| *byte == b'\n');
    let tag = parts
        .next()
        .and_then(|tag| std::str::from_utf8(tag).ok())
        .and_then(Tag::parse);
    let tmp = parts.next().filter(|tmp| !tmp.is_empty());
    (
        tag,
        tmp.map(|tmp| PathBuf::from(std::ffi::OsString::from_vec(tmp.to_vec()))),
    )
}

/// Removes a directory and all below it, however deep: a directory that is not empty is moved up to the top before it is
/// emptied, so no path grows and nothing recurses. Never follows a symbolic link. One that is absent is no error.
fn remove_tree(top: &Path) -> io::Result<()> {
    // Most are empty, and need not be listed to find that out.
    if std::fs::remove_dir(top).is_ok() {
        return Ok(());
    }
    let mut moved = 0u64;
    let mut waiting = vec![top.to_owned()];
    while let Some(path) = waiting.last().cloned() {
        let mut deeper = Vec::new();
        match std::fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
                continue;
            }
            Err(error) => return Err(error),
            Ok(entries) => {
                for entry in entries {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        deeper.push(entry.path());
                    } else {
                        remove_entry(&path, &entry.path())?;
                    }
                }
            }
        }
        if deeper.is_empty() {
            waiting.pop();
            match std::fs::remove_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        for directory in deeper {
            let flat = top.join(format!(".removed-{moved}"));
            moved += 1;
            // Moving a directory writes its "..": it must be writable, as must be the one that it leaves.
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
            std::fs::rename(&directory, &flat)?;
            waiting.push(flat);
        }
    }
    Ok(())
}

fn remove_entry(directory: &Path, entry: &Path) -> io::Result<()> {
    match std::fs::remove_file(entry) {
        Err(error) if error.raw_os_error() == Some(Errno::EACCES as i32) => {
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
            std::fs::remove_file(entry)
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{OFlag, openat};
    use nix::sys::stat::{Mode, mkdirat};
    use nix::unistd::symlinkat;
    use std::os::fd::OwnedFd;

    fn runtime() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let runtime = directory.path().join("supervise");
        (directory, runtime)
    }

    #[test]
    fn a_session_that_lives_is_left_alone_and_one_that_died_is_cleared() {
        let (outside, runtime) = runtime();
        let living = Place::create(
            &runtime,
            "living",
            None,
            Some(&outside.path().join("living")),
        )
        .unwrap();
        let dead =
            Place::create(&runtime, "dead", None, Some(&outside.path().join("dead"))).unwrap();
        let tmp = dead.tmp().unwrap().to_owned();
        std::fs::write(tmp.join("left"), b"x").unwrap();
        drop(dead);
        assert_eq!(collect_abandoned(&runtime).unwrap(), 1);
        assert!(!tmp.exists());
        assert!(living.directory().exists() && living.tmp().unwrap().exists());
        living.remove().unwrap();
        assert_eq!(std::fs::read_dir(&runtime).unwrap().count(), 0);
        assert_eq!(collect_abandoned(&runtime).unwrap(), 0);
    }

    #[test]
    fn a_directory_in_memory_says_whether_there_is_anything_to_collect() {
        let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
            println!("SKIP /dev/shm cannot be used");
            assert!(std::env::var_os("SUPERVISE_MUST_WORK").is_none());
            return;
        };
        let runtime = memory.path().join("supervise");
        let dead = Place::create(&runtime, "dead", None, None).unwrap();
        assert!(!is_surely_empty(&File::open(&runtime).unwrap()).unwrap());
        drop(dead);
        assert_eq!(collect_abandoned(&runtime).unwrap(), 1);
        assert!(is_surely_empty(&File::open(&runtime).unwrap()).unwrap());
        assert_eq!(collect_abandoned(&runtime).unwrap(), 0);
    }

    #[test]
    fn a_runtime_directory_that_others_can_enter_is_refused() {
        let (_outside, runtime) = runtime();
        std::fs::create_dir(&runtime).unwrap();
        std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Place::create(&runtime, "a", None, None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("0700"), "{error}");
    }

    #[test]
    fn a_tree_is_removed_however_deep_closed_or_linked() {
        let (outside, top) = runtime();
        let kept = outside.path().join("kept");
        std::fs::write(&kept, b"x").unwrap();
        std::fs::create_dir(&top).unwrap();
        // Deeper than any path may be long: made and entered one by one.
        let mut innermost = OwnedFd::from(File::open(&top).unwrap());
        for _ in 0..3000 {
            mkdirat(&innermost, "deeper", Mode::S_IRWXU).unwrap();
            innermost = openat(&innermost, "deeper", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        }
        symlinkat(&kept, &innermost, "link").unwrap();
        let closed = top.join("closed");
        std::fs::create_dir_all(closed.join("inner")).unwrap();
        std::fs::write(closed.join("file"), b"x").unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        assert!(kept.exists());
    }
}
