//! What commands print for programs.

use crate::harness::run::start;
use crate::harness::{feature, require};
use crate::questions::both;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

#[test]
fn every_command_answers_programs_in_json() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let mut asking = both();
    let questions = asking.questions(2);
    let number = |worker: &str| {
        let mut all = questions.iter();
        let found = all.find(|question| question["worker"] == worker);
        found.expect("it asked")["question"].to_string()
    };
    let house = &asking.house;
    let says = |words: &[&str]| {
        let ran = house.ask(&[words, &["--json"]].concat());
        let said: Value = serde_json::from_str(&ran.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {ran}"));
        (ran.code(), said)
    };
    let told = |words: &[&str]| {
        let (code, said) = says(words);
        assert_eq!(code, 0, "{words:?}: {said}");
        said
    };
    let mut events = start(&mut house.command(&["events", "--json"]));
    assert!(told(&["approve", &number("call-1")]).is_object());
    assert!(told(&["refuse", &number("socket-1")]).is_object());
    asking.until_said("call-1", "content 1");
    asking.questions(0);
    assert_eq!(told(&["status", "call"])["workers"][0]["id"], "call-1");
    assert_eq!(told(&["ps"])[1]["id"], "socket-1");
    assert_eq!(told(&["desired", "call"])["workers"][0]["running"], true);
    assert_eq!(told(&["grants"])["grants"], json!([]));
    assert_eq!(says(&["revoke", "--all"]).0, 1);
    for words in [
        &["reload"][..],
        &["auto-restart", "disable", "call"],
        &["auto-restart", "enable", "call"],
    ] {
        assert!(told(words).is_object(), "{words:?}");
    }
    let logs = house.ask(&["logs", "call-1", "--json"]).expect_code(0);
    let line: Value = serde_json::from_str(logs.stdout.trim_end()).expect("one line");
    let text = "content 1\n";
    let expected = json!({"stream": "stdout", "text": text, "next": text.len(), "skipped": 0});
    assert_eq!(line, expected);
    let pid = |said: &Value| said["workers"][0]["pid"].clone();
    assert_eq!(pid(&told(&["stop", "call"])), json!(null));
    let first = pid(&told(&["start", "call", "--timeout", "60s"]));
    assert!(first.is_number(), "{first}");
    assert_ne!(pid(&told(&["restart", "call"])), first);
    events.until_it_says("\"started\"");
    events.signal(Signal::SIGTERM);
    let heard = events.wait().stdout;
    for line in heard.lines() {
        let event: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(
            event["seq"].is_number() && event["event"].is_object(),
            "{line}"
        );
    }
    assert!(says(&["validate"]).1["findings"].is_array());
    assert!(told(&["shutdown"]).is_object());
    assert_eq!(asking.house.close().code(), 0);
}
