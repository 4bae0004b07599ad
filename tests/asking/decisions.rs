//! What is granted, what is refused, and the record of it.

use crate::harness::run::{eventually, run, start};
use crate::harness::{feature, require};
use crate::house::{House, said};
use std::path::Path;

#[test]
fn each_decision_is_recorded_once() {
    let house = House::new();
    let mut records = 0;
    for (name, expected, answer) in [
        ("given/a", "a file that is given", "granted"),
        ("given/absent", "ENOENT refused: no_such_file", "refused"),
        ("given/denied", "EACCES refused: denied by", "refused"),
        ("secret", "EACCES refused: denied", "refused"),
        ("asked/a", "EACCES refused: ask_refused", "refused"),
    ] {
        let ran = run(&mut house.inside("ask", &[("FILE", &house.path(name))], &[]));
        assert!(said(&ran)[0].starts_with(expected), "{name}: {ran}");
        records += 1;
        // That somebody is asked is recorded too, and decides nothing.
        let mut decisions = house.decisions();
        decisions.retain(|decision| decision["answer"] != "asked");
        assert_eq!(decisions.len(), records, "{name}: {decisions:#?}");
        let last = &decisions[records - 1];
        assert_eq!(last["answer"], answer, "{last}");
        assert_eq!(last["door"], "socket", "{last}");
    }
}

#[test]
fn a_refusal_says_which_rule() {
    let house = House::new();
    let ran = run(&mut house.inside("ask", &[("FILE", &house.path("given/denied"))], &[]));
    assert!(said(&ran)[0].contains("policy.toml:7"), "{ran}");
}

#[test]
fn a_request_that_is_repeated_gets_nothing() {
    let house = House::new();
    let ran = run(&mut house.inside(
        "ask twice with one id",
        &[("FILE", &house.path("given/a"))],
        &[],
    ));
    assert_eq!(said(&ran), ["granted", "replayed", "granted"]);
}

#[test]
fn what_a_request_says_of_its_sender_is_refused() {
    let house = House::new();
    let ran = run(&mut house.inside(
        "claim to be another",
        &[("FILE", &house.path("given/a"))],
        &[],
    ));
    assert_eq!(said(&ran), ["bad_request"; 4]);
}

#[test]
fn flags_do_what_they_do_without_a_supervisor() {
    let house = House::new();
    let ran = run(&mut house.inside("open in every way", &[("FILE", &house.path("given"))], &[]));
    let expected = [
        "absent ENOENT",
        "new ok",
        "new again EEXIST",
        "append ok",
        "both ok",
        "content 0123456789ab",
        "truncate ok",
        "length 0",
        "directory ok",
        "file as directory ENOTDIR",
        "nofollow ELOOP",
        "follow ok",
    ];
    assert_eq!(said(&ran), expected, "{ran}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(house.path("given/made"))
        .expect("it was made")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777 & !0o640, 0, "{mode:o}");
}

#[test]
fn an_approver_that_agrees_gives_the_file_and_one_that_does_not_gives_none() {
    let house = House::new();
    for (script, expected) in [
        ("cat > /dev/null", "a file that is asked for"),
        ("cat > /dev/null; exit 1", "EACCES refused: ask_refused"),
        ("kill -9 $$", "EACCES refused: ask_refused"),
    ] {
        let approver = house.approver(script);
        let options = ["--approver", approver.to_str().expect("text")];
        let ran = run(&mut house.inside("ask", &[("FILE", &house.path("asked/a"))], &options));
        assert!(said(&ran)[0].starts_with(expected), "{script}: {ran}");
    }
}

#[test]
fn while_somebody_is_asked_nobody_else_waits() {
    require!(feature::asking_by_name());
    let house = House::new();
    let (question, go) = (house.path("work/question"), house.path("work/go"));
    let approver = house.approver(&format!(
        "cat > {question}.part; mv {question}.part {question}; while [ ! -e {go} ]; do sleep 0.02; done",
        question = question.display(),
        go = go.display()
    ));
    let told = [
        ("FILE", &*house.path("given/a")),
        ("ASKED", &house.path("asked/a")),
        ("QUESTION", &question),
    ];
    let options = ["--approver", approver.to_str().expect("text")];
    let ran = run(&mut house.inside("ask while another is asked about", &told, &options));
    assert_eq!(said(&ran), ["a file that is asked for"]);
    let question = std::fs::read_to_string(&question).expect("a question");
    assert!(
        question.contains(house.path("asked/a").to_str().expect("text")),
        "{question}"
    );
}

#[test]
fn what_is_granted_is_what_the_question_was_about() {
    let house = House::new();
    house
        .workspace
        .write("asked/real", "the one that was shown\n");
    house.workspace.write("asked/other", "another\n");
    let link = house.path("asked/link");
    let point_to = |name: &str| {
        let fresh = house.path("asked/fresh");
        std::os::unix::fs::symlink(house.path(name), &fresh).expect("linked");
        std::fs::rename(&fresh, &link).expect("renamed");
    };
    point_to("asked/real");
    let (question, go) = (house.path("question"), house.path("go"));
    let approver = house.approver(&format!(
        "cat > {question}.part; mv {question}.part {question}; while [ ! -e {go} ]; do sleep 0.02; done",
        question = question.display(),
        go = go.display()
    ));
    let options = ["--approver", approver.to_str().expect("text")];
    let running = start(&mut house.inside("ask", &[("FILE", &link)], &options));
    eventually("somebody was asked", || question.exists());
    point_to("asked/other");
    std::fs::write(&go, "").expect("written");
    let ran = running.wait();
    assert_eq!(said(&ran), ["the one that was shown"]);
    let question = std::fs::read_to_string(&question).expect("a question");
    assert!(
        question.contains("asked/real"),
        "what is shown is what it is: {question}"
    );
}

#[test]
fn a_link_does_not_lead_out_of_what_is_granted() {
    let house = House::new();
    std::os::unix::fs::symlink(house.path("secret"), house.path("given/link")).expect("linked");
    std::os::unix::fs::symlink(house.path("given/denied"), house.path("given/other"))
        .expect("linked");
    for name in [
        "given/link",
        "given/other",
        "given/../secret",
        "work/../secret",
    ] {
        let asked = Path::new(name);
        let ran = run(&mut house.inside("ask", &[("FILE", &house.path("").join(asked))], &[]));
        assert!(
            said(&ran)[0].starts_with("EACCES refused: denied"),
            "{name}: {ran}"
        );
    }
}
