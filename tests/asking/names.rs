//! Names that somebody is asked about before they are made, removed, moved or linked.

use crate::harness::run::{Ran, eventually, run, start};
use crate::harness::{feature, require};
use crate::house::House;
use serde_json::Value;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Runs it below `changed`'s sibling; the approver writes down what it is asked, then answers as the script says.
fn asked(house: &House, answer: &str, script: &str) -> Ran {
    let questions = house.workspace.write("questions", "");
    let approver = house.approver(&format!(
        "question=$(cat); printf '%s\\n' \"$question\" >>{}\n{answer}",
        questions.display()
    ));
    let options = ["--approver", approver.to_str().expect("text")];
    run(house
        .supervise(&options)
        .args(["sh", "-c", script])
        .env("LC_ALL", "C"))
}

/// What was asked about: the path and the second name, without what all paths begin with.
fn questions(house: &House) -> Vec<String> {
    let text = std::fs::read_to_string(house.path("questions")).expect("a file");
    text.lines().map(|line| shown(house, line)).collect()
}

/// `answer path to` of what was decided.
fn told(house: &House) -> Vec<String> {
    let line = |decision: Value| {
        let text = decision.to_string();
        let answer = decision["answer"].as_str().expect("a word");
        format!("{answer} {}", shown(house, &text))
    };
    let decided = house.calls().into_iter();
    let is_ours = |decision: &Value| {
        ["path", "to"].iter().any(|key| {
            let name = decision[key].as_str().unwrap_or("");
            name.contains("/changed/") || name.contains("/counted/")
        })
    };
    decided.filter(is_ours).map(line).collect()
}

fn shown(house: &House, line: &str) -> String {
    let top = format!("{}/", house.workspace.path().display());
    let question: Value = serde_json::from_str(line).expect("JSON");
    let words = ["path", "to"].map(|key| question[key].as_str().unwrap_or("").replace(&top, ""));
    words.join(" ").trim_end().to_owned()
}

#[test]
fn each_is_asked_about_once_and_done_when_somebody_agreed() {
    require!(feature::listener());
    let house = House::new();
    let script = "cd ../changed; mkdir d; mkfifo d/pipe; mv a d/moved; ln b hard; ln -s far/away soft; rm b; mv soft d; mv d e; rm e/pipe; mkdir f; rmdir f";
    let ran = asked(&house, "exit 0", script).expect_code(0);
    assert_eq!(
        questions(&house),
        [
            "changed/d",
            "changed/d/pipe",
            "changed/a changed/d/moved",
            "changed/b changed/hard",
            "changed/soft far/away",
            "changed/b",
            "changed/soft changed/d/soft",
            "changed/d changed/e",
            "changed/e/pipe",
            "changed/f",
            "changed/f",
        ],
        "{ran}"
    );
    let at = |name: &str| house.path("changed").join(name);
    assert_eq!(
        std::fs::read_to_string(at("e/moved")).expect("moved"),
        "changed/a"
    );
    assert_eq!(
        std::fs::read_to_string(at("hard")).expect("linked"),
        "changed/b"
    );
    assert_eq!(
        std::fs::read_link(at("e/soft")).expect("a link").to_str(),
        Some("far/away")
    );
    for gone in ["a", "b", "d", "f", "soft", "e/pipe"] {
        assert!(at(gone).symlink_metadata().is_err(), "{gone}");
    }
    let told = told(&house);
    for (at, question) in questions(&house).iter().enumerate() {
        assert_eq!(
            told[2 * at..2 * at + 2],
            [format!("asked {question}"), format!("granted {question}")]
        );
    }
}

