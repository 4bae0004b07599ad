//! Where rules lead: variables, links, what is absent, and what is protected.

use super::{Memory, SYSTEM, Shelf, allows, compile, compile_in, error, facts, natively, parse};
use crate::policy::{
    Access, Mechanism, NoFiles, Policy, Protected, Reason, Repository, Ruleset, Subject, Verdict,
};
use std::path::Path;

#[test]
fn the_supervisor_protects_its_own() {
    let world = Memory::new(&SYSTEM);
    let policy = parse("[fs]\nwrite = [\"$PWD\"]").expect("good");
    let protected = [
        Protected {
            path: "/repo/audit".into(),
            access: Access::ALL,
            what: "audit log",
        },
        Protected {
            path: "/repo/notes.txt".into(),
            access: Access::WRITE,
            what: "policy file",
        },
    ];
    let ruleset = Ruleset::compile(&[policy], &facts(), &world, &protected).expect("good");
    assert!(!allows(&ruleset, "/repo/audit", Access::READ));
    assert!(allows(&ruleset, "/repo/notes.txt", Access::READ));
    assert!(!allows(&ruleset, "/repo/notes.txt", Access::WRITE));
    assert!(!natively(&ruleset, Access::WRITE).contains(&"/repo/notes.txt".to_owned()));
    let said: Vec<String> = ruleset.warnings().iter().map(ToString::to_string).collect();
    assert!(
        said.iter()
            .any(|text| text.starts_with("protected: audit log: this denies")),
        "{said:?}"
    );
}

#[test]
fn policy_files_are_protected_unasked() {
    let mut shelf = Shelf(
        [(
            "a.toml",
            "version = 1\nbase = false\n[fs]\nwrite = [\"/policies\"]",
        )]
        .into(),
    );
    let policy = Policy::named("a.toml", &mut shelf).expect("good");
    let world = Memory::new(&["/policies/a.toml", "/policies/b.toml"]);
    let ruleset = Ruleset::compile(&[policy], &facts(), &world, &[]).expect("good");
    assert!(!allows(&ruleset, "/policies/a.toml", Access::WRITE));
    assert!(allows(&ruleset, "/policies/b.toml", Access::WRITE));
}

#[test]
fn places_that_hold_everything_are_refused() {
    for (path, says) in [
        ("/", "holds everything"),
        ("/proc", "never opened as a whole"),
        ("/proc/self", "cannot be named by a rule"),
        ("/proc/1/environ", "cannot be named by a rule"),
        ("/dev", "every disk"),
    ] {
        for key in ["read", "write", "ask_read"] {
            let text = error(&format!("[fs]\n{key} = [\"{path}?\"]"));
            assert!(text.contains(says), "{key} {path}: {text}");
        }
    }
    assert!(error("[fs]\nwrite = [\"/proc/cpuinfo\"]").contains("ever written"));
    let world = Memory::new(&["/repo/proc -> /proc", "/proc/1/environ"]);
    assert!(
        compile_in(&world, &["[fs]\nread = [\"/repo/proc\"]"]).is_err(),
        "by a link"
    );
}

#[test]
fn a_missing_path_is_an_error_unless_it_may_be() {
    let text = error("[fs]\nread = [\"/nowhere\"]");
    assert!(
        text.contains("`/nowhere` does not exist") && text.contains("put `?` behind it"),
        "{text}"
    );
    let ruleset = compile("[fs]\nread = [\"/nowhere?\"]\nexec = [\"/later?\"]");
    let later = ruleset.decide(&Subject::named(Path::new("/nowhere")), Access::READ);
    assert!(matches!(later, Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Broker));
    let exec = ruleset.decide(&Subject::named(Path::new("/later")), Access::EXEC);
    assert!(matches!(exec, Verdict::Deny(denial) if denial.reason == Reason::NotNative));
    assert_eq!(ruleset.files().iter().filter(|line| line.absent).count(), 2);
}

#[test]
fn directories_are_made_so_that_exec_can_hold() {
    let ruleset = compile("[fs]\nmake = [\"$PWD/target/debug\"]\nexec = [\"$PWD/target\"]");
    assert_eq!(
        ruleset.make_dirs(),
        [Path::new("/repo/target"), Path::new("/repo/target/debug")]
    );
    assert!(allows(&ruleset, "/repo/target/debug/x", Access::EXEC));
}

