//! What the command finds when it starts: streams, descriptors, environment, privileges.

use super::Scene;
use super::harness::built::probe;
use super::harness::run::{run, run_with_input, start};
use std::process::{Command, Stdio};

#[test]
fn standard_streams_are_the_callers() {
    let scene = Scene::new();
    let ran = run_with_input(
        &mut scene.supervise(&[], &["sh", "-c", "cat; echo err >&2"]),
        b"in\n",
    )
    .expect_code(0);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("in\n", "err\n")
    );
}

#[test]
fn closed_standard_streams_are_dev_null() {
    let scene = Scene::new();
    let line = format!(
        "{:?}",
        scene.supervise(&[], &["readlink", "/proc/self/fd/0", "/proc/self/fd/2"])
    )
    .replace("\\n", "");
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        &format!("cd {} && {line} <&- 2>&-", scene.workspace.path().display()),
    ]);
    let ran = run(&mut shell);
    assert_eq!(ran.lines(), ["/dev/null", "/dev/null"]);
}

#[test]
fn a_directory_as_standard_stream_is_refused() {
    let scene = Scene::new();
    let directory = std::fs::File::open("/").expect("the root is there");
    let running = start(
        scene
            .supervise(&[], &["true"])
            .stdin(Stdio::from(directory)),
    );
    let ran = running.wait().expect_code(125);
    assert!(ran.stderr.contains("standard input"), "{ran}");
}

#[test]
fn other_descriptors_of_the_caller_are_closed() {
    let scene = Scene::new();
    let line = format!("{:?}", scene.probe(&["fds"])).replace("\\n", "");
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        &format!(
            "cd {} && exec 4</ 7</etc/passwd 9<>/dev/null && {line}",
            scene.workspace.path().display()
        ),
    ]);
    let ran = run(&mut shell);
    let open: Vec<&str> = ran.lines()[0].split_whitespace().skip(1).collect();
    assert!(
        open.iter()
            .all(|fd| ["0", "1", "2", "3"]
                .contains(&fd.split(['=', ':']).next().unwrap_or_default())),
        "{ran}"
    );
}

#[test]
fn the_command_has_no_capability_and_gains_none() {
    let scene = Scene::new();
    let ran = run(&mut scene.probe(&["caps"]));
    let root = nix::unistd::geteuid().is_root();
    let held: Vec<&str> = ran.lines()[0].split_whitespace().skip(1).collect();
    for fact in held {
        let (name, value) = fact.split_once('=').expect("name=value");
        match name {
            "no_new_privs" => assert_eq!(value, "1", "{ran}"),
            // Nothing can be gained from it, with or without the right to shrink it.
            "bounding" if !root => {}
            _ => assert_eq!(value.trim_matches(['0', 'x']), "", "{ran}"),
        }
    }
}

#[test]
fn variables_that_make_programs_run_code_do_not_pass() {
    let scene = Scene::new();
    let hostile = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "BASH_ENV",
        "ENV",
        "GIT_SSH_COMMAND",
        "GIT_DIR",
        "PERL5LIB",
        "RUBYOPT",
        "SSH_AUTH_SOCK",
    ];
    let mut supervise = scene.supervise(&[], &["env"]);
    supervise.envs(hostile.map(|name| (name, "x")));
    let ran = run(&mut supervise);
    let passed: Vec<_> = ran
        .lines()
        .into_iter()
        .filter(|line| {
            hostile
                .iter()
                .any(|name| line.starts_with(&format!("{name}=")))
        })
        .collect();
    assert_eq!(passed, Vec::<&str>::new());
    assert!(
        ran.stdout.contains("PATH=") && ran.stdout.contains("SUPERVISE=1"),
        "{ran}"
    );
}

#[test]
fn a_variable_that_is_named_passes() {
    let scene = Scene::new();
    let ran = run(scene
        .supervise(
            &["--env", "ONE", "--env", "TWO=2"],
            &["sh", "-c", "echo $ONE $TWO"],
        )
        .env("ONE", "1"));
    assert_eq!(ran.lines(), ["1 2"]);
}

#[test]
fn blocked_and_ignored_signals_are_as_the_caller_had_them() {
    let scene = Scene::new();
    let probe = probe();
    let plain = run(Command::new(&probe).args([
        "ignore",
        "hup",
        "--",
        "exec",
        probe.to_str().expect("UTF-8"),
        "signals",
    ]));
    let inside = run(&mut scene.probe(&[
        "ignore",
        "hup",
        "--",
        "exec",
        probe.to_str().expect("UTF-8"),
        "signals",
    ]));
    assert_eq!(plain.stdout, inside.stdout);
}
