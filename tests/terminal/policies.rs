//! Who gets a terminal of its own: whoever asks for it, and whom a policy gives it.

use super::Scene;
use super::harness::built::supervise;
use super::harness::run::run;
use std::process::Command;

const TITLE: &str = "printf '\\033]0;title\\007word\\n'";

fn policy(scene: &Scene, name: &str, terminal: &str) -> String {
    let text = format!("version = 1\nextends = [\"read-only\"]\n{terminal}");
    let path = scene.kept.join(name);
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

fn shown(scene: &Scene, flags: &str) -> String {
    let mut desk = scene.script(&format!(
        "\"$S\" {flags} -- sh -c \"$(cat title)\"; echo stat''us=$?."
    ));
    assert!(desk.sees("status=").starts_with("0."), "{}", desk.screen);
    let (shown, _) = desk.screen.split_once("status=").expect("it was seen");
    shown.to_owned()
}

#[test]
fn a_policy_gives_it_and_the_narrower_of_several_decides() {
    let scene = Scene::new();
    scene.workspace.write("title", TITLE);
    let own = policy(&scene, "own.toml", "[process]\nterminal = \"own\"\n");
    let same = policy(&scene, "same.toml", "[process]\nterminal = \"inherited\"\n");
    let silent = policy(&scene, "silent.toml", "");
    let all = "\x1b]0;title\x07word\r\n";
    for (flags, expected) in [
        (format!("-p {silent}"), all),
        (format!("-p {same}"), all),
        (format!("-p {own}"), "word\r\n"),
        (format!("-p {same} -p {own}"), "word\r\n"),
        (format!("-p {own} -p {same}"), "word\r\n"),
        (format!("-p {silent} --pty"), "word\r\n"),
        (format!("-p {silent} --pty=filtered"), "word\r\n"),
        (format!("-p {own} --pty=passthrough"), all),
    ] {
        assert_eq!(shown(&scene, &flags), expected, "{flags}");
    }
}

#[test]
fn check_says_so() {
    let scene = Scene::new();
    let own = policy(&scene, "own.toml", "[process]\nterminal = \"own\"\n");
    let check = |more: &[&str]| {
        let mut command = Command::new(supervise());
        command.args(["check", &own]).args(more);
        run(scene.at_home(&mut command)).expect_code(0).stdout
    };
    let text = check(&[]);
    let line = text
        .lines()
        .find(|line| line.trim().starts_with("terminal"));
    assert!(
        line.is_some_and(|line| line.contains("of its own")),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&check(&["--json"])).expect("JSON");
    assert_eq!(json["process"]["own_terminal"], true);
}
