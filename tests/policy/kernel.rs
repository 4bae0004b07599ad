//! Random policies over a real tree, and real calls under the rulesets that are made from them. What the kernel lets through
//! the policy must allow; where nothing is denied, the two must agree.

use crate::harness::{self, Workspace, require};
use crate::locked::lock_thread;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use supervisor::policy::{Access, Facts, FileId, NoFiles, Policy, Ruleset, Subject, World};
use supervisor::sandbox::{Kernel, Listener, inherit, prepare};
use supervisor::sources::{FileSystem, Seen};

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Try {
    Read(PathBuf),
    Write(PathBuf),
    Create(PathBuf),
    Remove(PathBuf),
    Exec(PathBuf),
    List(PathBuf),
}

impl Try {
    /// Whether the kernel let it through. What it fails for later is no refusal.
    fn now(&self) -> bool {
        let result = match self {
            Self::Read(path) => File::open(path).map(drop),
            Self::Write(path) => File::options().write(true).open(path).map(drop),
            Self::Create(path) => File::create_new(path).and_then(|_| fs::remove_file(path)),
            Self::Remove(path) => fs::remove_file(path).and_then(|()| fs::write(path, "")),
            Self::List(path) => fs::read_dir(path).map(drop),
            // No program, so that it fails even where it may be executed; the kernel looks at that later.
            Self::Exec(path) => Command::new(path).spawn().map(drop),
        };
        match result {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => false,
            Err(error) if matches!(self, Self::Exec(_)) => {
                assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "{self:?}");
                true
            }
            result => {
                result.unwrap_or_else(|error| panic!("{self:?}: {error}"));
                true
            }
        }
    }

    /// What the policy says about it, given the world before anything was tried.
    fn decided(&self, ruleset: &Ruleset, objects: &BTreeMap<PathBuf, FileId>) -> bool {
        let (path, right) = match self {
            Self::Read(path) | Self::List(path) => (path, Access::READ),
            Self::Write(path) | Self::Create(path) | Self::Remove(path) => (path, Access::WRITE),
            Self::Exec(path) => (path, Access::EXEC),
        };
        let object = objects.get(path).copied();
        ruleset
            .decide(&Subject { path, object }, right)
            .is_allowed()
    }
}

/// Two levels of directories with a file, a link and another name of a file.
fn plant(top: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut directories, mut files) = (vec![top.to_owned()], Vec::new());
    for first in ["a", "b", "c"] {
        for second in ["", "a", "b"] {
            let directory = top.join(first).join(second);
            fs::create_dir_all(&directory).expect("a directory");
            let file = directory.join("f.x");
            fs::write(&file, "no program").expect("a file");
            fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("a mode");
            files.push(file);
            directories.push(directory.components().collect());
        }
    }
    symlink("a/b", top.join("link")).expect("a link");
    (directories, files)
}

fn tries(directories: &[PathBuf], files: &[PathBuf]) -> Vec<Try> {
    let mut tries = Vec::new();
    for directory in directories {
        tries.push(Try::List(directory.clone()));
        tries.push(Try::Create(directory.join("new")));
    }
    for file in files {
        tries.push(Try::Read(file.clone()));
        tries.push(Try::Write(file.clone()));
        tries.push(Try::Exec(file.clone()));
    }
    tries
}

fn identities(paths: impl Iterator<Item = PathBuf>) -> BTreeMap<PathBuf, FileId> {
    paths
        .map(|path| {
            let known = fs::symlink_metadata(&path).expect("it was planted");
            let id = FileId::new(known.dev(), known.ino());
            (path, id)
        })
        .collect()
}

fn compile(texts: &[String], top: &Path, tmpdir: &Path) -> Option<Ruleset> {
    let facts = Facts {
        cwd: top.to_owned(),
        home: None,
        user: None,
        tmpdir: tmpdir.to_owned(),
        repository: None,
        variables: BTreeMap::new(),
    };
    let policies: Vec<Policy> = texts
        .iter()
        .map(|text| {
            let text = format!("version = 1\nbase = false\n{text}");
            Policy::parse("random.toml", &text, &mut NoFiles).expect("a good policy")
        })
        .collect();
    match Ruleset::compile(&policies, &facts, &FileSystem, &[]) {
        Ok(ruleset) => Some(ruleset),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("is a link to"), "{text}");
            None
        }
    }
}

