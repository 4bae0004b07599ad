//! The JSON schemas of policies and pool files say what the readers of these files do, and that of a status what is printed.

use crate::harness::built::{supervise, tree};
use crate::harness::run::run;
use protocol::control::{
    DaemonStatus, Ended, LifecycleState, SCHEMA, Status, StopReason, WorkerStatus,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use supervisor::policy::{NoFiles, Policy};
use supervisor::workers::config::PoolFile;

/// A schema, and the reader of such files.
struct Kind {
    name: &'static str,
    read: fn(&str) -> Result<(), String>,
    /// What a table of that place needs beside what is tried.
    company: fn(&[&str]) -> Value,
    /// Where the reader knows more than a schema can say.
    refined: &'static [&'static str],
}

const KINDS: [Kind; 2] = [
    Kind {
        name: "policy",
        read: |text| {
            let read = Policy::parse("p.toml", text, &mut NoFiles);
            read.map(drop).map_err(|error| error.to_string())
        },
        company: |place| match place {
            [] => json!({ "version": 1 }),
            ["request"] => json!({ "path": "/x", "decision": "ask" }),
            ["extends"] => json!({ "preset": "build" }),
            ["net", "unix"] => json!({ "path": "/x" }),
            ["broker", "approver"] => json!({ "command": ["/x"] }),
            _ => json!({}),
        },
        // Names and addresses.
        refined: &[
            "extends",
            "extends.preset",
            "extends.without",
            "net.connect",
            "net.bind",
            "process.keep_caps",
            "env.pass",
            "env.set",
        ],
    },
    Kind {
        name: "pool",
        read: |text| {
            let read = PoolFile::parse("w.toml", text.to_owned(), Path::new("/"));
            read.map(drop).map_err(|error| error.to_string())
        },
        company: |place| match place {
            [] => json!({ "version": 1 }),
            ["worker"] => json!({ "name": "a", "command": ["/x"] }),
            _ => json!({}),
        },
        // At least 4096 bytes, also where a unit is given.
        refined: &["worker.recycle_after_bytes", "worker.log_size"],
    },
];

impl Kind {
    /// As the command prints it.
    fn schema(&self) -> Value {
        let ran = run(Command::new(supervise()).args(["schema", self.name])).expect_code(0);
        serde_json::from_str(&ran.stdout).expect("JSON")
    }

    /// A file that has `value` under `key` of the table at `place`. Lists of tables have one.
    fn file(&self, schema: &Value, place: &[&str], key: &str, value: Value) -> Value {
        let mut made = (self.company)(place);
        made[key] = value;
        for depth in (0..place.len()).rev() {
            let (above, name) = (&place[..depth], place[depth]);
            if list_of_tables(schema, &place[..=depth]) {
                made = json!([made]);
            }
            let mut table = (self.company)(above);
            table[name] = made;
            made = table;
        }
        made
    }
}

/// The schema of what stands at `place`: of one item, where it is a list of tables.
fn tables<'s>(schema: &'s Value, place: &[&str]) -> Vec<&'s Map<String, Value>> {
    let mut found = vec![schema];
    for name in place {
        let step = |node: &'s Value| node["properties"].get(name);
        found = found.into_iter().filter_map(step).collect();
        found = found.into_iter().flat_map(alternatives).collect();
    }
    let properties = found.iter().map(|node| node["properties"].as_object());
    properties.flatten().collect()
}

/// What a value can be, or an item of it.
fn alternatives(node: &Value) -> Vec<&Value> {
    let mut all = vec![node];
    all.extend(node["anyOf"].as_array().into_iter().flatten());
    if node.get("items").is_some() {
        all.extend(alternatives(&node["items"]));
    }
    all
}

fn list_of_tables(schema: &Value, place: &[&str]) -> bool {
    let Some((name, above)) = place.split_last() else {
        return false;
    };
    let own = tables(schema, above);
    own.iter().any(|table| table[*name]["type"] == "array")
}

