//! What workers ask of the operator, over daemons that come and go.

use crate::guest::Guest;
use crate::harness::run::eventually;
use crate::harness::{feature, require};
use crate::house::House;
use nix::unistd::geteuid;
use serde_json::{Value, json};
use std::fs;

/// Opens the file, and says what it got and how many descriptors of it.
const BY_CALL: &str = r#"import os, sys, time
path = sys.argv[1]
try:
    fd = os.open(path, os.O_RDONLY)
    own = os.fstat(fd).st_ino
    count = 0
    for other in range(256):
        try:
            count += os.fstat(other).st_ino == own
        except OSError:
            pass
    print(os.read(fd, 99).decode(), count, flush=True)
except OSError as error:
    print("refused", error.strerror, flush=True)
time.sleep(1000)
"#;

/// Asks over the socket for the same.
const BY_SOCKET: &str = "\"$SUPERVISE_EXE\" request \"$0\" --read 2>&1; echo; exec sleep 1000";

/// Opens the file each time that it is told to.
const AGAIN: &str = r#"import os, sys, time
path, told = sys.argv[1:3]
for number in range(1, 100):
    while not os.path.exists(f"{told}/go{number}"):
        time.sleep(0.01)
    try:
        with open(path) as file:
            print(number, file.read(), flush=True)
    except OSError:
        print(number, "refused", flush=True)
"#;

/// Makes a directory, moves the file into it, and removes it there.
const NAMES: &str = r#"import os, sys, time
path = sys.argv[1]
above = os.path.dirname(path)
acts = [
    lambda: os.mkdir(above + "/made"),
    lambda: os.rename(path, above + "/made/moved"),
    lambda: os.unlink(above + "/made/moved"),
]
for number, act in enumerate(acts):
    try:
        act()
        print(number, "done", flush=True)
    except OSError as error:
        print(number, "refused", error.strerror, flush=True)
time.sleep(1000)
"#;

/// A daemon whose workers run this under a policy with these rules about a file, which is `FILE` there.
pub struct Asking {
    pub house: House,
}

impl Asking {
    pub fn new(workers: &[(&str, &[&str])], rules: &str) -> Self {
        let mut pool = String::new();
        for (name, command) in workers {
            pool += &format!(
                "[[worker]]\nname = \"{name}\"\ncommand = {}\npolicy = \"asking.toml\"\nspeaks = \"nothing\"\non_supervisor_exit = \"survive\"\n",
                serde_json::to_string(command).expect("text")
            );
        }
        let mut house = House::empty("");
        let place = house.workspace.path().to_owned();
        let fill = |text: &str| {
            let file = place.join("asked/file");
            let text = text.replace("FILE", file.to_str().expect("text"));
            let text = text.replace("ABOVE", place.join("asked").to_str().expect("text"));
            text.replace("TOLD", place.join("told").to_str().expect("text"))
        };
        house.workspace.write("asked/file", "content");
        house.workspace.make_dir("told");
        house
            .workspace
            .write("workers.toml", fill(&format!("version = 1\n{pool}")));
        let policy =
            format!("version = 1\nextends = [\"build\"]\n[fs]\nread = [\"TOLD\"]\n{rules}\n");
        house.workspace.write("asking.toml", fill(&policy));
        house.open();
        Self { house }
    }

    /// Those that wait, once there are so many.
    #[track_caller]
    pub fn questions(&self, count: usize) -> Vec<Value> {
        let mut found = Vec::new();
        eventually("the questions were asked", || {
            let ran = self.house.ask(&["questions", "--json"]).expect_code(0);
            let data: Value = serde_json::from_str(&ran.stdout).expect("JSON");
            found = data["questions"].as_array().expect("a list").clone();
            found.len() == count
        });
        found
    }

    pub fn say(&self, words: &[&str], question: &Value) {
        let number = question["question"].to_string();
        self.house.ask(&[words, &[&number]].concat()).expect_code(0);
    }

    /// Waits until a worker has said that.
    #[track_caller]
    pub fn until_said(&self, worker: &str, what: &str) {
        eventually(&format!("{worker} said `{what}`"), || {
            self.house
                .ask(&["logs", worker])
                .stdout
                .lines()
                .any(|line| line == what)
        });
    }

    pub fn tell(&self, number: u32) {
        self.house.workspace.write(format!("told/go{number}"), "");
    }

    /// What was decided about the file.
    pub fn decisions(&self, worker: &str) -> Vec<Value> {
        let log = format!("state/supervise/daemon/audit/{worker}.jsonl");
        let text = fs::read_to_string(self.house.workspace.join(&log)).expect("a log");
        let parse = |line: &str| serde_json::from_str::<Value>(line).expect("a record");
        let records: Vec<Value> = text.lines().map(parse).collect();
        let about = |record: &Value| {
            record["path"]
                .as_str()
                .is_some_and(|path| path.ends_with("asked/file"))
        };
        records.into_iter().filter(about).collect()
    }

