//! Requests: each has its own answer, or none, and never that of another.

use std::time::Duration;

use client::{ControlError, Options, PersistentIpcClientHandle};
use protocol::control::{ControlRequest, LifecycleState};
use protocol::{FaultCode, json};

use crate::harness::run::DEADLINE;
use crate::server::{Manner, USUAL};
use crate::{House, patient};

#[tokio::test]
async fn a_late_answer_is_passed_over() {
    let options = Options {
        response: Duration::from_millis(50),
        ..patient()
    };
    let (_house, server, client) = House::with_client(options).await;
    server.hold(Some("validate_setup"));
    assert_eq!(client.validate_setup().await, Err(ControlError::Timeout));
    server.hold(None);
    // The answer to the first comes before that to the second, which is of another kind.
    let state = loop {
        match client.get_state().await {
            Err(ControlError::Timeout) => {}
            state => break state,
        }
    };
    assert_eq!(state, Ok(LifecycleState::Stopped));
    assert!(client.is_connected(), "a timeout ends nothing");
}

#[tokio::test]
async fn requests_that_are_dropped_shift_no_answer() {
    let (_house, _server, client) = House::with_client(patient()).await;
    for number in 0..300_u64 {
        let dropped = client.run(json!("dropped"), None, None);
        let moment = Duration::from_micros(number % 7 * 20);
        let _late = tokio::time::timeout(moment, dropped).await;
        let kept = client.run(json!(number), None, None).await;
        assert_eq!(kept.expect("done").ran.output, number);
    }
}

#[tokio::test]
async fn many_at_once_each_have_their_own() {
    let (_house, _server, client) = House::with_client(patient()).await;
    let asked: Vec<_> = (0..200)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.run(json!(number), None, None).await })
        })
        .collect();
    for (number, asked) in asked.into_iter().enumerate() {
        let done = asked.await.expect("no panic").expect("done");
        assert_eq!(done.ran.output, number);
    }
}

#[tokio::test]
async fn a_request_that_is_under_way_when_the_daemon_dies_fails_and_is_not_repeated() {
    let (house, mut server, client) = House::with_client(crate::eager()).await;
    server.hold(Some("run"));
    let running = {
        let client = client.clone();
        tokio::spawn(async move { client.run(json!(1), None, None).await })
    };
    let is_run = |request: &ControlRequest| matches!(request, ControlRequest::Run { .. });
    while !server.requests().iter().any(is_run) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.die();
    let lost = running.await.expect("no panic").expect_err("lost");
    assert_eq!(lost.code(), "ipcUnavailable");
    let next = house.serve(USUAL);
    assert!(client.wait_for_connected(DEADLINE).await);
    assert!(client.get_state().await.is_ok());
    assert!(!next.requests().iter().any(is_run));
}

#[tokio::test]
async fn a_verb_that_the_daemon_does_not_know_has_a_stable_code() {
    let house = House::new();
    let _older = house.serve(Manner {
        unknown: "validate_setup",
        ..USUAL
    });
    let client = PersistentIpcClientHandle::spawn(house.socket(), patient());
    assert!(client.wait_for_connected(DEADLINE).await);
    let unknown = client.validate_setup().await.expect_err("unknown");
    assert!(matches!(unknown, ControlError::UnknownRequest(_)));
    assert_eq!(unknown.code(), FaultCode::UnknownRequest.as_str());
    assert!(client.get_state().await.is_ok(), "and nothing else is lost");
}

#[tokio::test]
async fn a_daemon_that_knows_no_desired_states_can_be_commanded_all_the_same() {
    let house = House::new();
    let _older = house.serve(Manner {
        unknown: "get_desired_state",
        ..USUAL
    });
    let client = PersistentIpcClientHandle::spawn(house.socket(), patient());
    assert!(client.wait_for_connected(DEADLINE).await);
    assert!(client.get_state().await.is_ok());
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused_here() {
    let (_house, server, client) = House::with_client(patient()).await;
    let long = json!("x".repeat(protocol::lines::MAX));
    let refused = client.run(long, None, None).await;
    assert_eq!(refused, Err(ControlError::TooLarge));
    assert!(client.get_state().await.is_ok());
    assert_eq!(server.accepted(), 1);
}
