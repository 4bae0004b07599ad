//! Policies, pool files and JSON that a page shows are read by who would read them.

use super::harness::built::tree;
use super::{page, pages};
use std::path::Path;
use supervisor::policy::{NoFiles, Policy};
use supervisor::workers::config::PoolFile;

/// A policy that a page shows in parts says its version once.
fn whole(text: &str) -> String {
    match text.contains("version = 1") {
        true => text.to_owned(),
        false => format!("version = 1\n{text}"),
    }
}

#[test]
fn every_policy_and_pool_file_that_is_shown_is_one() {
    let mut read = 0;
    for page in pages() {
        for block in page.tried("toml") {
            let at = format!("{}:{}", page.path, block.line);
            let text = whole(&block.text);
            if text.contains("[[worker]]") {
                PoolFile::parse("shown.toml", text, Path::new("/p"))
                    .unwrap_or_else(|error| panic!("{at}: {error}"));
            } else {
                Policy::parse("shown.toml", &text, &mut NoFiles)
                    .unwrap_or_else(|error| panic!("{at}: {error}"));
            }
            read += 1;
        }
    }
    assert!(read > 12, "the book has lost its policies: {read}");
}

#[test]
fn json_that_is_shown_is_json() {
    for page in pages() {
        for block in page.tried("json") {
            for line in block.text.lines() {
                let read: Result<serde_json::Value, _> = serde_json::from_str(line);
                assert!(read.is_ok(), "{}:{}: {line}", page.path, block.line);
            }
        }
    }
}

/// Every input that a workflow gives to the action is one of the action's.
#[test]
fn a_workflow_that_is_shown_gives_the_action_what_it_takes() {
    let action = std::fs::read_to_string(tree().join("action.yml")).expect("it is there");
    let page = page("docs/src/ci.md".to_owned());
    let blocks = page.blocks();
    let workflow = blocks.iter().find(|block| block.language == "yaml");
    let text = &workflow.expect("a workflow is shown").text;
    let (_, with) = text.split_once("  with:\n").expect("inputs are given");
    let inputs: Vec<&str> = with
        .lines()
        .filter_map(|line| line.trim().split(':').next())
        .collect();
    assert!(inputs.len() > 3, "{inputs:?}");
    for input in inputs {
        assert!(action.contains(&format!("\n  {input}:\n")), "{input}");
    }
}
