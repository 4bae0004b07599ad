//! The rules of the house that the compiler does not know. Each is a function from text to complaints, tried on bad text
//! beside it, and then held against every file of the tree.

mod packages;
mod rooms;
mod source;
mod unsafety;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of the tree, relative to its root: those that git knows or would take, or all where there is no git.
fn files() -> Vec<String> {
    let root = root();
    let listed = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            "-z",
        ])
        .current_dir(&root)
        .output();
    let mut files: Vec<String> = match listed {
        Ok(output) if output.status.success() && !output.stdout.is_empty() => {
            String::from_utf8(output.stdout)
                .expect("names of files are UTF-8")
                .split_terminator('\0')
                .filter(|name| root.join(name).is_file())
                .map(str::to_owned)
                .collect()
        }
        _ => walk(&root, &root),
    };
    files.sort();
    assert!(
        files.iter().any(|name| name == "Cargo.toml"),
        "no tree at {}",
        root.display()
    );
    files
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(root: &Path, directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory of the tree can be read") {
        let path = entry.expect("an entry of the tree can be read").path();
        let name = path.file_name().expect("an entry has a name");
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            found.extend(walk(root, &path));
        } else {
            let relative = path.strip_prefix(root).expect("below the root");
            found.push(
                relative
                    .to_str()
                    .expect("names of files are UTF-8")
                    .to_owned(),
            );
        }
    }
    found
}

fn text(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Holds `rule` against every file whose name ends in `ending`.
fn hold(ending: &str, rule: impl Fn(&str, &str) -> Vec<String>) {
    let found: Vec<String> = files()
        .iter()
        .filter(|path| path.ends_with(ending))
        .flat_map(|path| rule(path, &text(path)))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn rooms_import_in_one_direction_only() {
    hold(".rs", rooms::check);
}

#[test]
fn unsafe_code_stands_in_its_places_and_is_proven() {
    hold(".rs", unsafety::check);
}

#[test]
fn nothing_is_unfinished_or_allowed_wholesale() {
    hold(".rs", words::check_rust);
}

#[test]
fn packages_depend_on_what_they_may() {
    hold("Cargo.toml", packages::check_manifest);
}

#[test]
fn nothing_else_lies_at_the_root() {
    let entries: BTreeSet<String> = files()
        .iter()
        .filter_map(|path| path.split('/').next().map(str::to_owned))
        .collect();
    let found: Vec<String> = entries
        .iter()
        .filter_map(|entry| packages::check_root(entry))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_file_speaks_of_what_is_not_here() {
    let documents: BTreeSet<String> = files()
        .iter()
        .filter_map(|path| path.rsplit('/').next())
        .filter(|name| name.ends_with(".md"))
        .chain(["README.md"])
        .map(str::to_owned)
        .collect();
    let workplace = root().display().to_string();
    hold("", |path, text| {
        words::check_text(path, text, &workplace, &documents)
    });
}
