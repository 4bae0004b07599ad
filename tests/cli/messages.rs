//! What is said on standard error, and when.

use super::Scene;
use super::harness::built::installed;
use super::harness::process::{NOBODY, as_uid};
use super::harness::run::{run, run_without_listener};
use super::harness::{Workspace, feature, require, set_mode};
use std::process::Command;

/// A command that is refused one thing.
const REFUSED: &str = "chmod 600 /etc/passwd 2>&-";

#[test]
fn a_failed_command_that_was_refused_something_says_where_to_read_about_it() {
    require!(feature::listener());
    let scene = Scene::new();
    let ran = run(&mut scene.script(&[], REFUSED)).expect_code(1);
    let line = ran.stderr.lines().next_back().expect("a last line");
    let (said, see) = line.split_once("see: ").expect("a command to run");
    assert_eq!(said, "supervise: 1 request was refused; ");
    let arguments: Vec<&str> = see.split(' ').skip(1).collect();
    let shown = run(&mut scene.supervise(&arguments));
    assert!(shown.stdout.contains("/etc/passwd"), "{shown}");
}

#[test]
fn a_command_that_succeeded_is_not_talked_about() {
    let scene = Scene::new();
    let ran = run(&mut scene.script(&[], &format!("{REFUSED}; exit 0"))).expect_code(0);
    assert_eq!(ran.stderr, "");
}

#[test]
fn quiet_means_errors_only() {
    require!(feature::listener());
    let scene = Scene::new();
    assert_eq!(run(&mut scene.script(&["-q"], REFUSED)).stderr, "");
    let ran = run(&mut scene.supervise(&["-q", "--", "no-such-command"])).expect_code(127);
    assert!(ran.stderr.contains("no-such-command"), "{ran}");
}

#[test]
fn verbose_says_how_the_command_is_confined_and_what_came_of_it() {
    let scene = Scene::new();
    let ran = run(&mut scene.script(&["-v"], "sleep 1000 & exit 3")).expect_code(3);
    let log = scene.log().display().to_string();
    for part in [
        "policy: (built-in)",
        "enforced: files",
        &log,
        "left descendants",
        "ended with 3: 0 granted, 0 refused",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {ran}");
    }
    assert!(
        ran.stderr
            .lines()
            .all(|line| line.starts_with("supervise: ")),
        "{ran}"
    );
}

#[test]
fn a_log_that_cannot_be_written_stops_the_run_and_names_the_flag() {
    let scene = Scene::new();
    let made = scene.workspace.join("made").display().to_string();
    let script = format!("echo x >{made}");
    let ran = run(&mut scene.script(&["--audit", "/proc/none"], &script)).expect_code(125);
    assert!(
        ran.stderr.contains("--audit") && ran.stderr.contains("/proc/none"),
        "{ran}"
    );
    // In place of the directory there is a file.
    std::fs::write(scene.kept.join("state"), "").expect("a file");
    let ran = run(&mut scene.script(&[], &script)).expect_code(125);
    assert!(ran.stderr.contains("--audit"), "{ran}");
    assert!(!scene.workspace.join("made").exists());
}

#[test]
fn sessions_without_a_place_are_told_where_else_they_can_be() {
    let scene = Scene::new();
    let file = scene.kept.write("file", "");
    let ran = run(scene.script(&[], "true").env("XDG_RUNTIME_DIR", file)).expect_code(125);
    assert!(ran.stderr.contains("XDG_RUNTIME_DIR"), "{ran}");
}

#[test]
fn a_program_outside_the_policy_is_named_with_the_flag_that_allows_it() {
    let scene = Scene::new();
    let program = scene.workspace.write("program", "#!/bin/sh\necho ran\n");
    set_mode(&program, 0o755);
    let ran = run(&mut scene.supervise(&["--", "./program"])).expect_code(126);
    let flag = format!("--exec {}", program.display());
    assert!(ran.stderr.contains(&flag), "{ran}");
    let ran = run(&mut scene.supervise(&["--exec", "./program", "--", "./program"]));
    assert_eq!(ran.lines(), ["ran"]);
}

#[test]
fn nothing_in_a_message_drives_a_terminal() {
    let scene = Scene::new();
    let ran = run(&mut scene.supervise(&["--", "no\u{1b}[2Jsuch"])).expect_code(127);
    assert!(!ran.stderr.contains('\u{1b}'), "{ran}");
}

