//! Deeds that are done elsewhere than on the thread that serves, because a file server takes part, and the directories above them.
//!
//! What such a deed is about was judged by where its names stand. Whoever does it sees, just before, that they still stand there;
//! between that and the call a directory above them must not be moved by us, for whom else it may be: a name would be made where
//! other rules hold. So until it is done, nobody here moves a directory above it. All others are moved meanwhile.

use super::parents::Entry;
use crate::broker::id_of;
use crate::policy::FileId;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use sys::metadata::facts;
use sys::openat2::{Lookup, locate};

/// More directories than any path that names one can have.
const DEEPEST: usize = 4096;

static UNDER_WAY: RwLock<UnderWay> = RwLock::new(UnderWay {
    next: 0,
    deeds: Vec::new(),
});

struct UnderWay {
    next: u64,
    deeds: Vec<Deed>,
}

/// A deed that is under way.
struct Deed {
    number: u64,
    /// All directories above its names, and those that have them.
    above: Vec<FileId>,
    /// The directories that it moves.
    moved: Vec<FileId>,
}

/// As long as it lasts the directories above a deed stay where they are.
#[derive(Debug)]
pub(super) struct Kept(u64);

impl Drop for Kept {
    fn drop(&mut self) {
        write().deeds.retain(|deed| deed.number != self.0);
    }
}

fn read() -> RwLockReadGuard<'static, UnderWay> {
    UNDER_WAY.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, UnderWay> {
    UNDER_WAY.write().unwrap_or_else(PoisonError::into_inner)
}

/// Does what moves these directories, unless one of them is above what is under way. Never waits for a file server.
pub(super) fn unless_above<T>(moved: &[FileId], act: impl FnOnce() -> T) -> Option<T> {
    let under_way = read();
    let is_free = |deed: &Deed| !meet(&deed.above, moved);
    // Nothing is begun below until this is done.
    under_way.deeds.iter().all(is_free).then(act)
}

/// Keeps the directories above these entries where they are, for a deed that moves these directories. `None`: one of those is being
/// moved, or one of these is above what is under way, or it cannot be told. May wait.
pub(super) fn keep(entries: &[&Entry], moved: &[FileId]) -> Option<Kept> {
    let above = above(entries).ok()?;
    let kept = {
        let mut under_way = write();
        let is_free = |deed: &Deed| !meet(&deed.above, moved) && !meet(&above, &deed.moved);
        if !under_way.deeds.iter().all(is_free) {
            return None;
        }
        let number = under_way.next;
        under_way.next += 1;
        under_way.deeds.push(Deed {
            number,
            above: above.clone(),
            moved: moved.to_vec(),
        });
        Kept(number)
    };
    // From here on they stay. They could have been moved while they were looked for.
    (self::above(entries) == Ok(above)).then_some(kept)
}

fn meet(some: &[FileId], others: &[FileId]) -> bool {
    some.iter().any(|id| others.contains(id))
}

/// The directories of these entries, and all above them, up to the root.
fn above(entries: &[&Entry]) -> Result<Vec<FileId>, Errno> {
    let mut found = Vec::new();
    for entry in entries {
        let mut at = id(entry.at().0)?;
        let mut directory: Option<OwnedFd> = None;
        loop {
            found.push(at);
            let fd = directory.as_ref().map_or(entry.at().0, AsFd::as_fd);
            let next = locate(Some(fd), Path::new(".."), OFlag::O_DIRECTORY, Lookup::Full)?;
            let above = id(next.as_fd())?;
            if above == at {
                break;
            }
            if found.len() > DEEPEST * entries.len() {
                return Err(Errno::ENAMETOOLONG);
            }
            (at, directory) = (above, Some(next));
        }
    }
    Ok(found)
}

fn id(fd: BorrowedFd<'_>) -> Result<FileId, Errno> {
    facts(fd).map(|facts| id_of(&facts))
}

