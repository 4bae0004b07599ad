//! What the book has to speak of: every key, every preset, every command, every variable.

use super::harness::built::{supervise, tree};
use super::harness::run::run;
use super::page;
use serde_json::Value;
use std::process::Command;

/// The keys of a schema, each behind the names of its tables.
fn keys(schema: &Value, before: &str, found: &mut Vec<String>) {
    if let Some(properties) = schema["properties"].as_object() {
        for (key, inner) in properties {
            let name = format!("{before}{key}");
            keys(inner, &format!("{name}."), found);
            found.push(name);
        }
    }
    keys_of_list(&schema["items"], before, found);
    for alternatives in ["anyOf", "oneOf"] {
        for one in schema[alternatives].as_array().into_iter().flatten() {
            keys(one, before, found);
        }
    }
}

fn keys_of_list(items: &Value, before: &str, found: &mut Vec<String>) {
    if items.is_object() {
        keys(items, before, found);
    }
}

fn schema(name: &str) -> Value {
    let path = tree().join(format!("policies/schema/{name}.json"));
    let text = std::fs::read_to_string(path).expect("it is there");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn every_key_of_a_policy_and_of_a_pool_file_is_explained() {
    for (name, path) in [
        ("policy", "docs/src/policy.md"),
        ("pool", "docs/src/workers.md"),
    ] {
        let text = page(path.to_owned()).text;
        let mut all = Vec::new();
        keys(&schema(name), "", &mut all);
        assert!(all.len() > 20, "{name}: {all:?}");
        let is_missing = |key: &&String| !text.contains(&format!("`{key}`"));
        let missing: Vec<&String> = all.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "{path} is silent about {missing:?}");
    }
}

#[test]
fn every_preset_and_every_command_is_spoken_of() {
    let mut text = String::new();
    for page in super::pages() {
        text.push_str(&page.text);
    }
    let presets = run(Command::new(supervise()).arg("presets")).expect_code(0);
    for line in presets.stdout.lines().take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().expect("a name");
        assert!(text.contains(&format!("`{name}`")), "the preset {name}");
    }
    let help = run(Command::new(supervise()).arg("--help")).expect_code(0);
    let listed = help.stdout.split("Commands:\n").nth(1).expect("a list");
    let lines = listed.lines().take_while(|line| !line.is_empty());
    for line in lines.filter(|line| !line.starts_with("   ")) {
        let name = line.split_whitespace().next().expect("a name");
        let forms = [
            format!("`supervise {name}"),
            format!("$ supervise {name}"),
            format!("`{name}`"),
        ];
        assert!(
            name == "help" || forms.iter().any(|form| text.contains(form)),
            "the book is silent about the command {name}"
        );
    }
}
