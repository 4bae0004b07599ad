//! Another thread moves and exchanges things and turns links while requests are answered. Then nobody can say what a name means, but
//! still: what is granted is something that the rules allow under a name that it had at some moment of the run.

use crate::chance::{self, Chance};
use crate::law::Says;
use crate::quiet::Counts;
use crate::request::Request;
use crate::stage::Stage;
use crate::tree::{Id, Kind, look, names_of_all, scan, some_entry, some_name, some_target};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::fstat;
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use supervisor::broker::Outcome;

/// How many requests one tree is good for.
const ROUND: usize = 400;

/// How often something has to be moved meanwhile, or it was no race.
const MOVES: usize = 100;

/// How often two things change places before others do.
const QUICK: usize = 30;

/// All names that things had at some moment, or would have had.
type Names = BTreeMap<Id, Vec<PathBuf>>;

struct Mover<'m> {
    chance: Chance,
    top: &'m Path,
    names: Names,
    moves: &'m AtomicUsize,
    /// Where two things change places now.
    meeting: &'m Mutex<Option<PathBuf>>,
}

impl Mover<'_> {
    /// Remembers what everything at one name will be called at the other: before it is, for then somebody may see it.
    fn remember(&mut self, from: &Path, to: &Path) {
        let names = &mut self.names;
        scan(from, &mut |path, id, _| {
            let below = path.strip_prefix(from).expect("below");
            let name = match below.as_os_str().is_empty() {
                true => to.to_owned(),
                false => to.join(below),
            };
            let known = names.entry(id).or_default();
            if !known.contains(&name) {
                known.push(name);
            }
        });
    }

    fn rename(&mut self, from: &Path, to: &Path, flags: RenameFlags) {
        self.remember(from, to);
        if flags == RenameFlags::RENAME_EXCHANGE {
            self.remember(to, from);
        }
        let moved = renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
        self.moves
            .fetch_add(usize::from(moved.is_ok()), Ordering::Relaxed);
    }

    /// A thing that was there from the beginning, and is not what was made by a request.
    fn some_thing(&mut self) -> PathBuf {
        loop {
            let found = some_entry(&mut self.chance, self.top);
            if found
                .file_name()
                .is_none_or(|name| !name.as_encoded_bytes().starts_with(b"new"))
            {
                return found;
            }
        }
    }

    /// Two change places so fast that somebody meets them in the middle of it, and stand in the end as they did.
    fn exchange(&mut self, one: &Path, other: &Path) {
        *self.meeting.lock().expect("nobody panics with it") = Some(one.to_owned());
        let exchange = RenameFlags::RENAME_EXCHANGE;
        for _ in 0..=self.chance.below(QUICK) {
            self.rename(one, other, exchange);
            // Each has been in both places. What a request makes meanwhile is found by its directory.
            for _ in 0..2 * self.chance.below(100) {
                let _back = renameat2(AT_FDCWD, one, AT_FDCWD, other, exchange);
            }
            self.rename(one, other, exchange);
        }
    }

    fn turn(&mut self) {
        let one = self.some_thing();
        match self.chance.below(4) {
            0 => {
                let other = some_name(&mut self.chance, self.top);
                // What it is called then is where links lead now.
                let parent = other.parent().expect("it lies below");
                let parent = parent
                    .canonicalize()
                    .unwrap_or_else(|_| self.top.to_owned());
                let other = parent.join(other.file_name().expect("a name"));
                if other.starts_with(self.top) {
                    self.rename(&one, &other, RenameFlags::RENAME_NOREPLACE);
                }
            }
            1 => {
                let other = self.some_thing();
                self.rename(&one, &other, RenameFlags::RENAME_EXCHANGE);
            }
            2 => {
                let other = self.some_thing();
                self.exchange(&one, &other);
            }
            _ => {
                // A link takes the place of something else and gives it back.
                let spare = self.top.with_file_name("spare");
                let target = some_target(&mut self.chance, self.top);
                symlink(target, &spare).expect("the name is free");
                self.exchange(&one, &spare);
                std::fs::remove_file(&spare).expect("it is the link again");
            }
        }
    }
}