/// Every table of the schema, by its place.
fn places(schema: &Value) -> Vec<Vec<&str>> {
    let mut found = vec![Vec::new()];
    let mut at = 0;
    while at < found.len() {
        let place = found[at].clone();
        for name in tables(schema, &place).into_iter().flat_map(Map::keys) {
            let mut deeper = place.clone();
            deeper.push(name);
            if !tables(schema, &deeper).is_empty() {
                found.push(deeper);
            }
        }
        at += 1;
    }
    found
}

/// As TOML writes it.
fn written(value: &Value) -> String {
    let table = |table: &Map<String, Value>| {
        let entries = table.iter();
        let entries = entries.map(|(key, value)| format!("{} = {}", json!(key), written(value)));
        entries.collect::<Vec<_>>()
    };
    match value {
        Value::Object(entries) => format!("{{ {} }}", table(entries).join(", ")),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        plain => plain.to_string(),
    }
}

fn lines(file: &Value) -> String {
    let entries = file.as_object().expect("a table").iter();
    let line = |(key, value): (&String, &Value)| format!("{key} = {}\n", written(value));
    entries.map(line).collect()
}

#[test]
fn the_keys_of_a_schema_are_those_of_the_reader() {
    for kind in KINDS {
        let schema = kind.schema();
        let places = places(&schema);
        assert!(places.len() >= 3, "{places:?}");
        for place in places {
            let text = lines(&kind.file(&schema, &place, "zzz", json!(1)));
            let error = (kind.read)(&text).expect_err("that key is nowhere");
            let known = error.split("allowed here: ").nth(1);
            let known = known.unwrap_or_else(|| panic!("{place:?}: {error}\n{text}"));
            let known: BTreeSet<&str> = known.trim_end().split(", ").collect();
            let said = tables(&schema, &place).into_iter().flat_map(Map::keys);
            let said: BTreeSet<&str> = said.map(String::as_str).collect();
            assert_eq!(said, known, "{} {place:?}", kind.name);
        }
    }
}

