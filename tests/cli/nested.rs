//! `supervise` inside itself.

use super::Scene;
use super::harness::run::run;
use super::harness::{feature, require};
use serde_json::Value;

#[test]
fn the_inner_one_confines_further_and_says_who_decides_metadata() {
    require!(feature::listener());
    let scene = Scene::new();
    scene.workspace.write("a/file", "x\n");
    scene.workspace.write("b/file", "x\n");
    let inner = "$SUPERVISE_EXE --audit inner.jsonl --chdir a -- sh -c 'cat file; cat ../b/file'";
    let ran = run(&mut scene.script(&[], &format!("cat b/file; {inner}"))).expect_code(1);
    assert_eq!(ran.stdout, "x\nx\n", "{ran}");
    let log = std::fs::read_to_string(scene.workspace.join("inner.jsonl")).expect("a record");
    let mut starts = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter(|record| record["event"] == "start");
    let start = starts.next_back().expect("a start record");
    let metadata = start["layers"]
        .as_array()
        .and_then(|layers| layers.iter().find(|layer| layer["name"] == "metadata"))
        .expect("a layer of that name");
    assert_eq!(metadata["state"], "weakened", "{start}");
    let detail = metadata["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("above"), "{detail}");
}

#[test]
fn the_inner_one_says_that_tcp_is_the_outer_ones_to_decide() {
    require!(feature::listener());
    let scene = Scene::new();
    for (flags, weaker) in [("--connect '*:443'", true), ("", false)] {
        let inner = format!("\"$SUPERVISE_EXE\" -v --audit inner.jsonl {flags} -- true");
        let ran = run(&mut scene.script(&["--connect", "*:443"], &inner)).expect_code(0);
        let mut said = ran.stderr.lines();
        let line = said.find(|line| line.contains("weaker")).expect("metadata");
        assert_eq!(
            line.contains("net (decided by the supervisor above"),
            weaker,
            "{ran}"
        );
    }
}

#[test]
fn three_deep_the_status_still_comes_up() {
    let scene = Scene::new();
    let script = "$SUPERVISE_EXE -- sh -c '$SUPERVISE_EXE -- sh -c \"exit 7\"'";
    // What the kernel refused of it is for others to say.
    let ran = run(&mut scene.script(&["-q"], script)).expect_code(7);
    assert_eq!(ran.stderr, "");
}

#[test]
fn one_that_could_open_nothing_is_not_made_and_says_why() {
    require!(feature::listener());
    let scene = Scene::new();
    let project = scene.workspace.path();
    let policy = format!(
        "version = 1\nextends = [\"build\"]\n[fs]\nexec = [\"{}\"]\ndeny = [\"{}/**/.env\"]\n",
        crate::harness::built::supervise()
            .parent()
            .expect("a directory")
            .display(),
        project.display()
    );
    let policy = scene.kept.write("policy.toml", policy);
    let flags = ["-q", "-p", policy.to_str().expect("text")];
    let ran = run(&mut scene.script(&flags, "\"$SUPERVISE_EXE\" -- true")).expect_code(125);
    let said = "no sandbox can be made within this one: its policy denies a pattern";
    assert!(ran.stderr.contains(said), "{ran}");
}
