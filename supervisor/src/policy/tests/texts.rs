//! Where rules come from: flags, files that extend others, and what is shipped.

use super::{Memory, SYSTEM, Shelf, allows, compile, compile_in, error, facts, natively, parse};
use crate::policy::{
    Access, Flag, Kind, NoFiles, Policy, Preset, Ruleset, Subject, Transparent, Warning,
};
use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;

#[test]
fn flags_add_and_take_paths_as_they_are() {
    let world = Memory::new(&["/repo/in[1]?.pdf", "/repo/out/", "/other/x"]);
    let mut policy = parse("").expect("good");
    for (flag, value) in [
        (Flag::Read, "in[1]?.pdf"),
        (Flag::Write, "out"),
        (Flag::Read, "../other"),
        (Flag::Connect, "*:443"),
        (Flag::KeepCap, "cap_chown"),
        (Flag::Env, "A=b=c"),
    ] {
        policy.add_flag(flag, OsStr::new(value)).expect("good");
    }
    let ruleset = Ruleset::compile(&[policy], &facts(), &world, &[]).expect("good");
    assert!(allows(&ruleset, "/repo/in[1]?.pdf", Access::READ));
    assert!(allows(&ruleset, "/repo/out/x", Access::WRITE));
    assert!(allows(&ruleset, "/other/x", Access::READ));
    assert!(ruleset.process().keep_caps.contains("CHOWN"));
    assert_eq!(
        ruleset.environment(&[]),
        [(OsString::from("A"), OsString::from("b=c"))]
    );
}

#[test]
fn a_flag_that_denies_a_pattern_is_no_rule_about_a_strange_name() {
    let world = Memory::new(&["/repo/in[1].pdf"]);
    let denied = |value: &str| {
        let mut policy = parse("[fs]\nread = [\"/repo\"]").expect("good");
        policy
            .add_flag(Flag::Deny, OsStr::new(value))
            .expect("good");
        Ruleset::compile(&[policy], &facts(), &world, &[])
    };
    let ruleset = denied("in[1].pdf").expect("that is a file");
    assert!(!allows(&ruleset, "/repo/in[1].pdf", Access::READ));
    let error = denied("**/.env").expect_err("that is none").to_string();
    assert!(error.contains("a pattern goes into a policy"), "{error}");
    // What is only not there yet is denied by its name.
    let ruleset = denied("later").expect("a plain name");
    assert!(!allows(&ruleset, "/repo/later", Access::READ));
}

#[test]
fn variables_that_change_programs_pass_by_full_name_only() {
    let ruleset = compile("[env]\npass = [\"LC_*\", \"L*\", \"P*\", \"G*\", \"PYTHONPATH\"]");
    let names = [
        "LC_ALL",
        "LD_PRELOAD",
        "PATH",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "GIT_DIR",
        "GIT_SSH",
        "HOME",
    ];
    let caller = names.map(|name| (OsString::from(name), OsString::from("x")));
    let passed: Vec<OsString> = ruleset
        .environment(&caller)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(passed, ["LC_ALL", "PATH", "PYTHONPATH"]);
    assert!(error("[env]\npass = [\"LD_*\"]").contains("name each of them in full"));
    assert!(error("[env]\npass = [\"SUPERVISE_X\"]").contains("the supervisor's own"));
}

#[test]
fn extending_adds_and_a_rule_can_be_dropped_by_name() {
    let mut shelf = Shelf(
        [
            ("lib/a.toml", "version = 1\nbase = false\nextends = [\"b.toml\"]\n[fs]\nread = [\"/etc\"]"),
            ("lib/b.toml", "version = 1\nbase = false\n[fs]\ndeny = [\"/etc/shadow\"]\n[limits]\nopen_files = 5"),
            ("loop.toml", "version = 1\nbase = false\nextends = [\"loop.toml\"]"),
            ("up.toml", "version = 1\nbase = false\nextends = [\"../x.toml\"]"),
        ]
        .into(),
    );
    let world = Memory::new(&SYSTEM);
    let mut ruleset = |text: &str| {
        let policy = Policy::parse("p.toml", text, &mut shelf)?;
        Ruleset::compile(&[policy], &facts(), &world, &[])
    };
    let extended = ruleset("version = 1\nbase = false\nextends = [\"lib/a.toml\"]").expect("good");
    assert!(allows(&extended, "/etc/passwd", Access::READ));
    assert!(!allows(&extended, "/etc/shadow", Access::READ));
    assert_eq!(extended.limits().open_files, Some(5));
    let dropped = "version = 1\nbase = false\nextends = [{ preset = \"lib/a.toml\", without = [\"deny:/etc/shadow\"] }]";
    assert!(allows(
        &ruleset(dropped).expect("good"),
        "/etc/shadow",
        Access::READ
    ));
    let wrong =
        ruleset("version = 1\nextends = [{ preset = \"build\", without = [\"deny:$PWD\"] }]");
    assert!(
        wrong
            .expect_err("no such rule")
            .to_string()
            .contains("has no rule")
    );
    for (name, says) in [
        ("loop.toml", "extends itself"),
        ("up.toml", "climbs out"),
        ("none.toml", "No such file"),
        ("biuld", "did you mean `build`?"),
    ] {
        let text = ruleset(&format!("version = 1\nextends = [\"{name}\"]"))
            .expect_err("bad")
            .to_string();
        assert!(text.contains(says), "{name}: {text}");
        assert!(
            text.contains("p.toml:2:") || name.contains("toml"),
            "{text}"
        );
    }
}

