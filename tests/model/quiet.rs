//! Nothing moves while a request is answered: then the broker and the oracle agree, both ways, each time.

use crate::chance::{self, Chance};
use crate::law::Says;
use crate::request::{Due, Request};
use crate::stage::Stage;
use crate::tree::{self, Id, Kind, look, some_entry, some_name};
use nix::errno::Errno;
use nix::sys::stat::fstat;
use std::io::Write;
use std::path::Path;
use supervisor::broker::Outcome;
use supervisor::policy::{FileId, Subject, Verdict};

/// How many requests one tree is good for.
const ROUND: usize = 60;

#[derive(Debug, Default)]
pub struct Counts {
    pub granted: usize,
    pub made: usize,
    pub denied: usize,
    pub lost: usize,
    /// Where the kernel knows more names than the rules do.
    pub either: usize,
    pub names: usize,
}

impl Counts {
    /// Past the test runner, which would swallow it.
    pub fn say(&self, what: &str) {
        let line = format!("MODEL {what}: {self:?}\n");
        let said = std::io::stderr().lock().write_all(line.as_bytes());
        said.expect("standard error takes a line");
    }
}

fn id_of(fd: impl std::os::fd::AsFd) -> Id {
    let found = fstat(fd).expect("it is open");
    (found.st_dev, found.st_ino)
}

/// What came of a request, in the oracle's words.
fn came(outcome: &Outcome, due: &Due) -> Due {
    match (outcome, due) {
        (Outcome::Granted(grant), Due::Made(path)) => {
            let id = id_of(&grant.fd);
            match look(path) {
                Some((there, Kind::File)) if there == id => Due::Made(path.clone()),
                _ => Due::Granted(id),
            }
        }
        (Outcome::Granted(grant), _) => Due::Granted(id_of(&grant.fd)),
        (Outcome::Refused(refusal), _) if refusal.errno == Errno::EACCES => Due::Denied,
        (Outcome::Refused(_), _) => Due::Lost,
    }
}

fn ask(stage: &mut Stage, chance: &mut Chance, counts: &mut Counts) {
    let request = Request::random(chance, &stage.top());
    let due = request.due(&stage.law);
    let outcome = stage.answer(request.claim());
    let (wanted, is_sure) = match &due {
        Due::Perhaps(then) => (then.as_ref(), false),
        due => (due, true),
    };
    let came = came(&outcome, wanted);
    match &came {
        Due::Granted(_) => counts.granted += 1,
        Due::Made(_) => counts.made += 1,
        Due::Denied => counts.denied += 1,
        _ => counts.lost += 1,
    }
    counts.either += usize::from(!is_sure);
    let agrees = came == *wanted || (!is_sure && came == Due::Denied);
    assert!(
        agrees,
        "{}\n{request:?}\n{outcome:?}\nthe oracle: {due:?}\n{}",
        String::from_utf8_lossy(&request.path),
        stage.story()
    );
}

/// A name is to be made, taken away, moved or linked: those of the rules that say so.
fn name(stage: &Stage, chance: &mut Chance, counts: &mut Counts) {
    let top = stage.top();
    let one = some_entry(chance, &top);
    let Some((id, kind)) = look(&one) else {
        return;
    };
    let there = |path| Subject {
        path,
        object: Some(FileId::new(id.0, id.1)),
    };
    let kind_of = |kind| match kind {
        Kind::Directory => supervisor::policy::Kind::Directory,
        Kind::File => supervisor::policy::Kind::File,
        Kind::Link => supervisor::policy::Kind::Link,
    };
    let other = some_name(chance, &top);
    let is_free = look(&other).is_none() && other.parent().and_then(look).is_some();
    counts.names += 1;
    let agrees = |said: Verdict, says: Says, what: &str, path: &Path| {
        let is_right = match says {
            Says::Yes => said.is_allowed(),
            Says::No => !said.is_allowed(),
            Says::Either => true,
        };
        assert!(
            is_right,
            "{what} {}: {said:?}\nthe oracle: {says:?}\n{}",
            path.display(),
            stage.story()
        );
    };
    let (ruleset, law) = (&stage.ruleset, &stage.law);
    agrees(
        ruleset.decide_replace(&there(&one)),
        law.says_of_replacing(&one, Some(id)),
        "replace",
        &one,
    );
    if kind == Kind::File {
        agrees(
            ruleset.decide_remove(&there(&one)),
            law.says_of_removing(&one, id),
            "remove",
            &one,
        );
    }
    if !is_free {
        return;
    }
    let made = Subject::named(&other);
    for made_kind in [Kind::Directory, Kind::File, Kind::Link] {
        agrees(
            ruleset.decide_make(&made, kind_of(made_kind)),
            law.says_of_making(&other, made_kind),
            &format!("make {made_kind:?}"),
            &other,
        );
    }
    let is_below = other.starts_with(&one);
    let moved = ruleset.decide_move(&there(&one), &made, kind_of(kind));
    let linked = ruleset.decide_link(&there(&one), &made);
    let is_linked = kind != Kind::Directory && linked.is_allowed();
    if (moved.is_allowed() && !is_below) || is_linked {
        let gained = law.gains(&one, &other, kind);
        assert!(gained.is_none(), "{gained:?}\n{}", stage.story());
    }
}

/// Tries so many steps, in trees to which something is done first, and at last.
pub fn agree(
    what: &str,
    steps: usize,
    prepare: impl Fn(&mut Chance, &Path),
    clear: impl Fn(&Path),
) -> Counts {
    let mut counts = Counts::default();
    let mut seed = chance::seed();
    let mut left = steps;
    while left > 0 {
        let mut chance = Chance::new(seed);
        let mut stage = Stage::set(seed, &mut chance, &prepare);
        for _ in 0..ROUND.min(left) {
            match chance.below(8) {
                0 => tree::change(&mut chance, &stage.top()),
                1 => name(&stage, &mut chance, &mut counts),
                _ => ask(&mut stage, &mut chance, &mut counts),
            }
        }
        clear(&stage.top());
        left = left.saturating_sub(ROUND);
        seed += 1;
    }
    counts.say(what);
    counts
}

#[test]
fn what_is_granted_is_just_what_the_rules_say_of_what_the_name_means() {
    let counts = agree("quiet", chance::steps(5000), |_, _| {}, |_| {});
    let each = [
        counts.granted,
        counts.made,
        counts.denied,
        counts.lost,
        counts.names,
    ];
    assert!(each.iter().all(|count| *count > 0), "{counts:?}");
}
