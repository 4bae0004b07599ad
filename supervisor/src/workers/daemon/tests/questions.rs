//! What workers ask for is told to everybody, and answered by whoever connected.

use super::*;
use crate::audit::Log;
use crate::broker::{Broker, Claim, Outcome, Peer, Progress, Ticket};
use crate::policy::{Facts, NoFiles, Policy, Ruleset};
use crate::sources::FileSystem;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::{Access, Create, OpenFlags, OpenRequest, RequestedPath};
use std::os::unix::ffi::OsStrExt;

/// A session of a worker, as far as it asks.
struct Session {
    broker: Broker,
    log: Log,
    directory: tempfile::TempDir,
}

impl Session {
    fn new(house: &House, worker: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("data"), "content").unwrap();
        let text = "version = 1\nbase = false\ntmp = \"none\"\n[fs]\nask_read = [\"$PWD\"]\n[broker]\napprover = \"control\"\n";
        let policy = Policy::parse("p.toml", text, &mut NoFiles).unwrap();
        let facts = Facts {
            cwd: directory.path().canonicalize().unwrap(),
            home: None,
            user: None,
            tmpdir: "/nowhere".into(),
            repository: None,
            variables: Default::default(),
        };
        let ruleset = Arc::new(Ruleset::compile(&[policy], &facts, &FileSystem, &[]).unwrap());
        let seat = house.daemon.board.seat(worker).unwrap();
        Self {
            broker: Broker::new(ruleset.clone(), ruleset.broker(), Some(seat)).unwrap(),
            log: Log::create(&directory.path().join("log")).unwrap(),
            directory,
        }
    }

    /// Makes a claim that waits.
    fn asks(&mut self) -> Ticket {
        match self.claims() {
            Progress::Pending(ticket) => ticket,
            Progress::Done(outcome) => panic!("{outcome:?}"),
        }
    }

    fn claims(&mut self) -> Progress {
        let path = self.directory.path().join("data");
        let request = OpenRequest {
            id: 1,
            path: RequestedPath::new(path.as_os_str().as_bytes()).unwrap(),
            access: Access::Read,
            flags: OpenFlags::NONE,
            create: Create::No,
            mode: 0,
            why: Some("I must".to_owned()),
        };
        let peer = Peer {
            pid: std::process::id() as i32,
            uid: nix::unistd::geteuid().as_raw(),
            pidfd: None,
        };
        let claim = Claim::new(request).unwrap();
        self.broker.claim(&mut self.log, &peer, claim)
    }

    fn answer(&mut self, ticket: Ticket) -> Outcome {
        let mut fds = [PollFd::new(self.broker.wake_fd(), PollFlags::POLLIN)];
        let minute = PollTimeout::from(60_000u16);
        assert_eq!(poll(&mut fds, minute), Ok(1), "nobody answered");
        let mut answers = self.broker.completed(&mut self.log);
        assert_eq!(answers.len(), 1, "{answers:?}");
        let (answered, outcome) = answers.remove(0);
        assert_eq!(answered, ticket);
        outcome
    }
}

#[test]
fn a_question_is_told_listed_and_answered_once_and_who_answered_is_recorded() {
    let mut house = House::new(IDLE);
    let mut session = Session::new(&house, "a-1");
    let mut guest = house.guest();
    guest.asks(&mut house, json!({"subscribe": {}})).unwrap();
    for (verb, is_granted) in [("approve", true), ("refuse", false)] {
        let ticket = session.asks();
        let mut told = None;
        house.until("the question is told", |_| {
            guest.listen();
            told = guest.events.drain(..).find_map(|one| match one.event {
                Event::WaitingForApproval(question) => Some(question),
                _ => None,
            });
            told.is_some()
        });
        let told = told.unwrap();
        assert_eq!((&*told.worker, &*told.access), ("a-1", "read"));
        assert_eq!(told.why.as_deref(), Some("I must"));
        let listed = guest.asks(&mut house, json!({"questions": {}})).unwrap();
        assert_eq!(listed["questions"][0]["question"], told.question);
        assert_eq!(
            (&listed["questions"][1], &listed["more"]),
            (&Value::Null, &json!(0))
        );
        let status = guest.asks(&mut house, json!({"status": {}})).unwrap();
        assert_eq!(status["daemon"]["questions"], 1);
        let request = json!({verb: {"question": told.question}});
        guest.asks(&mut house, request.clone()).unwrap();
        let again = guest.asks(&mut house, request);
        assert_eq!(again, Err("unknown_question".to_owned()));
        let outcome = session.answer(ticket);
        assert_eq!(
            matches!(outcome, Outcome::Granted(_)),
            is_granted,
            "{outcome:?}"
        );
        let settled = Event::Settled {
            question: told.question,
            granted: is_granted,
        };
        house.until("everybody is told of the answer", |_| {
            guest.listen();
            guest.events.drain(..).any(|one| one.event == settled)
        });
        let records = std::fs::read_to_string(session.log.path()).unwrap();
        let last: Value = serde_json::from_str(records.lines().last().unwrap()).unwrap();
        assert_eq!(last["answered_by"]["pid"], std::process::id());
        assert_eq!(last["answered_by"]["uid"], nix::unistd::geteuid().as_raw());
    }
}

#[test]
fn what_was_approved_for_the_session_is_not_asked_again() {
    let mut house = House::new(IDLE);
    let mut session = Session::new(&house, "a-1");
    let mut guest = house.guest();
    let ticket = session.asks();
    let question = house.daemon.board.questions()[0].question;
    let approve = json!({"approve": {"question": question, "for_session": true}});
    guest.asks(&mut house, approve).unwrap();
    assert!(matches!(session.answer(ticket), Outcome::Granted(_)));
    let again = session.claims();
    assert!(
        matches!(again, Progress::Done(Outcome::Granted(_))),
        "{again:?}"
    );
}

#[test]
fn of_very_many_questions_as_many_are_listed_as_fit_on_a_line() {
    let mut house = House::new(IDLE);
    let mut sessions = Vec::new();
    for number in 0..16 {
        let mut session = Session::new(&house, &format!("a-{number}"));
        for _ in 0..32 {
            let _ticket = session.asks();
        }
        sessions.push(session);
    }
    let mut guest = house.guest();
    let listed = guest.asks(&mut house, json!({"questions": {}})).unwrap();
    let count = listed["questions"].as_array().unwrap().len() as u64;
    assert!(count > 50, "{count}");
    assert_eq!(count + listed["more"].as_u64().unwrap(), 512);
}
