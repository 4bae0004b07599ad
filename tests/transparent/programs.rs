//! Real programs that change metadata as a matter of course.

use crate::harness::feature::{self, program};
use crate::harness::{Workspace, require, run};
use crate::supervised::{Lists, Supervised, outside};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// A program with its arguments, in a directory; no environment but what it needs.
fn command(directory: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command
}

/// Runs it here and there, the one supervised, and compares what came of it.
fn same(workspace: &Workspace, words: &[&str]) {
    let [ours, kernels] = ["inside", "twin"].map(|name| workspace.join(name));
    let supervised = Supervised::new(Lists::writing(&ours));
    let mut there = command(&ours, words);
    let ours_said = supervised.inside(move || run::run(&mut there));
    let mut here = command(&kernels, words);
    let kernels_said = outside(move || run::run(&mut here));
    assert_eq!(
        ours_said.code(),
        kernels_said.code(),
        "{ours_said}\n{kernels_said}"
    );
    assert_eq!(ours_said.code(), 0, "{ours_said}");
    assert_eq!(listing(&ours), listing(&kernels));
    assert_eq!(supervised.lines.all(), [""; 0]);
}

/// Name, mode and time of everything below, in the order of names. Times of what was made just now are left out.
fn listing(directory: &Path) -> Vec<String> {
    fn walk(directory: &Path, prefix: &str, into: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).expect("it can be listed") {
            let entry = entry.expect("an entry can be read");
            let metadata = entry.metadata().expect("it is there");
            let name = format!("{prefix}/{}", entry.file_name().display());
            let old = if metadata.mtime() < 1_500_000_000 {
                metadata.mtime()
            } else {
                0
            };
            into.push(format!("{name} {:o} {old}", metadata.mode()));
            if metadata.is_dir() {
                walk(&entry.path(), &name, into);
            }
        }
    }
    let mut all = Vec::new();
    walk(directory, "", &mut all);
    all.sort();
    all
}

/// The same tree in both places: modes and times that are not those of something new.
fn both(workspace: &Workspace) {
    for place in ["inside", "twin"] {
        for (name, mode) in [("a", 0o640), ("b/c", 0o755), ("b/d e", 0o444)] {
            let path = workspace.write(format!("{place}/source/{name}"), name);
            crate::harness::set_mode(&path, mode);
            let file = std::fs::File::open(&path).expect("it was just made");
            let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            file.set_modified(then).expect("it is ours");
        }
        std::os::unix::fs::symlink("a", workspace.join(place).join("source/link")).unwrap();
    }
}

#[test]
fn cp_keeps_what_it_is_told_to_keep() {
    require!(feature::listener());
    require!(program("cp"));
    let workspace = Workspace::new();
    both(&workspace);
    same(&workspace, &["cp", "-a", "source", "copy"]);
}

#[test]
fn tar_restores_modes_and_times() {
    require!(feature::listener());
    require!(program("tar"));
    let workspace = Workspace::new();
    both(&workspace);
    for place in ["inside", "twin"] {
        let mut pack = command(
            &workspace.join(place),
            &["tar", "-cf", "packed.tar", "source"],
        );
        run::run(&mut pack).expect_code(0);
        std::fs::rename(
            workspace.join(place).join("source"),
            workspace.join(place).join("was"),
        )
        .unwrap();
    }
    same(&workspace, &["tar", "-xpf", "packed.tar"]);
}

#[test]
fn git_makes_a_repository_and_a_commit() {
    require!(feature::listener());
    require!(program("git"));
    let workspace = Workspace::new();
    both(&workspace);
    same(&workspace, &["git", "init", "--quiet", "."]);
    let mut commit = command(
        &workspace.join("inside"),
        &[
            "git",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "x",
        ],
    );
    let supervised = Supervised::new(Lists::writing(&workspace.join("inside")));
    supervised
        .inside(move || run::run(&mut commit))
        .expect_code(0);
}

#[test]
fn touch_and_install_and_ln_work() {
    require!(feature::listener());
    for name in ["touch", "install"] {
        require!(program(name));
    }
    let workspace = Workspace::new();
    both(&workspace);
    same(
        &workspace,
        &["touch", "-h", "-d", "@1000000000", "source/link"],
    );
    same(
        &workspace,
        &["install", "-m", "750", "source/a", "installed"],
    );
    same(&workspace, &["chmod", "-R", "u=rwX,go=", "source"]);
}

#[test]
fn a_program_is_told_what_the_kernel_would_tell_it() {
    require!(feature::listener());
    require!(program("chmod"));
    let workspace = Workspace::new();
    workspace.make_dir("inside");
    let file = workspace.write("outside", "x");
    let supervised = Supervised::new(Lists::writing(&workspace.join("inside")));
    let mut chmod = command(&workspace.path(), &["chmod", "777", "outside"]);
    let ran = supervised
        .inside(move || run::run(&mut chmod))
        .expect_code(1);
    assert!(ran.stderr.contains("Permission denied"), "{ran}");
    assert_ne!(
        std::fs::metadata(file).expect("it is there").mode() & 0o777,
        0o777
    );
}
