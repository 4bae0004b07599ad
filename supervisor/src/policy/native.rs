//! What the kernel is told to grant: all that the rules allow, less every tree in which something is denied.
//!
//! Landlock only knows grants, and a grant reaches all below its object. So where a denial lies inside a granted tree,
//! each directory on the way to it is listed once and its other entries are granted; the entries of those directories
//! themselves, and what appears in them later, are left to the supervisor. Where a pattern can match at any depth, the
//! whole tree is. This errs on one side only: what the kernel grants, the rules allow.
//!
//! But for one right. Nobody can execute on the child's behalf, so in a tree that may be executed and has a pattern denied at
//! any depth, executing stays with the kernel, without reading: a grant of EXEC alone. There a file that the pattern denies could
//! still be executed; and Landlock cannot give execution without reading, so every open is the supervisor's (a closed session).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::access::Access;
use super::error::PolicyError;
use super::origin::{Origin, Source};
use super::pattern::{Relation, Shape, is_below};
use super::rules::DenyRule;
use super::settings::{NativeGrant, Warning};
use super::world::{Entry, Kind, Planned};

/// A tree that rules allow.
pub(super) struct Wanted {
    pub path: PathBuf,
    pub entry: Entry,
    pub access: Access,
    pub origin: Origin,
}

/// How many entries are listed on the way to denials before the rest of a tree is left to the supervisor.
const ENTRIES: usize = 4096;

/// What is the kernel's of one layer, and what is not.
pub(super) struct Laid {
    /// Sorted by path; none lies below another that grants the same.
    pub grants: Vec<NativeGrant>,
    /// The rights of which something that the rules allow is left to the supervisor, because of a denial.
    pub left: Access,
}

/// Lays out one layer.
pub(super) fn lay(
    wanted: &[Wanted],
    denials: &[DenyRule],
    world: &Planned<'_>,
    warnings: &mut Vec<Warning>,
) -> Result<Laid, PolicyError> {
    let mut layout = Layout {
        denials,
        world,
        grants: BTreeMap::new(),
        left: BTreeMap::new(),
        rights_left: Access::NONE,
        entries: 0,
    };
    for tree in wanted {
        layout.share(tree, &tree.path, tree.entry, tree.access)?;
    }
    let left = layout.left.into_iter();
    warnings.extend(left.map(|((_, extent, rights), left)| left.warning(extent, rights)));
    Ok(Laid {
        grants: without_repetition(layout.grants),
        left: layout.rights_left,
    })
}

struct Layout<'l> {
    denials: &'l [DenyRule],
    world: &'l Planned<'l>,
    /// By place, in the order of [`Walked`].
    grants: BTreeMap<Walked, NativeGrant>,
    /// What is left to the supervisor: of which tree, how much of it, which rights.
    left: BTreeMap<(PathBuf, Extent, Access), Left>,
    rights_left: Access,
    entries: usize,
}

/// A canonical path, ordered as a walk through the tree finds it: right behind a directory comes what is below it. As paths
/// are ordered too, but without taking each of them apart again for every comparison.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Walked(Vec<u8>);

impl Walked {
    fn new(path: &Path) -> Self {
        let bytes = path.as_os_str().as_bytes().iter();
        // No name holds a zero byte, so that a slash made one comes before all names that are longer.
        Self(
            bytes
                .map(|byte| if *byte == b'/' { 0 } else { *byte })
                .collect(),
        )
    }
}

/// Why a tree, or what is new in some of its directories, is not the kernel's.
struct Left {
    rule: Origin,
    denials: BTreeSet<Origin>,
    directories: BTreeSet<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    /// What stands, or will stand, in the directory itself.
    Entries,
    /// Everything.
    Tree,
    /// Everything, for there is too much to list.
    TooMuch,
}

