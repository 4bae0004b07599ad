//! The tables of the README are the specification: each is held against the code.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use supervisor_protocol::{
    Access, Code, Create, Granted, Hello, MAX_CLIENT, MAX_FDS, MAX_WHY, OpenFlags, OpenRequest,
    Refused, RequestedPath, SupervisorMessage, SupervisorResponse, VERSION, Welcome, frame,
};

/// The rows of the table whose first line begins with these cells, without backquotes.
fn table(first_cells: &[&str]) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
        inner
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let mut lines = include_str!("../README.md").lines();
    let found = lines.find(|line| {
        line.starts_with('|')
            && cells(line).starts_with(
                &first_cells
                    .iter()
                    .map(|&cell| cell.to_owned())
                    .collect::<Vec<_>>(),
            )
    });
    assert!(found.is_some(), "there is a table {first_cells:?}");
    let rows: Vec<_> = lines
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .collect();
    assert!(!rows.is_empty());
    rows
}

/// A word in backquotes at the beginning of a cell.
fn word(cell: &str) -> &str {
    cell.strip_prefix('`')
        .and_then(|rest| rest.split('`').next())
        .expect("a word in backquotes")
}

fn open(path: &[u8]) -> OpenRequest {
    OpenRequest {
        id: 7,
        path: RequestedPath::new(path).expect("a path"),
        access: Access::ReadWrite,
        flags: OpenFlags::APPEND
            .union(OpenFlags::TRUNCATE)
            .union(OpenFlags::NOFOLLOW)
            .union(OpenFlags::NONBLOCK),
        create: Create::Yes,
        mode: 0o644,
        why: Some("because".to_owned()),
    }
}

/// Messages that together have every field.
fn requests() -> Vec<SupervisorMessage> {
    vec![
        SupervisorMessage::Hello(Hello {
            id: 1,
            client: Some("test".to_owned()),
        }),
        SupervisorMessage::Open(open(b"/data/a")),
        SupervisorMessage::Open(open(b"/data/\xff")),
        SupervisorMessage::Fd(1),
    ]
}

fn responses() -> Vec<SupervisorResponse> {
    vec![
        SupervisorResponse::Welcome(Welcome { id: 1 }),
        SupervisorResponse::Granted(Granted {
            id: 1,
            fds: 1,
            expires: Some(Duration::from_secs(600)),
        }),
        SupervisorResponse::Refused(Refused {
            id: Some(1),
            code: Code::Denied,
            errno: 13,
            rule: Some("p.toml:12".to_owned()),
            detail: Some("so".to_owned()),
        }),
    ]
}

fn text(encoded: &[u8]) -> Value {
    serde_json::from_slice(&encoded[frame::HEADER..]).expect("JSON")
}

fn request_text(message: &SupervisorMessage) -> Value {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).expect("a frame");
    text(&bytes)
}

fn response_text(message: &SupervisorResponse) -> Value {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).expect("a frame");
    text(&bytes)
}

/// (kind or decision, field) of every field that the texts have.
fn fields(texts: impl Iterator<Item = Value>, tag: &str) -> BTreeSet<(String, String)> {
    let mut fields = BTreeSet::new();
    for text in texts {
        let kind = text[tag].as_str().expect("the tag").to_owned();
        let object = text.as_object().expect("an object");
        fields.extend(object.keys().map(|field| (kind.clone(), field.clone())));
    }
    fields
}

fn specified(tag: &str) -> BTreeSet<(String, String)> {
    let rows = table(&[tag, "field"]);
    rows.iter()
        .map(|row| (word(&row[0]).to_owned(), word(&row[1]).to_owned()))
        .collect()
}

#[test]
fn requests_have_the_specified_fields() {
    assert_eq!(
        fields(requests().iter().map(request_text), "kind"),
        specified("kind")
    );
}

#[test]
fn answers_have_the_specified_fields() {
    assert_eq!(
        fields(responses().iter().map(response_text), "decision"),
        specified("decision")
    );
}

