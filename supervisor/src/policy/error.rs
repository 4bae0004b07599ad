//! What is wrong with a policy, said as a compiler says it: the place, the line, the word, what is allowed there.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::origin::{Origin, Source};

/// A text with policy rules, and where it came from.
#[derive(Debug)]
pub(crate) struct SourceText {
    pub source: Source,
    pub text: Cow<'static, str>,
    /// Where each line but the first begins.
    lines: Vec<usize>,
}

impl SourceText {
    pub fn new(source: Source, text: impl Into<Cow<'static, str>>) -> Self {
        let text = text.into();
        let starts = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            lines: starts.collect(),
            source,
            text,
        }
    }

    fn line(&self, at: usize) -> u32 {
        let before = self.lines.partition_point(|start| *start <= at);
        u32::try_from(before + 1).unwrap_or(u32::MAX)
    }
}

/// A place in a text, or a flag of the command line. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Site {
    Text(Arc<SourceText>, Range<usize>),
    Flag(&'static str),
}

impl Site {
    /// The origin of a rule that stands here.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Text(text, span) => Origin::line(text.source.clone(), text.line(span.start)),
            Self::Flag(flag) => Origin::flag(flag),
        }
    }
}

/// A policy that cannot be used: where, what, and how it might be mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PolicyError {
    message: String,
    origin: Option<Origin>,
    excerpt: Option<Box<Excerpt>>,
    help: Option<String>,
}

/// The line that the error is about, with the word in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Excerpt {
    column: usize,
    line: String,
    width: usize,
}

impl PolicyError {
    /// An error about no place in particular.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            origin: None,
            excerpt: None,
            help: None,
        }
    }

    /// An error about a place.
    pub(crate) fn at(site: &Site, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            origin: Some(site.origin()),
            excerpt: match site {
                Site::Text(text, span) => Some(Box::new(Excerpt::new(&text.text, span))),
                Site::Flag(_) => None,
            },
            help: None,
        }
    }

    /// The same error, with what to do about it.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What is the matter, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it stands.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }
}

impl Excerpt {
    fn new(text: &str, span: &Range<usize>) -> Self {
        let start = boundary(text, span.start);
        let first = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let last = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = boundary(text, span.end.clamp(start, last));
        Self {
            column: 1 + text[first..start].chars().count(),
            line: printable(&text[first..last]),
            width: text[start..end].chars().count().max(1),
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", printable(&self.message))?;
        match (&self.origin, &self.excerpt) {
            (Some(origin), Some(excerpt)) => {
                let number = origin.number().to_string();
                let margin = " ".repeat(number.len());
                let indent = " ".repeat(excerpt.column - 1);
                let carets = "^".repeat(excerpt.width);
                write!(f, "\n{margin}--> {origin}:{}", excerpt.column)?;
                write!(f, "\n{margin} |\n{number} | {}", excerpt.line)?;
                write!(f, "\n{margin} | {indent}{carets}")?;
            }
            (Some(origin), None) => write!(f, "\n --> {origin}")?,
            (None, _) => {}
        }
        if let Some(help) = &self.help {
            write!(f, "\n = help: {}", printable(help))?;
        }
        Ok(())
    }
}

/// The start of the character that a byte belongs to.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// Text that cannot move a terminal's cursor or turn its writing around. A tab is one column here.
fn printable(text: &str) -> String {
    let shown = |character: char| match character {
        '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        character if character.is_control() => '\u{fffd}',
        character => character,
    };
    text.chars().map(shown).collect()
}

/// The word that was perhaps meant.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(word.len()) / 4)
        .min()
        .map(|(_, name)| name)
}

/// `did you mean …`, or else the words that are known.
pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    let all = format!("allowed here: {}", known.join(", "));
    match nearest(word, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`? {all}"),
        None => all,
    }
}
