//! The fenced blocks of a page. What stands in one is tried by its language; what cannot be tried says so in the line before it.

use super::{Page, pages};
use std::collections::BTreeMap;

/// What the line before a block says of one that is not tried, with the reason.
const UNTRIED: &str = "<!-- not run: ";

/// A block.
pub struct Block {
    /// Where it begins, counted from 1.
    pub line: usize,
    pub language: String,
    pub text: String,
    /// Why it is not tried.
    pub untried: Option<String>,
}

impl Page {
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut before = "";
        let mut lines = self.text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let inside = lines.by_ref().map(|(_, line)| line);
                let text: Vec<&str> = inside.take_while(|line| *line != "```").collect();
                let reason = before.strip_prefix(UNTRIED);
                let reason = reason.and_then(|rest| rest.strip_suffix(" -->"));
                blocks.push(Block {
                    line: number + 1,
                    language: language.to_owned(),
                    text: text.join("\n") + "\n",
                    untried: reason.map(str::to_owned),
                });
            }
            before = line;
        }
        blocks
    }

    /// Those of a language that are tried.
    pub fn tried(&self, language: &str) -> Vec<Block> {
        let mut blocks = self.blocks();
        blocks.retain(|block| block.language == language && block.untried.is_none());
        blocks
    }
}

#[test]
fn every_block_is_tried_or_says_why_not() {
    let mut untried = BTreeMap::new();
    for page in pages() {
        for block in page.blocks() {
            let at = format!("{}:{}", page.path, block.line);
            match (&block.untried, block.language.as_str()) {
                (Some(reason), _) => {
                    assert!(reason.len() > 10, "{at}: that is no reason");
                    *untried.entry(page.path.clone()).or_insert(0) += 1;
                }
                // Commands with their output, policies and pools, what programs print, and files of this tree.
                (None, "console" | "toml" | "json") => {}
                (None, _) if block.text.starts_with("{{#include ") => {}
                // A picture.
                (None, "text") => assert!(!block.text.contains("$ "), "{at}: that is a command"),
                (None, other) => panic!("{at}: nobody tries {other:?}"),
            }
        }
    }
    let said = super::page("docs/src/introduction.md".to_owned()).text;
    let count: usize = untried.values().sum();
    assert!(
        said.contains(&format!("{count} of the blocks are not run")),
        "{count} are not run: {untried:?}"
    );
}

#[test]
fn a_block_is_found_with_its_language_and_its_excuse() {
    let text = "a\n<!-- not run: it takes a day -->\n```console\n$ x\n```\n```toml\nb = 1\n```\n";
    let page = Page {
        path: "x".to_owned(),
        text: text.to_owned(),
    };
    let blocks = page.blocks();
    assert_eq!(blocks.len(), 2);
    assert_eq!(blocks[0].untried.as_deref(), Some("it takes a day"));
    assert_eq!(blocks[0].text, "$ x\n");
    assert_eq!((blocks[1].line, blocks[1].untried.as_ref()), (6, None));
    assert!(page.tried("console").is_empty());
    assert_eq!(page.tried("toml").len(), 1);
}
