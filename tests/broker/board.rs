//! Questions that operators answer over the control socket of a daemon: the board where they wait.

use crate::harness::{feature, require};
use crate::rig::*;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::control::Event;
use protocol::{Code, Create, OpenRequest, Scope};
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::audit::Answerer;
use supervisor::broker::{Before, Board, Hold, Progress, Say};
use supervisor::policy::Approver;

const BY: Answerer = Answerer { pid: 77, uid: 1000 };

const LONG: Duration = Duration::from_secs(300);

fn asks(more: &str) -> String {
    let more = format!("decision = \"ask\"\n{more}");
    rule("$P/ask", "\"read\", \"write\"", &more)
}

/// A session of a daemon with that board, whose files are asked for.
fn session(board: &Arc<Board>, worker: &str, more: &str, timeout: Duration) -> Rig {
    let seat = board.seat(worker).expect("a seat");
    Rig::with_seat(
        &asks(more),
        Approver::Control,
        timeout,
        Some(seat),
        |place| {
            place.write("ask/a", "inside");
            place.write("ask/b", "other");
        },
    )
}

fn one(board: &Board) -> u64 {
    let questions = board.questions();
    assert_eq!(questions.len(), 1, "{questions:?}");
    questions[0].question
}

fn has_news(board: &Board) -> bool {
    let mut fds = [PollFd::new(board.events(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).expect("it can be polled") == 1
}

#[test]
fn operators_are_told_for_whom_a_yes_can_speak_at_most() {
    for (rule, ruled, most) in [
        ("", Scope::Once, Some(Scope::Session)),
        ("ttl = \"10m\"", Scope::Session, Some(Scope::Session)),
        ("scope = \"process\"", Scope::Process, Some(Scope::Process)),
        (
            "scope = \"subtree\"\nttl = \"10m\"",
            Scope::Subtree,
            Some(Scope::Subtree),
        ),
        ("scope = \"once\"", Scope::Once, None),
    ] {
        let board = Board::new().unwrap();
        let mut rig = session(&board, "builder-1", rule, LONG);
        rig.pend_asked(read(rig.place.join("ask/a")));
        let told = board.questions().remove(0);
        assert_eq!((told.scope, told.at_most), (Some(ruled), most), "{rule}");
    }
}

#[test]
fn what_is_shown_is_what_was_located_and_a_yes_gives_just_that_and_is_recorded_with_who_said_it() {
    let board = Board::new().unwrap();
    let mut rig = session(&board, "builder-1", "ttl = \"10m\"", LONG);
    assert!(!has_news(&board));
    std::os::unix::fs::symlink(rig.place.join("ask/a"), rig.place.join("link")).unwrap();
    let ticket = rig.pend_asked(OpenRequest {
        why: Some("to \u{1b}[2Jread".to_owned()),
        ..read(rig.place.join("link"))
    });
    assert!(has_news(&board));
    let [Event::WaitingForApproval(told)] = &board.news()[..] else {
        panic!("one question waits");
    };
    assert_eq!(told.object, rig.place.join("ask/a").to_str().unwrap());
    assert_eq!(
        (told.worker.as_str(), told.access.as_str()),
        ("builder-1", "read")
    );
    assert_eq!(told.pid, Some(std::process::id()));
    let own = std::env::current_exe().unwrap();
    assert_eq!(told.program.as_deref(), own.to_str());
    assert_eq!(told.rule.as_deref(), Some("policy.toml:5"));
    assert_eq!(told.why.as_deref(), Some("to \u{1b}[2Jread"));
    assert_eq!(told.holds_ms, Some(600_000));
    assert_eq!(told.at_most, Some(Scope::Session));
    let left = told.remaining_ms.expect("a deadline");
    assert!((290_000..=300_000).contains(&left), "{left}");
    assert!(!has_news(&board) && board.news().is_empty(), "told once");
    // Replaced while the operator thinks.
    std::fs::rename(rig.place.join("ask/b"), rig.place.join("ask/a")).unwrap();
    assert_eq!(one(&board), told.question);
    assert!(board.answer(told.question, Say::Yes(Hold::AsRuled, None), BY));
    assert!(board.questions().is_empty());
    assert!(!board.answer(told.question, Say::No, BY), "answered once");
    let settled = Event::Settled {
        question: told.question,
        granted: true,
    };
    assert!(has_news(&board));
    assert_eq!(board.news(), [settled]);
    let grant = granted(rig.wait(ticket));
    assert!(
        grant
            .expires
            .is_some_and(|left| left > Duration::from_secs(590))
    );
    assert_eq!(content(grant), "inside");
    let records = rig.records();
    assert_eq!(records[0]["answer"], "asked");
    assert_eq!(records[0].get("answered_by"), None);
    assert_eq!(records[1]["answer"], "granted");
    assert_eq!(records[1]["answered_by"]["pid"], 77);
    assert_eq!(records[1]["answered_by"]["uid"], 1000);
    assert!(board.news().is_empty());
}

#[test]
fn a_no_is_refused_and_recorded_with_who_said_it() {
    let board = Board::new().unwrap();
    let mut rig = session(&board, "a-1", "", LONG);
    let ticket = rig.pend_asked(write(rig.place.join("ask/a")));
    assert!(board.answer(one(&board), Say::No, BY));
    let refusal = refused(rig.wait(ticket));
    assert_eq!(
        (refusal.code, refusal.errno),
        (Code::AskRefused, Errno::EACCES)
    );
    let records = rig.records();
    assert_eq!(records[1]["answer"], "refused");
    assert_eq!(records[1]["code"], "ask_refused");
    assert_eq!(records[1]["answered_by"]["pid"], 77);
    assert!(board.questions().is_empty());
}

#[test]
fn what_nobody_answers_is_refused_at_its_deadline_and_not_later() {
    let board = Board::new().unwrap();
    let timeout = Duration::from_secs(1);
    let mut rig = session(&board, "a-1", "", timeout);
    let begun = Instant::now();
    let ticket = rig.pend_asked(read(rig.place.join("ask/a")));
    let question = one(&board);
    assert_eq!(board.news().len(), 1);
    let refusal = refused(rig.wait(ticket));
    assert!(begun.elapsed() >= timeout);
    assert_eq!(
        (refusal.code, refusal.errno),
        (Code::AskTimeout, Errno::EACCES)
    );
    assert!(
        !board.answer(question, Say::Yes(Hold::AsRuled, None), BY),
        "too late"
    );
    assert!(board.questions().is_empty());
    let settled = Event::Settled {
        question,
        granted: false,
    };
    assert_eq!(board.news(), [settled]);
    let records = rig.records();
    assert_eq!(records[1]["code"], "ask_timeout");
    assert_eq!(records[1].get("answered_by"), None);
}

#[test]
fn a_yes_that_comes_after_the_deadline_is_none_though_the_session_has_not_looked_yet() {
    let board = Board::new().unwrap();
    let timeout = Duration::from_secs(1);
    let mut rig = session(&board, "a-1", "", timeout);
    let ticket = rig.pend_asked(read(rig.place.join("ask/a")));
    let question = one(&board);
    let end = Instant::now() + timeout;
    while Instant::now() <= end {
        std::thread::yield_now();
    }
    assert!(board.questions().is_empty());
    assert!(!board.answer(question, Say::Yes(Hold::AsRuled, None), BY));
    assert_eq!(refused(rig.wait(ticket)).code, Code::AskTimeout);
}

#[test]
fn a_question_goes_with_whoever_asked_it() {
    let board = Board::new().unwrap();
    let mut rig = session(&board, "a-1", "", LONG);
    let ticket = rig.pend_asked(read(rig.place.join("ask/a")));
    let (first, _) = (one(&board), board.news());
    rig.broker.cancel(&mut rig.log, ticket);
    assert!(!board.answer(first, Say::Yes(Hold::Session, None), BY));
    assert!(board.questions().is_empty());
    assert_eq!(rig.records()[1]["code"], "unavailable");
    // So it does with the session as a whole.
    let _ticket = rig.pend_asked(read(rig.place.join("ask/a")));
    let second = one(&board);
    assert_eq!(board.news().len(), 2);
    drop(rig);
    assert!(!board.answer(second, Say::Yes(Hold::Session, None), BY));
    let settled = Event::Settled {
        question: second,
        granted: false,
    };
    assert_eq!(board.news(), [settled]);
    // Of what came and went between two looks nothing is told.
    let mut rig = session(&board, "a-1", "", LONG);
    let ticket = rig.pend_asked(read(rig.place.join("ask/a")));
    rig.broker.cancel(&mut rig.log, ticket);
    assert_eq!(board.news(), []);
}

#[test]
fn a_yes_holds_as_long_as_the_operator_says_and_no_longer_than_the_rule() {
    // Else what is granted without a question waits as well.
    require!(feature::statmount());
    let second = Duration::from_secs(1);
    for (more, hold, asks_again) in [
        ("", Hold::AsRuled, true),
        ("", Hold::For(Duration::ZERO), true),
        ("", Hold::For(100 * second), false),
        ("", Hold::Session, false),
        ("ttl = \"10m\"", Hold::AsRuled, false),
        ("ttl = \"10m\"", Hold::For(Duration::ZERO), true),
        ("ttl = \"1s\"", Hold::Session, true),
        ("ttl = \"1s\"", Hold::For(100 * second), true),
    ] {
        let board = Board::new().unwrap();
        let mut rig = session(&board, "a-1", more, LONG);
        let ticket = rig.pend_asked(read(rig.place.join("ask/a")));
        assert!(board.answer(one(&board), Say::Yes(hold, None), BY));
        let _file = granted(rig.wait(ticket));
        if more.contains("1s") {
            std::thread::sleep(second);
        }
        match rig.claim(read(rig.place.join("ask/a"))) {
            Progress::Pending(_) => assert!(asks_again, "{more} {hold:?}"),
            Progress::Done(outcome) => {
                let grant = granted(outcome);
                assert!(!asks_again, "{more} {hold:?}");
                assert_eq!(grant.expires.is_none(), hold == Hold::Session);
                let records = rig.records();
                let last = records.last().expect("a record");
                assert_eq!(
                    last["answered_by"]["pid"], 77,
                    "whose word it still is: {last}"
                );
            }
        }
        // Another file, and more of the same one, was not agreed to.
        let _other = rig.pend_asked(read(rig.place.join("ask/b")));
        let _more = rig.pend_asked(write(rig.place.join("ask/a")));
    }
}

#[test]
fn a_session_has_room_for_some_questions_and_takes_none_of_the_others() {
    let board = Board::new().unwrap();
    let mut greedy: Vec<Rig> = Vec::new();
    while greedy.len() < 16 {
        let mut rig = session(&board, "greedy", "", LONG);
        for _ in 0..32 {
            let _ticket = rig.pend_asked(read(rig.place.join("ask/a")));
        }
        let refusal = rig.refused(read(rig.place.join("ask/b")));
        assert_eq!((refusal.code, refusal.errno), (Code::Limit, Errno::ENOBUFS));
        assert_eq!(rig.records().last().unwrap()["code"], "limit");
        greedy.push(rig);
    }
    assert_eq!(board.questions().len(), 512);
    // The board is full. Each session may still have one question, and no more than one.
    let mut modest = session(&board, "modest", "", LONG);
    let ticket = modest.pend_asked(read(modest.place.join("ask/a")));
    assert_eq!(
        modest.refused(read(modest.place.join("ask/b"))).code,
        Code::Limit
    );
    let last = board.questions().pop().expect("a question");
    assert_eq!(last.worker, "modest", "the youngest comes last");
    assert!(board.answer(last.question, Say::Yes(Hold::AsRuled, None), BY));
    assert_eq!(content(granted(modest.wait(ticket))), "inside");
    // Who is told of all of them is told of each once.
    assert_eq!(board.news().len(), 512);
    drop(greedy);
    assert_eq!(board.news().len(), 512);
    assert!(board.questions().is_empty());
}

#[test]
fn each_of_two_sessions_has_its_own_answers() {
    let board = Board::new().unwrap();
    let mut rigs = ["a-1", "a-2"].map(|worker| session(&board, worker, "", LONG));
    let tickets = rigs.each_mut().map(|rig| {
        let path = rig.place.join("ask/a");
        rig.pend_asked(read(path))
    });
    let questions = board.questions();
    assert_eq!(questions.len(), 2);
    assert_eq!(
        [&*questions[0].worker, &*questions[1].worker],
        ["a-1", "a-2"]
    );
    assert!(board.answer(questions[1].question, Say::Yes(Hold::AsRuled, None), BY));
    let [first, second] = &mut rigs;
    assert_eq!(content(granted(second.wait(tickets[1]))), "inside");
    assert!(first.broker.completed(&mut first.log).is_empty());
    assert_eq!(one(&board), questions[0].question);
    assert!(board.answer(questions[0].question, Say::No, BY));
    assert_eq!(refused(first.wait(tickets[0])).code, Code::AskRefused);
}

#[test]
fn what_is_to_be_made_is_shown_as_that() {
    let board = Board::new().unwrap();
    let mut rig = session(&board, "a-1", "", LONG);
    let ticket = rig.pend_asked(create(rig.place.join("ask/new"), Create::Yes));
    let question = &board.questions()[0];
    assert_eq!(question.access, "create and write");
    assert!(!rig.place.join("ask/new").exists());
    assert!(board.answer(question.question, Say::Yes(Hold::AsRuled, None), BY));
    let _file = granted(rig.wait(ticket));
    assert!(rig.place.join("ask/new").exists());
}

#[test]
fn where_there_is_no_board_the_answer_is_no() {
    let mut rig = Rig::new(&asks(""), Approver::Control, |place| {
        place.write("ask/a", "inside");
    });
    let refusal = rig.refused(read(rig.place.join("ask/a")));
    assert_eq!(refusal.code, Code::AskRefused);
}

#[test]
fn what_a_rule_granted_before_counts_and_what_nobody_can_tell_is_all_of_it() {
    let text = rule("$P/open", "\"read\"", "decision = \"allow\"\nbudget = 3");
    let counted = |rule: &str, count| Before::Counted([(rule.to_owned(), count)].into());
    for (before, left) in [
        (Before::Nothing, 3),
        (counted("policy.toml:5", 2), 1),
        (counted("policy.toml:5", 3), 0),
        (counted("policy.toml:5", u32::MAX), 0),
        (counted("policy.toml:6", 3), 3),
        (Before::Unknown, 0),
    ] {
        let mut rig = Rig::new(&text, Approver::Deny, |place| {
            place.write("open/a", "inside");
        });
        rig.broker.resume(before.clone());
        for _ in 0..left {
            let _file = rig.granted(read(rig.place.join("open/a")));
        }
        let refusal = rig.refused(read(rig.place.join("open/a")));
        assert_eq!(refusal.code, Code::Limit, "{before:?}");
    }
}
