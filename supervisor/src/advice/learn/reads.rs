//! What was read, listed and executed.

use super::writes::{Trees, push};
use super::{Key, Lesson, Line, Scene, Things};
use crate::audit::Seen;
use crate::policy::Access;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// So many things read in a directory, and the directory is read.
const MANY: usize = 3;

/// Learns what is read and executed, beside what the written `trees` give.
pub(super) fn learn(things: &Things, trees: &Trees, scene: &Scene<'_>, lesson: &mut Lesson) {
    executed(things, trees, scene, lesson);
    let files = things.files.iter().filter(|(path, deeds)| {
        let access = deeds.access();
        let is_read_only = access.contains(Access::READ) && !access.contains(Access::WRITE);
        let is_only_run = deeds.seen.iter().all(|seen| *seen == Seen::Executed);
        is_read_only
            && !is_only_run
            && !scene.is_temporary(path)
            && !trees.hold(path)
            && !scene.world.is_given(path, Access::READ)
    });
    let mut listed = BTreeSet::new();
    let mut read = BTreeSet::new();
    for (path, deeds) in files {
        if let Some(secret) = scene.secret(path) {
            lesson
                .left_out
                .push((path.display().to_string(), format!("reads {secret}")));
        } else if deeds.has(Seen::Listed) {
            listed.insert(path.clone());
        } else {
            read.insert(path.clone());
        }
    }
    let whole = collapse(&read, &listed, things, scene);
    for directory in &listed {
        if directory.ancestors().any(|above| whole.contains_key(above)) {
            continue;
        }
        match scene.spelled_exactly(directory) {
            Some(text) => lesson.lines.push(Line {
                key: Key::Read,
                text,
                why: "listed: the directory itself, not what is in it".to_owned(),
            }),
            None if !scene.is_wide(directory) => {
                push(lesson, scene, Key::Read, directory, "listed", "?");
            }
            None => lesson.left_out.push((
                directory.display().to_string(),
                "was listed, which only a rule for everything below it could allow".to_owned(),
            )),
        }
    }
    let is_in = |whole: &BTreeMap<PathBuf, String>, path: &Path| {
        let mut above = path.ancestors().skip(1);
        above.any(|above| whole.contains_key(above))
    };
    for (tree, why) in &whole {
        if is_in(&whole, tree) {
            continue;
        }
        push(lesson, scene, Key::Read, tree, why, "?");
        deny_secrets(tree, things, scene, lesson);
    }
    let mut above = scene.cwd.ancestors();
    let is_entered = trees.hold(scene.cwd)
        || above.any(|above| whole.contains_key(above))
        || scene.world.is_given(scene.cwd, Access::READ);
    if !is_entered {
        start_here(scene, lesson);
    }
    for path in &read {
        if !is_in(&whole, path) {
            push(lesson, scene, Key::Read, path, "read", "?");
        }
    }
}

/// A command starts in a directory that it may read.
fn start_here(scene: &Scene<'_>, lesson: &mut Lesson) {
    match scene.spelled_exactly(scene.cwd) {
        Some(text) => lesson.lines.push(Line {
            key: Key::Read,
            text,
            why: "where it starts: the directory itself, not what is in it".to_owned(),
        }),
        None => push(lesson, scene, Key::Read, scene.cwd, "where it starts", ""),
    }
}

/// The directories of which most was read or listed: those are read as a whole.
fn collapse(
    read: &BTreeSet<PathBuf>,
    listed: &BTreeSet<PathBuf>,
    things: &Things,
    scene: &Scene<'_>,
) -> BTreeMap<PathBuf, String> {
    let mut whole = BTreeMap::new();
    // What was written in it is as much of it as what was read.
    let used = things
        .files
        .keys()
        .filter(|path| scene.world.kind(path).is_some());
    let mut children: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for path in used {
        let above = path.ancestors().zip(path.ancestors().skip(1));
        for (below, above) in above {
            if !children.entry(above).or_default().insert(below) {
                break;
            }
        }
    }
    // The deepest first, so that what is whole below counts as one above.
    let mut directories: Vec<&Path> = read
        .iter()
        .chain(listed)
        .flat_map(|path| path.ancestors().skip(1))
        .collect();
    directories.extend(listed.iter().map(PathBuf::as_path));
    directories.sort_by_key(|path| {
        (
            std::cmp::Reverse(path.components().count()),
            path.to_owned(),
        )
    });
    directories.dedup();
    for directory in directories {
        let count = children.get(directory).map_or(0, BTreeSet::len);
        let entries = scene.world.entries(directory);
        // The directory that the operator works in is more than what was read of it.
        let is_kept =
            directory == scene.cwd || scene.is_wide(directory) || scene.holds_secrets(directory);
        let is_most =
            count * 2 >= entries && (count >= MANY || listed.contains(directory) && count > 0);
        if is_most && !is_kept {
            whole.insert(
                directory.to_owned(),
                format!("{count} of {entries} things in it used"),
            );
        }
    }
    whole
}

/// Leaves the secrets out of a tree that were not asked for by name.
fn deny_secrets(tree: &Path, things: &Things, scene: &Scene<'_>, lesson: &mut Lesson) {
    let mut secrets: Vec<PathBuf> = scene.world.secrets_in(tree);
    let places = super::super::sensitive::below(tree, scene.home);
    secrets.extend(
        places
            .map(|place| place.path)
            .filter(|path| scene.world.kind(path).is_some()),
    );
    for path in secrets {
        let is_used = things.files.contains_key(&path) && scene.named.contains(&path);
        if let Some(secret) = scene.secret(&path).filter(|_| !is_used) {
            push(lesson, scene, Key::Deny, &path, &secret.to_string(), "");
        }
    }
}

fn executed(things: &Things, trees: &Trees, scene: &Scene<'_>, lesson: &mut Lesson) {
    let programs = things.files.iter().filter(|(path, deeds)| {
        deeds.has(Seen::Executed) && !scene.world.is_given(path, Access::EXEC)
    });
    let mut in_trees = BTreeSet::new();
    for (path, _) in programs {
        match trees.of(path) {
            // What is built and run has another name next time.
            Some(tree) => {
                if in_trees.insert(tree.to_owned()) {
                    push(lesson, scene, Key::Exec, tree, "what the run makes there is run", "");
                }
            }
            None if scene.is_temporary(path) => lesson.left_out.push((
                path.display().to_string(),
                "was run from the temporary directory; give it one with `exec = [\"$TMPDIR\"]` if it has to be".to_owned(),
            )),
            None => push(lesson, scene, Key::Exec, path, "run", "?"),
        }
    }
}
