//! Events: to everybody, once, in order; and whoever is slow makes nobody wait.

use client::{Notice, Options, PersistentIpcClientHandle};
use protocol::Value;
use protocol::control::{Event, StopReason};

use crate::harness::run::DEADLINE;
use crate::harness::worker::Peer;
use crate::server::Server;
use crate::{House, eager, next, patient};

fn number(server: &Server, count: u64) {
    for number in 0..count {
        server.emit(Event::Error {
            worker: None,
            message: format!("{number} {}", "x".repeat(2000)),
        });
    }
}

#[tokio::test]
async fn everybody_is_told_everything_once_and_in_order() {
    let (house, server, first) = House::with_client(patient()).await;
    let mut clients = vec![first];
    for _ in 0..3 {
        let client = PersistentIpcClientHandle::spawn(house.socket(), patient());
        assert!(client.wait_for_connected(DEADLINE).await);
        clients.push(client);
    }
    let mut listeners: Vec<_> = clients
        .iter()
        .flat_map(|client| [client.events(), client.events()])
        .collect();
    for seq in 1..=300 {
        server.emit(Event::Stopped {
            worker: "a-1".to_owned(),
            reason: StopReason::User,
        });
        for events in &mut listeners {
            match next(events).await {
                Notice::Connected { .. } => panic!("it was connected before"),
                Notice::Event(event) => assert_eq!(event.seq, seq),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Numbers of events and how many were missed between them, until all are accounted for.
async fn account(events: &mut client::Events, all: u64) -> (u64, u64) {
    let (mut told, mut missed, mut last) = (0, 0, 0);
    while told + missed < all {
        match next(events).await {
            Notice::Event(event) => {
                assert!(event.seq > last, "{} after {last}", event.seq);
                assert_eq!(event.seq, told + missed + 1, "none is unaccounted for");
                last = event.seq;
                told += 1;
            }
            Notice::Lagged { missed: more } => missed += more,
            other => panic!("{other:?}"),
        }
    }
    (told, missed)
}

#[tokio::test]
async fn a_listener_that_is_slow_is_told_how_much_it_missed_and_nobody_waits_for_it() {
    let options = Options {
        notices: 16,
        ..patient()
    };
    let (house, server, client) = House::with_client(options).await;
    let quick = PersistentIpcClientHandle::spawn(house.socket(), patient());
    assert!(quick.wait_for_connected(DEADLINE).await);
    let (mut slow, mut listening) = (client.events(), quick.events());
    for _ in 0..40 {
        number(&server, 1);
        next(&mut listening).await;
    }
    // The slow one's connection is read all the same.
    assert!(client.get_state().await.is_ok());
    let (told, missed) = account(&mut slow, 40).await;
    assert_eq!((told, missed), (16, 24));
}

#[tokio::test]
async fn a_client_that_reads_nothing_makes_no_other_wait() {
    let (house, server, client) = House::with_client(patient()).await;
    let mut events = client.events();
    let mut stuck = Peer::connect(&house.socket());
    stuck.ask(r#"{"id":1,"req":{"hello":{"version":1}}}"#);
    stuck.ask(r#"{"id":2,"req":{"subscribe":{}}}"#);
    let all = 2000;
    let emitting = std::thread::spawn(move || {
        number(&server, all);
        server
    });
    let (told, missed) = account(&mut events, all).await;
    assert!(told > 0 && told + missed == all);
    let server = emitting.join().expect("no panic");
    // The stuck one finds out how much it missed as soon as it reads.
    let (mut heard, mut lagged) = (0, 0);
    while heard + lagged < all {
        let line: Value = stuck.hear().parse().expect("JSON");
        match line["event"]["lagged"]["missed"].as_u64() {
            Some(missed) => lagged += missed,
            None => heard += 1,
        }
    }
    assert!(lagged > 0, "{all} events of 2000 bytes fit nowhere");
    assert_eq!(heard + lagged, all);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn what_happens_while_the_connection_is_lost_is_told_afterwards() {
    // A proxy that can be cut, before the same daemon.
    let (house, server, direct) = House::with_client(patient()).await;
    drop(direct);
    let (outside, inside) = (house.workspace.join("outside"), house.socket());
    let proxy = Proxy::start(&outside, &inside);
    let client = PersistentIpcClientHandle::spawn(&outside, eager());
    assert!(client.wait_for_connected(DEADLINE).await);
    let mut events = client.events();
    number(&server, 2);
    for seq in 1..=2 {
        assert!(matches!(next(&mut events).await, Notice::Event(event) if event.seq == seq));
    }
    proxy.cut();
    number(&server, 3);
    assert!(matches!(next(&mut events).await, Notice::Disconnected(_)));
    let mut seq = 2;
    while seq < 5 {
        match next(&mut events).await {
            Notice::Event(event) => {
                seq += 1;
                assert_eq!(event.seq, seq);
            }
            Notice::Connected { .. } | Notice::Disconnected(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Copies bytes between clients and a server.
struct Proxy(std::sync::Arc<std::sync::Mutex<Vec<std::os::unix::net::UnixStream>>>);

impl Proxy {
    fn start(outside: &std::path::Path, inside: &std::path::Path) -> Self {
        use std::os::unix::net::{UnixListener, UnixStream};
        let listener = UnixListener::bind(outside).expect("bound");
        let streams = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let (kept, inside) = (std::sync::Arc::clone(&streams), inside.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.expect("a client");
                let Ok(server) = UnixStream::connect(&inside) else {
                    continue;
                };
                let twice = |stream: &UnixStream| stream.try_clone().expect("a duplicate");
                for (mut from, mut to) in [
                    (twice(&client), twice(&server)),
                    (twice(&server), twice(&client)),
                ] {
                    std::thread::spawn(move || {
                        let _copied = std::io::copy(&mut from, &mut to);
                        let _shut = to.shutdown(std::net::Shutdown::Both);
                    });
                }
                let mut kept = kept.lock().expect("no panic");
                kept.extend([client, server]);
            }
        });
        Self(streams)
    }

    /// Ends all connections there are.
    fn cut(&self) {
        for stream in self.0.lock().expect("no panic").drain(..) {
            let _shut = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}
