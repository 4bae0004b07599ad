//! What is left on disk of workers, for when nobody lives who knew them.
//!
//! A worker's mark is an empty file named after its tag, made before its first process and removed when it has ended, or when it
//! is recorded elsewhere and may outlive everybody. Whoever keeps workers next ends all that carries a tag of which there is a
//! mark. One keeper at a time: the lock beside the marks is held by the keeper and by its daemon, and so until both are dead.

use super::{KeeperError, failed};
use crate::sandbox::Tag;
use crate::session::own_directory;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// The lock's name.
const LOCK: &str = "daemon.lock";
/// How a mark's name ends.
const ENDING: &str = ".begun";
/// How long the daemon of a keeper that was killed may take to die. The kernel has killed it by then.
const PATIENCE: Duration = Duration::from_secs(2);

/// The directory of the marks.
#[derive(Debug)]
pub(super) struct Marks(OwnedFd);

impl Marks {
    /// The directory and its lock, as soon as no other keeper and no daemon of one lives.
    pub fn lock(place: &Path) -> Result<(Self, OwnedFd), KeeperError> {
        let directory = OwnedFd::from(own_directory(place)?);
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let lock = openat(&directory, LOCK, flags, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(failed("open the lock"))?;
        // Of the open file, not of the process: the daemon has a part in it.
        let whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match fcntl(&lock, FcntlArg::F_OFD_SETLK(&whole)) {
                Ok(_) => return Ok((Self(directory), lock)),
                Err(Errno::EAGAIN | Errno::EACCES) if Instant::now() < until => {
                    // Nothing tells when such a lock is let go, other than waiting for ever.
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(Errno::EAGAIN | Errno::EACCES) => {
                    return Err(KeeperError::Taken(place.to_owned()));
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed("lock")(errno)),
            }
        }
    }

    /// The directory, as it was handed over.
    pub fn of(directory: OwnedFd) -> Self {
        Self(directory)
    }

    /// Marks what is about to be made.
    pub fn mark(&self, tag: Tag) -> Result<(), Errno> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&self.0, &*name(tag), flags, Mode::S_IRUSR | Mode::S_IWUSR).map(drop)
    }

    /// Removes the mark, if there is one.
    pub fn remove(&self, tag: Tag) -> Result<(), Errno> {
        match unlinkat(&self.0, &*name(tag), UnlinkatFlags::NoRemoveDir) {
            Err(Errno::ENOENT) => Ok(()),
            result => result,
        }
    }

    /// All that are there.
    pub fn all(&self) -> Result<Vec<Tag>, Errno> {
        let mut directory = nix::dir::Dir::openat(
            &self.0,
            ".",
            OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )?;
        let mut all = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            let name = entry.file_name().to_str().ok();
            let tag = name.and_then(|name| name.strip_suffix(ENDING));
            all.extend(tag.and_then(Tag::parse));
        }
        Ok(all)
    }
}

impl AsFd for Marks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn name(tag: Tag) -> String {
    format!("{tag}{ENDING}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stays_until_it_is_removed_and_names_its_tag() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().join("place");
        let (marks, lock) = Marks::lock(&place).unwrap();
        let (one, two) = (Tag::new(1), Tag::new(0x0fff_ffff_ffff_ffff));
        for tag in [one, two, one] {
            marks.mark(tag).unwrap();
        }
        std::fs::write(place.join("strange.begun"), "").unwrap();
        let sorted = |marks: &Marks| {
            let mut all = marks.all().unwrap();
            all.sort_by_key(|tag| tag.number());
            all
        };
        assert_eq!(sorted(&marks), [one, two]);
        // Who comes next finds them.
        drop((marks, lock));
        let (marks, _lock) = Marks::lock(&place).unwrap();
        assert_eq!(sorted(&marks), [one, two]);
        marks.remove(one).unwrap();
        marks.remove(one).unwrap();
        assert_eq!(sorted(&marks), [two]);
    }

    #[test]
    fn the_lock_is_held_as_long_as_anybody_has_a_part_in_it() {
        let place = tempfile::tempdir().unwrap();
        let place = place.path().join("place");
        let (_marks, lock) = Marks::lock(&place).unwrap();
        let part = lock.try_clone().unwrap();
        drop(lock);
        let waits = {
            let place = place.clone();
            std::thread::spawn(move || Marks::lock(&place).map(drop))
        };
        // It has not come in for as long as it is patient.
        let error = waits.join().unwrap().unwrap_err();
        assert!(matches!(error, KeeperError::Taken(_)), "{error}");
        drop(part);
        Marks::lock(&place).unwrap();
    }

    #[test]
    fn a_place_that_others_can_enter_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(
            Marks::lock(place.path()),
            Err(KeeperError::Place(_))
        ));
    }
}
