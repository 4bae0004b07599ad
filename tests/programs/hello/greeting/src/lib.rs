//! Looks up a word.

/// The word of a language.
pub fn find<'a>(words: &[(&str, &'a str)], language: &str) -> Option<&'a str> {
    words
        .iter()
        .find(|(known, _)| *known == language)
        .map(|(_, word)| *word)
}
