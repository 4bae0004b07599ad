//! A text in TOML, read key by key, by whoever knows its keys.
//!
//! The walk is by hand and not by derived deserializers: those lose the spans inside values that can have two forms,
//! and cannot say which keys a table knows when they meet one that it does not.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{PolicyError, Site, SourceText, suggestion};
use super::quantity;

/// A value, and where it stands.
pub(crate) type Node<'a> = Spanned<DeValue<'a>>;

/// A key, and where it stands.
type Key<'a> = Spanned<Cow<'a, str>>;

/// The walk over one text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'t> {
    /// The text.
    pub text: &'t Arc<SourceText>,
}

impl<'t> Reader<'t> {
    /// The table that the whole text is.
    pub fn root(self) -> Result<Spanned<DeTable<'t>>, PolicyError> {
        DeTable::parse(&self.text.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            PolicyError::at(&self.site(span), error.message())
        })
    }

    /// The place of a span.
    pub fn site(&self, span: Range<usize>) -> Site {
        Site::Text(Arc::clone(self.text), span)
    }

    /// What is wrong with a value.
    pub fn error(&self, node: &Node<'_>, message: impl Into<String>) -> PolicyError {
        PolicyError::at(&self.site(node.span()), message)
    }

    /// A key that `place` does not have.
    pub fn unknown(&self, key: &Key<'_>, place: &str, known: &[&str]) -> PolicyError {
        let word = key.get_ref().as_ref();
        PolicyError::at(
            &self.site(key.span()),
            format!("unknown key `{word}` in {place}"),
        )
        .help(suggestion(word, known))
    }

    /// A value of another type than is wanted.
    pub fn expected(&self, node: &Node<'_>, what: &str) -> PolicyError {
        let kind = node.get_ref().type_str();
        self.error(node, format!("expected {what}, found {kind}"))
    }

    /// A table; `name` is how one is written.
    pub fn table<'n, 'i>(
        &self,
        node: &'n Node<'i>,
        name: &str,
    ) -> Result<&'n DeTable<'i>, PolicyError> {
        node.get_ref()
            .as_table()
            .ok_or_else(|| self.expected(node, &format!("a table, as in `{name}`")))
    }

    /// A text without NUL bytes.
    pub fn string<'n>(&self, node: &'n Node<'_>) -> Result<&'n str, PolicyError> {
        let text = node
            .get_ref()
            .as_str()
            .ok_or_else(|| self.expected(node, "a string"))?;
        if text.contains('\0') {
            return Err(self.error(node, "a NUL byte has no place here"));
        }
        Ok(text)
    }

    /// A truth value.
    pub fn boolean(&self, node: &Node<'_>) -> Result<bool, PolicyError> {
        node.get_ref()
            .as_bool()
            .ok_or_else(|| self.expected(node, "true or false"))
    }

    /// A number that is not negative.
    pub fn integer(&self, node: &Node<'_>) -> Result<u64, PolicyError> {
        let number = node
            .get_ref()
            .as_integer()
            .ok_or_else(|| self.expected(node, "a number"))?;
        u64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| self.error(node, "this number is out of range"))
    }

    /// A list.
    pub fn array<'n, 'i>(&self, node: &'n Node<'i>) -> Result<&'n [Node<'i>], PolicyError> {
        match node.get_ref() {
            DeValue::Array(array) => Ok(array),
            _ => Err(self.expected(node, "an array, as in `[\"…\"]`")),
        }
    }

    /// One of the words that are known here.
    pub fn choice<T: Clone>(&self, node: &Node<'_>, known: &[(&str, T)]) -> Result<T, PolicyError> {
        let word = self.string(node)?;
        let chosen = known.iter().find(|(name, _)| *name == word);
        chosen.map(|(_, value)| value.clone()).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            self.error(node, format!("`{word}` is not known here"))
                .help(suggestion(word, &names))
        })
    }

    /// A time, such as `10m`.
    pub fn duration(&self, node: &Node<'_>) -> Result<Duration, PolicyError> {
        quantity::duration(self.string(node)?).map_err(|wrong| self.error(node, wrong))
    }

    /// A number of bytes, such as `2GiB`.
    pub fn size(&self, node: &Node<'_>) -> Result<u64, PolicyError> {
        if node.get_ref().is_integer() {
            return self.integer(node);
        }
        quantity::size(self.string(node)?).map_err(|wrong| self.error(node, wrong))
    }
}
