//! Other names of denied files. A hard link made long before gives a denied file a name where it is allowed, and the kernel
//! grants by the tree that a name stands in. So where a denied file says that it has more names, they are looked for: among what
//! is denied, and in the trees that are allowed.
//!
//! Files with one name, nearly all, cost nothing but the walk of what is denied. A search that finds no end says so.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::access::Access;
use super::native::Wanted;
use super::origin::Source;
use super::pattern::Shape;
use super::rules::DenyRule;
use super::settings::Warning;
use super::subject::FileId;
use super::world::{Entry, Kind, Planned};

/// How many entries of denied trees are looked at.
const DENIED: usize = 1024;
/// How many entries of allowed trees are searched.
const ALLOWED: usize = 20_000;

/// A denied file that has more than one name.
struct Shared {
    object: FileId,
    /// How many names it has, all in all.
    links: u64,
    names: BTreeSet<PathBuf>,
    /// The denials that it lies under, by their number.
    denials: BTreeSet<usize>,
}

/// Makes every denial hold for its files under all the names they have.
pub(super) fn deny(
    denials: &mut [DenyRule],
    wanted: &[Wanted],
    world: &Planned<'_>,
    warnings: &mut Vec<Warning>,
) {
    let mut shared: BTreeMap<(u64, u64), Shared> = BTreeMap::new();
    let mut left = DENIED;
    for (number, denial) in denials.iter().enumerate() {
        let Some((path, entry)) = denial.place() else {
            continue;
        };
        // The supervisor's own directories are open to nobody who could link out of them.
        let is_own = matches!(denial.origin.source(), Source::Protected(_));
        if is_own && entry.kind == Kind::Directory {
            continue;
        }
        let ended = walk(world, path, entry, &mut left, &mut |name, file| {
            if let Some(object) = file.object.filter(|_| file.links > 1) {
                let found = shared
                    .entry((object.dev, object.ino))
                    .or_insert_with(|| Shared {
                        object,
                        links: file.links,
                        names: BTreeSet::new(),
                        denials: BTreeSet::new(),
                    });
                found.names.insert(name.to_owned());
                found.denials.insert(number);
            }
            true
        });
        if !ended {
            warnings.push(Warning {
                origin: Some(denial.origin.clone()),
                message: "this denies too much to look for files in it that have other names (hard links) elsewhere".to_owned(),
                at_start: false,
            });
            break;
        }
    }
    if shared.values().any(Shared::has_more) {
        search(&mut shared, denials, wanted, world, warnings);
    }
    for file in shared.into_values() {
        for number in file.denials {
            let denial = &mut denials[number];
            denial.objects.push(file.object);
            for name in &file.names {
                let shape = Shape::Tree(name.clone());
                if !denial.shapes.iter().any(|own| own.grants(name)) {
                    denial.shapes.push(shape);
                }
            }
        }
    }
}

/// Looks for the names that are still unknown in what is allowed.
fn search(
    shared: &mut BTreeMap<(u64, u64), Shared>,
    denials: &[DenyRule],
    wanted: &[Wanted],
    world: &Planned<'_>,
    warnings: &mut Vec<Warning>,
) {
    let rights = denials
        .iter()
        .fold(Access::NONE, |rights, denial| rights | denial.access);
    let devices: BTreeSet<u64> = shared.keys().map(|(dev, _)| *dev).collect();
    let mut left = ALLOWED;
    let mut trees: Vec<&Wanted> = wanted
        .iter()
        .filter(|tree| tree.access.intersects(rights))
        .filter(|tree| {
            tree.entry
                .object
                .is_some_and(|object| devices.contains(&object.dev))
        })
        .collect();
    // What the child may write first: there its user makes links.
    trees.sort_by_key(|tree| !tree.access.contains(Access::WRITE));
    for tree in trees {
        let ended = walk(
            world,
            &tree.path,
            tree.entry,
            &mut left,
            &mut |name, file| {
                if let Some(found) = file
                    .object
                    .and_then(|object| shared.get_mut(&(object.dev, object.ino)))
                {
                    found.names.insert(name.to_owned());
                }
                shared.values().any(Shared::has_more)
            },
        );
        if !shared.values().any(Shared::has_more) {
            return;
        }
        if !ended {
            let file = shared.values().find(|file| file.has_more());
            let denial = file.and_then(|file| file.denials.first());
            let name = file.and_then(|file| file.names.first());
            warnings.push(Warning {
                origin: denial.map(|number| denials[*number].origin.clone()),
                message: format!(
                    "`{}` has other names (hard links), and not all were found: under one of them it may be reached",
                    name.map_or(Path::new("?"), PathBuf::as_path).display()
                ),
                at_start: true,
            });
            return;
        }
    }
}

impl Shared {
    fn has_more(&self) -> bool {
        (self.names.len() as u64) < self.links
    }
}

/// Shows every regular file of a tree to `see`, until that says no. False when there was more than `left` to look at.
fn walk(
    world: &Planned<'_>,
    path: &Path,
    entry: Entry,
    left: &mut usize,
    see: &mut dyn FnMut(&Path, Entry) -> bool,
) -> bool {
    let mut open = vec![(path.to_owned(), entry)];
    while let Some((path, entry)) = open.pop() {
        match entry.kind {
            Kind::File => {
                if !see(&path, entry) {
                    return true;
                }
            }
            Kind::Directory => {
                // What cannot be listed by us cannot be listed by the child.
                for name in world.list(&path).unwrap_or_default() {
                    if *left == 0 {
                        return false;
                    }
                    *left -= 1;
                    let name = path.join(name);
                    if let Ok(Some(entry)) = world.look(&name) {
                        open.push((name, entry));
                    }
                }
            }
            Kind::Device | Kind::Link | Kind::Other => {}
        }
    }
    true
}
