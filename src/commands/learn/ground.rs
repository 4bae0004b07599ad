//! What the learner stands on: the policy that is extended, and what is there.

use super::LearnArgs;
use crate::args::PolicyArgs;
use crate::law::Law;
use crate::places;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use supervisor::advice::learn::{Lesson, Scene, Things, World, learn};
use supervisor::advice::{quoted, sensitive};
use supervisor::audit::Started;
use supervisor::policy::{Access, Kind, Library, Mechanism, PolicyText, Ruleset, Subject, Verdict};
use supervisor::sources::PolicyFiles;

/// What a text that is in no file is called.
pub const NAME: &str = "./learn.toml";

/// So many entries of a tree are looked at for names of secrets.
const LOOKED_AT: usize = 20_000;

/// What the new policy extends.
pub struct Base {
    /// As `extends` has it.
    pub extends: String,
    /// Where the text would be.
    pub path: PathBuf,
}

impl Base {
    /// What was named: a preset, or the policy that is added to. `kept`: where nobody who is learned from has any business.
    pub fn of(args: &LearnArgs, kept: &Path) -> Result<Self, String> {
        let absolute = |name: &Path| {
            let path = std::path::absolute(name);
            path.map_err(|error| format!("{}: {error}", name.display()))
        };
        let is_file = args.base.contains('/') || args.base.ends_with(".toml");
        Ok(match &args.merge {
            Some(file) => {
                let path = absolute(file)?;
                Self {
                    extends: quoted(&path.to_string_lossy()),
                    // What it extends is named from there.
                    path: path.with_file_name(".learned.toml"),
                }
            }
            None => Self {
                extends: match is_file {
                    true => quoted(&absolute(Path::new(&args.base))?.to_string_lossy()),
                    false => quoted(&args.base),
                },
                path: kept.join("learned.toml"),
            },
        })
    }
}

/// One text that is in no file, and the files that it extends.
pub struct OwnText {
    text: String,
    path: PathBuf,
    files: PolicyFiles,
}

impl OwnText {
    /// A text that would stand in this file.
    pub fn new(text: &str, path: PathBuf) -> Self {
        Self {
            text: text.to_owned(),
            path,
            files: PolicyFiles,
        }
    }
}

impl Library for OwnText {
    fn text(&mut self, path: &Path) -> Result<PolicyText, String> {
        match path == Path::new(NAME) {
            true => Ok(PolicyText {
                text: self.text.clone(),
                path: self.path.clone(),
            }),
            false => self.files.text(path),
        }
    }
}

/// Everything that is known about where the run took place.
pub struct Ground {
    policy: PolicyArgs,
    path: PathBuf,
    home: PathBuf,
    cwd: PathBuf,
    tmpdir: PathBuf,
    named: Vec<PathBuf>,
    given: Ruleset,
}

impl Ground {
    /// Finds it out.
    pub fn survey(
        policy: &PolicyArgs,
        base: &Base,
        start: &Started,
        named: &[PathBuf],
    ) -> Result<Self, String> {
        let tmpdir = places::temporary().join(format!("supervise-{}", start.session));
        let text = format!("version = 1\nextends = [{}]\n", base.extends);
        let (law, given) = compile(policy, &text, &base.path, &tmpdir)?;
        let named = named.iter().map(|path| {
            let path = std::path::absolute(path).map_err(|error| error.to_string())?;
            Ok(path.canonicalize().unwrap_or(path))
        });
        Ok(Self {
            policy: policy.clone(),
            path: base.path.clone(),
            home: law
                .home()
                .map_or_else(|| PathBuf::from("/"), Path::to_owned),
            cwd: law.cwd().to_owned(),
            named: named.collect::<Result<_, String>>()?,
            tmpdir,
            given,
        })
    }

    /// What the run teaches.
    pub fn learn(&self, things: &Things) -> Lesson {
        learn(
            things,
            &Scene {
                home: Some(&self.home),
                cwd: &self.cwd,
                tmpdir: &self.tmpdir,
                named: &self.named,
                world: self,
            },
        )
    }

    /// Whether a text is a policy that can be used here.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let compiled = compile(&self.policy, text, &self.path, &self.tmpdir);
        compiled.map(drop).map_err(|error| {
            format!("what was learned is no policy that can be used: {error}\n{text}")
        })
    }
}

fn compile(
    policy: &PolicyArgs,
    text: &str,
    path: &Path,
    tmpdir: &Path,
) -> Result<(Law, Ruleset), String> {
    let mut library = OwnText::new(text, path.to_owned());
    let law = Law::read_from(&mut library, policy, tmpdir.to_owned());
    let law = law.map_err(|error| error.to_string())?;
    let ruleset = law.compile(None).map_err(|error| error.to_string())?;
    Ok((law, ruleset))
}

impl World for Ground {
    fn kind(&self, path: &Path) -> Option<Kind> {
        let kind = fs::symlink_metadata(path).ok()?.file_type();
        Some(match kind {
            _ if kind.is_dir() => Kind::Directory,
            _ if kind.is_symlink() => Kind::Link,
            _ if kind.is_file() => Kind::File,
            _ if kind.is_char_device() || kind.is_block_device() => Kind::Device,
            _ => Kind::Other,
        })
    }

    fn entries(&self, directory: &Path) -> usize {
        fs::read_dir(directory).map_or(0, Iterator::count)
    }

    fn is_given(&self, path: &Path, access: Access) -> bool {
        self.given
            .decide(&Subject::named(path), access)
            .is_allowed()
    }

    fn may_be_made(&self, path: &Path) -> bool {
        match self.given.decide_make(&Subject::named(path), Kind::File) {
            Verdict::Allow(allowed) => {
                allowed.mechanism == Mechanism::Landlock || self.given.brokered().write
            }
            Verdict::Ask(_) | Verdict::Deny(_) => false,
        }
    }

    fn secrets_in(&self, directory: &Path) -> Vec<PathBuf> {
        let mut found = BTreeSet::new();
        let mut left = vec![directory.to_owned()];
        let mut looked_at = 0;
        while let Some(directory) = left.pop()
            && looked_at < LOOKED_AT
        {
            // What may not be looked at by us is not read by the command either.
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                looked_at += 1;
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => left.push(path),
                    Ok(_) if sensitive::by_name(&path).is_some() => {
                        found.insert(path);
                    }
                    _ => {}
                }
            }
        }
        found.into_iter().collect()
    }
}
