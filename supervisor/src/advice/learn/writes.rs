//! What was made, changed and taken away.

use super::names::pattern;
use super::{Deeds, Key, Lesson, Line, Scene, Things};
use crate::audit::Seen;
use crate::policy::{Access, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// More names than this in one directory, and the directory is granted.
const NAMES: usize = 6;

/// The trees that the run may write. What lies in them need not be granted again.
pub(super) struct Trees(BTreeSet<PathBuf>);

impl Trees {
    /// Whether a path lies in one of them.
    pub fn hold(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.0.contains(above))
    }

    /// The tree that holds a path.
    pub fn of<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        path.ancestors().find(|above| self.0.contains(*above))
    }
}

/// Learns what is written. Says which trees are.
pub(super) fn learn(things: &Things, scene: &Scene<'_>, lesson: &mut Lesson) -> Trees {
    let wanted = things.files.iter().filter(|(path, deeds)| {
        deeds.access().contains(Access::WRITE)
            && !scene.is_temporary(path)
            && !is_given(path, deeds, scene)
    });
    let (secret, wanted): (Vec<_>, Vec<_>) =
        wanted.partition(|(path, _)| scene.secret(path).is_some());
    for (path, _) in secret {
        let why = scene.secret(path).map(|secret| format!("writes {secret}"));
        lesson
            .left_out
            .push((path.display().to_string(), why.unwrap_or_default()));
    }
    let mut trees = Trees(BTreeSet::new());
    // A directory that the run made is its own.
    for (path, deeds) in &wanted {
        let is_own =
            deeds.has(Seen::MadeDirectory) && scene.world.kind(path) == Some(Kind::Directory);
        if is_own && !trees.hold(path) {
            trees.0.insert((*path).clone());
            push(lesson, scene, Key::Make, path, "made by the run", "");
            push(lesson, scene, Key::Write, path, "made by the run", "");
        }
    }
    let mut in_directories: BTreeMap<&Path, Vec<(&Path, &Deeds)>> = BTreeMap::new();
    for (path, deeds) in &wanted {
        if trees.hold(path) {
            continue;
        }
        match path.parent() {
            Some(directory) if scene.world.kind(directory).is_none() => {}
            Some(directory) if is_name(deeds) => {
                in_directories
                    .entry(directory)
                    .or_default()
                    .push((path, deeds));
            }
            // What is in a directory that comes and goes goes with it.
            _ if scene.world.kind(path).is_none() => {}
            _ => in_place(path, deeds, scene, lesson),
        }
    }
    // From above: what a tree holds is not asked of what is below it.
    for (directory, names) in in_directories {
        if trees.hold(directory) {
            continue;
        }
        let patterns: BTreeSet<String> = names
            .iter()
            .filter_map(|(path, deeds)| name(path, deeds, scene))
            .collect();
        let is_open = !scene.is_wide(directory) && !scene.holds_secrets(directory);
        let exactly = scene.spelled_exactly(directory);
        let needs_it = names
            .iter()
            .any(|(path, deeds)| needs_directory(path, deeds, scene));
        if is_open && (patterns.len() > NAMES || needs_it && exactly.is_none()) {
            trees.0.insert(directory.to_owned());
            let why = format!("{} names made or taken away in it", names.len());
            push(lesson, scene, Key::Write, directory, &why, "");
            continue;
        }
        if needs_it {
            own_directory(directory, exactly, lesson);
        }
        for (path, deeds) in names {
            single(path, deeds, scene, lesson);
        }
    }
    trees
}

fn is_given(path: &Path, deeds: &Deeds, scene: &Scene<'_>) -> bool {
    match is_name(deeds) {
        true => scene.world.may_be_made(path),
        false => scene.world.is_given(path, Access::WRITE),
    }
}

/// Whether its name was made or taken away.
fn is_name(deeds: &Deeds) -> bool {
    [Seen::Made, Seen::MadeDirectory, Seen::Removed]
        .into_iter()
        .any(|seen| deeds.has(seen))
}

/// Whether the right to the directory was used: for a link, for a directory that is gone again.
fn needs_directory(path: &Path, deeds: &Deeds, scene: &Scene<'_>) -> bool {
    let is_link = scene.world.kind(path) == Some(Kind::Link);
    deeds.writes_directory || is_link || deeds.has(Seen::MadeDirectory)
}

/// What is written where it stands.
fn in_place(path: &Path, deeds: &Deeds, scene: &Scene<'_>, lesson: &mut Lesson) {
    if scene.world.kind(path) == Some(Kind::Directory) {
        let why = "its mode, owner or times were changed, which takes the right to write everything below it";
        lesson
            .left_out
            .push((path.display().to_string(), why.to_owned()));
        return;
    }
    push(lesson, scene, Key::Write, path, &by(deeds, "written"), "?");
}

/// A link, or the end of a directory, takes the right to the directory that it stands in: to that, not to what is in it.
fn own_directory(directory: &Path, exactly: Option<String>, lesson: &mut Lesson) {
    match exactly {
        Some(text) => lesson.lines.push(Line {
            key: Key::Write,
            text,
            why: "links or directories come and go in it: the directory itself, not what is in it"
                .to_owned(),
        }),
        None => {
            let why = "links or directories come and go in it, which only a rule for everything below it could allow";
            lesson
                .left_out
                .push((directory.display().to_string(), why.to_owned()));
        }
    }
}

/// One name in a directory that was there.
fn single(path: &Path, deeds: &Deeds, scene: &Scene<'_>, lesson: &mut Lesson) {
    let Some(text) = name(path, deeds, scene).filter(|text| text.contains('*')) else {
        return push(
            lesson,
            scene,
            Key::Request,
            path,
            &by(deeds, "made or taken away"),
            "?",
        );
    };
    let why = by(deeds, "comes and goes under such names");
    if deeds.has(Seen::MadeDirectory) {
        lesson.lines.push(Line {
            key: Key::Write,
            text: format!("{text}/**"),
            why: why.clone(),
        });
    }
    lesson.lines.push(Line {
        key: Key::Write,
        text,
        why,
    });
}

/// How a name is granted: as a pattern, where it came and went.
fn name(path: &Path, deeds: &Deeds, scene: &Scene<'_>) -> Option<String> {
    let spelled = scene.spelled(path)?;
    let is_made = deeds.has(Seen::Made) || deeds.has(Seen::MadeDirectory);
    let comes_and_goes = is_made && scene.world.kind(path).is_none();
    let (above, last) = spelled.rsplit_once('/')?;
    let made_up = pattern(last).filter(|_| comes_and_goes);
    Some(made_up.map_or(spelled.clone(), |pattern| format!("{above}/{pattern}")))
}

fn by(deeds: &Deeds, what: &str) -> String {
    match &deeds.program {
        Some(program) => format!("{what} by {program}"),
        None => what.to_owned(),
    }
}

/// Adds an entry for a path, or says that it cannot be spelled.
pub(super) fn push(
    lesson: &mut Lesson,
    scene: &Scene<'_>,
    key: Key,
    path: &Path,
    why: &str,
    end: &str,
) {
    match scene.spelled(path) {
        Some(text) => lesson.lines.push(Line {
            key,
            text: format!("{text}{end}"),
            why: why.to_owned(),
        }),
        None => {
            let why = "a policy has no way to spell it".to_owned();
            lesson.left_out.push((path.display().to_string(), why));
        }
    }
}