#[test]
fn what_nobody_agreed_to_is_not_done() {
    require!(feature::listener());
    let house = House::new();
    let script = "cd ../changed; mkdir d || mv a c || ln a c || ln -s a c || rm a || mkfifo p || mv a $OLDPWD/a || echo kept";
    let ran = asked(&house, "exit 1", script);
    assert_eq!(ran.stdout, "kept\n", "{ran}");
    let mut left: Vec<_> = std::fs::read_dir(house.path("changed"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["a", "b"], "{ran}");
    assert!(!house.path("work/a").exists(), "{ran}");
    let refused = told(&house);
    // That would be where it could be read unasked: it is not moved, and to copy it is asked about.
    let last = "refused changed/a".to_owned();
    assert_eq!(refused.last(), Some(&last), "{refused:?}");
    let granted = refused.iter().find(|line| line.starts_with("granted"));
    assert_eq!(granted, None);
}

#[test]
fn a_yes_is_about_what_had_the_names_when_it_was_asked() {
    require!(feature::listener());
    for (meanwhile, script) in [
        ("mv a before; echo other >a", "rm ../changed/a"),
        ("mv a before; mkdir a", "mv ../changed/a ../changed/c"),
        (
            "echo other >new; mv new c",
            "mv -T ../changed/a ../changed/c",
        ),
        ("mv d e", "mkdir ../changed/d/new"),
        ("mv d e", "ln -s a ../changed/d/new"),
    ] {
        let house = House::new();
        house.workspace.make_dir("changed/d");
        let answer = format!("cd {}; {meanwhile}", house.path("changed").display());
        let ran = asked(&house, &answer, script);
        assert_ne!(ran.code(), 0, "{script}: {ran}");
        assert!(ran.stderr.contains("Permission denied"), "{script}: {ran}");
        let at = |name: &str| house.path("changed").join(name).symlink_metadata();
        assert!(
            at("e/new").is_err() && at("d/new").is_err(),
            "{script}: {ran}"
        );
        assert!(at("a").is_ok(), "{script}: {ran}");
        let calls = house.calls();
        let last = calls.last().expect("a record");
        assert_eq!(
            last["detail"], "its names mean something else by now",
            "{script}: {ran}"
        );
    }
}

#[test]
fn a_yes_about_a_name_holds_for_nothing_else() {
    require!(feature::listener());
    let house = House::new();
    // A rule that would remember what was agreed to.
    let policy = std::fs::read_to_string(house.path("policy.toml")).expect("the policy");
    house.workspace.write(
        "policy.toml",
        policy.replace("decision = \"ask\"", "decision = \"ask\"\nttl = \"10m\""),
    );
    let script = "cd ../changed; ln a one; ln a two; echo new >>a; rm one; rm two; echo new >>a";
    let ran = asked(&house, "exit 0", script).expect_code(0);
    let about: Vec<String> = questions(&house)
        .iter()
        .map(|line| line.trim().to_owned())
        .collect();
    // Only what is opened stays what it is.
    assert_eq!(
        about,
        [
            "changed/a changed/one",
            "changed/a changed/two",
            "changed/a",
            "changed/one",
            "changed/two"
        ],
        "{ran}"
    );
}

#[test]
fn what_is_counted_is_moved_only_where_it_is_counted_too() {
    require!(feature::listener());
    for (script, kept) in [
        ("mv ../counted/a ../counted/b", false),
        // It is copied, which counts, and could then not be removed.
        ("mv ../counted/a b", true),
        ("echo x >b; mv b ../counted/b && rm ../counted/a", true),
    ] {
        let house = House::new();
        let ran = asked(&house, "exit 1", script);
        assert_eq!(house.path("counted/a").exists(), kept, "{script}: {ran}");
        let granted = told(&house)
            .iter()
            .filter(|line| line.starts_with("granted"))
            .count();
        assert_eq!(granted, 1, "{script}: {ran}");
    }
}

#[test]
fn what_two_rules_count_is_counted_by_both() {
    require!(feature::listener());
    let house = House::new();
    house.workspace.write("other/a", "content");
    let policy = std::fs::read_to_string(house.path("policy.toml")).expect("the policy");
    let other = house.path("other").display().to_string();
    let rule = format!(
        "[[request]]\npath = \"{other}\"\naccess = [\"read\", \"write\"]\ndecision = \"allow\"\nbudget = 2\n[broker]"
    );
    house
        .workspace
        .write("policy.toml", policy.replace("[broker]", &rule));
    // It is copied, and then removed: once and twice.
    let ran = asked(&house, "exit 1", "mv ../other/a ../counted/b").expect_code(0);
    let calls = house.calls();
    let granted = calls.iter().filter(|call| call["answer"] == "granted");
    assert_eq!(granted.count(), 3, "{ran}");
}

#[test]
fn files_are_cut_and_sockets_named_when_somebody_agreed() {
    require!(feature::listener());
    require!(feature::sockets());
    require!(feature::program("python3"));
    let house = House::new();
    let script = r#"python3 -c '
import os, socket
os.chdir("../changed")
os.truncate("a", 2)
s = socket.socket(socket.AF_UNIX)
s.bind("./named")
s.listen()
print(s.getsockname())
try:
    os.truncate("b", 1)
except PermissionError:
    print("kept")
try:
    socket.socket(socket.AF_UNIX).bind("other")
except PermissionError:
    print("nameless")
'"#;
    let answer = "case $question in *changed/b*|*changed/other*) exit 1;; esac";
    let ran = asked(&house, answer, script).expect_code(0);
    assert_eq!(ran.stdout, "./named\nkept\nnameless\n", "{ran}");
    assert_eq!(
        std::fs::read_to_string(house.path("changed/a")).expect("cut"),
        "ch"
    );
    assert_eq!(house.path("changed/b").metadata().expect("there").len(), 9);
    let made = house
        .path("changed/named")
        .symlink_metadata()
        .expect("made");
    assert!(made.file_type().is_socket());
    assert_eq!(made.uid(), nix::unistd::geteuid().as_raw());
    assert_eq!(
        questions(&house),
        ["changed/a", "changed/named", "changed/b", "changed/other"],
        "{ran}"
    );
}

#[test]
fn who_does_not_wait_any_more_has_nothing_done() {
    require!(feature::listener());
    let house = House::new();
    let go = house.path("go");
    let approver = house.approver(&format!(
        "while [ ! -e {} ]; do sleep 0.02; done",
        go.display()
    ));
    let options = ["--approver", approver.to_str().expect("text")];
    let script = "timeout -s INT 1 mkdir ../changed/d; touch over; mkdir ../changed/e";
    let running = start(house.supervise(&options).args(["sh", "-c", script]));
    eventually("the first is over", || house.path("work/over").exists());
    house.workspace.write("go", "");
    let ran = running.wait().expect_code(0);
    assert!(
        !house.path("changed/d").exists() && house.path("changed/e").is_dir(),
        "{ran}"
    );
}
