//! Links, pages, tests and files that are named are there.

use super::harness::built::tree;
use super::{Page, page, pages};
use std::path::Path;

/// What links on a page lead to, outside of blocks.
fn links(page: &Page) -> Vec<String> {
    let mut text = String::new();
    let mut inside = false;
    for line in page.text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            text.push_str(line);
            text.push('\n');
        }
    }
    let parts = text.split("](").skip(1);
    let links = parts.filter_map(|rest| rest.split(')').next());
    links.map(str::to_owned).collect()
}

/// The anchors of a page's headings, as they are made by those who show it.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_to_a_heading_in_it() {
    let others = ["supervisor/README.md", "child-shim/README.md"];
    let others = others.map(|path| page(path.to_owned()));
    for page in pages().into_iter().chain(others) {
        let at = tree().join(&page.path);
        for link in links(&page) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = match link.split_once('#') {
                Some((file, anchor)) => (file, Some(anchor)),
                None => (link.as_str(), None),
            };
            let target = match file {
                "" => at.clone(),
                file => at.parent().expect("a directory").join(file),
            };
            assert!(target.exists(), "{}: {link}", page.path);
            if let Some(anchor) = anchor {
                let text = std::fs::read_to_string(&target).expect("a text");
                let is_there = anchors(&text).iter().any(|one| one == anchor);
                assert!(is_there, "{}: {link}: no such heading", page.path);
            }
        }
    }
}

/// What stands in square brackets before the path of a test's source.
fn named_tests(text: &str) -> Vec<(String, String)> {
    let links = text.split("](").collect::<Vec<_>>();
    let pairs = links.windows(2).filter_map(|pair| {
        let name = pair[0].rsplit('[').next()?;
        let path = pair[1].split(')').next()?;
        let is_test =
            path.contains("tests/") && path.ends_with(".rs") && !name.contains(['/', '.', ' ']);
        is_test.then(|| (name.to_owned(), path.to_owned()))
    });
    pairs.collect()
}

#[test]
fn the_tests_that_are_named_exist() {
    for (path, least) in [("supervisor/README.md", 30), ("docs/src/security.md", 30)] {
        let page = page(path.to_owned());
        let room = tree().join(path);
        let room = room.parent().expect("a directory");
        let tests = named_tests(&page.text);
        assert!(tests.len() > least, "{path} has lost its tests");
        for (name, source) in tests {
            let text = std::fs::read_to_string(room.join(&source));
            let text = text.unwrap_or_else(|error| panic!("{path}: {source}: {error}"));
            let is_there = text.contains(&format!("fn {name}()"));
            assert!(is_there, "{path}: {source} has no test {name}");
        }
    }
}

#[test]
fn the_summary_lists_every_page_once() {
    let summary = page("docs/src/SUMMARY.md".to_owned());
    let mut listed: Vec<String> = links(&summary);
    listed.sort();
    let book = pages().into_iter().map(|page| page.path);
    let names = book.filter_map(|path| path.strip_prefix("docs/src/").map(str::to_owned));
    let there: Vec<String> = names.filter(|name| name != "SUMMARY.md").collect();
    assert_eq!(listed, there);
}

#[test]
fn what_a_block_includes_is_there() {
    let mut included = 0;
    for page in pages() {
        for block in page.blocks() {
            let Some(rest) = block.text.strip_prefix("{{#include ") else {
                continue;
            };
            let file = rest.split("}}").next().expect("an end");
            let file = Path::new("docs/src").join(file);
            assert!(tree().join(&file).is_file(), "{}: {file:?}", page.path);
            included += 1;
        }
    }
    assert!(included > 3, "{included}");
}