impl Layout<'_> {
    /// Grants what can be granted at `path` and below.
    fn share(
        &mut self,
        tree: &Wanted,
        path: &Path,
        entry: Entry,
        access: Access,
    ) -> Result<(), PolicyError> {
        let mut granted = access;
        let mut inside = Access::NONE;
        let mut executed = Access::EXEC;
        for denial in self
            .denials
            .iter()
            .filter(|rule| rule.access.intersects(access))
        {
            match denial.relation(path, entry.object) {
                Relation::Apart => {}
                Relation::Covers => {
                    granted = granted.difference(denial.access);
                    executed = executed.difference(denial.access);
                }
                // A denial that leads through what is no directory: were that made one, the name would mean something.
                Relation::Below if entry.kind != Kind::Directory => {
                    granted = granted.difference(denial.access);
                    executed = executed.difference(denial.access);
                    self.rights_left |= denial.access.intersection(access);
                }
                Relation::Anywhere if entry.kind != Kind::Directory => {}
                Relation::Below => {
                    inside |= denial.access.intersection(access);
                    self.leave(tree, path, denial, access, Extent::Entries)?;
                }
                Relation::Anywhere => {
                    self.leave(tree, path, denial, access, Extent::Tree)?;
                    granted = granted.difference(denial.access);
                }
            }
        }
        granted |= executed.intersection(access);
        inside = inside.intersection(granted);
        self.grant(tree, path, entry, granted.difference(inside));
        if inside.is_empty() {
            return Ok(());
        }
        for (name, below) in self.entries(tree, path, entry, inside)? {
            self.share(tree, &name, below, inside)?;
        }
        Ok(())
    }

    /// What stands in a directory, links aside: a link grants nothing, and where it leads is granted or not.
    fn entries(
        &mut self,
        tree: &Wanted,
        path: &Path,
        entry: Entry,
        rights: Access,
    ) -> Result<Vec<(PathBuf, Entry)>, PolicyError> {
        let names = self.world.list(path).unwrap_or_default();
        self.entries += names.len();
        if self.entries > ENTRIES {
            let denials = self.denials;
            let inside = denials.iter().filter(|rule| rule.access.intersects(rights));
            for denial in inside {
                if denial.relation(path, None) != Relation::Apart {
                    self.leave(tree, path, denial, rights, Extent::TooMuch)?;
                }
            }
            self.grant(tree, path, entry, rights.intersection(Access::EXEC));
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for name in names {
            let name = path.join(name);
            match self.world.look(&name) {
                Ok(Some(entry)) if entry.kind != Kind::Link => found.push((name, entry)),
                // Gone meanwhile, or not to be looked at: not granted.
                _ => {}
            }
        }
        Ok(found)
    }

    fn grant(&mut self, tree: &Wanted, path: &Path, entry: Entry, access: Access) {
        if access.is_empty() {
            return;
        }
        let grant = self
            .grants
            .entry(Walked::new(path))
            .or_insert_with(|| NativeGrant {
                path: path.to_owned(),
                object: entry.object,
                is_dir: entry.kind == Kind::Directory,
                access: Access::NONE,
                device: entry.kind == Kind::Device,
                listed: true,
                origin: tree.origin.clone(),
            });
        grant.access |= access;
        grant.listed &= path != tree.path;
    }

    fn leave(
        &mut self,
        tree: &Wanted,
        path: &Path,
        denial: &DenyRule,
        access: Access,
        extent: Extent,
    ) -> Result<(), PolicyError> {
        let rights = denial.access.intersection(access);
        // Of a pattern it is said that a match could be executed; of a name that was spelled out it must not be so.
        let is_named = |shape: &Shape| matches!(shape, Shape::Tree(named) if is_below(named, path));
        if extent == Extent::TooMuch
            && rights.contains(Access::EXEC)
            && denial.shapes.iter().any(is_named)
        {
            return Err(PolicyError::new(format!(
                "{} lets `{}` be executed, and {} denies something inside it, beside too much to be listed",
                tree.origin,
                path.display(),
                denial.origin
            ))
            .help("the kernel cannot leave that out: list under `exec` only directories without it"));
        }
        self.rights_left |= rights;
        if extent == Extent::Tree && rights == Access::EXEC {
            // Said of the tree that it lies in.
            return Ok(());
        }
        let left = self
            .left
            .entry((tree.path.clone(), extent, rights))
            .or_insert_with(|| Left {
                rule: tree.origin.clone(),
                denials: BTreeSet::new(),
                directories: BTreeSet::new(),
            });
        left.denials.insert(denial.origin.clone());
        left.directories.insert(path.to_owned());
        Ok(())
    }
}

impl Left {
    fn warning(self, extent: Extent, rights: Access) -> Warning {
        let rule = &self.rule;
        let directories: Vec<String> = self
            .directories
            .iter()
            .map(|path| format!("`{}`", path.display()))
            .collect();
        let directories = directories.join(", ");
        let opened = rights.difference(Access::EXEC);
        let mut consequences = Vec::new();
        if !opened.is_empty() {
            consequences.push(format!(
                "is the supervisor's to give, at each open ({opened})"
            ));
        }
        if rights.contains(Access::EXEC) {
            consequences.push(match extent {
                Extent::Entries => "cannot be executed".to_owned(),
                Extent::Tree | Extent::TooMuch => {
                    "cannot be read where it is denied, but an executable match could still be run"
                        .to_owned()
                }
            });
        }
        let consequence = consequences.join(", and ");
        let mut places: Vec<String> = self.denials.iter().map(Origin::to_string).collect();
        places.dedup();
        let denies = match places.as_slice() {
            [] | [_] => "this denies".to_owned(),
            [_, others @ ..] => format!("this, with {}, denies", others.join(", ")),
        };
        let message = match extent {
            Extent::Entries => format!(
                "{denies} something inside what {rule} allows: what is new right in {directories} {consequence}"
            ),
            Extent::Tree => format!(
                "{denies} a pattern anywhere inside what {rule} allows: what is in {directories} {consequence}"
            ),
            Extent::TooMuch => format!(
                "{denies} something inside what {rule} allows, beside too much to be listed: {directories} {consequence}"
            ),
        };
        // Rules say what their author meant. That a file of ours lies in the way is chance, and easily changed.
        let is_ours = |origin: &Origin| matches!(origin.source(), Source::Protected(_));
        let is_chance = self.denials.iter().any(is_ours);
        Warning {
            origin: self.denials.into_iter().next(),
            message: match is_chance {
                true => format!("{message}; keep it outside of what the command may write"),
                false => message,
            },
            at_start: false,
        }
    }
}

/// Leaves out what a grant further up gives already. A device keeps its own: ioctls are granted by it alone.
fn without_repetition(grants: BTreeMap<Walked, NativeGrant>) -> Vec<NativeGrant> {
    let mut kept: Vec<NativeGrant> = Vec::with_capacity(grants.len());
    // Those above, by their place in `kept`.
    let mut above: Vec<(usize, Access)> = Vec::new();
    for grant in grants.into_values() {
        while above
            .last()
            .is_some_and(|(at, _)| !is_below(&grant.path, &kept[*at].path))
        {
            above.pop();
        }
        let given = above.last().map_or(Access::NONE, |(_, access)| *access);
        if grant.device || !given.contains(grant.access) {
            if grant.is_dir {
                above.push((kept.len(), given | grant.access));
            }
            kept.push(grant);
        }
    }
    kept
}
