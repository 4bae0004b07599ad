//! SARIF 2.1.0, for code scanning: a result for each refusal, where the policy says so.
//!
//! All runs are one run of the tool: services take no two of the same tool in one file.

use super::names::{in_uri, json as written};
use super::record::{Health, Record, Run};
use super::refusals::{Place, Refusal, refusals, seen_from};
use super::{advice, state};
use serde_json::{Value, json};
use supervisor::audit::Digest;

/// Why something is refused: the name of the record, and what it means.
const REASONS: [(&str, &str, &str); 7] = [
    (
        "rule",
        "Denied",
        "A rule denies it, and a denial always wins.",
    ),
    (
        "no-rule",
        "NotAllowed",
        "No rule allows it, and what is not allowed is denied.",
    ),
    (
        "not-native",
        "NotExecutable",
        "A denial inside the same tree keeps the kernel from granting the right to execute.",
    ),
    (
        "would-gain",
        "WouldGain",
        "Under its new name more could be done with it.",
    ),
    (
        "unconfined-peer",
        "UnconfinedPeer",
        "The service behind the socket acts outside of every sandbox.",
    ),
    (
        "not-own",
        "NotOwn",
        "Of this machine's own ports only those may be connected to on which the run itself listens.",
    ),
    (
        "",
        "Refused",
        "It was refused, and not by a rule: an approver said no, or it could not be done.",
    ),
];

/// The report.
pub fn sarif(record: &Record) -> String {
    let rules: Vec<Value> = REASONS
        .iter()
        .map(|(_, id, said)| json!({ "id": id, "shortDescription": { "text": said } }))
        .collect();
    let results: Vec<Value> = record
        .runs
        .iter()
        .flat_map(|run| refusals(run).into_iter().map(move |one| result(run, &one)))
        .collect();
    let notifications: Vec<Value> = (record.health() != Health::Whole)
        .then(|| json!({ "level": "error", "message": { "text": plain(&state(record)) } }))
        .into_iter()
        .collect();
    let mut invocations: Vec<Value> = record.runs.iter().map(invocation).collect();
    if invocations.is_empty() {
        invocations.push(json!({ "executionSuccessful": false }));
    }
    invocations[0]["toolExecutionNotifications"] = notifications.into();
    written(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "supervise",
                "version": env!("CARGO_PKG_VERSION"),
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "invocations": invocations,
            "results": results,
        }],
    }))
}

fn invocation(run: &Run) -> Value {
    let mut invocation = json!({
        "executionSuccessful": run.end.is_some(),
        "commandLine": run.command,
        "startTimeUtc": run.started,
        "workingDirectory": { "uri": format!("file://{}", in_uri(&run.directory)) },
        "properties": { "session": run.session },
    });
    if let Some((_, at)) = &run.end {
        invocation["endTimeUtc"] = at.as_str().into();
    }
    let status = &run.last["status"];
    for (how, field) in [("exited", "exitCode"), ("killed", "exitSignalNumber")] {
        if status[how].is_i64() {
            invocation[field] = status[how].clone();
        }
    }
    invocation
}

fn result(run: &Run, refusal: &Refusal<'_>) -> Value {
    let first = refusal.first;
    let reason = first.record["reason"].as_str().unwrap_or_default();
    let known = REASONS.iter().position(|(name, ..)| *name == reason);
    let rule = known.unwrap_or(REASONS.len() - 1);
    let mut text = format!("{} was refused: {}", refusal.what(), refusal.why());
    if !refusal.programs.is_empty() {
        text.push_str(&format!("; asked for by {}", refusal.by()));
    }
    if let Some(change) = advice::change(run, refusal) {
        text.push_str(&format!(". To allow it: {change}"));
    }
    let digest = Digest::of(
        [&*first.operation, &*first.object, &*first.rule]
            .join("\n")
            .as_bytes(),
    );
    json!({
        "ruleId": REASONS[rule].1,
        "ruleIndex": rule,
        // What somebody took the trouble to deny was reached for.
        "level": if refusal.is_denied() { "error" } else { "warning" },
        "message": { "text": plain(&text) },
        "locations": [location(run, refusal)],
        "partialFingerprints": { "refusal/v1": digest.to_string() },
        "occurrenceCount": refusal.times,
        "properties": { "session": run.session, "calls": refusal.calls },
    })
}

/// Where the policy says so. What nothing allows stands nowhere: the first line of the first policy file is shown, to which something
/// could be added.
fn location(run: &Run, refusal: &Refusal<'_>) -> Value {
    let is_file = |name: &&String| name.contains('/') || name.ends_with(".toml");
    let file = run.policies.iter().find(is_file);
    let (place, line, name) = match (refusal.place(), file) {
        (Place::File { name, line }, _) => (Some(name), line, name),
        (Place::Elsewhere(text), _) => (None, 1, text),
        (Place::Nowhere, Some(file)) => (Some(&**file), 1, &**file),
        (Place::Nowhere, None) => (None, 1, "no rule"),
    };
    let mut location = json!({ "logicalLocations": [{ "fullyQualifiedName": name }] });
    if let Some(file) = place {
        location["physicalLocation"] = json!({
            "artifactLocation": artifact(file, &run.directory),
            "region": { "startLine": line },
        });
    }
    location
}

/// A file, relative to where the run started where it lies below.
fn artifact(name: &str, directory: &str) -> Value {
    match seen_from(directory, name) {
        Some(name) => json!({ "uri": in_uri(name), "uriBaseId": "%SRCROOT%" }),
        None => json!({ "uri": format!("file://{}", in_uri(name)) }),
    }
}

/// Text of a message, in which brackets would make links and braces stand for arguments.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '[' | ']' | '\\' => plain.extend(['\\', character]),
            '{' | '}' => plain.extend([character, character]),
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_below_the_run_are_named_from_there() {
        let uri = |name| artifact(name, "/a/b")["uri"].clone();
        assert_eq!(uri("./p q.toml"), "p%20q.toml");
        assert_eq!(uri("/a/b/c.toml"), "c.toml");
        assert_eq!(uri("/a/bc.toml"), "file:///a/bc.toml");
    }

    #[test]
    fn a_name_makes_no_link_in_a_message() {
        assert_eq!(plain("[x](http://y) {0}"), "\\[x\\](http://y) {{0}}");
    }
}