/// What was granted.
struct Grant {
    id: Id,
    request: Request,
    /// A directory in which something is to be made, by whoever claimed.
    of_directory: bool,
}

fn is_right(
    stage: &Stage,
    names: &Names,
    parents: &BTreeMap<Id, (Id, PathBuf)>,
    grant: &Grant,
) -> bool {
    let says = |path: &Path, id, makes| {
        let rights = grant.request.rights(makes);
        stage.law.says_of_open(path, id, &rights) != Says::No
    };
    let empty = Vec::new();
    let of = |id| names.get(&id).unwrap_or(&empty).iter();
    let own = of(grant.id).any(|name| says(name, Some(grant.id), false));
    let below = |name: &PathBuf| {
        let last = Path::new(std::ffi::OsStr::new("new"));
        grant.of_directory && says(&name.join(last), None, true)
    };
    let made = parents.get(&grant.id);
    let as_made = |(directory, name): &(Id, PathBuf)| {
        of(*directory).any(|above| says(&above.join(name), Some(grant.id), false))
    };
    own || of(grant.id).any(below) || made.is_some_and(as_made)
}

fn round(seed: u64, steps: usize, counts: &mut Counts) -> usize {
    let mut chance = Chance::new(seed);
    let mut stage = Stage::set(seed, &mut chance, |_, _| {});
    let top = stage.top();
    let (is_over, moves) = (AtomicBool::new(false), AtomicUsize::new(0));
    let meeting = Mutex::new(None);
    let mut grants = Vec::new();
    let mut mover = Mover {
        chance: Chance::new(!seed),
        top: &top,
        names: names_of_all(&top),
        moves: &moves,
        meeting: &meeting,
    };
    let names = std::thread::scope(|scope| {
        let moving = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                mover.turn();
            }
            mover.names
        });
        // Also when it panics, lest the other thread go on for ever.
        let end = End(&is_over);
        let mut done = 0;
        while done < steps || moves.load(Ordering::Relaxed) < MOVES {
            assert!(!moving.is_finished(), "nothing moves any more");
            let hot = meeting.lock().expect("nobody panics with it").clone();
            let hot = hot.filter(|_| !chance.one_in(3));
            let request = Request::restless(&mut chance, &top, hot);
            match stage.answer(request.claim()) {
                Outcome::Granted(grant) => {
                    let found = fstat(&grant.fd).expect("it is open");
                    let of_directory = request.makes_elsewhere();
                    counts.granted += 1;
                    grants.push(Grant {
                        id: (found.st_dev, found.st_ino),
                        request,
                        of_directory,
                    });
                }
                Outcome::Refused(_) => counts.denied += 1,
            }
            done += 1;
        }
        drop(end);
        moving.join().expect("it moved")
    });
    // What requests have made is found where it is now: in the directory that it was made in, under the name that it was given.
    let mut parents = BTreeMap::new();
    scan(&top, &mut |path, id, kind| {
        let name = PathBuf::from(path.file_name().expect("a name"));
        if kind == Kind::File && name.as_os_str().as_encoded_bytes().starts_with(b"new") {
            let directory = path.parent().and_then(look).expect("it is there").0;
            parents.insert(id, (directory, name));
        }
    });
    counts.made += parents.len();
    for grant in &grants {
        assert!(
            is_right(&stage, &names, &parents, grant),
            "{:?} was granted for {:?}, which was called {:?}\n{}",
            grant.id,
            grant.request,
            names.get(&grant.id),
            stage.story()
        );
    }
    moves.into_inner()
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_is_granted_while_names_change_is_what_the_rules_allow_under_a_name_it_had() {
    let mut counts = Counts::default();
    let (mut seed, mut left, mut moved) = (chance::seed(), chance::steps(4000), 0);
    while left > 0 {
        moved += round(seed, ROUND.min(left), &mut counts);
        left = left.saturating_sub(ROUND);
        seed += 1;
    }
    counts.say(&format!("restless, {moved} moves"));
    assert!(counts.granted > 0 && counts.denied > 0, "{counts:?}");
}
