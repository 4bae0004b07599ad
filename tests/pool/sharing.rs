//! One connection for several who ask: none of them needs the others to look after it.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};

use client::PoolClient;
use protocol::json;
use tokio::time::timeout;

use crate::harness::run::DEADLINE;
use crate::{Impostor, id, ran, run, status, worker};

/// Asks, and does not look after it.
fn ask_and_look_away(asked: std::pin::Pin<&mut impl Future>) {
    let polled = asked.poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled.map(drop), Poll::Pending);
}

async fn is_noticed_to_be_gone(client: &PoolClient) {
    let noticed = async {
        while client.is_connected() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, noticed).await.expect("it is noticed");
}

#[tokio::test]
async fn who_does_not_look_keeps_nobody_waiting() {
    let worker = worker();
    let client = PoolClient::connect(&worker.endpoint).await.expect("in");
    for round in 0..100 {
        let mut idle = [0, 1].map(|_| Box::pin(client.send_request(status())));
        for idle in idle.iter_mut().take(round % 3) {
            ask_and_look_away(idle.as_mut());
        }
        let done = timeout(DEADLINE, client.send_request(run(round))).await;
        assert_eq!(ran(done.expect("in time").expect("answered")).output, round);
        for idle in idle {
            assert!(timeout(DEADLINE, idle).await.expect("in time").is_ok());
        }
    }
}

#[tokio::test]
async fn an_answer_that_comes_while_nobody_looks_is_there_when_somebody_does() {
    let (told, tell) = channel();
    let impostor = Impostor::greeting(move |mut peer| {
        let [first, second] = [id(&peer.hear()), id(&peer.hear())];
        // That of who looks comes last.
        for id in [first, second] {
            peer.say(&json!({"id": id, "ok": true, "data": id}).to_string());
        }
        tell.recv().expect("told");
    });
    let client = PoolClient::connect(impostor.path()).await.expect("in");
    let mut idle = pin!(client.send_request(status()));
    ask_and_look_away(idle.as_mut());
    let awaited = timeout(DEADLINE, client.send_request(status())).await;
    let awaited = awaited.expect("in time").expect("answered");
    let idle = timeout(DEADLINE, idle).await.expect("in time");
    assert!(idle.expect("answered").id < awaited.id);
    told.send(()).expect("it waits");
    impostor.join().await;
}

#[tokio::test]
async fn what_comes_for_who_has_just_given_up_is_read_by_somebody() {
    let impostor = Impostor::greeting(|mut peer| {
        let id = id(&peer.hear());
        peer.say(&json!({"id": id, "ok": true}).to_string());
    });
    let client = PoolClient::connect(impostor.path()).await.expect("in");
    let mut asked = Box::pin(client.send_request(status()));
    ask_and_look_away(asked.as_mut());
    impostor.join().await;
    // The runtime has seen that something came, and told who waited.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(asked);
    is_noticed_to_be_gone(&client).await;
}

#[tokio::test]
async fn that_a_worker_is_gone_is_noticed_by_nobody_asking() {
    let impostor = Impostor::greeting(drop);
    let client = PoolClient::connect(impostor.path()).await.expect("in");
    is_noticed_to_be_gone(&client).await;
    impostor.join().await;
    // Also after somebody has asked.
    let (told, tell) = channel();
    let impostor = Impostor::greeting(move |mut peer| {
        let id = id(&peer.hear());
        peer.say(&json!({"id": id, "ok": true}).to_string());
        tell.recv().expect("told");
    });
    let client = PoolClient::connect(impostor.path()).await.expect("in");
    assert!(client.send_request(status()).await.is_ok());
    assert!(client.is_connected());
    told.send(()).expect("it waits");
    is_noticed_to_be_gone(&client).await;
    impostor.join().await;
}
