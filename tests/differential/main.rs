//! The same programs with and without a supervisor that allows everything but decides about every file: what they say, how they end
//! and what they leave behind is the same.

#[path = "../harness/mod.rs"]
mod harness;

mod python;
mod tree;

use harness::built::supervise;
use harness::process::inherit;
use harness::run::{Ran, run};
use harness::{Workspace, feature, require};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A pattern that nothing matches, in a tree that may be executed, leaves each open and each change of a name to the supervisor.
const CLOSED: &str = r#"version = 1
extends = ["build"]
[fs]
write = ["$PWD"]
exec = ["$PWD"]
deny = ["$PWD/**/*.never-there"]
[env]
pass = ["GIT_CONFIG_NOSYSTEM"]
"#;

/// All that is used here is the kernel's to grant, but reads and writes are trapped for the sake of what lies beside.
const TRAPPED: &str = r#"version = 1
extends = ["build"]
[fs]
write = ["$PWD", "BESIDE"]
exec = ["$PWD"]
deny_write = ["BESIDE/denied"]
ask_read = ["BESIDE-TOO"]
[env]
pass = ["GIT_CONFIG_NOSYSTEM"]
"#;

/// Something to run, in a directory with what it needs.
struct Case<'a> {
    words: &'a [&'a str],
    plant: &'a dyn Fn(&Path),
    /// Whether a file holds the same after each run. A directory, which ends in a slash: whether it is looked at.
    is_fixed: &'a dyn Fn(&Path) -> bool,
}

/// What came of a run.
#[derive(Debug)]
struct Outcome {
    ran: Ran,
    left: std::collections::BTreeMap<PathBuf, tree::Entry>,
}

impl Case<'_> {
    /// Runs it alone and under each policy, always in a directory of the same name.
    fn is_the_same_under_supervision(&self) {
        require!(sandbox());
        let place = Workspace::new();
        let beside = place.make_dir("beside").display().to_string();
        for name in ["beside/denied", "beside-too", "state"] {
            place.make_dir(name);
        }
        harness::set_mode(&place.make_dir("runtime"), 0o700);
        let alone = self.run(&place, None);
        for (name, policy) in [("closed", CLOSED), ("trapped", TRAPPED)] {
            place.write(
                "policy.toml",
                policy
                    .replace("BESIDE-TOO", &format!("{beside}-too"))
                    .replace("BESIDE", &beside),
            );
            let supervised = self.run(&place, Some("policy.toml"));
            let (one, other) = (&alone.ran, &supervised.ran);
            same_text(name, "standard output", &one.stdout, &other.stdout);
            same_text(name, "standard error", &one.stderr, &other.stderr);
            assert_eq!(one.code(), other.code(), "{name}: {one}\n{other}");
            for (path, entry) in &alone.left {
                let found = supervised.left.get(path);
                assert_eq!(found, Some(entry), "{name}: {}", path.display());
            }
            let more = supervised.left.keys();
            let more: Vec<_> = more
                .filter(|path| !alone.left.contains_key(*path))
                .collect();
            assert!(more.is_empty(), "{name}: {more:?} are left behind");
        }
        assert_eq!(
            alone.ran.code(),
            0,
            "the program itself fails: {}",
            alone.ran
        );
    }

    fn run(&self, place: &Workspace, policy: Option<&str>) -> Outcome {
        let work = place.make_dir("work");
        (self.plant)(&work);
        let mut command = match policy {
            None => Command::new(self.words[0]),
            Some(policy) => {
                let mut command = Command::new(supervise());
                command.arg("--quiet").arg("-p").arg(place.join(policy));
                command.arg("--").arg(self.words[0]);
                command
            }
        };
        command
            .args(&self.words[1..])
            .current_dir(&work)
            .env("XDG_STATE_HOME", place.join("state"))
            .env("XDG_RUNTIME_DIR", place.join("runtime"))
            .env("PATH", programs())
            .env("LC_ALL", "C")
            .env_remove("TMPDIR")
            .env_remove("CARGO_TARGET_DIR");
        // A supervisor closes what nobody asked for.
        let ran = run(inherit(&mut command, Vec::new()));
        let left = tree::look(&work, self.is_fixed);
        run(Command::new("chmod").args(["-R", "u+rwx"]).arg(&work));
        std::fs::remove_dir_all(&work).expect("the directory is ours");
        Outcome { ran, left }
    }
}

