//! Requests and answers on lines: the tables of the README are the specification, and each is held against the code.

use serde_json::{Value, json, to_value};
use supervisor_protocol::control::{
    ControlRequest, Ended, Event, FromDaemon, LifecycleState, Numbering, StopReason,
};
use supervisor_protocol::pool::{PoolRequest, Welcome, is_sid};
use supervisor_protocol::{Answer, Error, Fault, FaultCode, Numbered, lines};

/// The rows of the table whose first line is this.
fn table(head: &str) -> Vec<Vec<String>> {
    let mut lines = include_str!("../README.md").lines();
    assert!(lines.any(|line| line == head), "there is a table {head}");
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(cell).collect())
        .collect()
}

fn first(head: &str) -> Vec<String> {
    table(head).into_iter().map(|row| row[0].clone()).collect()
}

fn word(value: impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).expect("JSON");
    value.as_str().expect("a word").to_owned()
}

#[test]
fn codes_are_the_specified_ones() {
    let coded: Vec<_> = FaultCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(coded, first("| code | meaning |"));
    for code in FaultCode::ALL {
        assert_eq!(word(code), code.as_str());
    }
}

#[test]
fn verbs_are_the_specified_ones() {
    assert_eq!(
        ControlRequest::VERBS,
        first("| verb | what it asks | data of the answer |")
    );
    let mut pool = first("| request | field | needed | meaning |");
    pool.dedup();
    assert_eq!(PoolRequest::VERBS, pool);
}

#[test]
fn every_verb_is_read_and_every_field_that_is_needed_is() {
    let sid = "0".repeat(32);
    let whole = json!({
        "handshake": {"version": 1},
        "run": {"job": null, "deadline_ms": 1, "queue_ms": 1, "sid": sid},
        "continue": {"sid": sid, "input": 1, "deadline_ms": 1},
        "status": {"include_history": true},
        "shutdown": {},
    });
    let decode = |verb: &str, body: &Value| {
        PoolRequest::decode(json!({"id": 1, "req": {verb: body}}).to_string().as_bytes())
    };
    for row in table("| request | field | needed | meaning |") {
        let (verb, field, needed) = (&row[0], &row[1], &row[2]);
        let mut body = whole[verb].clone();
        let read = decode(verb, &body).expect("a request");
        let mut line = Vec::new();
        read.encode(&mut line).expect("a line");
        assert_eq!(PoolRequest::decode(&line), Ok(read), "{verb}");
        let fields = body.as_object_mut().expect("an object");
        assert_eq!(fields.remove(field).is_some(), !field.is_empty(), "{field}");
        assert_eq!(decode(verb, &body).is_err(), needed == "yes", "{field}");
    }
    for verb in ControlRequest::VERBS {
        let body =
            json!({"version": 1, "job": 1, "sid": sid, "question": 1, "worker": "a", "new": 1});
        let line = json!({"id": 1, "req": {*verb: body}}).to_string();
        let read = ControlRequest::decode(line.as_bytes()).expect(verb);
        let mut line = Vec::new();
        read.encode(&mut line).expect("a line");
        assert_eq!(ControlRequest::decode(&line), Ok(read), "{verb}");
    }
}

#[test]
fn states_and_reasons_are_the_specified_ones() {
    use LifecycleState as State;
    let states = [
        State::Idle,
        State::Starting,
        State::Running,
        State::Stopping,
        State::Stopped,
        State::Recovering,
        State::RecoveryPending,
        State::Error,
        State::Blocked,
    ];
    assert_eq!(states.map(word).to_vec(), first("| state | meaning |"));
    let reasons = table("| reason | still wanted | meaning |");
    assert_eq!(reasons.len(), 10);
    for row in reasons {
        let reason: StopReason = serde_json::from_value(json!(row[0])).expect("a reason");
        assert_ne!(reason, StopReason::Unknown, "{}", row[0]);
        assert_eq!(reason.clears_desired_state(), row[1] == "no", "{}", row[0]);
    }
}