#[test]
fn needed_fields_are_needed_and_others_are_not() {
    for message in requests() {
        let whole = request_text(&message);
        for row in table(&["kind", "field"]) {
            let (kind, field) = (word(&row[0]), word(&row[1]));
            if whole["kind"] != kind || whole.get(field).is_none() {
                continue;
            }
            let mut without = whole.clone();
            without.as_object_mut().expect("an object").remove(field);
            let decoded = SupervisorMessage::decode(without.to_string().as_bytes());
            assert_eq!(
                decoded.is_err(),
                row[3] == "yes",
                "{kind} without {field}: {decoded:?}"
            );
        }
    }
}

#[test]
fn fields_that_are_always_there_are_asked_for() {
    for message in responses() {
        let whole = response_text(&message);
        for row in table(&["decision", "field"]) {
            let (decision, field) = (word(&row[0]), word(&row[1]));
            // The supervisor's own limit is for information.
            if whole["decision"] != decision || field == "max_frame" {
                continue;
            }
            let mut without = whole.clone();
            without.as_object_mut().expect("an object").remove(field);
            let decoded = SupervisorResponse::decode(without.to_string().as_bytes());
            assert_eq!(
                decoded.is_err(),
                row[3] == "yes",
                "{decision} without {field}: {decoded:?}"
            );
        }
    }
}

