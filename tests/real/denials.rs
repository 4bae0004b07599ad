//! Denials inside a tree that may be written and executed, met by programs that know nothing of us.

use crate::harness::run::run;
use crate::harness::{feature, require};
use crate::house::{House, SECRET};
use crate::{sandbox, take};
use serde_json::Value;
use std::process::Command;

/// Everything below a directory, links not followed; what a build left is not told apart.
fn tree(place: &std::path::Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut left = vec![place.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).expect("the directory is ours") {
            let path = entry.expect("an entry can be read").path();
            let name = path.strip_prefix(place).expect("it lies below");
            names.push(name.display().to_string());
            if path.is_dir() && !path.is_symlink() && !path.ends_with("target") {
                left.push(path);
            }
        }
    }
    names.sort();
    names
}

/// A crate in a repository, with a secret beside it, and the policy of the tests below.
fn repository() -> (House, std::path::PathBuf) {
    let house = House::new();
    take(&house, "hello");
    let work = house.work().join("hello");
    std::fs::create_dir_all(work.join("secret")).expect("the directory is ours");
    std::fs::write(work.join("secret/key"), SECRET).expect("the directory is ours");
    std::fs::write(work.join("a"), "moved").expect("the directory is ours");
    let mut git = Command::new("git");
    let ignored = std::fs::write(work.join(".gitignore"), "/target\n");
    ignored.expect("the directory is ours");
    run(git.args(["init", "-q", "-b", "main"]).arg(&work)).expect_code(0);
    std::fs::create_dir_all(work.join(".git/hooks")).expect("the directory is ours");
    let policy = house.make("policies").join("p.toml");
    let text = r#"version = 1
extends = ["build"]
[fs]
write = ["$PWD"]
exec = ["$PWD"]
make = ["$PWD/target"]
deny = ["$PWD/secret", "$PWD/**/.env"]
deny_write = ["$PWD/.git/hooks"]
"#;
    std::fs::write(&policy, text).expect("the directory is ours");
    (house, policy)
}

#[test]
fn what_is_denied_is_refused_and_the_rest_is_as_ever() {
    require!(sandbox());
    require!(feature::listener());
    for program in ["git", "cargo", "cc"] {
        require!(feature::program(program));
    }
    let (house, policy) = repository();
    let work = house.work().join("hello");
    let audit = house.make("record").join("audit.jsonl");
    let before = tree(&work);
    let script = "cat secret/key; echo x > .git/hooks/pre-commit; mv a .env
        git status --porcelain -uall | sort
        cargo build --offline --quiet && target/debug/hello";
    let ran = run(house
        .command(&[
            "-p",
            policy.to_str().expect("UTF-8"),
            "--audit",
            audit.to_str().expect("UTF-8"),
        ])
        .args(["sh", "-c", script])
        .current_dir(&work));
    assert_eq!(ran.code(), 0, "{ran}");
    assert!(!ran.stdout.contains(SECRET), "{ran}");
    let said = ran.lines();
    assert_eq!(said.last(), Some(&"Hello, world"), "{ran}");
    assert!(said.contains(&"?? src/main.rs"), "{ran}");
    for refused in ["secret/key: ", ".git/hooks/pre-commit: ", "'.env': "] {
        let line = format!("{refused}Permission denied");
        assert!(ran.stderr.contains(&line), "{line}: {ran}");
    }
    // No stub, nothing moved, nothing left but what the build made.
    let mut after = tree(&work);
    after.retain(|name| name != "target");
    let mut before = before;
    before.retain(|name| name != "target");
    assert_eq!(after, before);
    // Each was refused by the line that says so.
    let record = std::fs::read_to_string(&audit).expect("there is a record");
    let decisions: Vec<Value> = record
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .filter(|line: &Value| line["event"] == "decision" && line["answer"] == "refused")
        .collect();
    for (call, path, line) in [
        ("open", "secret/key", 7),
        ("open", ".git/hooks/pre-commit", 8),
        ("rename", ".env", 7),
    ] {
        let path = work.join(path);
        let is_it = |decision: &&Value| {
            decision["path"] == path.to_str().expect("UTF-8")
                && decision["call"]
                    .as_str()
                    .is_some_and(|name| name.contains(call))
        };
        let decision = decisions.iter().find(is_it);
        let decision = decision.unwrap_or_else(|| panic!("{call} {}: {record}", path.display()));
        assert_eq!(decision["errno"], "EACCES", "{decision}");
        let rule = decision["rule"].to_string();
        assert!(rule.contains(&format!("p.toml:{line}")), "{decision}");
    }
}

#[test]
fn every_way_to_what_is_denied_is_refused() {
    require!(sandbox());
    require!(feature::listener());
    require!(feature::program("git"));
    require!(crate::house::python());
    let (house, policy) = repository();
    let work = house.work().join("hello");
    std::fs::write(work.join("src/.env"), SECRET).expect("the directory is ours");
    std::os::unix::fs::symlink("secret", work.join("way")).expect("the directory is ours");
    let before = tree(&work);
    for script in [
        "cat way/key",
        "cat src/../secret/./key",
        "cd secret && cat key",
        "cat < secret/key",
        "cat src/.env",
        "cp src/.env copy",
        "ln src/.env copy",
        "ln secret/key copy",
        "mv src/.env copy",
        "mv secret public",
        "mv .git git",
        "mv .git/hooks hooks",
        "rm src/.env",
        "rm -r secret",
        "rmdir .git/hooks",
        "truncate -s 0 secret/key",
        "mkdir secret/new",
        "touch src/sub.env/.env || touch .env",
        "ln -s /etc/passwd .env",
        "mkfifo .git/hooks/pre-commit",
        "cp a .git/hooks/pre-commit",
        "install -m 755 a .git/hooks/pre-commit",
        "ln -s ../../a .git/hooks/pre-commit",
        "chmod 777 secret/key",
        "touch secret/key",
        "mv src elsewhere && cat elsewhere/.env",
        "python3 -c 'import os; os.rename(\"src\", os.environ[\"TMPDIR\"] + \"/src\")'",
        "tar cf - secret",
        "python3 -c 'print(open(\"secret/key\").read())'",
    ] {
        let ran = run(house
            .command(&["-q", "-p", policy.to_str().expect("UTF-8")])
            .args(["sh", "-c", script])
            .current_dir(&work));
        assert_ne!(ran.code(), 0, "{script}: {ran}");
        assert!(!(124..=126).contains(&ran.code()), "{script}: {ran}");
        assert!(!ran.stdout.contains(SECRET), "{script}: {ran}");
        if work.join("elsewhere").exists() {
            // A directory may be renamed as long as what is denied in it stays denied.
            std::fs::rename(work.join("elsewhere"), work.join("src")).expect("it is ours");
        }
        std::fs::remove_dir(work.join("target")).expect("it was made empty, and is");
        assert_eq!(tree(&work), before, "{script}: {ran}");
    }
}
