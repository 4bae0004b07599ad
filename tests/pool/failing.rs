//! Others than workers, and workers that do not answer: each failure is of its own kind.

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use client::{PoolClient, PoolError};
use nix::sys::signal::Signal;

use crate::harness::Workspace;
use crate::harness::process::stop;
use crate::harness::worker::bound;
use crate::{Impostor, id, run, status, worker};

const MOMENT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn where_nobody_listens_there_is_nobody_to_connect_to() {
    let workspace = Workspace::new();
    let path = workspace.join("endpoint");
    let missing = PoolClient::connect(&path).await.expect_err("nobody");
    assert_eq!(missing, PoolError::Connect(ErrorKind::NotFound));
    let _deaf = bound(&path);
    let deaf = PoolClient::connect(&path).await.expect_err("nobody");
    assert_eq!(deaf, PoolError::Connect(ErrorKind::ConnectionRefused));
}

#[tokio::test]
async fn a_worker_that_says_nothing_times_out_at_the_deadline() {
    let worker = worker();
    stop(worker.pid());
    let begun = std::time::Instant::now();
    let silent = PoolClient::connect_within(&worker.endpoint, MOMENT).await;
    assert_eq!(silent.expect_err("silent"), PoolError::Timeout);
    assert!(begun.elapsed() >= MOMENT);
    worker.signal(Signal::SIGCONT);
    assert!(PoolClient::connect(&worker.endpoint).await.is_ok());
}

#[tokio::test]
async fn who_names_no_deadline_waits_ten_seconds_for_a_greeting() {
    let silent = Impostor::start(|mut peer| {
        peer.hear();
        peer.heard();
    });
    let begun = std::time::Instant::now();
    let error = PoolClient::connect(silent.path()).await;
    assert_eq!(error.expect_err("silent"), PoolError::Timeout);
    let waited = begun.elapsed();
    let seconds = Duration::from_secs;
    assert!(waited >= seconds(10) && waited < seconds(60), "{waited:?}");
    silent.join().await;
}

#[tokio::test]
async fn a_queue_that_is_full_is_waited_for_until_the_deadline() {
    let workspace = Workspace::new();
    let path = workspace.join("endpoint");
    let bound = bound(&path);
    let backlog = nix::sys::socket::Backlog::new(0).expect("a number");
    nix::sys::socket::listen(&bound, backlog).expect("listens");
    let _first = std::os::unix::net::UnixStream::connect(&path).expect("the only place");
    let full = PoolClient::connect_within(&path, MOMENT).await;
    assert_eq!(full.expect_err("full"), PoolError::Timeout);
}

#[tokio::test]
async fn what_is_no_answer_is_told_from_what_is_a_wrong_one() {
    let closed = Impostor::start(drop);
    let error = PoolClient::connect(closed.path()).await.expect_err("none");
    assert!(matches!(error, PoolError::Handshake(_)), "{error:?}");
    closed.join().await;
    for garbage in [
        "garbage".to_owned(),
        "[]".to_owned(),
        r#"{"id":1,"ok":true,"data":{"version":"x"}}"#.to_owned(),
        "x".repeat(protocol::lines::MAX + 1),
    ] {
        let strange = Impostor::start(move |mut peer| {
            peer.hear();
            peer.say(&garbage);
            peer.heard();
        });
        let error = PoolClient::connect(strange.path()).await.expect_err("none");
        assert!(matches!(error, PoolError::ResponseParse(_)), "{error:?}");
        strange.join().await;
    }
    for answer in [
        r#"{"id":1,"ok":true,"data":{"version":2}}"#,
        r#"{"id":1,"ok":false,"error":{"code":"version_mismatch","client":1,"server":2}}"#,
    ] {
        let newer = Impostor::start(move |mut peer| {
            peer.hear();
            peer.say(answer);
        });
        let error = PoolClient::connect(newer.path()).await.expect_err("none");
        let (client, server) = (1, 2);
        assert_eq!(error, PoolError::VersionMismatch { client, server });
        newer.join().await;
    }
}

#[tokio::test]
async fn a_worker_that_ends_is_an_error_for_those_who_wait_and_for_those_who_come() {
    let ends = Impostor::greeting(|mut peer| {
        id(&peer.hear());
    });
    let client = PoolClient::connect(ends.path()).await.expect("in");
    for _ in 0..2 {
        let lost = client.send_request(run(1)).await;
        assert!(matches!(lost, Err(PoolError::IoRead(_))), "{lost:?}");
    }
    assert!(!client.is_connected());
    ends.join().await;
}

#[tokio::test]
async fn garbage_in_the_middle_ends_the_connection_with_its_kind() {
    let strange = Impostor::greeting(|mut peer| {
        peer.hear();
        peer.say("garbage");
        peer.heard();
    });
    let client = PoolClient::connect(strange.path()).await.expect("in");
    for _ in 0..2 {
        let error = client.send_request(status()).await;
        assert!(
            matches!(error, Err(PoolError::ResponseParse(_))),
            "{error:?}"
        );
    }
    strange.join().await;
}

#[tokio::test]
async fn what_a_worker_said_before_it_closed_is_heard() {
    let hasty = Impostor::greeting(|mut peer| {
        let id = id(&peer.hear());
        peer.say(&format!(r#"{{"id":{id},"ok":true,"data":1}}"#));
    });
    let client = PoolClient::connect(hasty.path()).await.expect("in");
    let answer = client.send_request(status()).await.expect("answered");
    assert_eq!(answer.data(), Some(&protocol::json!(1)));
    hasty.join().await;
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused_and_the_next_is_not() {
    let worker = worker();
    let client = PoolClient::connect(&worker.endpoint).await.expect("in");
    let long = client
        .send_request(run("x".repeat(protocol::lines::MAX)))
        .await;
    assert!(matches!(long, Err(PoolError::IoWrite(_))), "{long:?}");
    assert!(client.send_request(run("x")).await.is_ok());
}

#[tokio::test]
async fn half_an_answer_keeps_nobody_longer_than_their_time() {
    let slow = Impostor::greeting(|mut peer| {
        peer.hear();
        peer.stream().write_all(b"{\"id\":").expect("said");
        peer.heard();
    });
    let client = PoolClient::connect(slow.path()).await.expect("in");
    let late = client.with_timeout(MOMENT).send_request(status()).await;
    assert_eq!(late, Err(PoolError::Timeout));
    slow.join().await;
}
