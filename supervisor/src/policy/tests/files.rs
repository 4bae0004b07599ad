//! What may be done with files.

use super::{Memory, SYSTEM, allows, compile, compile_in, error, facts, natively, parse};
use crate::policy::{
    Access, Approver, Flag, Mechanism, PortRules, Reason, Ruleset, Subject, Verdict,
};
use protocol::Scope;
use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;

#[test]
fn what_is_not_allowed_is_denied() {
    let ruleset = compile("[fs]\nread = [\"/repo/src\"]");
    assert!(allows(&ruleset, "/repo/src/main.rs", Access::READ));
    assert!(!allows(&ruleset, "/repo/src/main.rs", Access::WRITE));
    assert!(!allows(&ruleset, "/repo/notes.txt", Access::READ));
    assert!(
        !allows(&ruleset, "/repo/src2", Access::READ),
        "a name that begins alike"
    );
    let nothing = ruleset.decide(&Subject::named(Path::new("/repo/src")), Access::NONE);
    assert!(!nothing.is_allowed(), "no right is not every right");
}

#[test]
fn writing_and_executing_imply_reading() {
    let ruleset = compile("[fs]\nwrite = [\"$PWD/out\"]\nexec = [\"/usr\"]");
    assert!(allows(
        &ruleset,
        "/repo/out/x",
        Access::READ | Access::WRITE
    ));
    assert!(!allows(&ruleset, "/repo/out/x", Access::EXEC));
    assert!(allows(&ruleset, "/usr/bin/sh", Access::READ | Access::EXEC));
    assert!(!allows(
        &ruleset,
        "/usr/bin/sh",
        Access::READ | Access::WRITE
    ));
}

#[test]
fn rules_reach_what_their_links_lead_to() {
    let ruleset = compile("[fs]\nexec = [\"/bin\"]");
    assert!(allows(&ruleset, "/usr/bin/sh", Access::EXEC));
    assert_eq!(natively(&ruleset, Access::EXEC), ["/usr/bin"]);
}

#[test]
fn a_name_means_the_same_in_a_directory_that_was_seen_before() {
    let world = Memory::new(&["/other/link -> /srv/x", "/srv/x/y", "/far/y/z"]);
    let mut policy = parse("").expect("good");
    for (flag, value) in [
        (Flag::Read, "/other"),
        (Flag::Exec, "/other/link"),
        (Flag::Read, "/far/y"),
        (Flag::Write, "/far/y/.."),
    ] {
        policy.add_flag(flag, OsStr::new(value)).expect("good");
    }
    let ruleset = Ruleset::compile(&[policy], &facts(), &world, &[]).expect("good");
    assert_eq!(natively(&ruleset, Access::EXEC), ["/srv/x"]);
    assert_eq!(natively(&ruleset, Access::WRITE), ["/far"]);
}

#[test]
fn a_denial_wins_wherever_it_stands() {
    let first = compile("[fs]\nread = [\"$PWD\"]\ndeny = [\"$PWD/secret\"]");
    let second = compile("[fs]\ndeny = [\"$PWD/secret\"]\nread = [\"$PWD\", \"$PWD/secret/key\"]");
    for ruleset in [first, second] {
        assert!(allows(&ruleset, "/repo/notes.txt", Access::READ));
        assert!(!allows(&ruleset, "/repo/secret/key", Access::READ));
        assert!(!allows(&ruleset, "/repo/secret", Access::READ));
    }
}

#[test]
fn a_denial_holds_for_the_object_under_another_name() {
    let world = Memory::new(&["/repo/secret", "/repo/alias = /repo/secret", "/repo/other"]);
    let ruleset = compile_in(
        &world,
        &["[fs]\nread = [\"$PWD\"]\ndeny = [\"$PWD/secret\"]"],
    )
    .expect("good");
    let alias = Subject {
        path: Path::new("/repo/alias"),
        object: Some(world.id("/repo/alias")),
    };
    let verdict = ruleset.decide(&alias, Access::READ);
    assert!(matches!(verdict, Verdict::Deny(denial) if denial.reason == Reason::Rule));
    assert_eq!(natively(&ruleset, Access::READ), ["/repo/other"]);
}

#[test]
fn it_is_known_whether_files_are_denied_for_what_they_are() {
    let world = Memory::new(&[
        "/repo/file",
        "/repo/secret/key",
        "/repo/shared/key",
        "/repo/alias = /repo/shared/key",
    ]);
    let knows = |rule: &str| {
        let text = format!("[fs]\nwrite = [\"$PWD\"]\n{rule}");
        let ruleset = compile_in(&world, &[&text]).expect("good");
        [Access::READ, Access::WRITE].map(|access| ruleset.knows_files(access))
    };
    let nothing = knows("deny = [\"$PWD/secret\", \"$PWD/**/*.key\", \"$PWD/absent\"]");
    assert_eq!(nothing, [false, false]);
    assert_eq!(knows("deny = [\"$PWD/file\"]"), [true, true]);
    assert_eq!(knows("deny_write = [\"$PWD/file\"]"), [false, true]);
    assert_eq!(knows("deny = [\"$PWD/shared\"]"), [true, true]);
}

