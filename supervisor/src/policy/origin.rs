//! Where a rule was written, so that every refusal can say so.

use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// The place that a rule comes from. Cheap to clone; equal when the place is the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    source: Source,
    line: u32,
    rule: Option<(&'static str, Arc<OsStr>)>,
}

/// What kind of text a rule stands in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A policy file, by the name the operator gave.
    File(Arc<str>),
    /// A preset that is compiled in.
    Preset(Arc<str>),
    /// The policy that applies when none is named.
    BuiltIn,
    /// A flag of the command line, such as `--read`.
    Flag(Arc<str>),
    /// A setting that implies the rule.
    Setting(Arc<str>),
    /// The supervisor's own rule, and what it protects.
    Protected(Arc<str>),
}

impl Origin {
    /// A line of a source.
    #[must_use]
    pub fn line(source: Source, line: u32) -> Self {
        Self {
            source,
            line,
            rule: None,
        }
    }

    /// A source that has no lines.
    #[must_use]
    pub fn whole(source: Source) -> Self {
        Self::line(source, 0)
    }

    /// A flag of the command line, such as `--read`.
    #[must_use]
    pub fn flag(name: &str) -> Self {
        Self::whole(Source::Flag(name.into()))
    }

    /// The supervisor's own rule: `what` names the thing that it protects.
    #[must_use]
    pub fn protected(what: &str) -> Self {
        Self::whole(Source::Protected(what.into()))
    }

    /// The same place, with the rule as it was written there: its key and its text.
    pub(super) fn with_rule(mut self, key: &'static str, text: Arc<OsStr>) -> Self {
        self.rule = Some((key, text));
        self
    }

    /// The text the rule stands in.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The line; 0 for a source without lines.
    pub(super) fn number(&self) -> u32 {
        self.line
    }

    /// The rule as it was written, such as `deny = "$REPO/secret"`.
    #[must_use]
    pub fn rule(&self) -> Option<String> {
        let (key, text) = self.rule.as_ref()?;
        Some(format!("{key} = {:?}", text.to_string_lossy()))
    }

    /// What `without` calls the rule, such as `deny:$REPO/secret`; `None` where it cannot be written in a policy.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        let (key, text) = self.rule.as_ref()?;
        Some(format!("{key}:{}", text.to_str()?))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.source {
            Source::File(name) => name.to_string(),
            Source::Preset(name) => format!("preset {name}"),
            Source::BuiltIn => "built-in policy".to_owned(),
            Source::Flag(name) => format!("{name} flag"),
            Source::Setting(text) => text.to_string(),
            Source::Protected(what) => format!("protected: {what}"),
        };
        if self.line == 0 {
            f.pad(&place)
        } else {
            f.pad(&format!("{place}:{}", self.line))
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