/// Says which line differs: all of it would be too much to read.
fn same_text(policy: &str, what: &str, one: &str, other: &str) {
    let (mut lines, mut others) = (one.lines(), other.lines());
    for number in 1.. {
        let pair = (lines.next(), others.next());
        assert_eq!(
            pair.0, pair.1,
            "{policy}: line {number} of {what}, alone and supervised\n{other}"
        );
        if pair == (None, None) {
            break;
        }
    }
}

/// Version managers shadow the system's programs with scripts that need their own home.
fn programs() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let kept = std::env::split_paths(&path).filter(|directory| !directory.ends_with("shims"));
    std::env::join_paths(kept).expect("these came from a PATH")
}

fn sandbox() -> Result<(), String> {
    feature::landlock(1)?;
    feature::listener()
}

fn script(text: &str, plant: &dyn Fn(&Path), is_fixed: &dyn Fn(&Path) -> bool) {
    let words = ["sh", "-c", text];
    let case = Case {
        words: &words,
        plant,
        is_fixed,
    };
    case.is_the_same_under_supervision();
}

fn nothing(_: &Path) {}

fn all(_: &Path) -> bool {
    true
}

/// Copies one of the programs that are there to be built.
fn take(name: &'static str) -> impl Fn(&Path) {
    move |work| {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/programs")
            .join(name);
        let mut copy = Command::new("cp");
        run(copy.arg("-R").arg(from).arg(work)).expect_code(0);
    }
}

#[test]
fn coreutils_are_the_same() {
    script(include_str!("scripts/coreutils.sh"), &nothing, &all);
}

#[test]
fn shells_are_the_same() {
    script(include_str!("scripts/shell.sh"), &nothing, &all);
}

#[test]
fn archives_are_the_same() {
    require!(feature::program("tar"));
    // Archives hold the times of directories.
    let is_fixed = |path: &Path| !path.display().to_string().contains(".tar");
    script(include_str!("scripts/archives.sh"), &nothing, &is_fixed);
}

#[test]
fn git_is_the_same() {
    require!(feature::program("git"));
    // An index holds times and numbers of files; so do the packs' other files, and what is kept of references.
    let is_fixed = |path: &Path| {
        let text = path.display().to_string();
        ![
            "index",
            "/pack/",
            "/objects/",
            "FETCH_HEAD",
            "ORIG_HEAD",
            "bundle",
        ]
        .iter()
        .any(|part| text.contains(part))
    };
    script(include_str!("scripts/git.sh"), &nothing, &is_fixed);
}

#[test]
fn make_and_the_c_compiler_are_the_same() {
    for program in ["make", "cc", "ar"] {
        require!(feature::program(program));
    }
    // Archives hold times.
    let is_fixed = |path: &Path| path.extension().is_none_or(|end| end != "a");
    script(include_str!("scripts/make.sh"), &take("c"), &is_fixed);
}

#[test]
fn cargo_is_the_same() {
    require!(feature::program("cargo"));
    let is_fixed = |path: &Path| !path.components().any(|part| part.as_os_str() == "target");
    script(include_str!("scripts/cargo.sh"), &take("hello"), &is_fixed);
}

#[test]
fn python_is_the_same() {
    require!(feature::program("/usr/bin/python3"));
    let words = [
        "/usr/bin/python3",
        "-I",
        "-c",
        include_str!("scripts/files.py"),
    ];
    let case = Case {
        words: &words,
        plant: &nothing,
        is_fixed: &all,
    };
    case.is_the_same_under_supervision();
}
