//! What an earlier supervisor had begun when it died: done, or not done.
//!
//! Before a call is made that must not be made twice, what its names mean is noted beside it, and afterwards what came of it
//! ([`Note`]). Whoever comes next and finds only the first looks at the names again: what has the names that it was to give was done.
//! (Somebody else of the session who did the very same in the very moment in which the supervisor died is taken for it.)

use super::calls::{Act, Spot};
use super::deeds::Deed;
use super::parents::Parent;
use super::thread::Thread;
use crate::broker::id_of;
use crate::policy::FileId;
use nix::errno::Errno;
use sys::entries::Removal;
use sys::journal::Note;
use sys::openat2::Lookup;

const BEGUN: u64 = 1;
const DONE: u64 = 2;

/// How far an earlier supervisor came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Before {
    /// It had done nothing.
    Nothing,
    /// It was about to do it.
    Begun(Begun),
    /// It did, and this came of it.
    Done(Result<i64, Errno>),
}

/// What has the names of a call, before it is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Begun([Option<FileId>; 2]);

impl Begun {
    /// Of a call that makes a name which was seen not to be there, or that has none.
    pub const NEW: Self = Self([None, None]);

    /// Of what is to become of names.
    pub fn of(deed: &Deed) -> Self {
        Self(match deed {
            Deed::SetLength(..) | Deed::Make(..) | Deed::Symlink(..) => [None, None],
            Deed::Remove(entry, _) => [entry.subject().object, None],
            Deed::Link(object, _) => [Some(id_of(&object.facts)), None],
            Deed::Move(from, to, _) => [from.subject().object, to.subject().object],
        })
    }

    /// To be written before it is done.
    pub fn note(self) -> Note {
        let [first, second] = self.0.map(|id| id.map_or([0, 0], |id| [id.dev, id.ino]));
        Note {
            stage: BEGUN,
            words: [first[0], first[1], second[0], second[1], 0],
        }
    }

    /// Whether it was done, as far as the names tell now.
    pub fn was_done(self, thread: Thread, act: &Act) -> bool {
        let [first, second] = self.0;
        let now = |spot: &Spot| object_at(thread, spot);
        match act {
            // Done twice is done once.
            Act::SetLength(..) => false,
            Act::Make(spot, _) | Act::Symlink(_, spot) => matches!(now(spot), Some(Some(_))),
            Act::Link(_, spot) => first.is_some() && now(spot) == Some(first),
            // A mount point cannot be removed: an object that is not known was not.
            Act::Remove(spot, Removal::Other | Removal::Directory) => {
                first.is_some() && now(spot).is_some_and(|now| now != first)
            }
            Act::Move(from, to, flags) if flags & libc::RENAME_EXCHANGE != 0 => {
                let has_moved = first.is_some() && first != second;
                has_moved && now(from) == Some(second) && now(to) == Some(first)
            }
            Act::Move(from, to, _) => {
                let has_arrived = first.is_some() && now(to) == Some(first);
                has_arrived && now(from).is_some_and(|now| now != first)
            }
        }
    }
}

/// What has a name now. `None`: that cannot be told.
fn object_at(thread: Thread, spot: &Spot) -> Option<Option<FileId>> {
    let parent = Parent::find(thread, spot, Lookup::Cached).ok()?;
    let entry = parent.entry(|_| Errno::EINVAL, Lookup::Cached).ok()?;
    match (entry.is_there(), entry.subject().object) {
        // Something is mounted there.
        (true, None) => None,
        (_, object) => Some(object),
    }
}

/// To be written when it was done, before it is answered.
pub(super) fn done(result: Result<i64, Errno>) -> Note {
    let (value, errno) = match result {
        Ok(value) => (value, 0),
        Err(errno) => (0, errno as i32),
    };
    Note {
        stage: DONE,
        words: [value as u64, errno as u64, 0, 0, 0],
    }
}

impl From<Note> for Before {
    fn from(note: Note) -> Self {
        let [a, b, c, d, _] = note.words;
        let id = |dev, ino| (ino != 0).then_some(FileId::new(dev, ino));
        match note.stage {
            BEGUN => Self::Begun(Begun([id(a, b), id(c, d)])),
            DONE if b == 0 => Self::Done(Ok(a as i64)),
            DONE => Self::Done(Err(Errno::from_raw(b as i32))),
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let id = |ino| Some(FileId::new(7, ino));
        for begun in [
            Begun([None, None]),
            Begun([id(1), None]),
            Begun([id(1), id(2)]),
        ] {
            assert_eq!(Before::from(begun.note()), Before::Begun(begun));
        }
        for result in [Ok(0), Ok(-1), Ok(i64::MAX), Err(Errno::EEXIST)] {
            assert_eq!(Before::from(done(result)), Before::Done(result));
        }
        assert_eq!(Before::from(Note::default()), Before::Nothing);
    }
}