    pub fn answers(&self, worker: &str) -> Vec<String> {
        let answer = |record: Value| record["answer"].as_str().expect("a word").to_owned();
        self.decisions(worker).into_iter().map(answer).collect()
    }
}

pub const ASKED: &str = "ask_read = [\"FILE\"]\n[broker]\napprover = \"control\"\ntimeout = \"5m\"";

pub fn both() -> Asking {
    Asking::new(
        &[
            ("call", &["python3", "-c", BY_CALL, "FILE"]),
            ("socket", &["sh", "-c", BY_SOCKET, "FILE"]),
        ],
        ASKED,
    )
}

#[test]
fn what_waits_when_a_daemon_is_killed_is_asked_once_more_and_given_once_by_either_door() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let asking = both();
    let before = asking.questions(2);
    let shown = asking.house.ask(&["questions"]).expect_code(0).stdout;
    assert!(
        shown.contains("asks to read") && shown.contains("asked/file"),
        "{shown}"
    );
    assert!(shown.contains("asking.toml:"), "{shown}");
    asking.house.kill_daemon();
    let after = asking.questions(2);
    for question in &before {
        let number = question["question"].to_string();
        assert!(
            !after
                .iter()
                .any(|other| other["question"] == question["question"])
        );
        let ran = asking.house.ask(&["approve", &number]).expect_code(125);
        assert!(ran.stderr.contains("there is no question"), "{ran}");
    }
    for question in &after {
        asking.say(&["approve"], question);
    }
    asking.until_said("call-1", "content 1");
    asking.until_said("socket-1", "content");
    asking.house.kill_daemon();
    asking.questions(0);
    for worker in ["call-1", "socket-1"] {
        assert_eq!(
            asking.answers(worker),
            ["asked", "asked", "granted"],
            "{worker}"
        );
        let granted = asking.decisions(worker).pop().expect("a record");
        assert_eq!(granted["answered_by"]["uid"], geteuid().as_raw());
        assert!(
            granted["answered_by"]["pid"]
                .as_i64()
                .is_some_and(|pid| pid > 0)
        );
    }
}

#[test]
fn names_that_were_asked_about_are_made_and_moved_once_whenever_a_daemon_dies() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let rules = "[[request]]\npath = \"ABOVE\"\naccess = [\"read\", \"write\"]\ndecision = \"ask\"\n[broker]\napprover = \"control\"\ntimeout = \"5m\"";
    let asking = Asking::new(&[("names", &["python3", "-c", NAMES, "FILE"])], rules);
    for number in 0..3 {
        asking.questions(1);
        asking.house.kill_daemon();
        let question = asking.questions(1).remove(0);
        assert_eq!(question["to"].is_string(), number == 1, "{question}");
        asking.say(&["approve"], &question);
        // In the middle of it, as likely as not. Then somebody is asked once more if nothing was done.
        asking.house.kill_daemon();
        let line = format!("{number} done");
        eventually("it is done or asked about again", || {
            let said = asking.house.ask(&["logs", "names-1"]).stdout;
            assert!(!said.contains("refused"), "{said}");
            let ran = asking.house.ask(&["questions", "--json"]).expect_code(0);
            let data: Value = serde_json::from_str(&ran.stdout).expect("JSON");
            let again = data["questions"].as_array().expect("a list");
            let again = again
                .iter()
                .find(|other| other["access"] == question["access"]);
            if let Some(again) = again {
                asking.say(&["approve"], again);
            }
            said.lines().any(|said| said == line)
        });
    }
    let left = fs::read_dir(asking.house.workspace.join("asked/made")).expect("it was made");
    assert_eq!(left.count(), 0);
    assert!(!asking.house.workspace.join("asked/file").exists());
}

#[test]
fn a_no_is_a_no_and_a_question_goes_with_its_worker() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let asking = both();
    let questions = asking.questions(2);
    let of = |worker: &str| {
        let found = questions
            .iter()
            .find(|question| question["worker"] == worker);
        found.expect("it asked")
    };
    asking.say(&["refuse"], of("call-1"));
    asking.until_said("call-1", "refused Permission denied");
    let refused = asking.decisions("call-1").pop().expect("a record");
    assert_eq!(refused["code"], "ask_refused");
    assert_eq!(refused["answered_by"]["uid"], geteuid().as_raw());
    assert_eq!(asking.questions(1)[0]["worker"], "socket-1");
    asking.house.ask(&["stop", "socket"]).expect_code(0);
    asking.questions(0);
    assert_eq!(asking.house.status()["daemon"]["questions"], 0);
}

