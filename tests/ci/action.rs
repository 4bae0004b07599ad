//! The action for GitHub: its steps, run one after the other as a runner would.

use super::*;
use crate::harness::built::supervise;
use crate::harness::run::{Ran, run};
use crate::harness::{Workspace, feature, require};
use std::collections::BTreeMap;

/// A runner, as far as the action can tell.
struct Runner {
    workspace: Workspace,
    kept: Workspace,
}

/// What came of the action.
struct Done {
    /// The last step, which is the one that may fail.
    last: Ran,
    printed: String,
    errors: String,
    outputs: BTreeMap<String, String>,
    summary: String,
}

impl Runner {
    fn new() -> Self {
        Self {
            workspace: Workspace::new(),
            kept: Workspace::new(),
        }
    }

    /// Runs the action with these inputs; the others have what they have without any.
    fn run(&self, given: &[(&str, &str)]) -> Done {
        let action = yaml("action.yml");
        let binary = supervise();
        let mut values = BTreeMap::new();
        for (name, input) in action["inputs"].as_object().expect("a table") {
            let default = input["default"].as_str().unwrap_or_default();
            values.insert(format!("inputs.{name}"), default.to_owned());
        }
        let ours = [("binary", binary.to_str().expect("a name of ours"))];
        for (name, value) in ours.iter().chain(given) {
            let known = values.insert(format!("inputs.{name}"), (*value).to_owned());
            assert!(known.is_some(), "there is no input {name}");
        }
        let temporary = self.kept.path().display().to_string();
        values.insert("runner.temp".to_owned(), temporary);
        values.insert(
            "github.action_path".to_owned(),
            tree().display().to_string(),
        );
        let summary = self.kept.write("summary", "");
        let (mut printed, mut errors) = (String::new(), String::new());
        let mut last = None;
        for step in action["runs"]["steps"].as_array().expect("a list") {
            let outputs = self.kept.write("output", "");
            let mut bash = bash(step["run"].as_str().expect("a script"));
            bash.current_dir(self.workspace.path())
                .env("PWD", self.workspace.path())
                .env("GITHUB_OUTPUT", &outputs)
                .env("GITHUB_STEP_SUMMARY", &summary)
                .env("XDG_STATE_HOME", self.kept.join("state"))
                .env("XDG_RUNTIME_DIR", self.kept.path())
                .env_remove("SUPERVISE");
            for (name, value) in step["env"].as_object().expect("a table") {
                bash.env(name, filled(value.as_str().expect("text"), &values));
            }
            let ran = run(&mut bash);
            printed.push_str(&ran.stdout);
            errors.push_str(&ran.stderr);
            let id = step["id"].as_str().expect("a name");
            let said = std::fs::read_to_string(outputs).expect("it can be read");
            for line in said.lines() {
                let (name, value) = line.split_once('=').expect("NAME=VALUE");
                values.insert(format!("steps.{id}.outputs.{name}"), value.to_owned());
            }
            let is_over = ran.code() != 0;
            last = Some(ran);
            if is_over {
                break;
            }
        }
        let mut outputs = BTreeMap::new();
        for (name, output) in action["outputs"].as_object().expect("a table") {
            let value = output["value"].as_str().expect("text");
            outputs.insert(name.clone(), filled(value, &values));
        }
        Done {
            last: last.expect("there are steps"),
            printed,
            errors,
            outputs,
            summary: std::fs::read_to_string(summary).expect("it can be read"),
        }
    }
}

/// A text with the values of its expressions, each of which is one name.
fn filled(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut filled = String::new();
    let mut parts = text.split("${{");
    filled.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once("}}").expect("an expression ends");
        let value = values.get(name.trim());
        filled.push_str(value.map_or("", String::as_str));
        filled.push_str(rest);
    }
    filled
}

/// What all tests here need that run anything.
fn needs() -> Result<(), String> {
    yaml_reader()?;
    feature::program("bash")?;
    feature::listener()?;
    feature::pidfd_getfd()?;
    feature::landlock(6)
}

#[test]
fn a_script_that_is_refused_nothing_passes_and_says_so() {
    require!(needs());
    let runner = Runner::new();
    let done = runner.run(&[
        ("run", "echo made >here\ncat here"),
        ("fail-on-refusals", "true"),
    ]);
    assert_eq!(done.last.code(), 0, "{}", done.errors);
    assert!(done.printed.contains("made"), "{}", done.printed);
    assert!(
        done.summary.contains("nothing was refused"),
        "{}",
        done.summary
    );
    assert_eq!(done.outputs["refused"], "0");
    assert_eq!(done.outputs["exit-status"], "0");
}

