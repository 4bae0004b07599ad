//! What sessions go through.

use super::*;
use protocol::json;

const ASKER: Asker = Asker { caller: 1, id: 1 };

fn sid(number: usize) -> String {
    format!("{number:032x}")
}

fn run(sessions: &mut Sessions, number: usize, now: Instant) -> Asked {
    let time = Some(Duration::from_secs(1));
    sessions.run(ASKER, sid(number), json!(1), time, now)
}

fn code(asked: Asked) -> FaultCode {
    let Asked::Now(Err(fault)) = asked else {
        panic!("{asked:?}")
    };
    fault.code
}

#[test]
fn one_job_at_a_time_and_its_result_is_there_for_whoever_asks_again() {
    let now = Instant::now();
    let mut sessions = Sessions::new(now);
    assert!(matches!(run(&mut sessions, 1, now), Asked::Begin(_)));
    assert_eq!(code(run(&mut sessions, 2, now)), FaultCode::Busy);
    assert_eq!(code(run(&mut sessions, 1, now)), FaultCode::SessionExists);
    let other = Asker { caller: 2, id: 9 };
    assert!(matches!(sessions.ask_again(other, &sid(1)), Asked::Later));
    sessions.forget(1);
    let due = sessions.ended(Outcome::Done(json!("x")), now);
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].0, other);
    for _ in 0..2 {
        let Asked::Now(Ok(ran)) = sessions.ask_again(ASKER, &sid(1)) else {
            panic!("remembered")
        };
        assert_eq!((ran.state, ran.output), (SessionState::Done, json!("x")));
    }
    assert_eq!(code(run(&mut sessions, 1, now)), FaultCode::SessionExists);
    let again = sessions.go_on(ASKER, sid(1), json!(1), None, now);
    assert_eq!(code(again), FaultCode::BadRequest);
    assert_eq!(
        code(sessions.ask_again(ASKER, &sid(2))),
        FaultCode::SessionNotFound
    );
}

#[test]
fn what_is_past_its_deadline_is_given_up_once_and_keeps_the_worker_busy() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    let mut sessions = Sessions::new(now);
    let Asked::Begin(job) = run(&mut sessions, 1, now) else {
        panic!("begun")
    };
    assert_eq!(sessions.expire(now).len(), 0);
    assert_eq!(sessions.idle_since(), None);
    assert!(!job.is_cancelled());
    let due = sessions.expire(later);
    assert!(matches!(&due[..], [(ASKER, Err(fault))] if fault.code == FaultCode::Deadline));
    assert!(job.is_cancelled());
    assert_eq!(sessions.idle_since(), Some(later));
    assert_eq!(
        (sessions.expire(later).len(), sessions.deadline()),
        (0, None)
    );
    assert_eq!(code(run(&mut sessions, 2, later)), FaultCode::Busy);
    assert_eq!(sessions.status(false, later).state, Occupation::Cancelling);
    assert_eq!(
        code(sessions.ask_again(ASKER, &sid(1))),
        FaultCode::Deadline
    );
    assert_eq!(sessions.ended(Outcome::Done(json!(1)), later).len(), 0);
    assert_eq!(
        code(sessions.ask_again(ASKER, &sid(1))),
        FaultCode::Deadline
    );
    assert!(matches!(run(&mut sessions, 2, later), Asked::Begin(_)));
}

#[test]
fn what_is_remembered_is_bounded_in_number_and_in_size() {
    let now = Instant::now();
    let mut sessions = Sessions::new(now);
    for number in 0..1000 {
        assert!(matches!(run(&mut sessions, number, now), Asked::Begin(_)));
        let outcome = match number % 2 {
            0 => Outcome::Done(json!("x".repeat(50_000))),
            _ => Outcome::Wait(json!(1)),
        };
        assert_eq!(sessions.ended(outcome, now).len(), 1);
    }
    let status = sessions.status(true, now);
    assert_eq!((status.jobs, status.waiting.len()), (1000, WAITING));
    let history = status.history.expect("asked for");
    assert_eq!(history.len(), BYTES / 50_100);
    assert_eq!(history.last().map(|last| last.sid.clone()), Some(sid(998)));
    // However it is with the others, the last one can be continued.
    let asked = sessions.go_on(ASKER, sid(999), json!(1), None, now);
    assert!(matches!(asked, Asked::Begin(_)));
}

#[test]
fn a_session_that_waits_keeps_waiting_while_another_is_at_work() {
    let now = Instant::now();
    let mut sessions = Sessions::new(now);
    run(&mut sessions, 1, now);
    sessions.ended(Outcome::Wait(json!("name?")), now);
    run(&mut sessions, 2, now);
    let asked = sessions.go_on(ASKER, sid(1), json!("me"), None, now);
    assert_eq!(code(asked), FaultCode::Busy);
    sessions.ended(Outcome::Failed("no".to_owned()), now);
    let Asked::Begin(job) = sessions.go_on(ASKER, sid(1), json!("me"), None, now) else {
        panic!("begun")
    };
    assert_eq!(job.step, Step::Continue(json!("me")));
}
