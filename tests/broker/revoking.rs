//! What was agreed to, listed and taken back.

use crate::harness::{Workspace, require, set_mode};
use crate::lease::lease;
use crate::rig::*;
use protocol::control::{Event, Grant};
use protocol::{Code, Scope};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use supervisor::audit::Answerer;
use supervisor::broker::{Board, Hold, Progress, Say, Which};
use supervisor::policy::Approver;

const BY: Answerer = Answerer { pid: 77, uid: 1000 };
const LATER: Answerer = Answerer { pid: 78, uid: 1001 };
const ALL: Which = Which::All(None);

/// A session of a daemon with that board.
fn session(board: &Arc<Board>, worker: &str, approver: Approver, more: &str) -> Rig {
    let seat = board.seat(worker).expect("a seat");
    let policy = rule(
        "$P/ask",
        "\"read\", \"write\"",
        &format!("decision = \"ask\"\n{more}"),
    );
    let long = Duration::from_secs(300);
    let mut rig = Rig::with_seat(&policy, approver, long, Some(seat), |place| {
        place.write("ask/a", "inside");
        place.write("ask/b/c", "other");
    });
    rig.log.tell(Box::new(board.announcer(worker)));
    rig
}

/// Asks for it, and is given it for the session.
fn agreed(board: &Board, rig: &mut Rig, name: &str) -> supervisor::broker::Grant {
    let ticket = rig.pend_asked(read(rig.place.join(name)));
    let question = board.questions().pop().expect("it was asked").question;
    assert!(board.answer(question, Say::Yes(Hold::Session, None), BY));
    granted(rig.wait(ticket))
}

fn listed(board: &Board) -> Vec<Grant> {
    board.grants(&ALL)
}

/// Whether it is asked about now; otherwise it must be refused.
fn asks_again(rig: &mut Rig, name: &str) -> bool {
    match rig.claim(read(rig.place.join(name))) {
        Progress::Pending(ticket) => {
            rig.broker.cancel(&mut rig.log, ticket);
            true
        }
        Progress::Done(outcome) => {
            let refusal = refused(outcome);
            assert_eq!(refusal.code, Code::AskRefused);
            assert!(refusal.detail.expect("a reason").contains("took back"));
            false
        }
    }
}

#[test]
fn what_holds_is_listed_with_what_was_handed_out_and_when_taken_back_nothing_more_is() {
    let board = Board::new().unwrap();
    let mut rig = session(&board, "a-1", Approver::Control, "");
    let file = agreed(&board, &mut rig, "ask/a");
    drop(rig.granted(read(rig.place.join("ask/a"))));
    let [one] = &listed(&board)[..] else {
        panic!("{:?}", listed(&board));
    };
    assert_eq!(one.object, rig.place.join("ask/a").to_str().unwrap());
    assert_eq!((&*one.worker, &*one.access), ("a-1", "read"));
    assert_eq!((one.scope, one.by_uid), (Scope::Session, Some(1000)));
    assert_eq!((one.handed, one.remaining_ms), (2, None));
    assert_eq!(one.last.len(), 2);
    assert_eq!(one.last[1].pid, Some(std::process::id()));
    let _news = board.news();

    let taken = board.revoke(&Which::Number(one.grant), LATER, true);
    assert_eq!((taken.len(), taken[0].handed), (1, 2));
    assert!(
        board
            .revoke(&Which::Number(one.grant), LATER, true)
            .is_empty(),
        "once"
    );
    assert!(listed(&board).is_empty());
    // The session has not been woken yet: it is so all the same.
    assert!(!asks_again(&mut rig, "ask/a"));
    let write = rig.refused(write(rig.place.join("ask/a")));
    assert_eq!(write.code, Code::AskRefused, "whatever is asked of it");
    assert!(asks_again(&mut rig, "ask/b/c"), "another file");
    // What is open stays open.
    assert_eq!(content(file), "inside");

    let revoked = rig
        .records()
        .into_iter()
        .filter(|one| one["answer"] == "revoked");
    let revoked: Vec<_> = revoked.collect();
    let [record] = &revoked[..] else {
        panic!("{revoked:?}");
    };
    assert_eq!(record["answered_by"]["uid"], 1001);
    assert_eq!(record["path"], rig.place.join("ask/a").to_str().unwrap());
    assert_eq!(record["pid"], std::process::id());
    let detail = record["detail"].as_str().unwrap();
    assert!(
        detail.contains("2 descriptors") && detail.contains("refused"),
        "{detail}"
    );
    let is_told = |event: &Event| matches!(event, Event::Revoked(told) if told.worker == "a-1");
    assert_eq!(
        board.news().iter().filter(|event| is_told(event)).count(),
        1
    );
    assert_eq!(rig.log.counts().revoked, 1);
}

