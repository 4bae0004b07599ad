//! `supervise request`: a file from the supervisor, from a shell.

#[path = "../harness/mod.rs"]
mod harness;

/// A supervisor's end that grants what lies below one directory.
#[path = "../../child-shim/tests/shim/server.rs"]
mod server;

use harness::built::supervise;
use harness::run::{Ran, run, run_with_input};
use harness::{feature, require};
use server::Supervisor;
use std::path::Path;
use std::process::Command;

/// `supervise request` with a way to the supervisor.
fn request(supervisor: &Supervisor, path: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(supervise());
    command.arg("request").arg(path).args(arguments);
    command
        .env("SUPERVISE_SOCKET", &supervisor.name)
        .env_remove("SUPERVISE_FD");
    command
}

fn asked(supervisor: &Supervisor, path: &Path, arguments: &[&str]) -> Ran {
    run(&mut request(supervisor, path, arguments))
}

#[test]
fn a_file_is_copied_to_standard_output() {
    let supervisor = Supervisor::start();
    let path = supervisor.file("notes", "hello\n");
    let ran = asked(&supervisor, &path, &["--read", "--why", "a test"]).expect_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("hello\n", ""));
    let (_, request) = supervisor.asked().remove(0);
    assert_eq!(request.why.as_deref(), Some("a test"));
}

#[test]
fn standard_input_is_written_as_a_shell_redirects() {
    let supervisor = Supervisor::start();
    let path = supervisor.workspace.join("granted/out");
    let content = || std::fs::read_to_string(&path).expect("it was written");
    let write = |arguments: &[&str], text: &str| {
        run_with_input(&mut request(&supervisor, &path, arguments), text.as_bytes())
    };
    write(&["--write"], "a long line\n").expect_code(0);
    assert_eq!(content(), "a long line\n");
    write(&["--write"], "one\n").expect_code(0);
    assert_eq!(content(), "one\n");
    write(&["--append"], "two\n").expect_code(0);
    assert_eq!(content(), "one\ntwo\n");
    let ran = write(&["--write", "--new"], "three\n").expect_code(1);
    assert!(ran.stderr.contains("refused: failed"), "{ran}");
    assert_eq!(content(), "one\ntwo\n");
}

#[test]
fn a_command_gets_it_where_a_shell_would_put_it() {
    let supervisor = Supervisor::start();
    let path = supervisor.file("notes", "b\na\n");
    let ran = asked(&supervisor, &path, &["--read", "--", "sort"]).expect_code(0);
    assert_eq!(ran.stdout, "a\nb\n");
    let out = supervisor.workspace.join("granted/out");
    let ran = asked(
        &supervisor,
        &out,
        &["--write", "--", "sh", "-c", "echo said; exit 3"],
    )
    .expect_code(3);
    assert_eq!(ran.stdout, "");
    assert_eq!(
        std::fs::read_to_string(&out).expect("it was written"),
        "said\n"
    );
}

#[test]
fn a_command_gets_it_by_name_where_it_says_so() {
    let supervisor = Supervisor::start();
    let path = supervisor.file("notes", "hello\n");
    let shown = ["--read", "--", "sh", "-c", "readlink \"$1\"", "sh", "{}"];
    let ran = asked(&supervisor, &path, &shown).expect_code(0);
    assert_eq!(ran.stdout.trim_end(), path.to_str().expect("text"));
}

#[test]
fn a_refusal_says_which_rule_and_runs_nothing() {
    let supervisor = Supervisor::start();
    let ran = asked(
        &supervisor,
        Path::new("/etc/shadow"),
        &["--read", "--", "echo", "ran"],
    )
    .expect_code(1);
    assert_eq!(ran.stdout, "");
    assert_eq!(
        ran.stderr,
        "supervise: /etc/shadow: refused: denied by test.toml:12\n"
    );
}

#[test]
fn outside_a_sandbox_there_is_nobody_to_ask() {
    let mut command = Command::new(supervise());
    command.args(["request", "/etc/passwd", "--read"]);
    let ran = run(command
        .env_remove("SUPERVISE_FD")
        .env_remove("SUPERVISE_SOCKET"))
    .expect_code(125);
    assert!(ran.stderr.contains("no supervisor"), "{ran}");
}

#[test]
fn what_makes_no_sense_is_said_before_anything_is_asked() {
    let supervisor = Supervisor::start();
    let path = supervisor.file("notes", "hello\n");
    for arguments in [
        &[][..],
        &["--read", "--write"],
        &["--read", "--append"],
        &["--read", "--new"],
        &["--read", "--timeout", "soon"],
    ] {
        asked(&supervisor, &path, arguments).expect_code(125);
    }
    assert!(supervisor.asked().is_empty());
}

#[test]
fn a_command_that_is_not_there_is_127() {
    let supervisor = Supervisor::start();
    let path = supervisor.file("notes", "hello\n");
    asked(&supervisor, &path, &["--read", "--", "/nowhere/command"]).expect_code(127);
    asked(&supervisor, &path, &["--read", "--", "/etc/passwd"]).expect_code(126);
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for_longer_than_said() {
    let supervisor = Supervisor::start();
    let path = supervisor.file("slow", "late\n");
    let ran = asked(&supervisor, &path, &["--read", "--timeout", "50ms"]).expect_code(125);
    assert!(ran.stderr.contains("took too long"), "{ran}");
}

#[test]
fn a_reader_that_goes_away_is_as_with_any_program() {
    require!(feature::program("bash"));
    let supervisor = Supervisor::start();
    let path = supervisor.file("long", &"line\n".repeat(100_000));
    let mut shell = Command::new("bash");
    let script = "set -o pipefail; \"$0\" request \"$1\" --read | head -n 1; echo ${PIPESTATUS[0]}";
    shell.args(["-c", script]).arg(supervise()).arg(&path);
    shell
        .env("SUPERVISE_SOCKET", &supervisor.name)
        .env_remove("SUPERVISE_FD");
    let ran = run(&mut shell).expect_code(0);
    assert_eq!(ran.stdout, "line\n141\n");
    assert_eq!(ran.stderr, "");
}
