//! The refusals of a run, each once: what was refused, by what, and how often.

use super::record::{Answer, Decision, Run};
use std::collections::BTreeSet;
use supervisor::policy::{Origin, Source};

/// Something that was refused, however often.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// The first of them.
    pub first: &'a Decision,
    /// The calls that were refused.
    pub calls: BTreeSet<&'a str>,
    /// The programs that were refused it.
    pub programs: BTreeSet<&'a str>,
    /// How often.
    pub times: usize,
}

/// Where a rule stands.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A line of a policy file, by the name that the operator gave.
    File {
        /// The file.
        name: &'a str,
        /// Counted from 1.
        line: u32,
    },
    /// A preset, a flag, a setting, or the supervisor itself.
    Elsewhere(&'a str),
    /// No rule refused it: none allows it.
    Nowhere,
}

/// The refusals of a run, in the order in which each was first met.
pub fn refusals(run: &Run) -> Vec<Refusal<'_>> {
    let mut found: Vec<Refusal<'_>> = Vec::new();
    let mut known = std::collections::HashMap::new();
    for decision in &run.decisions {
        if decision.answer != Answer::Refused {
            continue;
        }
        let key = (
            &*decision.operation,
            &*decision.object,
            &*decision.rule,
            &*decision.detail,
        );
        let at = *known.entry(key).or_insert_with(|| {
            found.push(Refusal {
                first: decision,
                calls: BTreeSet::new(),
                programs: BTreeSet::new(),
                times: 0,
            });
            found.len() - 1
        });
        let refusal = &mut found[at];
        refusal.times += 1;
        refusal.calls.insert(&decision.call);
        if !decision.program.is_empty() {
            refusal.programs.insert(decision.program_name());
        }
    }
    found
}

impl Refusal<'_> {
    /// Such as `read /etc/shadow`.
    pub fn what(&self) -> String {
        format!("{} {}", self.first.operation, self.first.object)
    }

    /// Why, in words.
    pub fn why(&self) -> &str {
        match (&*self.first.detail, &*self.first.rule) {
            ("", "") => "refused",
            ("", rule) => rule,
            (detail, _) => detail,
        }
    }

    /// Who was refused it.
    pub fn by(&self) -> String {
        self.programs.iter().copied().collect::<Vec<_>>().join(", ")
    }

    /// How often, where that is more than once.
    pub fn often(&self) -> String {
        match self.times {
            1 => String::new(),
            times => format!("{times} times"),
        }
    }

    /// Whether somebody took the trouble to deny just this.
    pub fn is_denied(&self) -> bool {
        self.first.record["reason"] == "rule"
    }

    /// Where the rule stands.
    pub fn place(&self) -> Place<'_> {
        Place::read(&self.first.rule)
    }
}

impl<'a> Place<'a> {
    /// The place that is shown so.
    pub fn read(text: &'a str) -> Self {
        if text.is_empty() {
            return Self::Nowhere;
        }
        let numbered = text.rsplit_once(':').and_then(|(name, line)| {
            let line = line.parse().ok().filter(|line| *line > 0)?;
            Some(Self::File { name, line })
        });
        match (Origin::read(text, None).source(), numbered) {
            (Source::File(_), Some(file)) => file,
            _ => Self::Elsewhere(text),
        }
    }
}

/// The name of a file as seen from a directory, where it lies below that.
pub fn seen_from<'a>(directory: &str, name: &'a str) -> Option<&'a str> {
    if !name.starts_with('/') {
        return Some(name.strip_prefix("./").unwrap_or(name));
    }
    let below = name.strip_prefix(directory.trim_end_matches('/'));
    below.and_then(|rest| rest.strip_prefix('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart() {
        assert_eq!(
            Place::read("./a:b.toml:30"),
            Place::File {
                name: "./a:b.toml",
                line: 30
            }
        );
        for text in [
            "preset build:43",
            "--deny flag",
            "tmp = \"private\"",
            "p.toml:0",
        ] {
            assert_eq!(Place::read(text), Place::Elsewhere(text));
        }
        assert_eq!(Place::read(""), Place::Nowhere);
    }
}
