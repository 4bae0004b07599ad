//! A run whose questions are answered from elsewhere, with no daemon there.

use super::Scene;
use super::harness::run::{Running, eventually, run, start};
use super::harness::{feature, require};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A scene with two files that are asked about.
fn asking() -> (Scene, String, [PathBuf; 2]) {
    let scene = Scene::new();
    let data = ["a", "b"].map(|name| scene.kept.write(format!("data/{name}"), name));
    let policy = scene.kept.write(
        "policy.toml",
        format!(
            "version = 1\nextends = [\"read-only\"]\n[fs]\nask_read = [\"{}\"]\n[broker]\napprover = \"control\"\ntimeout = \"10m\"\n",
            scene.kept.join("data").display()
        ),
    );
    (scene, policy.display().to_string(), data)
}

fn cats(scene: &Scene, policy: &str, files: &[&PathBuf]) -> Running {
    let script: Vec<_> = files
        .iter()
        .map(|file| format!("cat {}", file.display()))
        .collect();
    let audit = record(scene, files[0]).display().to_string();
    let flags = ["-p", policy, "--audit", &audit];
    start(&mut scene.script(&flags, &script.join("; ")))
}

/// The record of the run that reads this file first.
fn record(scene: &Scene, file: &Path) -> PathBuf {
    let name = file.file_name().expect("a name").display();
    scene.kept.join(format!("{name}.jsonl"))
}

/// What waits, as soon as so many do.
fn waiting(scene: &Scene, count: usize) -> Vec<Value> {
    let mut found = Vec::new();
    eventually("the questions were there", || {
        let ran = run(&mut scene.supervise(&["questions", "--json"]));
        let all: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        found = all["questions"].as_array().cloned().unwrap_or_default();
        found.len() == count
    });
    found
}

fn answer(scene: &Scene, words: &[&str], question: &Value) -> Option<i32> {
    let number = question["question"].to_string();
    let words: Vec<&str> = words.iter().copied().chain([&*number]).collect();
    run(&mut scene.supervise(&words)).status.code()
}

#[test]
fn each_of_two_runs_is_answered_from_another_terminal() {
    require!(feature::listener());
    let (scene, policy, [a, b]) = asking();
    let nobody = run(&mut scene.supervise(&["questions"]));
    assert_eq!(nobody.status.code(), Some(125));
    assert!(nobody.stderr.contains("--approver control"), "{nobody}");
    let first = cats(&scene, &policy, &[&a]);
    let questions = waiting(&scene, 1);
    assert_eq!(
        questions[0]["object"],
        a.canonicalize().unwrap().to_str().unwrap()
    );
    assert!(
        questions[0]["ancestors"][0]["program"].is_string(),
        "{questions:?}"
    );
    let second = cats(&scene, &policy, &[&b, &b]);
    let mut questions = waiting(&scene, 2);
    questions.sort_by_key(|question| question["object"].to_string());
    let shown = run(&mut scene.supervise(&["questions"]));
    assert_eq!(shown.stdout.matches("asks to read").count(), 2, "{shown}");
    assert_eq!(answer(&scene, &["approve"], &questions[0]), Some(0));
    assert_eq!(
        answer(&scene, &["refuse", "--for-session"], &questions[1]),
        Some(0)
    );
    let first = first.wait();
    let told = first
        .stderr
        .matches("a question waits to be answered: see `supervise questions`");
    assert_eq!(told.count(), 1, "{first}");
    assert_eq!(
        (first.status.code(), &*first.stdout),
        (Some(0), "a"),
        "{first}"
    );
    // The second time it is not asked about.
    let second = second.wait();
    assert_eq!(
        (second.status.code(), &*second.stdout),
        (Some(1), ""),
        "{second}"
    );
    assert_eq!(
        answer(&scene, &["approve"], &questions[0]),
        Some(125),
        "it is answered"
    );
    for (file, count) in [(&a, 1), (&b, 2)] {
        let record = std::fs::read_to_string(record(&scene, file)).unwrap();
        assert_eq!(
            record.matches("\"answered_by\":").count(),
            count,
            "{record}"
        );
    }
    let left = std::fs::read_dir(scene.kept.join("supervise")).unwrap();
    assert_eq!(left.count(), 0, "nothing of them is left");
}