#[test]
fn a_schema_takes_what_the_reader_takes() {
    let plain = json!([
        true, 0, 1, 4096, -1, 1.5, 10001, 4294967296u64, "", "x", "x-1", "A", "/x", "$PWD/x?", "10s", "1h30m", "10", "0s", "2GiB", "5", "*:443",
        "10.0.0.0/8:443", "*", "CHOWN", "NOBODY", "A=B", "none", "own", "any", "private", "shared", "kill", "wait", "deny", "terminal", "control", "auto",
        "notify", "preload", "allow", "ask", "read", "write", "exec", "net", "ioctl", "pool", "nothing", "always", "on-failure", "never", "survive",
        "require", "prefer", "skip", "build", {}, { "A": "b" }, { "A": 1 }, { "A=": "b" }, { "path": "/x" }, { "command": ["/x"] }, { "command": ["x"] },
        { "command": [] }, { "preset": "build" }, { "preset": "build", "without": ["deny:/x"] },
    ]);
    let plain = plain.as_array().expect("a list");
    let lists = plain.iter().map(|value| json!([value]));
    let values: Vec<Value> = plain
        .iter()
        .cloned()
        .chain(lists)
        .chain([json!([])])
        .collect();
    let (mut taken, mut refused) = (0, 0);
    let mut differ = Vec::new();
    for kind in KINDS {
        let schema = kind.schema();
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        for place in places(&schema) {
            for key in tables(&schema, &place).into_iter().flat_map(Map::keys) {
                let name = place.iter().copied().chain([key.as_str()]);
                let name = name.collect::<Vec<_>>().join(".");
                for value in &values {
                    let file = kind.file(&schema, &place, key, value.clone());
                    let text = lines(&file);
                    let read = (kind.read)(&text);
                    let is_valid = validator.is_valid(&file);
                    *(if is_valid { &mut taken } else { &mut refused }) += 1;
                    if is_valid && kind.refined.contains(&&*name) {
                        continue;
                    }
                    if is_valid != read.is_ok() {
                        differ.push(format!("{is_valid} {text}{read:?}"));
                    }
                }
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
    assert!(taken > 300 && refused > 3000, "{taken} {refused}");
}

#[test]
fn every_preset_is_as_its_schema_says() {
    let schema = KINDS[0].schema();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let presets = std::fs::read_dir(tree().join("policies")).expect("the presets");
    let mut seen = 0;
    for entry in presets {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "toml") {
            let text = std::fs::read_to_string(&path).expect("a text");
            let value: Value = toml::from_str(&text).expect("TOML");
            let errors: Vec<_> = validator
                .iter_errors(&value)
                .map(|e| e.to_string())
                .collect();
            assert!(errors.is_empty(), "{}: {errors:?}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen}");
}

#[test]
fn every_word_and_field_of_a_status_is_in_its_schema() {
    let ran = run(Command::new(supervise()).args(["schema", "status"])).expect_code(0);
    let schema: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let status = |state, reason| Status {
        schema: SCHEMA,
        daemon: DaemonStatus {
            pid: 1,
            keeper_pid: Some(1),
            version: "1".to_owned(),
            daemon: "x".to_owned(),
            since_unix_ms: 1,
            config: Some("/x".to_owned()),
            queued: 1,
            questions: 1,
        },
        workers: vec![WorkerStatus {
            id: "a-1".to_owned(),
            kind: "a".to_owned(),
            state,
            desired: true,
            pid: Some(1),
            instance: Some("x".to_owned()),
            endpoint: Some("/x".to_owned()),
            since_unix_ms: 1,
            reattached: true,
            verified: Some("x".to_owned()),
            speaks: true,
            degraded: Some("x".to_owned()),
            auto_restart: true,
            restart_attempt: 1,
            sid: Some("x".to_owned()),
            jobs: 1,
            last_exit: Some(Ended {
                code: Some(1),
                signal: Some(9),
                timed_out: true,
            }),
            stop_reason: Some(reason),
            detail: Some("x".to_owned()),
        }],
        more: None,
    };
    let (mut state, mut reason) = (LifecycleState::Idle, StopReason::User);
    let mut words = (vec![json!(state)], vec![json!(reason)]);
    let is_valid = |state, reason| validator.is_valid(&json!(status(state, reason)));
    assert!(is_valid(state, reason));
    while let Some(next) = state_after(state) {
        state = next;
        assert!(is_valid(state, reason), "{state:?}");
        words.0.push(json!(state));
    }
    while let Some(next) = reason_after(reason) {
        reason = next;
        assert!(is_valid(state, reason), "{reason:?}");
        words.1.push(json!(reason));
    }
    let worker = &schema["properties"]["workers"]["items"]["properties"];
    assert_eq!(worker["state"]["enum"], json!(words.0));
    assert_eq!(worker["stop_reason"]["enum"], json!(words.1));
    let mut strange = json!(status(LifecycleState::Idle, StopReason::User));
    strange["workers"][0]["mood"] = json!("good");
    assert!(!validator.is_valid(&strange), "a field of no schema");
}

/// Each of them, one after the other; the compiler sees to it that none is left out.
fn state_after(state: LifecycleState) -> Option<LifecycleState> {
    use LifecycleState as State;
    Some(match state {
        State::Idle => State::Starting,
        State::Starting => State::Running,
        State::Running => State::Stopping,
        State::Stopping => State::Stopped,
        State::Stopped => State::Recovering,
        State::Recovering => State::RecoveryPending,
        State::RecoveryPending => State::Error,
        State::Error => State::Blocked,
        State::Blocked => State::Unknown,
        State::Unknown => return None,
    })
}

fn reason_after(reason: StopReason) -> Option<StopReason> {
    use StopReason as Reason;
    Some(match reason {
        Reason::User => Reason::App,
        Reason::App => Reason::Completed,
        Reason::Completed => Reason::Idle,
        Reason::Idle => Reason::Error,
        Reason::Error => Reason::ProcessExit,
        Reason::ProcessExit => Reason::OsRestart,
        Reason::OsRestart => Reason::DaemonTerminated,
        Reason::DaemonTerminated => Reason::Upgrade,
        Reason::Upgrade => Reason::Recycled,
        Reason::Recycled => Reason::Unknown,
        Reason::Unknown => return None,
    })
}
