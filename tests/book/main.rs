//! The README and the book: every example is run or read as it stands there, every name and link leads somewhere.

#[path = "../harness/mod.rs"]
mod harness;

mod blocks;
mod complete;
mod console;
mod links;
mod texts;

use harness::built::tree;

/// A page, relative to the root.
struct Page {
    path: String,
    text: String,
}

/// The README, and every page of the book.
fn pages() -> Vec<Page> {
    let book = std::fs::read_dir(tree().join("docs/src")).expect("the book is there");
    let names = book.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| format!("docs/src/{}", name.to_str().expect("a name")));
    let mut paths: Vec<String> = names.filter(|name| name.ends_with(".md")).collect();
    assert!(paths.len() > 10, "the book has lost its pages");
    paths.push("README.md".to_owned());
    paths.sort();
    paths.into_iter().map(page).collect()
}

fn page(path: String) -> Page {
    let text = std::fs::read_to_string(tree().join(&path));
    let text = text.unwrap_or_else(|error| panic!("{path}: {error}"));
    Page { path, text }
}
