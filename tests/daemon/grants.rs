//! What operators agreed to, taken back on the command line.

use crate::guest::Guest;
use crate::harness::{feature, require};
use crate::questions::{ASKED, Asking};
use nix::unistd::geteuid;
use serde_json::{Value, json};

/// Opens the file each time that it is told to, and says what it reads there and through what it opened first.
const KEEPING: &str = r#"import os, sys, time
path, told = sys.argv[1:3]
first = None
for number in range(1, 100):
    while not os.path.exists(f"{told}/go{number}"):
        time.sleep(0.01)
    try:
        fd = os.open(path, os.O_RDONLY)
        first = fd if first is None else first
        said = os.read(fd, 99).decode()
    except OSError:
        said = "refused"
    print(number, said, os.pread(first, 99, 0).decode(), flush=True)
"#;

fn keeping(rules: &str) -> Asking {
    let command = ["python3", "-c", KEEPING, "FILE", "TOLD"];
    Asking::new(&[("keeping", &command)], rules)
}

fn grants(asking: &Asking) -> Vec<Value> {
    let ran = asking.house.ask(&["grants", "--json"]).expect_code(0);
    let data: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    data["grants"].as_array().expect("a list").clone()
}

#[test]
fn what_is_taken_back_is_refused_from_then_on_and_it_is_said_what_stays_open() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let asking = keeping(ASKED);
    let mut guest = Guest::new(&asking.house);
    guest.asks(json!({"subscribe": {"after": 0}}));
    asking.tell(1);
    asking.say(&["approve", "--for-session"], &asking.questions(1)[0]);
    asking.until_said("keeping-1", "1 content content");
    let [one] = &grants(&asking)[..] else {
        panic!("one holds");
    };
    assert_eq!(
        (&one["worker"], &one["handed"]),
        (&json!("keeping-1"), &json!(1))
    );
    assert_eq!(one["by_uid"], geteuid().as_raw());
    let shown = asking
        .house
        .ask(&["grants", "keeping"])
        .expect_code(0)
        .stdout;
    assert!(
        shown.contains("asked/file") && shown.contains("for all of the worker"),
        "{shown}"
    );

    let path = asking.house.workspace.join("asked");
    let path = path.to_str().expect("text");
    let ran = asking.house.ask(&["revoke", "--path", path]).expect_code(0);
    assert!(
        ran.stdout.contains("whoever asks for it again is refused"),
        "{ran}"
    );
    assert!(
        ran.stdout.contains("not taken back: 1 open descriptor"),
        "{ran}"
    );
    assert!(ran.stdout.contains("python"), "who has it: {ran}");
    asking.tell(2);
    asking.until_said("keeping-1", "2 refused content");
    assert_eq!(
        asking.answers("keeping-1"),
        ["asked", "granted", "revoked", "refused"]
    );
    let records = asking.decisions("keeping-1");
    assert_eq!(records[1]["scope"], "session");
    assert_eq!(records[2]["answered_by"]["uid"], geteuid().as_raw());
    assert!(
        records[2]["detail"]
            .as_str()
            .is_some_and(|text| text.contains("one descriptor"))
    );
    assert!(
        records[3]["detail"]
            .as_str()
            .is_some_and(|text| text.contains("took back"))
    );
    loop {
        let told = guest.hears();
        if told["event"]["revoked"].is_object() {
            assert_eq!(told["event"]["revoked"]["worker"], "keeping-1");
            break;
        }
    }
    let again = asking.house.ask(&["revoke", "--all"]).expect_code(1);
    assert!(again.stdout.contains("nothing like that holds"), "{again}");
    let number = one["grant"].to_string();
    asking.house.ask(&["revoke", &number]).expect_code(125);
    let log = "state/supervise/daemon/audit/keeping-1.jsonl";
    let log = asking.house.workspace.join(log);
    let log = log.to_str().expect("text");
    let explained = asking.house.ask(&["explain", "--audit", log]).stdout;
    assert!(
        explained.contains("the operator took back") && explained.contains("`supervise revoke`"),
        "{explained}"
    );
}

#[test]
fn with_ask_again_it_is_a_question_and_so_it_is_under_the_next_daemon_whatever_was_said() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let asking = keeping(ASKED);
    asking.tell(1);
    asking.say(&["approve", "--scope", "process"], &asking.questions(1)[0]);
    asking.until_said("keeping-1", "1 content content");
    asking.tell(2);
    asking.until_said("keeping-1", "2 content content");
    assert_eq!(grants(&asking)[0]["scope"], "process");
    assert_eq!(grants(&asking)[0]["handed"], 2);
    let ran = asking
        .house
        .ask(&["revoke", "--all", "--ask-again"])
        .expect_code(0);
    assert!(ran.stdout.contains("2 open descriptors"), "{ran}");
    asking.tell(3);
    asking.say(&["approve", "--for-session"], &asking.questions(1)[0]);
    asking.until_said("keeping-1", "3 content content");
    asking.house.ask(&["revoke", "--all"]).expect_code(0);
    asking.tell(4);
    asking.until_said("keeping-1", "4 refused content");
    // Neither what was agreed to nor what was taken back is remembered.
    asking.house.kill_daemon();
    assert!(grants(&asking).is_empty());
    asking.tell(5);
    asking.say(&["approve"], &asking.questions(1)[0]);
    asking.until_said("keeping-1", "5 content content");
}

#[test]
fn what_is_to_be_taken_back_is_said_in_one_way() {
    let house = crate::house::House::new("");
    for wrong in [
        &["revoke"][..],
        &["revoke", "1", "--all"],
        &["revoke", "--all", "--path", "/"],
        &["revoke", "1", "--worker", "a"],
    ] {
        house.ask(wrong).expect_code(125);
    }
    let mut guest = Guest::new(&house);
    for wrong in [
        json!({}),
        json!({"grant": 1, "all": true}),
        json!({"path": "relative"}),
        json!({"all": true, "path": "/"}),
    ] {
        let answer = guest.asks(json!({ "revoke": wrong }));
        assert_eq!(answer["error"]["code"], "bad_request", "{wrong} {answer}");
    }
    let answer = guest.asks(json!({"revoke": {"grant": 1}}));
    assert_eq!(answer["error"]["code"], "unknown_grant", "{answer}");
    let answer = guest.asks(json!({"grants": {"worker": "nobody"}}));
    assert_eq!(answer["error"]["code"], "unknown_worker", "{answer}");
}