#[test]
fn what_is_no_request_is_answered_with_its_number_and_a_stable_code() {
    let code = |line: &str| {
        let refused = ControlRequest::decode(line.as_bytes()).expect_err("refused");
        (refused.id, refused.fault.code)
    };
    use FaultCode::{BadRequest, UnknownRequest};
    assert_eq!(
        code(r#"{"id":7,"req":{"dance":{}}}"#),
        (Some(7), UnknownRequest)
    );
    assert_eq!(code(r#"{"id":7,"req":"dance"}"#), (Some(7), UnknownRequest));
    assert_eq!(
        code(r#"{"id":7,"req":{"hello":{}}}"#),
        (Some(7), BadRequest)
    );
    assert_eq!(
        code(r#"{"id":7,"req":{"stop":{},"start":{}}}"#),
        (Some(7), BadRequest)
    );
    assert_eq!(code(r#"{"id":7}"#), (Some(7), BadRequest));
    assert_eq!(code(r#"{"req":{"stop":{}}}"#), (None, BadRequest));
    assert_eq!(
        code(r#"{"id":-1,"req":{"dance":{}}}"#),
        (None, BadRequest),
        "without a number nothing else is believed"
    );
    assert_eq!(code(""), (None, BadRequest));
    assert_eq!(code(&"[".repeat(60_000)), (None, BadRequest));
    let long = format!(r#"{{"id":7,"req":{{"{}":1}}}}"#, "é".repeat(20_000));
    let mut line = Vec::new();
    Answer::from(ControlRequest::decode(long.as_bytes()).expect_err("refused")).encode(&mut line);
    assert!(line.len() < 512, "{}", line.len());
}

#[test]
fn answers_come_back_as_they_were_sent() {
    for answer in [
        Answer::done(7, json!({"a": [1]})),
        Answer::done(7, Value::Null),
        Answer::refused(7, Fault::version_mismatch(2, 1)),
        Answer::refused(None, Fault::new(FaultCode::Busy, "é").of_session("x")),
    ] {
        let mut line = Vec::new();
        answer.clone().encode(&mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        assert_eq!(Answer::decode(&line), Ok(answer.clone()));
        assert_eq!(FromDaemon::decode(&line), Ok(FromDaemon::Answer(answer)));
    }
    for strange in [
        r#"{"id":1,"ok":false}"#,
        r#"{"id":1}"#,
        r#"{"id":1,"ok":true,"error":{"code":"busy"}}"#,
        "[]",
    ] {
        let read = Answer::decode(strange.as_bytes());
        assert!(matches!(read, Err(Error::Malformed { .. })), "{strange}");
        assert!(FromDaemon::decode(strange.as_bytes()).is_err(), "{strange}");
    }
}

#[test]
fn an_answer_that_is_too_long_says_so_under_its_number() {
    let mut line = b"before\n".to_vec();
    Answer::done(7, json!("x".repeat(lines::MAX))).encode(&mut line);
    let answer = Answer::decode(line.strip_prefix(b"before\n").expect("kept")).expect("an answer");
    assert_eq!(answer.id, Some(7));
    assert_eq!(
        answer.error().map(|fault| fault.code),
        Some(FaultCode::TooLarge)
    );
}

#[test]
fn data_that_are_written_at_once_are_the_same_answer() {
    let data = Welcome {
        version: 1,
        service: "é".to_owned(),
        service_version: String::new(),
    };
    let mut line = Vec::new();
    Answer::encode_done(7, &data, &mut line);
    let data = to_value(&data).expect("JSON");
    assert_eq!(Answer::decode(&line), Ok(Answer::done(7, data)));
    let (mut one, mut other) = (b"before".to_vec(), b"before".to_vec());
    let long = "x".repeat(lines::MAX);
    Answer::encode_done(7, &long, &mut one);
    Answer::done(7, json!(long)).encode(&mut other);
    assert_eq!(
        String::from_utf8_lossy(&one).replace(|digit: char| digit.is_ascii_digit(), ""),
        String::from_utf8_lossy(&other).replace(|digit: char| digit.is_ascii_digit(), "")
    );
}

#[test]
fn what_a_later_version_says_is_passed_over() {
    let answer =
        Answer::decode(br#"{"id":1,"ok":false,"error":{"code":"tired","nap_ms":9},"x":1}"#)
            .expect("an answer");
    assert_eq!(
        answer.error().map(|fault| fault.code),
        Some(FaultCode::Unknown)
    );
    let line = br#"{"event":{"danced":{"worker":"a"}},"seq":4}"#;
    let Ok(FromDaemon::Event(danced)) = FromDaemon::decode(line) else {
        panic!("an event")
    };
    assert_eq!(danced.seq, 4);
    assert_eq!(
        danced.event,
        Event::Unknown(json!({"danced": {"worker": "a"}}))
    );
    let later = br#"{"id":1,"req":{"status":{"colour":"blue"}},"trace":"x"}"#;
    assert!(ControlRequest::decode(later).is_ok());
}

#[test]
fn events_come_back_as_they_were_sent() {
    let ended = Ended {
        code: None,
        signal: Some(9),
        timed_out: false,
    };
    for event in [
        Event::WorkerExited {
            worker: "a-1".to_owned(),
            pid: 5,
            ended,
        },
        Event::Stopped {
            worker: "a-1".to_owned(),
            reason: StopReason::ProcessExit,
        },
        Event::Lagged { missed: 3 },
        Event::Reloaded {},
    ] {
        let numbered = Numbering { event, seq: 8 };
        let mut line = Vec::new();
        numbered.encode(&mut line).expect("a line");
        assert_eq!(FromDaemon::decode(&line), Ok(FromDaemon::Event(numbered)));
    }
}

#[test]
fn a_request_that_is_too_long_is_not_written() {
    let request = Numbered {
        id: 1,
        req: PoolRequest::Run {
            job: json!("x".repeat(lines::MAX)),
            deadline_ms: None,
            queue_ms: None,
            sid: None,
        },
    };
    let mut line = Vec::new();
    assert!(matches!(
        request.encode(&mut line),
        Err(Error::TooLarge { .. })
    ));
    assert!(line.is_empty());
}

#[test]
fn only_random_names_are_names_of_sessions() {
    assert!(is_sid(&"0af".repeat(11)[..32]));
    assert!(!is_sid(&"0AF".repeat(11)[..32]));
    assert!(!is_sid("0"));
    assert!(!is_sid(&"é".repeat(16)));
}
