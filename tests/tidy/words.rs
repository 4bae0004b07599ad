//! Words that no file may hold.

use crate::source::{Source, squeezed, words};
use std::collections::BTreeSet;

/// What stands for code that is not there yet, or was only there to look.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Lints that are really many.
const GROUPS: [&str; 14] = [
    "warnings",
    "unused",
    "nonstandard_style",
    "future_incompatible",
    "rust_2018_idioms",
    "clippy::all",
    "clippy::cargo",
    "clippy::complexity",
    "clippy::correctness",
    "clippy::nursery",
    "clippy::pedantic",
    "clippy::perf",
    "clippy::style",
    "clippy::suspicious",
];

/// Unfinished code, lints that are switched off wholesale or without a reason, ignored tests without one.
pub fn check_rust(path: &str, text: &str) -> Vec<String> {
    let source = Source::parse(text);
    let mut found = Vec::new();
    for (line, code) in source.code.iter().enumerate() {
        let number = line + 1;
        for word in UNFINISHED {
            if words(code, word).any(|at| code[at + word.len()..].starts_with('!')) {
                found.push(format!("{path}:{number}: `{word}!` is not finished code"));
            }
        }
        let squeezed = squeezed(code);
        if squeezed.contains("#[ignore]") {
            found.push(format!(
                "{path}:{number}: an ignored test states its reason"
            ));
        }
        for form in ["allow", "expect"] {
            for at in words(code, form) {
                let is_attribute = squeezed.contains(&format!("[{form}("))
                    || (squeezed.contains("cfg_attr(")
                        && code[at..].starts_with(&format!("{form}(")));
                if is_attribute && let Some(problem) = broad(&source.code, line, at + form.len()) {
                    found.push(format!("{path}:{number}: `{form}` {problem}"));
                }
            }
        }
    }
    found
}

/// What is wrong with the attribute whose parenthesis opens at `from`.
fn broad(code: &[String], line: usize, from: usize) -> Option<String> {
    let mut depth = 0usize;
    let mut inside = String::new();
    let rest =
        std::iter::once(&code[line][from..]).chain(code[line + 1..].iter().map(String::as_str));
    'read: for text in rest {
        for character in text.chars() {
            match character {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => inside.push(character),
            }
            if depth == 0 {
                break 'read;
            }
        }
    }
    let mut parts: Vec<String> = inside.split(',').map(squeezed).collect();
    parts.retain(|part| !part.is_empty());
    // The reason's text is blanked; that there is one can still be seen.
    let (reasons, lints): (Vec<_>, Vec<_>) =
        parts.iter().partition(|part| part.starts_with("reason="));
    match lints[..] {
        [lint] if GROUPS.contains(&lint.as_str()) => {
            Some(format!("of `{lint}`, which is many lints"))
        }
        [_] if reasons.is_empty() => Some("without a reason".to_owned()),
        [_] => None,
        _ => Some("of several lints at once".to_owned()),
    }
}

/// Paths of the place where the project happens to be worked on, and documents that are not part of it.
pub fn check_text(
    path: &str,
    text: &str,
    workplace: &str,
    documents: &BTreeSet<String>,
) -> Vec<String> {
    // In two parts, lest this file be found.
    let fixed = [
        concat!("/wo", "rk/"),
        concat!("/tmp/", "brief"),
        concat!("../", "shared"),
    ];
    let has_depth = workplace.matches('/').count() >= 3;
    let places = fixed.into_iter().chain(has_depth.then_some(workplace));
    let places: Vec<&str> = places.collect();
    let mut found = Vec::new();
    for (line, content) in text.lines().enumerate() {
        let number = line + 1;
        for place in &places {
            if content.contains(place) {
                found.push(format!(
                    "{path}:{number}: `{place}` is nowhere on another machine"
                ));
            }
        }
        for name in documents_named_in(content) {
            if !documents.contains(name) {
                found.push(format!(
                    "{path}:{number}: there is no `{name}` in this tree"
                ));
            }
        }
    }
    found
}

/// Names of documents as people write them: in capitals, with the ending of a text that is marked up.
fn documents_named_in(line: &str) -> impl Iterator<Item = &str> {
    words(line, "md").filter_map(move |at| {
        let stem = line[..at].strip_suffix('.')?;
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let start = stem.rfind(|c| !is_part(c)).map_or(0, |before| before + 1);
        let is_document = start < stem.len() && !stem[start..].contains(char::is_lowercase);
        is_document.then(|| &line[start..at + 2])
    })
}

#[cfg(test)]
mod tests {
    use super::{check_rust, check_text};
    use std::collections::BTreeSet;

    #[test]
    fn unfinished_code_is_found() {
        for word in super::UNFINISHED {
            assert_eq!(
                check_rust("a.rs", &format!("fn a() {{ {word}!() }}")).len(),
                1,
                "{word}"
            );
        }
        assert!(check_rust("a.rs", "// todo!()\nlet a = \"dbg!\"; todo_list!();").is_empty());
    }

    #[test]
    fn broad_or_unexplained_allowances_are_found() {
        let bad = [
            "#[allow(dead_code)]",
            "#![allow(warnings, reason = \"x\")]",
            "#[allow(a, b, reason = \"x\")]",
            "#[allow(\n a,\n b,\n reason = \"x\"\n)]",
            "#[expect(clippy::all, reason = \"x\")]",
            "#[cfg_attr(test, allow(dead_code))]",
        ];
        for text in bad {
            assert_eq!(check_rust("a.rs", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn one_named_lint_with_a_reason_passes() {
        let good = "#[allow(dead_code, reason = \"not, as (one) thinks, unused\")]\nrules.allow(a, b); x.expect(\"y\");";
        assert!(check_rust("a.rs", good).is_empty());
    }

    #[test]
    fn an_ignored_test_without_a_reason_is_found() {
        assert_eq!(check_rust("a.rs", "#[ignore]").len(), 1);
        assert!(check_rust("a.rs", "#[ignore = \"needs two machines\"]").is_empty());
    }

    #[test]
    fn the_workplace_is_found() {
        let none = BTreeSet::new();
        let here = "/srv/people/me/supervise";
        assert_eq!(
            check_text("a", "see /srv/people/me/supervise/x", here, &none).len(),
            1
        );
        assert_eq!(
            check_text("a", concat!("see /wo", "rk/main"), here, &none).len(),
            1
        );
        assert_eq!(
            check_text("a", concat!("see ../", "shared/x"), here, &none).len(),
            1
        );
        assert!(check_text("a", "cd /src && ls", "/src", &none).is_empty());
    }

    #[test]
    fn documents_that_are_not_here_are_found() {
        let documents = BTreeSet::from(["README.md".to_owned()]);
        let check = |text| check_text("a", text, "/", &documents).len();
        assert_eq!(check(concat!("as PLANS", ".md says")), 1);
        assert_eq!(check("see supervisor/README.md, notes.md and X.mdx"), 0);
    }
}