#[test]
fn a_pattern_deeper_than_any_tree_is_refused() {
    let world = Memory::new(&["/repo/file"]);
    let deny = |names: usize| {
        let pattern = "/*".repeat(names);
        compile_in(&world, &[&format!("[fs]\ndeny = [\"$PWD{pattern}\"]")])
    };
    assert!(deny(127).is_ok());
    let error = deny(128).expect_err("too deep").to_string();
    assert!(error.contains("more than 127 names"), "{error}");
}

#[test]
fn a_denial_holds_for_the_files_in_it_under_names_elsewhere() {
    let world = Memory::new(&[
        "/repo/secret/deep/key",
        "/repo/src/a/alias = /repo/secret/deep/key",
        "/repo/src/b/plain",
        "/other/alias = /repo/secret/deep/key",
    ]);
    let text =
        "[fs]\nread = [\"$PWD\", \"/other\"]\nwrite = [\"$PWD/src\"]\ndeny = [\"$PWD/secret\"]";
    let ruleset = compile_in(&world, &[text]).expect("good");
    let alias = Path::new("/repo/src/a/alias");
    assert!(
        !allows(&ruleset, "/repo/src/a/alias", Access::READ),
        "by name"
    );
    let object = Some(world.id("/repo/src/a/alias"));
    let elsewhere = Subject {
        path: Path::new("/repo/src/later"),
        object,
    };
    assert!(
        !ruleset.decide(&elsewhere, Access::READ).is_allowed(),
        "by object"
    );
    let granted = natively(&ruleset, Access::READ);
    assert!(
        !granted.iter().any(|path| alias.starts_with(path)),
        "{granted:?}"
    );
    assert!(
        !granted
            .iter()
            .any(|path| Path::new("/other/alias").starts_with(path)),
        "{granted:?}"
    );
    assert!(granted.contains(&"/repo/src/b".to_owned()), "{granted:?}");
    assert!(!ruleset.warnings().iter().any(|warning| warning.at_start));
}

#[test]
fn a_denial_holds_under_every_name_that_leads_to_it() {
    let world = Memory::new(&[
        "/repo/real/key",
        "/repo/link -> real",
        "/repo/other",
        "/repo/deep/real2/",
        "/repo/deep/hop -> real2",
    ]);
    let text = "[fs]\nread = [\"$PWD\"]\nwrite = [\"$PWD\"]\ndeny = [\"$PWD/link\", \"$PWD/deep/hop/new\"]";
    let ruleset = compile_in(&world, &[text]).expect("good");
    for path in [
        "/repo/link",
        "/repo/link/key",
        "/repo/real",
        "/repo/real/key",
        "/repo/deep/real2/new",
    ] {
        assert!(!allows(&ruleset, path, Access::READ), "{path}");
    }
    // Were the link replaced by a directory, the name would mean that.
    assert!(!allows(&ruleset, "/repo/deep/hop/new", Access::WRITE));
    assert_eq!(natively(&ruleset, Access::WRITE), ["/repo/other"]);
}

#[test]
fn a_denial_holds_for_what_does_not_exist_yet() {
    let ruleset = compile("[fs]\nwrite = [\"$PWD\"]\ndeny_write = [\"$PWD/.envrc\"]");
    assert!(!allows(&ruleset, "/repo/.envrc", Access::WRITE));
    assert!(allows(&ruleset, "/repo/.envrc", Access::READ));
    assert!(
        allows(&ruleset, "/repo/new", Access::WRITE),
        "by the supervisor"
    );
    assert_eq!(
        natively(&ruleset, Access::WRITE),
        [
            "/repo/.git",
            "/repo/notes.txt",
            "/repo/out",
            "/repo/secret",
            "/repo/src"
        ]
    );
    assert_eq!(natively(&ruleset, Access::READ)[0], "/repo");
    assert_eq!(ruleset.warnings().len(), 1);
}

#[test]
fn a_further_policy_only_narrows() {
    let world = Memory::new(&SYSTEM);
    let wide = "[fs]\nread = [\"$PWD\", \"/etc\"]\n[net]\nconnect = [\"*:443\", \"*:80\"]\n[env]\npass = [\"A\", \"B\"]\n[limits]\nopen_files = 10";
    let narrow = "[fs]\nread = [\"$PWD/src\", \"/usr\"]\n[net]\nconnect = [\"*:443\", \"*:22\"]\n[env]\npass = [\"B\", \"C\"]\n[limits]\nopen_files = 99";
    let both = compile_in(&world, &[wide, narrow]).expect("good");
    assert!(allows(&both, "/repo/src/main.rs", Access::READ));
    for path in ["/repo/notes.txt", "/etc/passwd", "/usr/bin/sh"] {
        assert!(!allows(&both, path, Access::READ), "{path}");
    }
    assert_eq!(both.tcp_connect(), &PortRules::Ports([443].into()));
    assert_eq!(both.native_layers().len(), 2);
    let caller = ["A", "B", "C"].map(|name| (OsString::from(name), OsString::from("1")));
    assert_eq!(
        both.environment(&caller),
        [(OsString::from("B"), OsString::from("1"))]
    );
    assert_eq!(both.limits().open_files, Some(10));
}

