//! What would have allowed something that was refused, as far as the record alone can tell: what lies where it was refused is not
//! looked at, since that may be another machine.

use super::record::Run;
use super::refusals::Refusal;
use serde_json::Value;
use std::path::PathBuf;
use supervisor::advice::{Found, Remedy, Setting, remedy};
use supervisor::audit::{Object, Printable, Refused, Takes};
use supervisor::policy::{Access, Mechanism, Origin, Reason};

/// The smallest change that allows it, in one line. `None`: none would, or none can be written down.
pub fn change(run: &Run, refusal: &Refusal<'_>) -> Option<String> {
    let record = &refusal.first.record;
    let refused = Refused {
        object: object(record)?,
        access: access(record),
        reason: reason(record),
        rule: rule(record),
        detail: String::new(),
        program: None,
        by: mechanism(record).into(),
        takes: Takes::of(
            text(record, "call").unwrap_or_default(),
            text(record, "door") == Some("kernel"),
        ),
        times: 1,
    };
    let is_stacked = run.policies.len() > 1;
    let setting = Setting {
        home: None,
        is_stacked,
    };
    match remedy(&refused, &Found::default(), setting) {
        Remedy::Add(change) => {
            let remark = match is_stacked {
                true => Some("in each policy"),
                false => change.remark,
            };
            let remark = remark.map(|remark| format!("  # {remark}"));
            Some(change.line? + &remark.unwrap_or_default())
        }
        Remedy::Lift(place) => Some(Printable::from(&*place).to_string()),
        Remedy::Answer | Remedy::Nothing(_) => None,
    }
}

fn text<'a>(record: &'a Value, name: &str) -> Option<&'a str> {
    record[name].as_str()
}

fn object(record: &Value) -> Option<Object> {
    let address = text(record, "address").and_then(|address| address.parse().ok());
    match (address, text(record, "path").map(PathBuf::from)) {
        (Some(address), _) if text(record, "call") == Some("bind") => Some(Object::Own(address)),
        (Some(address), _) => Some(Object::Peer(address)),
        (None, Some(path)) if record["access"].is_array() => Some(Object::File(path)),
        (None, Some(path)) => Some(Object::Socket(path)),
        (None, None) => None,
    }
}

fn access(record: &Value) -> Access {
    let rights = record["access"].as_array().into_iter().flatten();
    let rights = rights.filter_map(|right| Access::from_name(right.as_str()?));
    rights.fold(Access::NONE, Access::union)
}

fn reason(record: &Value) -> Option<Reason> {
    serde_json::from_value(record["reason"].clone()).ok()
}

fn mechanism(record: &Value) -> Option<Mechanism> {
    serde_json::from_value(record["mechanism"].clone()).ok()
}

fn rule(record: &Value) -> Option<Origin> {
    text(record, "rule").map(|place| Origin::read(place, text(record, "says")))
}