#[test]
fn kinds_and_decisions_carry_the_specified_descriptors() {
    let count = |cell: &str| match cell {
        "0" => 0..=0,
        "1 to 8" => 1..=MAX_FDS,
        other => panic!("a count {other}"),
    };
    let kinds = table(&["kind", "what it asks"]);
    assert_eq!(kinds.len(), 3);
    for message in requests() {
        let kind = request_text(&message)["kind"].clone();
        let row = kinds
            .iter()
            .find(|row| word(&row[0]) == kind)
            .expect("a row");
        assert!(count(&row[2]).contains(&message.fds()));
    }
    let decisions = table(&["decision", "descriptors"]);
    assert_eq!(decisions.len(), 3);
    for message in responses() {
        let decision = response_text(&message)["decision"].clone();
        let row = decisions
            .iter()
            .find(|row| word(&row[0]) == decision)
            .expect("a row");
        assert!(count(&row[1]).contains(&message.fds()));
    }
    let out_of_range = format!(r#"{{"kind":"fd","fds":{}}}"#, MAX_FDS + 1);
    assert!(SupervisorMessage::decode(out_of_range.as_bytes()).is_err());
    assert!(SupervisorMessage::decode(br#"{"kind":"fd","fds":0}"#).is_err());
    assert!(SupervisorResponse::decode(out_of_range.as_bytes()).is_err());
    assert!(SupervisorResponse::decode(br#"{"id":1,"decision":"granted","fds":0}"#).is_err());
}

#[test]
fn codes_and_their_errors_are_the_specified_ones() {
    let rows = table(&["code", "usual `errno`"]);
    let specified: Vec<_> = rows
        .iter()
        .map(|row| (word(&row[0]), row[1].parse().expect("a number")))
        .collect();
    let coded: Vec<_> = Code::ALL
        .iter()
        .map(|code| (code.as_str(), code.usual_errno()))
        .collect();
    assert_eq!(coded, specified);
    for code in Code::ALL {
        assert_eq!(serde_json::to_value(code).expect("JSON"), code.as_str());
    }
}

#[test]
fn limits_are_the_specified_ones() {
    let rows = table(&["limit", "value"]);
    let specified: Vec<_> = rows
        .iter()
        .map(|row| (row[0].as_str(), row[1].parse().expect("a number")))
        .collect();
    let coded = [
        ("bytes of text in a frame", frame::MAX),
        ("descriptors on a frame", MAX_FDS),
        ("bytes of a path", RequestedPath::MAX),
        ("bytes of `why`", MAX_WHY),
        ("bytes of `client`", MAX_CLIENT),
        ("largest `mode`", 0o7777),
    ];
    assert_eq!(coded.as_slice(), specified.as_slice());
}

#[test]
fn every_bound_holds_on_both_sides() {
    let with = |field: &str, value: Value| {
        let mut whole = request_text(&SupervisorMessage::Open(open(b"/data/a")));
        whole[field] = value;
        SupervisorMessage::decode(whole.to_string().as_bytes())
    };
    let path = |bytes: usize| Value::from(format!("/{}", "a".repeat(bytes - 1)));
    assert!(with("path", path(RequestedPath::MAX)).is_ok());
    assert!(with("path", path(RequestedPath::MAX + 1)).is_err());
    assert!(with("why", Value::from("w".repeat(MAX_WHY))).is_ok());
    assert!(with("why", Value::from("w".repeat(MAX_WHY + 1))).is_err());
    assert!(with("mode", Value::from(0o7777)).is_ok());
    assert!(with("mode", Value::from(0o10000)).is_err());
    assert!(with("id", Value::from(u64::MAX)).is_ok());
    assert!(with("id", Value::from(-1)).is_err());
    let hello = |bytes: usize| {
        let client = Value::from("c".repeat(bytes));
        let text = serde_json::json!({"id": 1, "kind": "hello", "client": client});
        SupervisorMessage::decode(text.to_string().as_bytes())
    };
    assert!(hello(MAX_CLIENT).is_ok());
    assert!(hello(MAX_CLIENT + 1).is_err());
}

#[test]
fn what_is_left_out_is_as_specified() {
    let least = br#"{"id":7,"kind":"open","path":"/data/a","access":["read"]}"#;
    let decoded = SupervisorMessage::decode(least).expect("a request");
    let expected = OpenRequest {
        id: 7,
        path: RequestedPath::new("/data/a").expect("a path"),
        access: Access::Read,
        flags: OpenFlags::NONE,
        create: Create::No,
        mode: 384,
        why: None,
    };
    assert_eq!(decoded, SupervisorMessage::Open(expected));
}

#[test]
fn another_version_and_an_unknown_kind_are_told_apart_and_keep_their_id() {
    let code = |text: &str| {
        let rejected = SupervisorMessage::decode(text.as_bytes()).expect_err("rejected");
        (rejected.code, rejected.id)
    };
    assert_eq!(
        code(r#"{"v":2,"id":9,"kind":"open","new":true}"#),
        (Code::Unsupported, Some(9))
    );
    assert_eq!(
        code(r#"{"v":1,"id":9,"kind":"rename","to":"/b"}"#),
        (Code::Unsupported, Some(9))
    );
    assert_eq!(
        code(r#"{"v":1,"id":9,"kind":"open","surplus":1}"#),
        (Code::BadRequest, Some(9))
    );
    assert_eq!(
        code(r#"{"id":9,"kind":"open","id":9}"#),
        (Code::BadRequest, None)
    );
    assert_eq!(
        code(r#"{"id":9,"kind":"hello","path":"/a"}"#),
        (Code::BadRequest, Some(9))
    );
    assert_eq!(code(r#"{"id":9,"kind":"#), (Code::BadRequest, None));
    assert_eq!(code(&"[".repeat(60_000)), (Code::BadRequest, None));
}

#[test]
fn a_rejection_quotes_no_more_than_a_little() {
    let long = format!(r#"{{"id":9,"kind":"{}"}}"#, "é".repeat(20_000));
    let rejected = SupervisorMessage::decode(long.as_bytes()).expect_err("rejected");
    assert!(rejected.detail.len() <= 240, "{}", rejected.detail.len());
    let mut reply = Vec::new();
    SupervisorResponse::from(rejected)
        .encode(&mut reply)
        .expect("a frame");
    assert!(reply.len() < 512);
}

#[test]
fn a_program_passes_over_what_a_later_supervisor_says() {
    let later = br#"{"id":1,"decision":"granted","fds":1,"quota":{"left":3}}"#;
    assert!(SupervisorResponse::decode(later).is_ok());
}

#[test]
fn version_one_is_spoken() {
    assert_eq!(VERSION, 1);
    assert!(SupervisorMessage::decode(br#"{"v":1,"id":1,"kind":"hello"}"#).is_ok());
}