#[test]
fn refusals_stand_in_the_summary_and_beside_the_policy_and_fail_when_asked_to() {
    require!(needs());
    let runner = Runner::new();
    runner.workspace.make_dir("secret");
    runner.workspace.write("secret/key", "key");
    let policy = "version = 1\nextends = [\"ci\"]\n[fs]\ndeny = [\"$PWD/secret\"]\n";
    runner.workspace.write("policy.toml", policy);
    let inputs = [
        ("run", "cat secret/key secret/key || true"),
        ("policy", "./policy.toml\n"),
        ("sarif", "out.sarif"),
        ("html", "out.html"),
    ];
    let done = runner.run(&inputs);
    assert_eq!(done.last.code(), 0, "{}", done.errors);
    assert_eq!(done.outputs["refused"], "2");
    assert!(
        done.summary.contains("2 requests were refused"),
        "{}",
        done.summary
    );
    let annotation = "::error title=refused,file=policy.toml,line=4::read ";
    assert!(done.printed.contains(annotation), "{}", done.printed);
    let sarif = std::fs::read(runner.workspace.join("out.sarif")).expect("it was written");
    let sarif: Value = serde_json::from_slice(&sarif).expect("JSON");
    assert_eq!(sarif["runs"][0]["results"][0]["occurrenceCount"], 2);
    let page = std::fs::read_to_string(runner.workspace.join("out.html"));
    assert!(page.expect("it was written").contains("secret/key"));
    let strict = [&inputs[..], &[("fail-on-refusals", "true")]].concat();
    assert_eq!(runner.run(&strict).last.code(), 3);
}

#[test]
fn the_status_of_the_script_is_the_one_of_the_step_and_the_report_is_there_all_the_same() {
    require!(needs());
    let runner = Runner::new();
    let done = runner.run(&[("run", "chmod 600 /etc/passwd; exit 7")]);
    assert_eq!(done.last.code(), 7, "{}", done.errors);
    assert_eq!(done.outputs["exit-status"], "7");
    assert!(done.summary.contains("/etc/passwd"), "{}", done.summary);
    // Nothing was run, so there is no record.
    let none = runner.run(&[("run", "true"), ("policy", "no-such-preset")]);
    assert_eq!(none.last.code(), 125, "{}", none.errors);
}

/// What is printed inside a sandbox is not meant for the runner.
#[test]
fn commands_to_the_runner_from_inside_are_stopped() {
    require!(needs());
    let runner = Runner::new();
    let done = runner.run(&[("run", "echo '::set-env name=A::b'")]);
    let lines: Vec<&str> = done.printed.lines().collect();
    let at = |wanted: &dyn Fn(&str) -> bool| lines.iter().position(|line| wanted(line));
    let stop = at(&|line| line.starts_with("::stop-commands::")).expect("it is stopped");
    let token = lines[stop].trim_start_matches("::stop-commands::");
    assert!(token.len() >= 32, "{token}");
    let forged = at(&|line| line.starts_with("::set-env")).expect("it was printed");
    let resumed = at(&|line| line == format!("::{token}::")).expect("it goes on");
    assert!(stop < forged && forged < resumed, "{lines:?}");
}

#[test]
fn no_input_is_pasted_into_a_script() {
    require!(yaml_reader());
    let action = yaml("action.yml");
    for step in action["runs"]["steps"].as_array().expect("a list") {
        let script = step["run"].as_str().expect("a script");
        assert!(!script.contains("${{"), "{script}");
        assert_eq!(step["shell"], "bash");
    }
    let runner = Runner::new();
    require!(needs());
    let hostile = "echo \"$(id -u)\" '`x`' '${{ x }}' \\\necho second";
    let done = runner.run(&[("run", hostile), ("policy", "ci\n\n")]);
    assert_eq!(done.last.code(), 0, "{}", done.errors);
    assert!(
        done.printed.contains("`x` ${{ x }} echo second"),
        "{}",
        done.printed
    );
}

#[test]
fn the_action_has_what_a_composite_one_needs() {
    require!(yaml_reader());
    let action = yaml("action.yml");
    for key in ["name", "description", "inputs", "outputs", "runs"] {
        assert!(!action[key].is_null(), "{key}");
    }
    assert_eq!(action["runs"]["using"], "composite");
    for (name, input) in action["inputs"].as_object().expect("a table") {
        assert!(input["description"].is_string(), "{name}");
        let has_default = input["default"].is_string();
        assert_eq!(has_default, input["required"] != true, "{name}");
        let used = format!("${{{{ inputs.{name} }}}}");
        assert!(
            action["runs"].to_string().contains(&used),
            "{name} is not used"
        );
    }
    let steps = action["runs"]["steps"].as_array().expect("a list");
    let report = steps.last().expect("a step");
    let condition = report["if"].as_str().expect("a condition");
    assert!(condition.starts_with("always()"), "{condition}");
}