#[test]
fn the_session_is_woken_to_record_what_is_taken_back() {
    for approver in [Approver::Control, Approver::Allow] {
        let board = Board::new().unwrap();
        let mut rig = session(&board, "a-1", approver.clone(), "ttl = \"1h\"");
        match approver {
            Approver::Control => drop(agreed(&board, &mut rig, "ask/a")),
            _ => drop(rig.granted(read(rig.place.join("ask/a")))),
        }
        assert_eq!(board.revoke(&ALL, BY, true).len(), 1);
        let mut fds = [nix::poll::PollFd::new(
            rig.broker.wake_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        let patience = nix::poll::PollTimeout::from(60_000u16);
        assert_eq!(nix::poll::poll(&mut fds, patience), Ok(1), "it is woken");
        assert!(rig.broker.completed(&mut rig.log).is_empty());
        assert_eq!(rig.log.counts().revoked, 1);
        let mut fds = [nix::poll::PollFd::new(
            rig.broker.wake_fd(),
            nix::poll::PollFlags::POLLIN,
        )];
        assert_eq!(nix::poll::poll(&mut fds, 0u16), Ok(0), "and sleeps again");
    }
}

#[test]
fn a_later_yes_of_an_operator_ends_a_refusal_and_with_ask_again_there_is_none() {
    let board = Board::new().unwrap();
    let mut rig = session(&board, "a-1", Approver::Control, "");
    drop(agreed(&board, &mut rig, "ask/a"));
    assert_eq!(board.revoke(&ALL, BY, false).len(), 1);
    assert!(asks_again(&mut rig, "ask/a"));
    drop(agreed(&board, &mut rig, "ask/a"));
    drop(rig.granted(read(rig.place.join("ask/a"))));
    // A question that waits when it is taken back is answered after that, by somebody who knows.
    let waits = rig.pend_asked(write(rig.place.join("ask/a")));
    assert_eq!(board.revoke(&ALL, BY, true).len(), 1);
    assert!(!asks_again(&mut rig, "ask/a"));
    let question = board.questions().pop().expect("it waits").question;
    assert!(board.answer(question, Say::Yes(Hold::Session, None), BY));
    drop(granted(rig.wait(waits)));
    drop(rig.granted(write(rig.place.join("ask/a"))));
    assert!(
        asks_again(&mut rig, "ask/a"),
        "to read it is a question again"
    );
}

#[test]
fn a_program_that_always_agrees_does_not_undo_what_an_operator_took_back() {
    let tools = Workspace::new();
    let program = tools.write("approver", "#!/bin/sh\necho session\n");
    set_mode(&program, 0o755);
    let approver = Approver::Command(vec![program.into_os_string().into_string().unwrap()]);
    let board = Board::new().unwrap();
    let mut rig = session(&board, "a-1", approver, "");
    let path = rig.place.join("ask/a");
    drop(rig.granted(read(&path)));
    let [one] = &listed(&board)[..] else {
        panic!("it is listed, whoever agreed");
    };
    assert_eq!((one.by_uid, one.handed), (None, 1));
    // Asked before it was taken back, and answered after that.
    let ticket = rig.pend(write(&path));
    assert_eq!(board.revoke(&ALL, BY, true).len(), 1);
    assert_eq!(refused(rig.wait(ticket)).code, Code::AskRefused);
    assert_eq!(rig.refused(read(&path)).code, Code::AskRefused);
    assert!(listed(&board).is_empty());
}

#[test]
fn what_is_under_way_when_it_is_taken_back_is_not_given() {
    let board = Board::new().unwrap();
    let mut rig = session(&board, "a-1", Approver::Control, "");
    drop(agreed(&board, &mut rig, "ask/a"));
    let path = rig.place.join("ask/a");
    // Whoever opens it waits until the lease is given back.
    let holder = File::open(&path).unwrap();
    require!(lease(&holder).map_err(|error| format!("no lease can be had here: {error}")));
    let ticket = rig.pend(read(&path));
    assert_eq!(board.revoke(&ALL, BY, true).len(), 1);
    drop(holder);
    let refusal = refused(rig.wait(ticket));
    assert_eq!(refusal.code, Code::AskRefused);
    let last = rig.records().pop().expect("a record");
    assert_eq!(
        (&last["answer"], &last["code"]),
        (&"refused".into(), &"ask_refused".into())
    );
}

#[test]
fn what_is_meant_is_taken_back_and_nothing_else() {
    let board = Board::new().unwrap();
    let mut first = session(&board, "a-1", Approver::Control, "");
    let mut second = session(&board, "b-1", Approver::Control, "");
    for name in ["ask/a", "ask/b/c"] {
        drop(agreed(&board, &mut first, name));
        drop(agreed(&board, &mut second, name));
    }
    let own = || Some(vec!["a-1".to_owned()]);
    assert_eq!(listed(&board).len(), 4);
    assert_eq!(board.grants(&Which::All(own())).len(), 2);
    let below = |name: &str| Which::Below(first.place.join(name), None);
    for nothing in [
        below("ask/ab"),
        // The beginning of a name.
        below("as"),
        below("ask/a/b"),
        Which::Number(1),
        Which::All(Some(Vec::new())),
        Which::Below("/".into(), Some(vec!["c-1".to_owned()])),
    ] {
        assert!(board.revoke(&nothing, BY, false).is_empty(), "{nothing:?}");
    }
    assert_eq!(board.revoke(&below("ask/b"), BY, false).len(), 1);
    assert_eq!(
        board
            .revoke(&Which::Below("/".into(), own()), BY, false)
            .len(),
        1
    );
    assert!(asks_again(&mut first, "ask/a") && asks_again(&mut first, "ask/b/c"));
    let of_second: Vec<_> = listed(&board).into_iter().map(|one| one.worker).collect();
    assert_eq!(of_second, ["b-1", "b-1"]);
    drop(second.granted(read(second.place.join("ask/a"))));
    // With its session goes what was agreed to.
    drop(second);
    assert!(listed(&board).is_empty());
}

#[test]
fn what_is_over_is_not_listed() {
    let board = Board::new().unwrap();
    let mut rig = session(&board, "a-1", Approver::Allow, "ttl = \"1s\"");
    drop(rig.granted(read(rig.place.join("ask/a"))));
    crate::harness::run::eventually("its time is over", || listed(&board).is_empty());
    assert!(board.revoke(&ALL, BY, true).is_empty());
    drop(rig.granted(read(rig.place.join("ask/a"))));
    assert_eq!(rig.log.counts().asked, 2);
}