#[test]
fn the_first_policy_names_the_door_of_programs_that_do_not_ask() {
    assert_eq!(compile("").broker().transparent, Transparent::Auto);
    for (word, door) in Transparent::NAMES {
        let text = format!("[broker]\ntransparent = \"{word}\"");
        assert_eq!(compile(&text).broker().transparent, door);
    }
    let found = error("[broker]\ntransparent = \"preloaded\"");
    assert!(found.contains("preload"), "{found}");
    let [first, further] =
        ["none", "preload"].map(|word| format!("[broker]\ntransparent = \"{word}\""));
    let both = compile_in(&Memory::new(&SYSTEM), &[&first, &further]).expect("good");
    assert_eq!(both.broker().transparent, Transparent::None);
    let ignored = |warning: &Warning| warning.message.contains("`transparent` is ignored");
    assert!(both.warnings().iter().any(ignored));
}

#[test]
fn presets_are_good_policies_and_say_what_they_are_for() {
    let mut paths = SYSTEM.to_vec();
    paths.extend(["/home/me/.cargo/bin/cargo", "/home/me/.rustup/x"]);
    let world = Memory::new(&paths);
    for preset in Preset::ALL.into_iter().chain([Preset::BUILT_IN]) {
        assert!(
            preset.summary().ends_with('.'),
            "{}: {}",
            preset.name,
            preset.summary()
        );
        let policy =
            Policy::named(preset.name, &mut NoFiles).unwrap_or_else(|error| panic!("{error}"));
        let ruleset = Ruleset::compile(&[policy], &facts(), &world, &[]);
        let ruleset = ruleset.unwrap_or_else(|error| panic!("{}: {error}", preset.name));
        assert!(
            allows(&ruleset, "/usr/bin/sh", Access::READ | Access::EXEC),
            "{}",
            preset.name
        );
        assert!(
            !allows(&ruleset, "/home/me/.ssh/id", Access::READ),
            "{}",
            preset.name
        );
        assert!(
            !allows(&ruleset, "/etc/passwd", Access::WRITE),
            "{}",
            preset.name
        );
    }
}

#[test]
fn the_agent_cannot_leave_what_runs_later() {
    let world = Memory::new(&SYSTEM);
    let policy = Policy::named("agent", &mut NoFiles).expect("shipped");
    let ruleset = Ruleset::compile(&[policy], &facts(), &world, &[]).expect("good");
    for path in [
        ".git/hooks/pre-commit",
        ".git/config",
        ".envrc",
        ".vscode/tasks.json",
        ".cargo/config.toml",
        "sub/.git/hooks/pre-commit",
        "sub/.git/commondir",
        "sub/.vscode/tasks.json",
        ".git/worktrees/one/commondir",
    ] {
        let path = Path::new("/repo").join(path);
        assert!(
            !ruleset
                .decide(&Subject::named(&path), Access::WRITE)
                .is_allowed(),
            "{}",
            path.display()
        );
    }
    // Nor by a link or a file in the place of a directory, or by moving one there.
    let subject = |path| Subject::named(Path::new(path));
    for kind in [Kind::File, Kind::Link] {
        for path in ["/repo/sub/.git", "/repo/.git", "/repo/sub/.cargo"] {
            assert!(
                !ruleset.decide_make(&subject(path), kind).is_allowed(),
                "{path}"
            );
        }
    }
    for (from, to) in [
        ("/repo/src", "/repo/sub/.git"),
        ("/repo/.git", "/repo/old"),
        ("/repo/src", "/repo/.cargo"),
    ] {
        let moved = ruleset.decide_move(&subject(from), &subject(to), Kind::Directory);
        assert!(!moved.is_allowed(), "{from} {to}");
    }
    // It can still commit, and build.
    for path in [".git/index", ".git/objects/aa", "src/main.rs", "target"] {
        let path = Path::new("/repo").join(path);
        assert!(
            ruleset
                .decide(&Subject::named(&path), Access::WRITE)
                .is_allowed()
        );
    }
    // Only writing is asked about.
    let brokered = ruleset.brokered();
    assert!(brokered.write && !brokered.read && !brokered.closed);
    for right in [Access::READ, Access::EXEC] {
        assert!(natively(&ruleset, right).contains(&"/repo".to_owned()));
    }
}
