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

/// The keys of rules that are read back from a record.
const KEYS: [&str; 13] = [
    "read",
    "write",
    "exec",
    "make",
    "deny",
    "deny_write",
    "ask_read",
    "ask_write",
    "ask_exec",
    "path",
    "connect",
    "bind",
    "unix",
];

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

    /// The place that was shown so, with the rule that stands there, as [`Origin::name`] has it.
    ///
    /// A file that the operator gave the name of another kind of place is taken for that.
    #[must_use]
    pub fn read(place: &str, name: Option<&str>) -> Self {
        let numbered = place
            .rsplit_once(':')
            .and_then(|(text, line)| Some((text, line.parse().ok()?)));
        let (text, line) = numbered.unwrap_or((place, 0));
        let flag = place.strip_suffix(" flag");
        let preset = text.strip_prefix("preset ");
        let source = if let Some(what) = place.strip_prefix("protected: ") {
            return Self::protected(what);
        } else if let Some(flag) = flag {
            Source::Flag(flag.into())
        } else if let Some(preset) = preset.filter(|name| !name.contains(['/', '.'])) {
            Source::Preset(preset.into())
        } else if text == "built-in policy" {
            Source::BuiltIn
        } else if numbered.is_none() {
            Source::Setting(place.into())
        } else {
            Source::File(text.into())
        };
        let origin = Self::line(source, line);
        let rule = name.and_then(|name| {
            let (key, text) = name.split_once(':')?;
            Some((KEYS.into_iter().find(|known| *known == key)?, text))
        });
        match rule {
            Some((key, text)) => origin.with_rule(key, OsStr::new(text).into()),
            None => origin,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shown_reads_back_as_the_same_place() {
        let rule = |origin: Origin| origin.with_rule("deny", OsStr::new("$HOME/.aws").into());
        let file = |name: &str| Source::File(name.into());
        for origin in [
            rule(Origin::line(file("p.toml"), 3)),
            rule(Origin::line(file("./a:b.toml"), 30)),
            rule(Origin::line(Source::Preset("agent".into()), 43)),
            rule(Origin::line(Source::BuiltIn, 1)),
            rule(Origin::flag("--deny")),
            Origin::protected("audit log"),
            Origin::whole(Source::Setting("tmp = \"private\"".into())),
        ] {
            let read = Origin::read(&origin.to_string(), origin.name().as_deref());
            assert_eq!(read, origin);
        }
        let unknown = Origin::read("p.toml:3", Some("nothing:x"));
        assert_eq!(unknown, Origin::line(file("p.toml"), 3));
    }
}