#[test]
fn a_link_where_the_child_writes_cannot_open_another_place() {
    let world = Memory::new(&[
        "/repo/target -> /home/me",
        "/home/me/.ssh/id",
        "/repo/in -> out",
        "/repo/out/",
    ]);
    let text = "[fs]\nwrite = [\"$PWD\"]\nexec = [\"$PWD/target\"]";
    let found = compile_in(&world, &[text])
        .expect_err("refused")
        .to_string();
    assert!(
        found.contains("stands where the child may write"),
        "{found}"
    );
    let made = "[fs]\nmake = [\"$PWD/target/new\"]\nwrite = [\"$PWD\"]";
    let found = compile_in(&world, &[made])
        .expect_err("refused")
        .to_string();
    assert!(
        found.contains("stands where the child may write"),
        "{found}"
    );
    let inside = "[fs]\nwrite = [\"$PWD\"]\nexec = [\"$PWD/in\"]";
    assert!(compile_in(&world, &[inside]).is_ok());
}

#[test]
fn what_is_shipped_does_not_write_the_home_directory() {
    let mut home = facts();
    home.cwd = "/home/me".into();
    let world = Memory::new(&SYSTEM);
    for policy in [Policy::built_in(), Policy::named("build", &mut NoFiles)] {
        let policy = policy.expect("shipped");
        let found = Ruleset::compile(&[policy], &home, &world, &[]).expect_err("refused");
        assert!(
            found
                .to_string()
                .contains("is the home directory or above it"),
            "{found}"
        );
    }
    let own = parse("[fs]\nwrite = [\"$PWD\"]").expect("good");
    assert!(
        Ruleset::compile(&[own], &home, &world, &[]).is_ok(),
        "the operator may"
    );
}

#[test]
fn variables_stand_for_facts_and_hold_no_patterns() {
    let mut odd = facts();
    odd.variables.insert("D".to_owned(), "/repo/a*".into());
    let world = Memory::new(&["/repo/a*/x", "/repo/abc/x", "/home/me/d/x"]);
    let policy = parse("[fs]\nread = [\"$D\", \"${E:-${F:-~}}/d\"]").expect("good");
    let ruleset = Ruleset::compile(&[policy], &odd, &world, &[]).expect("good");
    assert!(allows(&ruleset, "/repo/a*/x", Access::READ));
    assert!(!allows(&ruleset, "/repo/abc/x", Access::READ));
    assert!(allows(&ruleset, "/home/me/d/x", Access::READ));
    for (rule, says) in [
        ("$NOPE/x", "`$NOPE` has no value"),
        ("$HOM", "did you mean `$HOME`"),
        ("$(id)", "there is no shell here"),
        ("src", "\"$PWD/src\""),
        ("**/x", "\"$PWD/**/x\""),
        ("/repo/../etc", "`..` in a rule"),
        ("~root/x", "other users"),
        ("${HOME", "without its"),
        ("/repo/a**", "stand alone"),
    ] {
        let text = error(&format!("[fs]\ndeny = [\"{rule}\"]"));
        assert!(text.contains(says), "{rule}: {text}");
    }
}

#[test]
fn the_history_of_a_work_tree_comes_with_it() {
    let mut tree = facts();
    tree.repository = Some(Repository {
        root: "/repo".into(),
        common: Some("/main/.git".into()),
    });
    let world = Memory::new(&[
        "/repo/.git",
        "/repo/src/",
        "/main/.git/objects/",
        "/main/.git/hooks/",
        "/main/key",
    ]);
    let text = "[fs]\nwrite = [\"$REPO\"]\ndeny_write = [\"$REPO/.git/hooks\"]";
    let policy = parse(text).expect("good");
    let ruleset = Ruleset::compile(&[policy], &tree, &world, &[]).expect("good");
    assert!(allows(&ruleset, "/main/.git/objects/x", Access::WRITE));
    assert!(!allows(&ruleset, "/main/.git/hooks/x", Access::WRITE));
    assert!(
        !allows(&ruleset, "/repo/.git", Access::WRITE),
        "it says where the history is"
    );
    assert!(!allows(&ruleset, "/main/key", Access::READ));
}

#[test]
fn compiling_asks_the_world_once_for_each_path() {
    let world = Memory::new(&SYSTEM);
    let policy =
        parse("tmp = \"none\"\n[fs]\nread = [\"/etc/passwd\", \"/etc/shadow\", \"/repo/src\"]");
    Ruleset::compile(&[policy.expect("good")], &facts(), &world, &[]).expect("good");
    assert_eq!(
        *world.asked.borrow(),
        6,
        "/, /etc, two files, /repo, /repo/src"
    );
}

#[test]
fn what_is_shared_with_the_host_is_reported() {
    let world = Memory::new(&["/dev/shm/", "/tmp/"]);
    let text = "tmp = \"shared\"\n[fs]\nwrite = [\"/dev/shm\"]";
    let ruleset = compile_in(&world, &[text]).expect("good");
    let said: Vec<String> = ruleset.warnings().iter().map(ToString::to_string).collect();
    assert!(
        said.iter().any(|text| text.contains("/dev/shm")),
        "{said:?}"
    );
    assert!(said.iter().any(|text| text.contains("/tmp")), "{said:?}");
}
