//! What is offered to continuous integration: it is what it says it is, and the scripts in it do what they should.

#[path = "../harness/mod.rs"]
mod harness;

mod action;
mod others;

use harness::built::tree;
use harness::run::run_with_input;
use serde_json::Value;
use std::process::Command;

/// Whether YAML can be read here.
fn yaml_reader() -> Result<(), String> {
    let mut python = Command::new("python3");
    match python.args(["-c", "import yaml"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("python3 has no module yaml here".to_owned()),
    }
}

/// A file of the tree that is YAML.
#[track_caller]
fn yaml(name: &str) -> Value {
    let text = std::fs::read(tree().join(name)).expect("it is there");
    // As the base types of JSON, and no key twice.
    let script = "\
import json, sys, yaml
class Strict(yaml.SafeLoader): pass
def table(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(keys) == len(set(keys)), keys
    return yaml.SafeLoader.construct_mapping(loader, node, True)
Strict.add_constructor('tag:yaml.org,2002:map', table)
json.dump(yaml.load(sys.stdin, Strict), sys.stdout)";
    let mut python = Command::new("python3");
    // Through a file: the harness writes no more than fits into a pipe.
    let kept = harness::Workspace::new();
    let file = kept.write("text", text);
    let stdin = std::fs::File::open(file).expect("it is there");
    let output = python.args(["-c", script]).stdin(stdin).output();
    let output = output.expect("python3 can be started");
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A script as the runner starts it: it ends at the first command that fails.
fn bash(script: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]);
    bash
}

#[test]
fn scripts_have_no_faults_of_syntax() {
    harness::require!(harness::feature::program("bash"));
    harness::require!(yaml_reader());
    let action = yaml("action.yml");
    let steps = action["runs"]["steps"].as_array().expect("a list");
    let gitlab = yaml("docs/ci/gitlab.yml");
    let scripts = steps.iter().map(|step| &step["run"]);
    for script in scripts.chain([&gitlab[".supervise"]["script"][0]]) {
        let script = script.as_str().expect("text");
        let mut bash = Command::new("bash");
        run_with_input(bash.arg("-n"), script.as_bytes()).expect_code(0);
    }
}