#[test]
fn where_nobody_answers_workers_are_refused_in_time() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let asking = Asking::new(
        &[("call", &["python3", "-c", BY_CALL, "FILE"])],
        &ASKED.replace("5m", "1s"),
    );
    asking.until_said("call-1", "refused Permission denied");
    let refused = asking.decisions("call-1").pop().expect("a record");
    assert_eq!(refused["code"], "ask_timeout");
    asking.questions(0);
}

#[test]
fn what_is_approved_for_the_session_is_not_asked_again_until_another_daemon_serves() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let asking = Asking::new(
        &[("again", &["python3", "-c", AGAIN, "FILE", "TOLD"])],
        ASKED,
    );
    asking.tell(1);
    asking.say(&["approve", "--for-session"], &asking.questions(1)[0]);
    asking.until_said("again-1", "1 content");
    asking.tell(2);
    asking.until_said("again-1", "2 content");
    assert_eq!(asking.answers("again-1"), ["asked", "granted", "granted"]);
    asking.house.kill_daemon();
    asking.tell(3);
    asking.say(&["approve"], &asking.questions(1)[0]);
    asking.until_said("again-1", "3 content");
}

fn counting(budget: u32) -> String {
    format!(
        "[[request]]\npath = \"FILE\"\naccess = [\"read\"]\ndecision = \"allow\"\nbudget = {budget}"
    )
}

#[test]
fn a_budget_is_one_for_all_daemons_that_serve_a_worker() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let command = ["python3", "-c", AGAIN, "FILE", "TOLD"];
    let asking = Asking::new(&[("again", &command)], &counting(3));
    for number in 1..=3 {
        asking.tell(number);
        asking.until_said("again-1", &format!("{number} content"));
        asking.house.kill_daemon();
    }
    asking.tell(4);
    asking.until_said("again-1", "4 refused");
    // A worker that is started anew begins anew.
    for number in 2..=4 {
        let told = asking.house.workspace.join(format!("told/go{number}"));
        fs::remove_file(told).expect("it is there");
    }
    asking.house.ask(&["restart"]).expect_code(0);
    eventually("it was granted anew", || {
        asking
            .answers("again-1")
            .last()
            .is_some_and(|last| last == "granted")
    });
}

#[test]
fn where_it_cannot_be_told_what_a_budget_has_left_nothing_is() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let command = ["python3", "-c", AGAIN, "FILE", "TOLD"];
    let asking = Asking::new(&[("again", &command)], &counting(50));
    asking.tell(1);
    asking.until_said("again-1", "1 content");
    // A line more: the rule that stands where the old one stood is not the old one, and is for those who start later.
    let policy = asking.house.workspace.join("asking.toml");
    let text = fs::read_to_string(&policy).expect("a policy");
    fs::write(&policy, format!("# A remark.\n{text}")).expect("it can be changed");
    asking.house.kill_daemon();
    asking.tell(2);
    asking.until_said("again-1", "2 content");
    // Nobody knows what was granted.
    let record = "state/supervise/daemon/audit/again-1.jsonl";
    fs::write(asking.house.workspace.join(record), "").expect("it can be emptied");
    asking.house.kill_daemon();
    asking.tell(3);
    asking.until_said("again-1", "3 refused");
}

#[test]
fn whoever_watches_is_told_what_is_granted_and_refused_as_it_is_recorded() {
    require!(feature::listener());
    require!(feature::program("python3"));
    let command = ["python3", "-c", AGAIN, "FILE", "TOLD"];
    let asking = Asking::new(&[("again", &command)], &counting(2));
    let mut guest = Guest::new(&asking.house);
    assert_eq!(guest.asks(json!({"subscribe": {"after": 0}}))["ok"], true);
    // The daemon that comes next tells it too.
    for (number, answer) in [(1, "granted"), (2, "granted"), (3, "refused")] {
        asking.tell(number);
        let told = loop {
            let line = guest.hears();
            let told = &line["event"][answer];
            let is_it = |told: &Value| {
                let object = told["object"].as_str();
                object.is_some_and(|object| object.ends_with("asked/file"))
            };
            if is_it(told) {
                break told.clone();
            }
        };
        assert_eq!(
            (&told["worker"], &told["access"]),
            (&json!("again-1"), &json!("read"))
        );
        let rule = told["rule"].as_str().expect("a rule decided");
        assert!(rule.contains("asking.toml"), "{told}");
        let recorded = asking.answers("again-1");
        assert_eq!(recorded.len(), number as usize, "{recorded:?}");
        assert_eq!(recorded.last().map(String::as_str), Some(answer));
        if number == 1 {
            asking.house.kill_daemon();
            guest = Guest::new(&asking.house);
            guest.asks(json!({"subscribe": {"after": 0}}));
        }
    }
    asking.until_said("again-1", "3 refused");
}
