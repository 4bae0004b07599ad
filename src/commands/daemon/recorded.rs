//! What a daemon writes beside a worker's identity, for the next one: under which law it was started.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use supervisor::policy::PolicyText;
use supervisor::sandbox::Tag;
use supervisor::sources::{Remembered, Seen, Sight};
use supervisor::workers::config::Kind;
use supervisor::workers::manifest::Manifest;

/// The part of a manifest that is the daemon's own.
#[derive(Debug, Deserialize, Serialize)]
pub struct Recorded {
    /// What every process of the worker carries.
    tag: String,
    /// It is a script: what runs is its interpreter.
    pub is_script: bool,
    /// What it has to do without.
    pub degraded: Option<String>,
    /// The policies by name, as the pool file had them then.
    policy: Vec<String>,
    directory: Option<String>,
    env: Vec<(String, String)>,
    /// The files that were read for them: the name, where it was, the text.
    files: Vec<[String; 3]>,
    /// What was seen of the file system when they were compiled.
    world: Sight,
}

impl Recorded {
    /// Of a worker that is being started.
    pub fn new(
        tag: Tag,
        is_script: bool,
        degraded: Option<String>,
        kind: &Kind,
        (files, world): (&Remembered, &Seen),
    ) -> Self {
        // A name that is no text is never asked for.
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let files = files.texts();
        Self {
            tag: tag.to_string(),
            is_script,
            degraded,
            policy: kind.policy.clone(),
            directory: kind.directory.clone(),
            env: kind.env.clone(),
            files: files
                .map(|(name, file)| [text(name), text(&file.path), file.text.clone()])
                .collect(),
            world: world.sight(),
        }
    }

    /// What a manifest says. `None`: it was not written by a daemon like this one.
    pub fn of(manifest: &Manifest) -> Option<Self> {
        Self::deserialize(&manifest.extra).ok()
    }

    /// For the manifest.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn to_value(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(self)
    }

    /// What every process of the worker carries.
    pub fn tag(&self) -> Option<Tag> {
        Tag::parse(&self.tag)
    }

    /// The kind as it was when the worker was started, as far as its law goes: a rule that somebody adds is for those who start later.
    pub fn kind(&self, now: &Kind) -> Kind {
        Kind {
            policy: self.policy.clone(),
            directory: self.directory.clone(),
            env: self.env.clone(),
            ..now.clone()
        }
    }

    /// The policy files and the file system as they were then.
    pub fn sources(self) -> (Remembered, Seen) {
        let files = self.files.into_iter().map(|[name, path, text]| {
            let path = PathBuf::from(path);
            (PathBuf::from(name), PolicyText { text, path })
        });
        (Remembered::only(files), self.world.into())
    }
}
