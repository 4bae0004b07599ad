//! Which package may depend on which, and on what from outside; what may lie at the root.

/// Each manifest, the packages of our own it may use, and what else it may use.
const PACKAGES: [(&str, &[&str], &[&str]); 9] = [
    (
        "Cargo.toml",
        &["supervisor", "child-shim", "protocol"],
        &[
            "base64",
            "clap",
            "clap_complete",
            "clap_mangen",
            "dlmalloc",
            "nix",
            "ratatui-core",
            "serde",
            "serde_json",
            "terminal_size",
            "thiserror",
            "toml_edit",
            "unicode-width",
        ],
    ),
    (
        "supervisor/Cargo.toml",
        &["sys", "protocol", "socket"],
        &[
            "base64",
            "getrandom",
            "landlock",
            "libc",
            "nix",
            "seccompiler",
            "serde",
            "serde_json",
            "sha2",
            "strsim",
            "thiserror",
            "toml",
        ],
    ),
    ("supervisor/sys/Cargo.toml", &[], &["libc", "nix"]),
    (
        "supervisor/protocol/Cargo.toml",
        &[],
        &["base64", "hmac", "serde", "serde_json", "sha2", "thiserror"],
    ),
    (
        "supervisor/socket/Cargo.toml",
        &["sys", "protocol"],
        &["libc", "nix", "thiserror"],
    ),
    (
        "supervisor/client/Cargo.toml",
        &["protocol", "socket", "supervisor"],
        &["nix", "thiserror", "tokio"],
    ),
    (
        "child-shim/Cargo.toml",
        &["sys", "protocol", "socket"],
        &["libc", "nix", "thiserror"],
    ),
    ("child-shim/c/Cargo.toml", &["child-shim"], &["libc", "nix"]),
    (
        "child-shim/preload/Cargo.toml",
        &["child-shim", "sys"],
        &["libc", "nix"],
    ),
];

/// Everything that may lie at the root.
const ROOT: [&str; 16] = [
    ".ci",
    ".git",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "action.yml",
    "child-shim",
    "docs",
    "packaging",
    "policies",
    "src",
    "supervisor",
    "tests",
];

pub fn check_root(entry: &str) -> Option<String> {
    (!ROOT.contains(&entry)).then(|| format!("{entry}: has no place at the root"))
}

pub fn check_manifest(path: &str, text: &str) -> Vec<String> {
    if path.starts_with("tests/") {
        // Outside the workspace: programs that are under test, and floors of benchmarks.
        return Vec::new();
    }
    let Some((_, own, other)) = PACKAGES.iter().find(|(name, ..)| *name == path) else {
        return vec![format!("{path}: is not a package that the tidy test knows")];
    };
    let mut found = Vec::new();
    for (line, name) in dependencies(text) {
        if !own.contains(&name.as_str()) && !other.contains(&name.as_str()) {
            found.push(format!(
                "{path}:{line}: this package may not depend on `{name}`"
            ));
        }
    }
    if !has_section(text, "lints") {
        found.push(format!("{path}: does not take the lints of the workspace"));
    }
    found
}

fn has_section(text: &str, name: &str) -> bool {
    text.lines().any(|line| section(line) == Some(name))
}

fn section(line: &str) -> Option<&str> {
    let line = line.split('#').next()?.trim();
    line.strip_prefix('[')?.strip_suffix(']')
}

/// What is needed to build and run the package, with the line it stands on. What only its tests use is not looked at.
fn dependencies(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    let mut depth = 0isize;
    for (line, content) in text.lines().enumerate() {
        let content = content.split('#').next().unwrap_or("").trim();
        if let Some(name) = section(content) {
            let name = name
                .strip_prefix("target.")
                .and_then(|rest| rest.rsplit_once("].").or(rest.rsplit_once("'.")))
                .map_or(name, |(_, name)| name);
            let kind = ["dependencies", "build-dependencies"];
            inside = kind.contains(&name);
            if let Some((table, dependency)) = name.split_once('.')
                && kind.contains(&table)
            {
                found.push((line + 1, dependency.to_owned()));
            }
            continue;
        }
        if inside
            && depth == 0
            && let Some((key, _)) = content.split_once('=')
        {
            let key = key.trim().split('.').next().unwrap_or("").trim_matches('"');
            found.push((line + 1, key.to_owned()));
        }
        depth += content.matches(['[', '{']).count() as isize
            - content.matches([']', '}']).count() as isize;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{check_manifest, check_root};

    const LINTS: &str = "[lints]\nworkspace = true\n";

    #[test]
    fn a_dependency_that_is_not_foreseen_is_found() {
        let check = |path, text: &str| check_manifest(path, &format!("{LINTS}{text}")).len();
        assert_eq!(
            check(
                "supervisor/protocol/Cargo.toml",
                "[dependencies]\nnix.workspace = true\n"
            ),
            1
        );
        assert_eq!(
            check(
                "child-shim/Cargo.toml",
                "[dependencies]\nsupervisor = { path = \"x\" }\n"
            ),
            1
        );
        assert_eq!(
            check(
                "child-shim/Cargo.toml",
                "[dependencies.tokio]\nversion = \"1\"\n"
            ),
            1
        );
        assert_eq!(
            check(
                "supervisor/sys/Cargo.toml",
                "[target.'cfg(unix)'.dependencies]\nserde = \"1\"\n"
            ),
            1
        );
    }

    #[test]
    fn what_is_foreseen_passes() {
        let text = format!(
            "{LINTS}[dependencies]\nsys.workspace = true\nnix = {{ version = \"1\", features = [\n \"fs\",\n] }}\n[dev-dependencies]\nserde = \"1\"\n"
        );
        assert!(check_manifest("child-shim/Cargo.toml", &text).is_empty());
    }

    #[test]
    fn a_package_without_the_lints_of_the_workspace_is_found() {
        assert_eq!(
            check_manifest("child-shim/Cargo.toml", "[package]\n").len(),
            1
        );
    }

    #[test]
    fn an_unknown_package_is_found() {
        assert_eq!(check_manifest("attic/Cargo.toml", LINTS).len(), 1);
    }

    #[test]
    fn only_named_things_lie_at_the_root() {
        assert!(check_root("NOTES.txt").is_some());
        assert!(check_root("README.md").is_none());
    }
}
