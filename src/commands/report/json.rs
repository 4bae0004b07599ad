//! For programs. Fields may be added; those that are there keep their meaning as long as `schema` is 1.

use super::record::{Answer, Health, Record, Run};
use super::refusals::{Place, refusals};
use super::{advice, names, state};
use serde_json::{Value, json};
use supervisor::audit::{Ending, Fault};

/// The report. Decisions are as they stand in the record: names that are no text are `{"b64": …}`.
pub fn json(record: &Record) -> String {
    let line = match (record.found.fault, record.found.ending) {
        (Some(Fault::Changed { line } | Fault::Misplaced { line }), _) => Some(line),
        (None, Ending::Torn { line }) => Some(line),
        _ => None,
    };
    let health = match record.health() {
        Health::Whole => "whole",
        Health::Open => "open",
        Health::Changed => "changed",
    };
    names::json(&json!({
        "schema": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "refused": record.count(Answer::Refused),
        "record": {
            "file": record.file,
            "state": health,
            "says": state(record),
            "line": line,
            "records": record.found.records,
            "last": record.found.last.to_string(),
        },
        "runs": record.runs.iter().map(run).collect::<Vec<_>>(),
    }))
}

fn run(run: &Run) -> Value {
    let refusals = refusals(run);
    let refusals: Vec<Value> = refusals
        .iter()
        .map(|refusal| {
            let place = match refusal.place() {
                Place::File { name, line } => json!({ "file": name, "line": line }),
                Place::Elsewhere(text) => json!({ "text": text }),
                Place::Nowhere => Value::Null,
            };
            json!({
                "operation": refusal.first.operation,
                "object": refusal.first.object,
                "calls": refusal.calls,
                "programs": refusal.programs,
                "times": refusal.times,
                "first": refusal.first.at,
                "errno": refusal.first.errno,
                "why": refusal.why(),
                "rule": place,
                "change": advice::change(run, refusal),
            })
        })
        .collect();
    json!({
        "session": run.session,
        "start": body(&run.start),
        "end": body(&run.last),
        "breaks": run.breaks,
        "unknown": run.unknown,
        "granted": run.count(Answer::Granted),
        "refused": run.count(Answer::Refused),
        "asked": run.count(Answer::Asked),
        "revoked": run.count(Answer::Revoked),
        "micros": run.micros(),
        "refusals": refusals,
        "decisions": run.decisions.iter().map(|one| body(&one.record)).collect::<Vec<_>>(),
    })
}

/// A record without what ties it to others.
fn body(record: &Value) -> Value {
    let mut body = record.clone();
    if let Some(fields) = body.as_object_mut() {
        for chain in ["prev", "hash", "event"] {
            fields.remove(chain);
        }
    }
    body
}
