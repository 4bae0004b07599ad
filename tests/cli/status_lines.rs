//! `--status-fd`: one JSON object a line.

use super::Scene;
use super::harness::run::run;
use serde_json::{Value, json};
use std::process::Command;

/// Runs `supervise` with `flags` and descriptor 7 open on a file, and returns its status and the lines in it.
fn lines(scene: &Scene, flags: &[&str], script: &str) -> (i32, Vec<Value>) {
    let file = scene.kept.join("status");
    let mut arguments = vec!["--status-fd", "7"];
    arguments.extend(flags);
    let supervise = scene.script(&arguments, script);
    let mut shell = Command::new("sh");
    let redirect = format!("exec 7>{}; exec \"$@\"", file.display());
    shell.args(["-c", &redirect, "sh"]);
    shell
        .arg(supervise.get_program())
        .args(supervise.get_args());
    let ran = run(scene.at_home(&mut shell));
    let text = std::fs::read_to_string(&file).expect("the shell made it");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect();
    (ran.code(), lines)
}

#[test]
fn a_run_has_a_start_and_an_end() {
    let scene = Scene::new();
    let (code, lines) = lines(&scene, &[], "exit 3");
    assert_eq!(code, 3);
    let [start, end] = &lines[..] else {
        panic!("two lines: {lines:?}");
    };
    assert_eq!(
        (&start["event"], &start["schema"]),
        (&json!("start"), &json!(1))
    );
    assert_eq!(start["audit"], json!(scene.log()));
    assert!(start["pid"].as_i64().is_some_and(|pid| pid > 1), "{start}");
    assert!(
        start["layers"]
            .as_array()
            .is_some_and(|layers| !layers.is_empty()),
        "{start}"
    );
    assert_eq!(
        *end,
        json!({ "event": "end", "session": start["session"], "status": {"exited": 3}, "exit": 3,
                "granted": 0, "refused": 0, "asked": 0 })
    );
}

#[test]
fn the_command_does_not_get_the_descriptor() {
    let scene = Scene::new();
    let (code, lines) = lines(&scene, &[], "echo forged >&7");
    assert_eq!((code, lines.len()), (2, 2), "{lines:?}");
}

#[test]
fn orphans_and_the_end_of_time_are_told() {
    let scene = Scene::new();
    let events = |flags: &[&str], script: &str| {
        let (_, lines) = lines(&scene, flags, script);
        let events = lines
            .iter()
            .map(|line| line["event"].as_str().unwrap_or("").to_owned());
        events.collect::<Vec<_>>()
    };
    assert_eq!(
        events(&[], "sleep 1000 & exit 0"),
        ["start", "orphans", "end"]
    );
    assert_eq!(
        events(&["--timeout", "200ms"], "exec sleep 1000"),
        ["start", "timed-out", "end"]
    );
}

#[test]
fn a_run_that_never_starts_says_why() {
    let scene = Scene::new();
    let (code, lines) = lines(&scene, &["-p", "no-such-preset"], "true");
    assert_eq!((code, lines.len()), (125, 1), "{lines:?}");
    assert_eq!(
        (&lines[0]["event"], &lines[0]["exit"]),
        (&json!("failed"), &json!(125))
    );
    let message = lines[0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("no-such-preset"), "{message}");
}

#[test]
fn a_number_that_is_no_descriptor_or_cannot_be_written_stops_the_run() {
    let scene = Scene::new();
    for (number, reason) in [("77", "no such"), ("-1", ""), ("0", "reading only")] {
        let flag = format!("--status-fd={number}");
        let ran = run(scene
            .script(&[&flag], "echo x >made")
            .stdin(std::fs::File::open("/dev/null").expect("it is there")));
        // `run` gives an empty pipe as standard input, which can only be read.
        let ran = ran.expect_code(125);
        assert!(
            ran.stderr.contains("--status-fd") && ran.stderr.contains(reason),
            "{ran}"
        );
    }
    assert!(!scene.workspace.join("made").exists());
}
