//! What flags do, and what is said of those that make no sense.

use super::Scene;
use super::harness::run::run;
use super::harness::{feature, require, set_mode};

#[test]
fn a_variable_gives_rules_a_value() {
    let scene = Scene::new();
    let elsewhere = scene.kept.write("given/file", "content\n");
    let given = elsewhere
        .parent()
        .expect("a directory")
        .display()
        .to_string();
    scene.workspace.write(
        "p.toml",
        "version = 1\n[fs]\nread = [\"$GIVEN\"]\nwrite = [\"$PWD\"]\n",
    );
    let cat = format!("cat {}", elsewhere.display());
    let variable = format!("GIVEN={given}");
    let ran = run(&mut scene.script(&["-p", "./p.toml", "--var", &variable], &cat));
    assert_eq!(ran.lines(), ["content"]);
    for bad in ["GIVEN", "=x"] {
        let ran =
            run(&mut scene.script(&["-p", "./p.toml", "--var", bad], "true")).expect_code(125);
        assert!(ran.stderr.contains("NAME=VALUE"), "{ran}");
    }
}

#[test]
fn a_directory_is_entered_before_the_policy_is_read_and_after_files_are_named() {
    let scene = Scene::new();
    let below = scene.workspace.make_dir("below");
    scene
        .workspace
        .write("p.toml", "version = 1\n[fs]\nwrite = [\"$PWD\"]\n");
    let flags = ["-p", "./p.toml", "--audit", "log.jsonl", "--chdir", "below"];
    let ran = run(&mut scene.script(&flags, "pwd; echo $PWD; echo x >made && ! echo x >../made"));
    let below_name = below.display().to_string();
    assert_eq!(ran.lines(), [&below_name, &below_name]);
    assert!(below.join("made").exists() && !scene.workspace.join("made").exists());
    assert!(scene.workspace.join("log.jsonl").exists());
    let ran = run(&mut scene.script(&["--chdir", "nowhere"], "true")).expect_code(125);
    assert!(ran.stderr.contains("--chdir nowhere"), "{ran}");
}

#[test]
fn the_working_directory_is_spelled_as_the_caller_spells_it() {
    let scene = Scene::new();
    let link = scene.kept.join("link");
    std::os::unix::fs::symlink(scene.workspace.path(), &link).expect("a link");
    let mut supervise = scene.script(&[], "echo $PWD");
    let ran = run(supervise.env("PWD", &link));
    assert_eq!(ran.lines(), [link.display().to_string()]);
    let mut supervise = scene.script(&[], "echo $PWD");
    let ran = run(supervise.env("PWD", "/usr"));
    assert_eq!(ran.lines(), [scene.workspace.path().display().to_string()]);
}

#[test]
fn variables_that_supervise_sets_are_not_for_the_caller_to_set() {
    let scene = Scene::new();
    for (variable, instead) in [
        ("PWD=/", "--chdir"),
        ("TMPDIR=/tmp", "`tmp`"),
        ("SUPERVISE_FD=7", "supervise itself"),
    ] {
        let ran = run(&mut scene.script(&["--env", variable], "true")).expect_code(125);
        assert!(ran.stderr.contains(instead), "{ran}");
    }
}

#[test]
fn an_approver_with_arguments_decides() {
    let scene = Scene::new();
    let secret = scene.kept.write("secret", "the secret\n");
    let approver = scene.kept.write(
        "approve",
        "#!/bin/sh\ntest \"$1 $2\" = 'yes two words' -o \"$1\" = plain\n",
    );
    set_mode(&approver, 0o755);
    let secret = secret.display().to_string();
    let request = format!("$SUPERVISE_EXE request --read {secret}");
    let ask = |approver: &str| {
        run(&mut scene.script(&["--ask", &secret, "--approver", approver], &request))
    };
    let path = approver.display();
    assert_eq!(ask(&format!("{path} plain")).lines(), ["the secret"]);
    assert_eq!(
        ask(&format!("[\"{path}\", \"yes\", \"two words\"]")).lines(),
        ["the secret"]
    );
    assert_eq!(ask(&format!("{path} no")).stdout, "");
    let ran = ask("approve plain").expect_code(125);
    assert!(ran.stderr.contains("--approver"), "{ran}");
    let ran = ask("/no/such/program").expect_code(125);
    assert!(ran.stderr.contains("/no/such/program"), "{ran}");
}

#[test]
fn an_approver_that_the_command_could_change_is_refused() {
    let scene = Scene::new();
    let approver = scene.workspace.write("approve", "#!/bin/sh\n");
    set_mode(&approver, 0o755);
    let ran = run(&mut scene.script(&["--approver", "./approve"], "true")).expect_code(125);
    assert!(ran.stderr.contains("could change it"), "{ran}");
}

#[test]
fn a_dry_run_says_what_a_run_would_do_and_does_nothing() {
    let scene = Scene::new();
    let ran = run(&mut scene.script(&["--dry-run"], "echo x >made"));
    let text = ran.stdout.clone();
    ran.lines();
    for part in ["/sh", "(built-in)", "files", "enforced", "supervise check"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!scene.workspace.join("made").exists());
    assert!(
        !scene.log().exists(),
        "nothing was run, and nothing recorded"
    );
    let left = std::fs::read_dir(scene.kept.join("supervise")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
    // It fails where the run would.
    run(&mut scene.supervise(&["--dry-run", "--", "no-such-command"])).expect_code(127);
}

#[test]
fn a_dry_run_says_what_would_be_made_and_does_not_make_it() {
    let scene = Scene::new();
    scene.workspace.write(
        "p.toml",
        "version = 1\n[fs]\nwrite = [\"$PWD\"]\nexec = [\"$PWD/out\"]\nmake = [\"$PWD/out\"]\n",
    );
    let ran = run(&mut scene.script(&["--dry-run", "-p", "./p.toml"], "true")).expect_code(0);
    let out = scene.workspace.join("out");
    assert!(
        ran.stdout
            .contains(&format!("would make   {}", out.display())),
        "{ran}"
    );
    assert!(!out.exists());
}

#[test]
fn a_policy_of_flags_alone_is_enough_for_one_file() {
    require!(feature::landlock(1));
    let scene = Scene::new();
    let input = scene.kept.write("in", "content\n");
    let other = scene.kept.write("other", "secret\n");
    let script = format!("cat {} {}", input.display(), other.display());
    let read = input.display().to_string();
    let ran = run(&mut scene.script(&["--read", &read], &script)).expect_code(1);
    assert_eq!(ran.stdout, "content\n");
}