/// Does it all on a thread under the ruleset's locks, and says what went through.
fn attempt(ruleset: &Ruleset, tries: &[Try]) -> Vec<bool> {
    let confinement =
        prepare(ruleset, &Kernel::probe(), Listener::Wanted, None).expect("it can be enforced");
    std::thread::scope(|scope| {
        let locked = scope.spawn(|| {
            lock_thread(&confinement.rulesets());
            tries.iter().map(Try::now).collect()
        });
        locked.join().expect("nothing panicked")
    })
}

/// One policy of a stack: alone, and without what it denies by patterns.
struct Alone {
    ruleset: Ruleset,
    spelled: Ruleset,
}

impl Alone {
    /// Whether Landlock lets this through of what this policy does not refuse, or is known to let it through all the same: what it
    /// must read in order to execute, in a closed ruleset. Then no open is left to it; but here nobody else is asked. A pattern must
    /// be what denies it, and a grant to execute without reading what lets it through; and what the pattern denies there can
    /// indeed be executed.
    fn lets_through(&self, attempted: &Try, objects: &BTreeMap<PathBuf, FileId>) -> bool {
        if attempted.decided(&self.ruleset, objects) {
            return true;
        }
        let (Try::Read(path) | Try::Exec(path)) = attempted else {
            return false;
        };
        let mut grants = self.ruleset.native_layers().flatten();
        self.ruleset.brokered().closed
            && grants.any(|grant| grant.executes_only() && path.starts_with(&grant.path))
            && Try::Exec(path.clone()).decided(&self.spelled, objects)
    }
}

fn rule() -> impl Strategy<Value = (&'static str, String)> {
    let path = prop::sample::select(vec![
        "",
        "/a",
        "/b",
        "/a/a",
        "/a/b",
        "/b/a",
        "/c/b/f.x",
        "/a/f.x",
        "/link",
        "/b/absent?",
    ]);
    let pattern = prop::sample::select(vec![
        "/*/b",
        "/a/**/f.x",
        "/**/a",
        "/b/f*",
        "/*/*/f.x",
        "/*/f.x",
    ]);
    let any = prop_oneof![2 => path.clone(), 1 => pattern];
    prop_oneof![
        4 => (prop::sample::select(vec!["read", "write", "exec"]), path),
        2 => (prop::sample::select(vec!["deny", "deny_write"]), any),
    ]
    .prop_map(|(key, path)| (key, path.to_owned()))
}

fn text(rules: &[(&str, String)]) -> String {
    let mut text = "[fs]\n".to_owned();
    for key in ["read", "write", "exec", "deny", "deny_write"] {
        let paths: Vec<String> = rules
            .iter()
            .filter(|(own, _)| *own == key)
            .map(|(_, path)| format!("\"$PWD{path}\""))
            .collect();
        text.push_str(&format!("{key} = [{}]\n", paths.join(", ")));
    }
    text
}

#[test]
fn what_is_gone_from_beside_a_denial_is_not_granted_and_what_a_rule_names_must_be_there() {
    require!(harness::feature::landlock(1));
    let workspace = Workspace::new();
    let top = workspace.path().canonicalize().expect("it is there");
    let [kept, gone, denied] = ["kept", "gone", "denied"].map(|name| top.join(name));
    for directory in [&kept, &gone, &denied] {
        fs::create_dir(directory).expect("a directory");
        fs::write(directory.join("file"), "").expect("a file");
    }
    let read = |path: &Path| {
        let text = format!(
            "[fs]\nread = [\"{}\"]\ndeny = [\"{}\"]",
            path.display(),
            denied.display()
        );
        compile(&[text], &top, &top).expect("no link is there")
    };
    let (listed, named) = (read(&top), read(&gone));
    fs::remove_dir_all(&gone).expect("ours");
    let tries = [&kept, &denied].map(|directory| Try::Read(directory.join("file")));
    assert_eq!(attempt(&listed, &tries), [true, false]);
    let refused = prepare(&named, &Kernel::probe(), Listener::Wanted, None);
    let why = refused.expect_err("a rule names it").to_string();
    assert!(why.contains("ENOENT"), "{why}");
}

