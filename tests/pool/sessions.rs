//! Jobs and sessions of real workers.

use client::{PoolClient, PoolError};
use protocol::json;
use protocol::pool::{Occupation, PoolRequest, PoolStatus, SessionState};

use crate::harness::run::eventually;
use crate::harness::worker::Worker;
use crate::harness::{feature, require};
use crate::{python_worker, ran, run, status, worker};

#[tokio::test]
async fn a_worker_does_jobs_and_its_client_goes_on_with_their_sessions() {
    does_jobs(worker()).await;
}

#[tokio::test]
async fn a_worker_in_python_is_none_the_worse() {
    require!(feature::program("python3"));
    does_jobs(python_worker()).await;
}

async fn does_jobs(mut worker: Worker) {
    let client = PoolClient::connect(&worker.endpoint).await.expect("in");
    assert_eq!((client.service(), client.service_version()), ("test", "7"));
    let done = ran(client.send_request(run("x")).await.expect("answered"));
    assert_eq!((done.state, done.output), (SessionState::Done, json!("x")));

    let asked = ran(client.send_request(run("ask")).await.expect("answered"));
    assert_eq!(asked.state, SessionState::Waiting);
    let go_on = |sid: &str, input| PoolRequest::Continue {
        sid: sid.to_owned(),
        input,
        deadline_ms: None,
    };
    let told = client.send_request(go_on(&asked.sid, Some(json!("Ada"))));
    assert_eq!(ran(told.await.expect("answered")).output, "Ada");
    let again = client.send_request(go_on(&asked.sid, None));
    assert_eq!(ran(again.await.expect("answered")).output, "Ada");

    let wrong = "0".repeat(32);
    let refused = client.send_request(go_on(&wrong, Some(json!(1)))).await;
    assert_eq!(refused, Err(PoolError::SessionNotFound { sid: wrong }));
    let failed = client.send_request(run("fail")).await.expect("answered");
    assert!(!failed.ok());
    let fault = failed.error().expect("why");
    assert_eq!(
        (fault.code.as_str(), &*fault.message),
        ("failed", "as it was told to")
    );

    let told = client.send_request(PoolRequest::Status {
        include_history: true,
    });
    let told = told.await.expect("answered").outcome.expect("data");
    let told: PoolStatus = protocol::from_value(told).expect("a status");
    assert_eq!((told.state, told.jobs), (Occupation::Idle, 4));
    assert_eq!(told.history.map(|history| history.len()), Some(3));

    let ending = client.send_request(PoolRequest::Shutdown {});
    assert!(ending.await.expect("answered").ok());
    assert!(worker.ended().success());
    while client.is_connected() {
        tokio::task::yield_now().await;
    }
    let late = client.send_request(status()).await;
    assert!(matches!(late, Err(PoolError::IoRead(_))), "{late:?}");
}

#[tokio::test]
async fn a_second_job_is_busy_at_once_for_whoever_asks() {
    let worker = worker();
    let flag = worker.file("flag");
    let one = PoolClient::connect(&worker.endpoint).await.expect("in");
    let other = PoolClient::connect(&worker.endpoint).await.expect("in");
    let long = {
        let (one, job) = (one.clone(), run(format!("wait {}", flag.display())));
        tokio::spawn(async move { one.send_request(job).await })
    };
    loop {
        let told = other.send_request(status()).await.expect("answered");
        if told.data().expect("data")["state"] == "running" {
            break;
        }
    }
    for client in [&one, &other] {
        let refused = client.send_request(run(1)).await;
        assert!(matches!(refused, Err(PoolError::Busy(_))), "{refused:?}");
    }
    std::fs::write(&flag, "").expect("written");
    let done = ran(long.await.expect("no panic").expect("answered"));
    assert_eq!(done.output, "it is there");
}

#[tokio::test]
async fn a_wrong_version_is_a_mismatch_from_the_real_worker() {
    let worker = worker();
    let client = PoolClient::connect(&worker.endpoint).await.expect("in");
    let refused = client
        .send_request(PoolRequest::Handshake { version: 7 })
        .await;
    let (client, server) = (7, 1);
    assert_eq!(refused, Err(PoolError::VersionMismatch { client, server }));
}

#[tokio::test]
async fn who_lost_the_connection_asks_for_the_result_on_another() {
    let worker = worker();
    let flag = worker.file("flag");
    let sid = "a".repeat(32);
    let job = PoolRequest::Run {
        job: json!(format!("wait {}", flag.display())),
        deadline_ms: None,
        queue_ms: None,
        sid: Some(sid.clone()),
    };
    let first = PoolClient::connect(&worker.endpoint).await.expect("in");
    let running = {
        let first = first.clone();
        tokio::spawn(async move { first.send_request(job).await })
    };
    let second = PoolClient::connect(&worker.endpoint).await.expect("in");
    loop {
        let told = second.send_request(status()).await.expect("answered");
        if told.data().expect("data")["state"] == "running" {
            break;
        }
    }
    running.abort();
    assert!(running.await.is_err());
    drop(first);
    std::fs::write(&flag, "").expect("written");
    let result = second.send_request(PoolRequest::Continue {
        sid: sid.clone(),
        input: None,
        deadline_ms: None,
    });
    let result = ran(result.await.expect("answered"));
    assert_eq!((result.sid, result.output), (sid, json!("it is there")));
}

#[test]
fn the_connection_is_closed_with_the_last_clone() {
    let mut worker = worker();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let sockets = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", worker.pid())).expect("it lives");
        fds.count()
    };
    let before = sockets();
    runtime.block_on(async {
        let client = PoolClient::connect(&worker.endpoint).await.expect("in");
        let clone = client.clone();
        drop(client);
        assert!(clone.send_request(status()).await.is_ok());
        assert_eq!(sockets(), before + 1);
        drop(clone);
        while sockets() != before {
            tokio::task::yield_now().await;
        }
    });
    eventually("the worker had no connection", || sockets() == before);
    assert!(worker.is_alive());
}

#[tokio::test]
async fn a_connection_that_is_there_already_will_do() {
    let worker = worker();
    let connection = tokio::net::UnixStream::connect(&worker.endpoint).await;
    let client = PoolClient::over(connection.expect("in"), crate::harness::run::DEADLINE).await;
    let done = client.expect("greeted").send_request(run("x")).await;
    assert_eq!(ran(done.expect("answered")).output, "x");
}
