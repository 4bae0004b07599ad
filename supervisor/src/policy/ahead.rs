//! Texts that were read ahead of time: nearly every start needs `base` and `built-in`, and to read them would be a good part of what
//! it does. Their rules stand in `written`, and a test sees to it that those are what reading the texts gives.

use std::ffi::OsStr;
use std::sync::Arc;

use super::document::Document;
use super::error::{PolicyError, Site, SourceText};
use super::policy::{FILE_KEYS, Policy, Rule, What, variable_pattern};

/// A rule of a list: its key, its text, and where in the whole text the string begins. The string holds no escape.
pub type Written = (&'static str, &'static str, usize);

/// What reading a text gives in which there is nothing but these rules.
pub fn document(text: &Arc<SourceText>, rules: &[Written]) -> Result<Document, PolicyError> {
    const QUOTES: usize = 2;
    let mut own = Policy::nothing();
    own.rules.reserve(rules.len());
    for (key, rule, start) in rules {
        let site = Site::Text(Arc::clone(text), *start..start + rule.len() + QUOTES);
        let what = match FILE_KEYS.iter().find(|(name, _)| name == key) {
            Some((_, what)) => what.clone(),
            None => What::Pass(variable_pattern(rule, &site)?),
        };
        own.rules.push(Rule {
            key,
            text: OsStr::new(rule).into(),
            what,
            site,
        });
    }
    Ok(Document {
        own,
        base: true,
        extends: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::origin::Source;
    use super::super::presets::Preset;
    use super::*;
    use std::fmt::Write;
    use std::path::Path;

    const TEXTS: [(&str, Preset); 2] = [("BASE", Preset::ALL[0]), ("BUILT_IN", Preset::BUILT_IN)];

    fn read(preset: Preset) -> Document {
        let text = SourceText::new(Source::Preset(preset.name.into()), preset.text);
        Document::parse(&Arc::new(text)).unwrap()
    }

    fn span(rule: &Rule) -> std::ops::Range<usize> {
        match &rule.site {
            Site::Text(_, span) => span.clone(),
            Site::Flag(_) => panic!("{} stands in a text", rule.key),
        }
    }

    #[test]
    fn what_was_written_ahead_is_written_anew() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/policy/written.rs");
        let old = std::fs::read_to_string(&file).unwrap();
        let (head, _) = old.split_once("\n#[rustfmt::skip]").unwrap();
        let mut new = head.to_owned();
        for (name, preset) in TEXTS {
            write!(
                new,
                "\n#[rustfmt::skip]\npub const {name}: &[Written] = &[\n"
            )
            .unwrap();
            for rule in read(preset).own.rules {
                let text = rule.text.to_string_lossy();
                writeln!(
                    new,
                    "    ({:?}, {text:?}, {}),",
                    rule.key,
                    span(&rule).start
                )
                .unwrap();
            }
            new.push_str("];\n");
        }
        if std::env::var_os("SUPERVISE_WRITE_GOLDEN").is_some() {
            std::fs::write(&file, &new).unwrap();
        }
        assert!(
            std::fs::read_to_string(&file).unwrap() == new,
            "a text was changed: SUPERVISE_WRITE_GOLDEN=1 cargo test -p supervisor written_ahead, and read the difference of {}",
            file.display()
        );
    }

    #[test]
    fn what_was_written_ahead_is_what_the_texts_say() {
        for (name, preset) in TEXTS {
            let (ahead, read) = (preset.document().unwrap(), read(preset));
            for (ahead, read) in ahead.own.rules.iter().zip(&read.own.rules) {
                assert_eq!(
                    (ahead.key, &ahead.text, &ahead.what, span(ahead)),
                    (read.key, &read.text, &read.what, span(read)),
                    "{name}"
                );
            }
            let rest = |mut document: Document| {
                let rules = std::mem::take(&mut document.own.rules).len();
                let extends = document.extends.len();
                format!("{rules} {:?} {} {extends}", document.own, document.base)
            };
            assert_eq!(rest(ahead), rest(read), "{name}");
        }
    }
}