#[cfg(test)]
mod tests {
    use super::super::calls::{Act, Base, Spot};
    use super::super::deeds;
    use super::super::parents::Parent;
    use super::super::thread::Thread;
    use super::*;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    fn entry(path: &Path) -> Entry {
        let spot = Spot {
            base: Base::WorkingDirectory,
            path: Ok(CString::new(path.as_os_str().as_bytes()).unwrap()),
        };
        let thread = Thread(nix::unistd::gettid().as_raw());
        let parent = Parent::find(thread, &spot, Lookup::Full).unwrap();
        parent.entry(|_| Errno::EBUSY, Lookup::Full).unwrap()
    }

    fn id_at(path: &Path) -> FileId {
        let fd = locate(None, path, OFlag::O_DIRECTORY, Lookup::Full).unwrap();
        id(fd.as_fd()).unwrap()
    }

    #[test]
    fn what_is_above_a_deed_is_not_moved_until_it_is_done() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        for directory in ["a/b/c", "d", "a/e"] {
            std::fs::create_dir_all(at(directory)).unwrap();
        }
        let moves = |path: &str| unless_above(&[id_at(&at(path))], || ()).is_some();
        let below = entry(&at("a/b/c/new"));
        let kept = keep(&[&below], &[]).unwrap();
        for (path, is_free) in [
            ("a", false),
            ("a/b", false),
            ("a/b/c", false),
            ("a/e", true),
            ("d", true),
        ] {
            assert_eq!(moves(path), is_free, "{path}");
        }
        // Nor by another that is done elsewhere; one that moves nothing above it is begun beside it.
        let other = entry(&at("d/new"));
        assert!(keep(&[&other], &[id_at(&at("a"))]).is_none());
        assert!(keep(&[&other], &[id_at(&at("a/e"))]).is_some());
        assert!(keep(&[&below], &[]).is_some());
        drop(kept);
        assert!(moves("a") && moves("a/b/c"));
        // And nothing is begun below what is being moved.
        let moving = keep(&[&other], &[id_at(&at("a"))]).unwrap();
        assert!(keep(&[&below], &[]).is_none());
        drop(moving);
        assert!(keep(&[&below], &[]).is_some());
    }

    #[test]
    fn a_directory_is_moved_when_nothing_is_under_way_below_it() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::create_dir(at("c")).unwrap();
        std::fs::write(at("a/file"), "").unwrap();
        let spot = |path: &str| Spot {
            base: Base::WorkingDirectory,
            path: Ok(CString::new(at(path).as_os_str().as_bytes()).unwrap()),
        };
        let thread = Thread(nix::unistd::gettid().as_raw());
        let deed = |from: &str, to: &str, flags| {
            let act = Act::Move(spot(from), spot(to), flags);
            deeds::Deed::find(thread, &act, Lookup::Full).unwrap()
        };
        let below = entry(&at("a/b/new"));
        let kept = keep(&[&below], &[]).unwrap();
        for (from, to, flags, is_free) in [
            ("a", "d", 0, false),
            ("c", "a", libc::RENAME_EXCHANGE, false),
            ("c", "d", 0, true),
            ("c", "a/c", 0, true),
            ("a/file", "file", 0, true),
        ] {
            let deed = deed(from, to, flags);
            assert_eq!(deed.at_once(|| ()).is_some(), is_free, "{from} {to}");
        }
        let deed = deed("a", "d", 0);
        // It has its turn, or comes back when that takes too long.
        assert!(deed.alone(|| ()).is_none());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| deed.alone(|| ()).is_some());
            drop(kept);
            assert!(waits.join().unwrap());
        });
    }

    #[test]
    fn nothing_is_begun_while_what_is_above_it_is_moved() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(place.path().join("a/b")).unwrap();
        let below = entry(&place.path().join("a/b/new"));
        let moved = id_at(&place.path().join("a"));
        std::thread::scope(|scope| {
            let (begun, begin) = std::sync::mpsc::channel();
            let (end, ended) = std::sync::mpsc::channel::<()>();
            let mover = scope.spawn(move || {
                unless_above(&[moved], || {
                    begun.send(()).unwrap();
                    ended.recv().is_err()
                })
            });
            begin.recv().unwrap();
            let waits = scope.spawn(|| keep(&[&below], &[]).is_some());
            assert!(!waits.is_finished());
            drop(end);
            assert_eq!(mover.join().unwrap(), Some(true));
            assert!(waits.join().unwrap());
        });
    }
}
