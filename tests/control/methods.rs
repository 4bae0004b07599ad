//! Every method, with a daemon and without one.

use std::time::Duration;

use client::{ControlError, PersistentIpcClientHandle, StartConfig};
use protocol::control::{AutoRestart, ControlRequest, LifecycleState};
use protocol::json;

use crate::harness::run::DEADLINE;
use crate::server::USUAL;
use crate::{House, eager, patient};

#[tokio::test]
async fn every_method_does_what_it_says() {
    let mut options = patient();
    options.worker = Some("a-1".to_owned());
    let (house, server, client) = House::with_client(options).await;
    assert_eq!(client.socket_path(), house.socket());
    assert!(client.is_connected());
    assert_eq!(client.get_state().await, Ok(LifecycleState::Stopped));
    assert_eq!(client.is_running().await, Ok(false));
    let started = client.start(StartConfig::default()).await.expect("started");
    assert_eq!(started.workers[0].id, "a-1");
    assert_eq!(client.is_running().await, Ok(true));
    let status = client.get_lifecycle_status().await.expect("told");
    assert_eq!(
        (status.state, status.desired),
        (LifecycleState::Running, true)
    );
    assert!(!status.synthesized);
    let config = AutoRestart {
        burst: Some(5),
        ..AutoRestart::default()
    };
    assert_eq!(client.enable_auto_restart(Some(config)).await, Ok(()));
    let desired = client.get_desired_state().await.expect("told");
    assert!(desired[0].running && desired[0].auto_restart);
    assert_eq!(client.disable_auto_restart().await, Ok(()));
    assert_eq!(client.enable_auto_restart(None).await, Ok(()));
    let findings = client.validate_setup().await.expect("told");
    assert_eq!(findings[0].code, "linger");
    let status = client.status().await.expect("told");
    let ids: Vec<_> = status.workers.iter().map(|worker| &*worker.id).collect();
    assert_eq!((ids, status.more), (vec!["a-1", "a-2"], None), "both pages");
    let ran = client.run(json!("x"), None, None).await.expect("done");
    assert_eq!((&*ran.worker, &ran.ran.output), ("a-1", &json!("x")));
    let sid = ran.ran.sid;
    let gone_on = client.continue_session(sid, Some(json!("y"))).await;
    assert_eq!(gone_on.expect("done").ran.output, "y");
    let stopped = client.stop().await.expect("stopped");
    assert_eq!(stopped.workers[0].state, LifecycleState::Stopped);
    let asked = server.requests();
    let of_worker = |request: &ControlRequest| match request {
        ControlRequest::Start { worker, .. }
        | ControlRequest::Stop { worker, .. }
        | ControlRequest::GetDesiredState { worker, .. }
        | ControlRequest::GetLifecycleStatus { worker }
        | ControlRequest::EnableAutoRestart { worker, .. } => worker.as_deref() == Some("a-1"),
        _ => true,
    };
    assert!(asked.iter().all(of_worker), "{asked:?}");
    let refused = client
        .request(ControlRequest::Refuse {
            question: 3,
            for_session: false,
        })
        .await;
    assert_eq!(refused.expect_err("none").code(), "unknown_question");
}

#[tokio::test]
async fn without_a_daemon_commands_fail_at_once() {
    let house = House::new();
    let client = PersistentIpcClientHandle::spawn(house.socket(), patient());
    let unavailable = |error: ControlError| {
        assert_eq!(error.code(), "ipcUnavailable", "{error:?}");
        assert!(matches!(error, ControlError::IpcUnavailable(_)));
    };
    // Nothing here waits: every time that could be waited for is longer than the test.
    assert!(!client.is_connected());
    unavailable(
        client
            .start(StartConfig::default())
            .await
            .expect_err("none"),
    );
    unavailable(client.stop().await.expect_err("none"));
    unavailable(client.is_running().await.expect_err("none"));
    unavailable(client.get_state().await.expect_err("none"));
    unavailable(client.enable_auto_restart(None).await.expect_err("none"));
    unavailable(client.disable_auto_restart().await.expect_err("none"));
    unavailable(client.get_desired_state().await.expect_err("none"));
    unavailable(client.validate_setup().await.expect_err("none"));
    unavailable(client.status().await.expect_err("none"));
    unavailable(client.run(json!(1), None, None).await.expect_err("none"));
    let status = client.get_lifecycle_status().await.expect("made up");
    assert_eq!(
        (status.state, status.desired),
        (LifecycleState::Stopped, false)
    );
    assert!(status.synthesized);
}

#[tokio::test]
async fn a_worker_that_is_wanted_is_pending_while_there_is_no_daemon() {
    let (_house, mut server, client) = House::with_client(patient()).await;
    let mut events = client.events();
    client.start(StartConfig::default()).await.expect("started");
    server.die();
    crate::next(&mut events).await;
    let status = client.get_lifecycle_status().await.expect("made up");
    assert_eq!(
        (status.state, status.desired),
        (LifecycleState::RecoveryPending, true)
    );
    assert!(status.synthesized);
}

#[tokio::test]
async fn what_the_daemon_wanted_is_known_to_whoever_only_connected() {
    let (house, mut server, first) = House::with_client(patient()).await;
    first.start(StartConfig::default()).await.expect("started");
    let second = PersistentIpcClientHandle::spawn(house.socket(), patient());
    let mut events = second.events();
    assert!(second.wait_for_connected(DEADLINE).await);
    crate::next(&mut events).await;
    server.die();
    crate::next(&mut events).await;
    let status = second.get_lifecycle_status().await.expect("made up");
    assert_eq!(status.state, LifecycleState::RecoveryPending);
}

#[tokio::test]
async fn a_start_with_a_deadline_waits_for_a_daemon() {
    let house = House::new();
    let client = PersistentIpcClientHandle::spawn(house.socket(), eager());
    let config = StartConfig {
        deadline: Some(DEADLINE),
        ..StartConfig::default()
    };
    let starting = {
        let client = client.clone();
        tokio::spawn(async move { client.start(config).await })
    };
    tokio::task::yield_now().await;
    assert!(!starting.is_finished(), "there is no daemon yet");
    let server = house.serve(USUAL);
    let started = starting.await.expect("no panic").expect("started");
    assert_eq!(started.workers[0].state, LifecycleState::Running);
    let deadlines = server
        .requests()
        .into_iter()
        .find_map(|request| match request {
            ControlRequest::Start { deadline_ms, .. } => deadline_ms,
            _ => None,
        });
    assert!(deadlines.is_some_and(|rest| rest <= DEADLINE.as_millis() as u64));
}

#[tokio::test]
async fn a_start_whose_deadline_is_over_says_that_there_is_no_daemon() {
    let house = House::new();
    let client = PersistentIpcClientHandle::spawn(house.socket(), patient());
    let config = StartConfig {
        deadline: Some(Duration::from_millis(20)),
        ..StartConfig::default()
    };
    let late = client.start(config).await.expect_err("no daemon");
    assert_eq!(late.code(), "ipcUnavailable");
}