#[test]
fn what_was_agreed_to_for_a_run_is_listed_and_taken_back() {
    require!(feature::listener());
    let (scene, policy, [a, _]) = asking();
    let go = scene.kept.join("go");
    let script = format!(
        "cat {0}; while ! test -e {1}; do sleep 0.01; done; cat {0}",
        a.display(),
        go.display()
    );
    let audit = record(&scene, &a).display().to_string();
    let flags = ["-q", "-p", &policy, "--audit", &audit];
    let asks = start(&mut scene.script(&flags, &script));
    let question = waiting(&scene, 1).remove(0);
    let approve = ["approve", "--for-session"];
    assert_eq!(answer(&scene, &approve, &question), Some(0));
    let mut grants = Vec::new();
    eventually("it was handed out", || {
        let ran = run(&mut scene.supervise(&["grants", "--json"]));
        let all: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        grants = all["grants"].as_array().cloned().unwrap_or_default();
        grants.len() == 1 && grants[0]["handed"] == 1
    });
    assert_eq!(grants[0]["object"], question["object"]);
    let other = run(&mut scene.supervise(&["grants", "another"]));
    assert_eq!(other.status.code(), Some(125), "{other}");
    let number = grants[0]["grant"].to_string();
    let taken = run(&mut scene.supervise(&["revoke", &number])).expect_code(0);
    assert!(taken.stdout.contains("not taken back: "), "{taken}");
    let none = run(&mut scene.supervise(&["revoke", &number]));
    assert_ne!(none.status.code(), Some(0), "{none}");
    std::fs::write(&go, "").unwrap();
    let asked = asks.wait();
    assert_eq!(
        (asked.status.code(), &*asked.stdout),
        (Some(1), "a"),
        "{asked}"
    );
    let record = std::fs::read_to_string(record(&scene, &a)).unwrap();
    assert_eq!(
        record.matches("\"answer\":\"revoked\"").count(),
        1,
        "{record}"
    );
}

#[test]
fn nobody_in_a_sandbox_answers() {
    require!(feature::listener());
    let (scene, policy, [a, _]) = asking();
    let asks = cats(&scene, &policy, &[&a]);
    let question = waiting(&scene, 1).remove(0);
    let runtime = scene.kept.join("supervise");
    let place = std::fs::read_dir(&runtime)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let socket = place.path().join("control.sock").display().to_string();
    let wide = scene.kept.write(
        "wide.toml",
        format!("version = 1\nextends = [\"read-only\"]\n[net]\nunix = [\"{socket}?\", {{ path = \"{}\", unconfined_peer = true }}]\n", runtime.display()),
    );
    let number = question["question"].to_string();
    let script = format!("\"$SUPERVISE_EXE\" approve --socket {socket} {number}");
    for policy in [wide.display().to_string(), policy.clone()] {
        let inside = run(&mut scene.script(&["-q", "-p", &policy, "--approver", "deny"], &script));
        assert_eq!(inside.status.code(), Some(125), "{inside}");
    }
    assert_eq!(
        waiting(&scene, 1)[0]["question"],
        question["question"],
        "it waits still"
    );
    assert_eq!(answer(&scene, &["refuse"], &question), Some(0));
    assert_eq!(asks.wait().status.code(), Some(1));
}

/// The script of the documentation, with another program in the place of the one that shows notifications.
fn notifier(scene: &Scene, shows: &str) -> String {
    let script = include_str!("../../docs/approvers/notify.sh");
    // Neither is executed itself: another test that starts a program just then would hold it open for writing.
    let program = scene.kept.write("notify", shows);
    let called = format!("$(/bin/sh {} --wait", program.display());
    assert!(script.contains("$(notify-send --wait"), "{script}");
    let script = script.replace("$(notify-send --wait", &called);
    let script = scene.kept.write("approve", script);
    format!("/bin/sh {}", script.display())
}

#[test]
fn the_notification_of_the_documentation_answers_and_shows_no_markup() {
    require!(feature::listener());
    let (scene, policy, _) = asking();
    let odd = scene.kept.write("data/<b>&\u{202e}x", "odd");
    let heard = scene.kept.join("heard");
    for (answer, status) in [("yes", 0), ("no", 1), ("", 1), ("yes, later", 1)] {
        let shows = format!(
            "printf '%s\\n' \"$@\" >{}; echo '{answer}'",
            heard.display()
        );
        let approver = notifier(&scene, &shows);
        let odd = odd.to_str().unwrap();
        let flags = ["-q", "-p", &policy, "--approver", &approver];
        let ran = run(&mut scene.script(&flags, &format!("cat '{odd}'")));
        assert_eq!(ran.status.code(), Some(status), "{answer}: {ran}");
        let heard = std::fs::read_to_string(&heard).unwrap();
        assert!(heard.contains("/data/&lt;b&gt;&amp;???x"), "{heard}");
        assert!(heard.contains("--action=yes=Allow\n"), "{heard}");
    }
}