#[test]
fn the_kernel_allows_nothing_that_the_policy_does_not() {
    require!(harness::feature::landlock(3));
    let place = Workspace::new();
    let (top, tmpdir) = (place.make_dir("tree"), place.make_dir("tmp"));
    let (directories, files) = plant(&top);
    let objects = identities(directories.iter().chain(&files).cloned());
    let tries = tries(&directories, &files);
    let stack = prop::collection::vec(prop::collection::vec(rule(), 1..6), 1..3);
    let config = Config {
        cases: 160,
        failure_persistence: None,
        ..Config::default()
    };
    let (compared, passed) = (Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(config).run(&stack, |stack| {
        let texts: Vec<String> = stack.iter().map(|rules| text(rules)).collect();
        let Some(ruleset) = compile(&texts, &top, &tmpdir) else {
            return Ok(());
        };
        let single = |text: String| compile(&[text], &top, &tmpdir).expect("as in the stack");
        let layers: Vec<Alone> = stack
            .iter()
            .map(|rules| {
                let is_spelled =
                    |(key, path): &&(&str, String)| !(*key == "deny" && path.contains('*'));
                let spelled: Vec<_> = rules.iter().filter(is_spelled).cloned().collect();
                Alone {
                    ruleset: single(text(rules)),
                    spelled: single(text(&spelled)),
                }
            })
            .collect();
        let results = attempt(&ruleset, &tries);
        let denies = stack
            .iter()
            .flatten()
            .any(|(key, _)| key.starts_with("deny"));
        for (attempted, went) in tries.iter().zip(results) {
            let decided = attempted.decided(&ruleset, &objects);
            let mut each = layers.iter();
            if went
                && !decided
                && ruleset.brokered().closed
                && each.all(|layer| layer.lets_through(attempted, &objects))
            {
                continue;
            }
            compared.set(compared.get() + 1);
            passed.set(passed.get() + usize::from(went));
            prop_assert!(
                !went || decided,
                "the kernel allows {attempted:?}, the policy does not:\n{texts:?}"
            );
            prop_assert!(
                denies || went == decided,
                "the policy allows {attempted:?}, the kernel does not:\n{texts:?}"
            );
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let (compared, passed) = (compared.get(), passed.get());
    // A comparison of nothing with nothing would prove nothing.
    assert!(
        compared > 1000 && passed > 100 && passed < compared,
        "{passed} of {compared}"
    );
}

#[test]
fn who_takes_a_child_over_knows_of_its_locks_what_who_made_them_knew() {
    require!(harness::feature::landlock(3));
    let place = Workspace::new();
    let (top, tmpdir) = (place.make_dir("tree"), place.make_dir("tmp"));
    plant(&top);
    let mut kernel = Kernel::probe();
    // Whoever answers opens is not asked here.
    kernel.notification = true;
    let pattern = ("deny", "/**/f.x".to_owned());
    let plain = text(&[("exec", String::new())]);
    let policies = [
        (plain.clone(), false),
        (text(&[("exec", String::new()), pattern]), true),
        (
            format!("{plain}[process]\nkeep_caps = [\"CHOWN\"]\n"),
            false,
        ),
    ];
    for (policy, is_closed) in policies {
        let ruleset = compile(std::slice::from_ref(&policy), &top, &tmpdir).expect("good");
        let made = prepare(&ruleset, &kernel, Listener::Wanted, None).expect("it can be enforced");
        let known = inherit(&ruleset, &kernel, Listener::Wanted).expect("as before");
        assert_eq!(known.capabilities, made.capabilities(), "{policy}");
        assert_eq!(known.closed, made.layers().opens.closed(), "{policy}");
        assert_eq!(known.closed, is_closed, "{policy}");
    }
}

#[test]
fn what_was_seen_once_is_not_looked_at_again() {
    let place = Workspace::new();
    let (top, tmpdir) = (place.make_dir("tree"), place.make_dir("tmp"));
    plant(&top);
    let seen_once = Seen::default();
    let (file, link) = (top.join("a/f.x"), top.join("link"));
    for name in [&top, &file, &link, &top.join("absent"), &tmpdir] {
        assert_eq!(seen_once.look(name), FileSystem.look(name));
    }
    assert_eq!(seen_once.link(&link), FileSystem.link(&link));
    assert_eq!(seen_once.link(&file), FileSystem.link(&file));
    let seen = (seen_once.look(&file), seen_once.link(&link));
    fs::remove_file(&file).expect("it was planted");
    fs::remove_file(&link).expect("it was planted");
    assert_eq!((seen_once.look(&file), seen_once.link(&link)), seen);
    assert_eq!(Seen::default().look(&file), Ok(None));
}

/// What is tried, of what in the tree, and whether it goes through.
type Expected<'a> = (fn(PathBuf) -> Try, &'a str, bool);

/// Holds what a policy comes to in a tree that `plant` made against what goes through there.
#[track_caller]
fn goes_through<P>(
    plant: impl FnOnce(&Path) -> P,
    rules: &[(&str, &str)],
    closed: bool,
    expected: &[Expected<'_>],
) {
    let place = Workspace::new();
    let (top, tmpdir) = (place.make_dir("tree"), place.make_dir("tmp"));
    plant(&top);
    let rules: Vec<_> = rules
        .iter()
        .map(|(key, path)| (*key, (*path).to_owned()))
        .collect();
    let ruleset = compile(&[text(&rules)], &top, &tmpdir).expect("good");
    assert_eq!(ruleset.brokered().closed, closed);
    let tries: Vec<Try> = expected
        .iter()
        .map(|(way, name, _)| way(top.join(name)))
        .collect();
    let results = attempt(&ruleset, &tries);
    for ((attempted, went), (.., expected)) in tries.iter().zip(results).zip(expected) {
        assert_eq!(went, *expected, "{attempted:?}");
    }
}

#[test]
fn what_stands_beside_a_denial_stays_with_the_kernel() {
    require!(harness::feature::landlock(3));
    goes_through(
        plant,
        &[("write", ""), ("deny", "/a/b"), ("deny_write", "/b/.hooks")],
        false,
        &[
            (Try::Read, "a/a/f.x", true),
            (Try::Create, "a/a/new", true),
            (Try::Remove, "c/f.x", true),
            (Try::Read, "b/f.x", true),
            (Try::Write, "b/f.x", true),
            (Try::List, "b", true),
            (Try::Read, "a/b/f.x", false),
            (Try::Read, "link/f.x", false),
            (Try::List, "a/b", false),
            (Try::Remove, "a/b/f.x", false),
            (Try::Create, "b/.hooks", false),
            (Try::Create, "new", false),
        ],
    );
}

#[test]
fn under_a_denied_pattern_landlock_reads_what_it_executes_and_no_more() {
    require!(harness::feature::landlock(3));
    let rules = [
        ("write", ""),
        ("exec", "/a"),
        ("deny", "/**/f.x"),
        ("deny", "/a/b"),
    ];
    goes_through(
        plant,
        &rules,
        true,
        &[
            // What only the supervisor's answer to every open refuses.
            (Try::Read, "a/f.x", false),
            (Try::Read, "a/a/f.x", true),
            (Try::Exec, "a/a/f.x", true),
            // What was spelled out, what is not executed, and everything but reading files.
            (Try::Read, "a/b/f.x", false),
            (Try::Exec, "a/b/f.x", false),
            (Try::Read, "b/f.x", false),
            (Try::Exec, "b/f.x", false),
            (Try::Write, "a/a/f.x", false),
            (Try::Remove, "a/a/f.x", false),
            (Try::List, "a/a", false),
        ],
    );
}

#[test]
fn other_names_of_denied_files_are_not_granted() {
    require!(harness::feature::landlock(3));
    let plant = |top: &Path| {
        for directory in ["secret/deep", "src/deep"] {
            fs::create_dir_all(top.join(directory)).expect("a directory");
        }
        for name in ["key", "secret/deep/key", "plain", "src/deep/plain"] {
            fs::write(top.join(name), "").expect("a file");
        }
        for (name, alias) in [
            ("key", "beside"),
            ("key", "src/alias"),
            ("secret/deep/key", "src/deep/alias"),
        ] {
            fs::hard_link(top.join(name), top.join(alias)).expect("another name");
        }
    };
    goes_through(
        plant,
        &[("write", ""), ("deny", "/key"), ("deny", "/secret")],
        false,
        &[
            (Try::Read, "key", false),
            (Try::Read, "beside", false),
            (Try::Read, "src/alias", false),
            (Try::Read, "src/deep/alias", false),
            (Try::Read, "secret/deep/key", false),
            (Try::Read, "plain", true),
            (Try::Read, "src/deep/plain", true),
        ],
    );
}
