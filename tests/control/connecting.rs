//! Connections: how they begin, are lost, and come back.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use client::{Backoff, ControlError, Notice, Options, PersistentIpcClientHandle};
use protocol::control::Event;
use protocol::json;

use crate::harness::built;
use crate::harness::run::{DEADLINE, Ran, run};
use crate::server::{Manner, USUAL};
use crate::{House, NEVER, eager, next, patient};

const SECOND_DAEMON: Manner = Manner {
    daemon: "two",
    ..USUAL
};

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "it never happened that {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_daemon_that_dies_is_noticed_though_nobody_asks() {
    let (_house, mut server, client) = House::with_client(patient()).await;
    let mut events = client.events();
    // No timer of the client ends within this test.
    server.die();
    let notice = next(&mut events).await;
    let Notice::Disconnected(ControlError::IpcUnavailable(_)) = notice else {
        panic!("{notice:?}")
    };
    assert!(!client.is_connected());
    until("the client closed its end", || server.connections() == 0).await;
}

#[tokio::test]
async fn a_nudge_connects_at_once() {
    let (house, mut server, client) = House::with_client(patient()).await;
    let mut events = client.events();
    server.die();
    next(&mut events).await;
    let second = house.serve(SECOND_DAEMON);
    assert!(!client.wait_for_connected(Duration::from_millis(20)).await);
    assert_eq!(second.accepted(), 0, "it would have waited an hour");
    client.nudge_reconnect();
    assert!(client.wait_for_connected(NEVER).await);
    assert_eq!(second.accepted(), 1);
}

#[tokio::test]
async fn after_a_restart_events_go_on_and_old_connections_are_closed() {
    let (house, mut first, client) = House::with_client(eager()).await;
    let mut events = client.events();
    first.emit(Event::Reloaded {});
    assert!(matches!(next(&mut events).await, Notice::Event(event) if event.seq == 1));
    for round in 0..3 {
        first.die();
        assert!(matches!(next(&mut events).await, Notice::Disconnected(_)));
        until("the old connection was closed", || first.connections() == 0).await;
        let second = house.serve(Manner {
            daemon: ["two", "three", "four"][round],
            ..USUAL
        });
        let connected = next(&mut events).await;
        let Notice::Connected { daemon, .. } = connected else {
            panic!("{connected:?}")
        };
        assert_eq!(daemon, ["two", "three", "four"][round]);
        // Another daemon counts from one again, and that is not taken for what was heard.
        for seq in 1..=3 {
            second.emit(Event::Reloaded {});
            let told = next(&mut events).await;
            assert!(
                matches!(&told, Notice::Event(event) if event.seq == seq),
                "{told:?}"
            );
        }
        assert_eq!(second.connections(), 1);
        first = second;
    }
}

#[tokio::test]
async fn tries_end_after_so_many_and_begin_again_when_somebody_says_so() {
    let house = House::new();
    let options = Options {
        backoff: Backoff {
            attempts: Some(3),
            ..eager().backoff
        },
        ..Options::default()
    };
    let client = PersistentIpcClientHandle::spawn(house.socket(), options);
    let mut events = client.events();
    let gave_up = next(&mut events).await;
    assert!(matches!(gave_up, Notice::GaveUp(_)), "{gave_up:?}");
    let server = house.serve(USUAL);
    assert!(!client.wait_for_connected(Duration::from_millis(100)).await);
    assert_eq!(server.accepted(), 0);
    client.nudge_reconnect();
    assert!(client.wait_for_connected(DEADLINE).await);
}

#[tokio::test]
async fn a_daemon_that_says_nothing_is_none() {
    let house = House::new();
    let silent = house.serve(Manner {
        is_silent: true,
        ..USUAL
    });
    let options = Options {
        handshake: Duration::from_millis(20),
        backoff: Backoff {
            attempts: Some(2),
            ..eager().backoff
        },
        ..Options::default()
    };
    let client = PersistentIpcClientHandle::spawn(house.socket(), options);
    let mut events = client.events();
    let gave_up = next(&mut events).await;
    assert!(matches!(gave_up, Notice::GaveUp(_)), "{gave_up:?}");
    assert_eq!(silent.accepted(), 2);
    until("nothing was left open", || silent.connections() == 0).await;
}

