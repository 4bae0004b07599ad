//! The policies that are compiled in.

use std::sync::Arc;

use super::ahead;
use super::document::Document;
use super::error::{PolicyError, SourceText};
use super::origin::Source;
use super::written;

/// A policy that has a name of its own.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What `extends` and `-p` call it.
    pub name: &'static str,
    /// Its text, with comments.
    pub text: &'static str,
}

impl Preset {
    /// The presets, in the order in which they are listed.
    pub const ALL: [Self; 7] = [
        Self::new("base", include_str!("../../../policies/base.toml")),
        Self::new(
            "read-only",
            include_str!("../../../policies/read-only.toml"),
        ),
        Self::new("build", include_str!("../../../policies/build.toml")),
        Self::new(
            "network-client",
            include_str!("../../../policies/network-client.toml"),
        ),
        Self::new("agent", include_str!("../../../policies/agent.toml")),
        Self::new("ci", include_str!("../../../policies/ci.toml")),
        Self::new("worker", include_str!("../../../policies/worker.toml")),
    ];

    /// What applies when no policy is named.
    pub const BUILT_IN: Self =
        Self::new("built-in", include_str!("../../../policies/built-in.toml"));

    const fn new(name: &'static str, text: &'static str) -> Self {
        Self { name, text }
    }

    /// The preset of this name; the built-in policy has one too.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .chain([Self::BUILT_IN])
            .find(|preset| preset.name == name)
    }

    /// What its text says.
    pub(super) fn document(self) -> Result<Document, PolicyError> {
        let is_built_in = self.name == Self::BUILT_IN.name;
        let source = match is_built_in {
            true => Source::BuiltIn,
            false => Source::Preset(self.name.into()),
        };
        let text = Arc::new(SourceText::new(source, self.text));
        match self.name {
            "base" => ahead::document(&text, written::BASE),
            _ if is_built_in => ahead::document(&text, written::BUILT_IN),
            _ => Document::parse(&text),
        }
    }

    /// What it is for: the first line of its text.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or("");
        first.trim_start_matches(['#', ' '])
    }
}