#[test]
fn a_command_without_the_dashes_is_told_where_it_stands() {
    let scene = Scene::new();
    for arguments in [&["ls", "-la"][..], &["-q", "make"]] {
        let ran = run(&mut scene.supervise(arguments)).expect_code(125);
        assert!(ran.stderr.contains("supervise -- COMMAND"), "{ran}");
    }
    let ran = run(&mut scene.supervise(&["--no-such-flag", "--", "true"])).expect_code(125);
    assert!(!ran.stderr.contains("stands behind"), "{ran}");
}

#[test]
fn a_file_of_ours_in_the_way_of_a_command_that_fails_is_pointed_out() {
    let scene = Scene::new();
    let flags = ["--audit", "log.jsonl"];
    // Where every open can be decided, nothing is in the way.
    run(&mut scene.script(&flags, "echo >made && test -e made")).expect_code(0);
    let ran = run_without_listener(&mut scene.script(&flags, "touch made")).expect_code(1);
    assert!(
        ran.stderr.contains("audit log") && ran.stderr.contains("keep it outside"),
        "{ran}"
    );
    let ran = run(&mut scene.script(&flags, "true")).expect_code(0);
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_closed_directory_of_the_path_is_passed_over() {
    require!(feature::root());
    let installed = installed();
    let place = Workspace::open_to_all();
    let closed = place.make_dir("closed");
    set_mode(&closed, 0o700);
    let run_in = place.make_dir("open");
    set_mode(&run_in, 0o777);
    let find = |name: &str| {
        let mut supervise = Command::new(&installed.supervise);
        supervise
            .args(["--", name])
            .current_dir(&run_in)
            .env("PATH", format!("{}:/usr/bin:/bin", closed.display()))
            .env("XDG_STATE_HOME", place.join("open/state"))
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("SUPERVISE");
        run(as_uid(&mut supervise, NOBODY))
    };
    find("true").expect_code(0);
    find("no-such-command").expect_code(127);
}

/// Each time what stood in the way is named, and allowed; in the end the program runs.
#[test]
fn what_keeps_a_program_from_starting_is_named_until_nothing_does() {
    let scene = Scene::new();
    scene.workspace.write("script", "#!/bin/sh\nexit 7\n");
    set_mode(&scene.workspace.join("script"), 0o755);
    let policy = "version = 1\nbase = false\nfs.exec = [\"$PWD/script\"]\nfs.read = [\"$PWD\", \"/usr\", \"/lib?\", \"/lib64?\"]\n";
    let policy = scene.kept.write("narrow.toml", policy);
    let policy = policy.to_str().expect("text").to_owned();
    let mut flags = vec!["-p".to_owned(), policy];
    let mut named = Vec::new();
    loop {
        let mut arguments: Vec<&str> = flags.iter().map(String::as_str).collect();
        arguments.extend(["--", "./script"]);
        let ran = run(&mut scene.supervise(&arguments));
        if ran.code() == 7 {
            break;
        }
        let ran = ran.expect_code(126);
        let (before, why) = ran
            .stderr
            .split_once(", may not be executed: ")
            .expect("why");
        let (before, object) = before.rsplit_once(", ").expect("what");
        let (_, what) = before.rsplit_once(": ").expect("what it is");
        let line = format!("no rule allows it; to allow it: fs.exec = [\"{object}\"]");
        assert!(why.starts_with(&line), "{ran}");
        let shown = run(&mut scene.supervise(&["explain", "--last"])).expect_code(0);
        let explained = format!("1. exec {object}\n");
        assert!(shown.stdout.contains(&explained), "{shown}");
        named.push(what.to_owned());
        assert!(named.len() < 4, "{named:?}");
        flags.extend(["--exec".to_owned(), object.to_owned()]);
    }
    // What a shell is loaded by, if anything, is the machine's.
    assert_eq!(named[0], "the interpreter in its first line");
    assert!(
        named[1..].iter().all(|what| what == "its loader"),
        "{named:?}"
    );
}

#[test]
fn a_program_that_is_denied_is_not_said_to_need_another_rule() {
    let scene = Scene::new();
    scene.workspace.write("script", "#!/bin/sh\n");
    set_mode(&scene.workspace.join("script"), 0o755);
    let policy = "version = 1\nextends = [\"read-only\"]\nfs.exec = [\"$PWD\"]\nfs.deny = [\"$PWD/script\"]\n";
    let policy = scene.kept.write("denies.toml", policy);
    let policy = policy.to_str().expect("text");
    let ran = run(&mut scene.supervise(&["-q", "-p", policy, "--", "./script"])).expect_code(126);
    assert!(ran.stderr.contains("denied by "), "{ran}");
    assert!(ran.stderr.contains("denies.toml:4"), "{ran}");
    assert!(!ran.stderr.contains("--exec"), "{ran}");
}