#[tokio::test]
async fn waiting_for_a_connection_tells_whether_there_is_one() {
    let house = House::new();
    let client = PersistentIpcClientHandle::spawn(house.socket(), eager());
    assert!(!client.wait_for_connected(Duration::from_millis(20)).await);
    assert!(!client.wait_for_connected(Duration::ZERO).await);
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.wait_for_connected(DEADLINE).await })
    };
    let _server = house.serve(USUAL);
    assert!(waiting.await.expect("no panic"));
    assert!(
        client.wait_for_connected(Duration::ZERO).await,
        "it is there"
    );
}

#[tokio::test]
async fn the_connection_ends_with_the_last_handle() {
    let (_house, server, client) = House::with_client(patient()).await;
    let mut events = client.events();
    let clone = client.clone();
    drop(client);
    assert!(clone.get_state().await.is_ok());
    drop(clone);
    loop {
        match tokio::time::timeout(DEADLINE, events.next()).await {
            Ok(None) => break,
            Ok(Some(Notice::Disconnected(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    until("the connection was closed", || server.connections() == 0).await;
}

#[tokio::test]
async fn another_version_is_told_by_its_numbers_until_a_daemon_comes_that_speaks_ours() {
    let house = House::new();
    let client = PersistentIpcClientHandle::spawn(house.socket(), eager());
    // A daemon that is newer than the client, and one that is older.
    for version in [2, 0] {
        let mut other = house.serve(Manner { version, ..USUAL });
        until("a try failed", || other.accepted() > 1).await;
        let mismatch = ControlError::VersionMismatch {
            client: 1,
            server: version,
        };
        assert_eq!(client.get_state().await, Err(mismatch.clone()));
        assert_eq!(client.get_lifecycle_status().await, Err(mismatch.clone()));
        assert_eq!(mismatch.code(), "version_mismatch");
        let socket = house.socket();
        let said = tokio::task::spawn_blocking(move || status(&socket)).await;
        let said = said.expect("no panic").stderr;
        let numbers = format!("version 1, where {version} is spoken");
        assert!(said.contains(&numbers), "{said}");
        other.die();
    }
    let mut ours = house.serve(USUAL);
    client.nudge_reconnect();
    assert!(client.wait_for_connected(DEADLINE).await);
    assert!(client.get_state().await.is_ok());
    ours.die();
}

/// `supervise status`, asked of whoever listens there.
fn status(socket: &Path) -> Ran {
    let mut command = Command::new(built::supervise());
    command.args(["status", "--socket"]).arg(socket);
    run(&mut command).expect_code(125)
}

#[tokio::test]
async fn what_a_newer_daemon_tells_beside_what_is_known_disturbs_nobody() {
    let (_house, server, client) = House::with_client(patient()).await;
    let mut events = client.events();
    let danced = Event::Unknown(json!({"danced": {"worker": "a-1"}}));
    server.emit(danced.clone());
    server.emit(Event::Reloaded {});
    for expected in [danced, Event::Reloaded {}] {
        let told = next(&mut events).await;
        assert!(
            matches!(&told, Notice::Event(event) if event.event == expected),
            "{told:?}"
        );
    }
    assert!(client.get_state().await.is_ok());
}

#[test]
fn what_nobody_names_is_waited_for_and_tried_as_is_documented() {
    let usual = Options::default();
    let seconds = Duration::from_secs;
    assert_eq!(
        (usual.response, usual.handshake),
        (seconds(10), seconds(10))
    );
    let backoff = usual.backoff;
    assert_eq!((backoff.first, backoff.longest), (seconds(1), seconds(30)));
    assert_eq!(backoff.attempts, Some(10));
}