#[test]
fn questions_are_asked_and_what_is_allowed_is_not_asked_about() {
    let text = "[fs]\nread = [\"/etc\"]\nask_read = [\"$PWD\"]\nask_write = [\"/etc/passwd\"]\n[broker]\napprover = \"terminal\"";
    let ruleset = compile(text);
    let subject = Subject::named(Path::new("/repo/notes.txt"));
    assert!(matches!(
        ruleset.decide(&subject, Access::READ),
        Verdict::Ask(_)
    ));
    assert!(ruleset.warnings().is_empty(), "{:?}", ruleset.warnings());
    let anyway = error("[fs]\nread = [\"$PWD\"]\nask_read = [\"$PWD/secret\"]");
    assert!(anyway.contains("allows without asking"), "{anyway}");
    let elsewhere = compile("[fs]\nask_read = [\"$PWD\"]\n[broker]\napprover = \"control\"");
    assert_eq!(elsewhere.broker().approver, Approver::Control);
    assert!(
        elsewhere.warnings().is_empty(),
        "{:?}",
        elsewhere.warnings()
    );
    let nobody = compile("[fs]\nask_read = [\"$PWD\"]");
    assert!(nobody.warnings()[0].message.contains("answered with no"));
}

#[test]
fn a_question_says_for_whom_a_yes_speaks_and_a_further_policy_does_not_say_more() {
    let world = Memory::new(&SYSTEM);
    let rule = |more: &str| {
        format!(
            "[[request]]\npath = \"$PWD\"\ndecision = \"ask\"\n{more}\n[broker]\napprover = \"terminal\""
        )
    };
    let asks = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().map(|more| rule(more)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let ruleset = compile_in(&world, &texts).expect("good");
        assert!(ruleset.asks());
        match ruleset.decide(&Subject::named(Path::new("/repo/notes.txt")), Access::READ) {
            Verdict::Ask(asks) => (asks.scope, asks.lasts),
            other => panic!("{other:?}"),
        }
    };
    for (texts, expected) in [
        (&[""][..], (None, false)),
        (&["ttl = \"10m\""], (None, true)),
        (&["scope = \"once\""], (Some(Scope::Once), false)),
        (&["scope = \"subtree\""], (Some(Scope::Subtree), true)),
        // What would be asked about each time is, whatever another policy says.
        (&["", "ttl = \"10m\""], (None, false)),
        (&["", "scope = \"session\""], (Some(Scope::Session), false)),
        (
            &["scope = \"session\"", "scope = \"process\""],
            (Some(Scope::Process), true),
        ),
    ] {
        assert_eq!(asks(texts), expected, "{texts:?}");
    }
    assert!(!compile("[fs]\nread = [\"/etc\"]").asks());
    let contradiction = error(&rule("scope = \"once\"\nttl = \"10m\""));
    assert!(contradiction.contains("has no `ttl`"), "{contradiction}");
    let misspelled = error(&rule("scope = \"proces\""));
    assert!(misspelled.contains("`process`"), "{misspelled}");
    let allows = "[[request]]\npath = \"$PWD\"\ndecision = \"allow\"\nscope = \"process\"";
    assert!(error(allows).contains("decision = \"ask\""));
}

#[test]
fn requests_have_a_time_and_a_budget() {
    let text = "[[request]]\npath = \"$HOME/notes/**\"\naccess = [\"read\"]\ndecision = \"allow\"\nttl = \"10m\"\nbudget = 3";
    let world = Memory::new(&["/home/me/notes/"]);
    let ruleset = compile_in(&world, &[text]).expect("good");
    let inside = ruleset.decide(
        &Subject::named(Path::new("/home/me/notes/a/b")),
        Access::READ,
    );
    let Verdict::Allow(allowed) = inside else {
        panic!("{inside:?}")
    };
    assert_eq!(allowed.ttl, Some(std::time::Duration::from_secs(600)));
    assert_eq!(
        (allowed.budget, allowed.mechanism),
        (Some(3), Mechanism::Broker)
    );
    assert!(
        !allows(&ruleset, "/home/me/notes", Access::READ),
        "what is below, not itself"
    );
}

#[test]
fn a_path_that_is_not_canonical_is_no_subject() {
    let ruleset = compile("[fs]\nread = [\"/repo\"]\ndeny = [\"/repo/secret\"]");
    for path in [
        "/repo//secret",
        "/repo/./secret",
        "/repo/src/../secret",
        "repo/src",
        "/repo/src/",
        "",
    ] {
        assert!(!allows(&ruleset, path, Access::READ), "{path}");
    }
}
