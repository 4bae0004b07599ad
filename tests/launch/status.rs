//! The exit status is the command's own, or says what went wrong.

use super::Scene;
use super::harness::run::run;

#[test]
fn the_status_of_the_command_is_passed_on() {
    let scene = Scene::new();
    for code in [0, 1, 42, 255] {
        run(&mut scene.supervise(&[], &["sh", "-c", &format!("exit {code}")])).expect_code(code);
    }
}

#[test]
fn a_command_killed_by_a_signal_gives_128_and_the_signal() {
    let scene = Scene::new();
    run(&mut scene.supervise(&[], &["sh", "-c", "kill -9 $$"])).expect_code(137);
    run(&mut scene.supervise(&[], &["sh", "-c", "kill -TERM $$"])).expect_code(143);
}

#[test]
fn success_is_silent() {
    let scene = Scene::new();
    let ran = run(&mut scene.supervise(&[], &["true"])).expect_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", ""));
}

#[test]
fn a_command_that_is_nowhere_gives_127() {
    let scene = Scene::new();
    let ran = run(&mut scene.supervise(&[], &["no-such-command"])).expect_code(127);
    assert!(ran.stderr.contains("no-such-command"), "{ran}");
}

#[test]
fn a_file_that_is_no_program_gives_126() {
    let scene = Scene::new();
    scene.workspace.write("data", "no program");
    run(&mut scene.supervise(&[], &["./data"])).expect_code(126);
}

#[test]
fn a_script_runs_by_its_interpreter_and_sees_its_own_path() {
    let scene = Scene::new();
    let script = scene
        .workspace
        .write("script", "#!/bin/sh\necho \"$0\" \"$1\"\n");
    super::harness::set_mode(&script, 0o755);
    let target = scene.workspace.path();
    let ran = run(&mut scene.supervise(
        &["--exec", target.to_str().expect("UTF-8")],
        &["./script", "a b"],
    ));
    assert_eq!(ran.lines(), ["./script a b"]);
}

#[test]
fn a_program_that_the_policy_does_not_let_run_gives_126_and_says_so() {
    let scene = Scene::new();
    let copy = scene.workspace.join("true");
    std::fs::copy("/bin/true", &copy).expect("coreutils are there");
    let ran = run(&mut scene.supervise(&[], &["./true"])).expect_code(126);
    assert!(ran.stderr.contains("--exec"), "the fix is named: {ran}");
}

#[test]
fn no_shell_reads_the_arguments() {
    let scene = Scene::new();
    let ran = run(&mut scene.supervise(
        &[],
        &["echo", "; touch made", "$(touch made)", "`touch made`"],
    ));
    assert_eq!(ran.lines(), ["; touch made $(touch made) `touch made`"]);
    assert!(!scene.workspace.join("made").exists());
}

#[test]
fn bad_usage_gives_125_before_anything_runs() {
    let scene = Scene::new();
    scene
        .workspace
        .write("bad.toml", "version = 1\n[fs]\nalow = []\n");
    for flags in [
        &["--no-such-flag"][..],
        &["--policy", "bad.toml"],
        &["--policy", "absent.toml"],
        &["--chdir", "absent"],
    ] {
        let ran = run(&mut scene.supervise(flags, &["touch", "made"])).expect_code(125);
        assert!(!ran.stderr.is_empty(), "{flags:?}");
    }
    assert!(!scene.workspace.join("made").exists());
    assert_eq!(scene.sessions(), 0);
}

#[test]
fn a_working_directory_outside_the_policy_gives_125() {
    let scene = Scene::new();
    let outside = super::harness::Workspace::new();
    let policy = scene.workspace.write("p.toml", "version = 1\n");
    let flags = ["--policy", policy.to_str().expect("UTF-8")];
    run(scene
        .supervise(&flags, &["true"])
        .current_dir(outside.path()))
    .expect_code(125);
    run(scene.supervise(&flags, &["true"]).current_dir("/usr")).expect_code(0);
}
