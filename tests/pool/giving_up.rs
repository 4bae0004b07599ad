//! Whoever gives up leaves nothing behind: no answer is ever taken for that of another request.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use client::{PoolClient, PoolError};
use protocol::pool::PoolRequest;
use protocol::{Value, json};

use crate::{Impostor, id, ran, run, status, worker};

#[tokio::test]
async fn a_late_answer_is_not_that_of_the_next_request() {
    let worker = worker();
    let flag = worker.file("flag");
    let client = PoolClient::connect(&worker.endpoint).await.expect("in");
    let hasty = client.clone().with_timeout(Duration::from_millis(20));
    let late = hasty.send_request(run(format!("wait {}", flag.display())));
    assert_eq!(late.await, Err(PoolError::Timeout));
    let told = client.send_request(status()).await.expect("answered");
    assert_eq!(told.data().expect("data")["state"], "running");
    // The late answer comes between the next request and its own.
    std::fs::write(&flag, "").expect("written");
    loop {
        match client.send_request(run("next")).await {
            Err(PoolError::Busy(_)) => {}
            answer => break assert_eq!(ran(answer.expect("answered")).output, "next"),
        }
    }
}

#[tokio::test]
async fn requests_that_are_dropped_at_any_moment_shift_no_answer() {
    let worker = worker();
    let client = PoolClient::connect(&worker.endpoint).await.expect("in");
    for number in 0..400_u32 {
        let mut dropped = Box::pin(client.send_request(run(format!("dropped {number}"))));
        let mut context = Context::from_waker(Waker::noop());
        // Not begun, made, sent, perhaps answered.
        for _ in 0..number % 4 {
            if dropped.as_mut().poll(&mut context).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(dropped);
        let kept = loop {
            match client.send_request(run(number)).await {
                Err(PoolError::Busy(_)) => {}
                kept => break ran(kept.expect("answered")),
            }
        };
        assert_eq!(kept.output, number);
    }
}

#[tokio::test]
async fn answers_find_their_requests_in_whatever_order_they_come() {
    let reversing = Impostor::greeting(|mut peer| {
        let lines: Vec<Value> = (0..100)
            .map(|_| peer.hear().parse().expect("JSON"))
            .collect();
        peer.say(r#"{"id":4711,"ok":true,"data":"to nobody"}"#);
        peer.say(r#"{"id":null,"ok":false,"error":{"code":"busy"}}"#);
        for line in lines.iter().rev() {
            let job = &line["req"]["run"]["job"];
            let answer = json!({"id": line["id"], "ok": true, "data": job});
            peer.say(&answer.to_string());
            // And once more, for nobody.
            peer.say(&json!({"id": line["id"], "ok": true, "data": "twice"}).to_string());
        }
    });
    let client = PoolClient::connect(reversing.path()).await.expect("in");
    let asked: Vec<_> = (0..100)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.send_request(run(number)).await })
        })
        .collect();
    for (number, asked) in asked.into_iter().enumerate() {
        let answer = asked.await.expect("no panic").expect("answered");
        assert_eq!(answer.data(), Some(&json!(number)));
    }
    reversing.join().await;
}

#[tokio::test]
async fn what_was_given_up_before_it_was_sent_is_never_sent() {
    let (told, tell) = std::sync::mpsc::channel();
    let blocked = Impostor::greeting(move |mut peer| {
        // Reads nothing until there is no room for more.
        let () = tell.recv().expect("told");
        let mut seen = Vec::new();
        loop {
            let line = peer.hear();
            if line.contains("last") {
                let answer = json!({"id": id(&line), "ok": true, "data": seen});
                return peer.say(&answer.to_string());
            }
            seen.push(id(&line));
        }
    });
    let client = PoolClient::connect(blocked.path()).await.expect("in");
    let large = "x".repeat(60_000);
    let mut context = Context::from_waker(Waker::noop());
    let mut given_up = Vec::new();
    for _ in 0..50 {
        let mut request = Box::pin(client.send_request(run(large.clone())));
        assert!(request.as_mut().poll(&mut context).is_pending());
        given_up.push(request);
    }
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    drop(given_up);
    let mut last = pin!(client.send_request(run("last")));
    assert_eq!(last.as_mut().poll(&mut context).map(drop), Poll::Pending);
    told.send(()).expect("it waits");
    let seen = last.await.expect("answered").outcome.expect("data");
    let seen = seen.as_array().expect("a list").len();
    assert!(seen < 40, "{seen} of 50 were sent after they were given up");
    blocked.join().await;
}

#[tokio::test]
async fn a_job_with_a_deadline_is_answered_by_it() {
    let worker = worker();
    let client = PoolClient::connect(&worker.endpoint).await.expect("in");
    let never = worker.file("never");
    let answer = client.send_request(PoolRequest::Run {
        job: json!(format!("wait {}", never.display())),
        deadline_ms: Some(20),
        queue_ms: None,
        sid: None,
    });
    let answer = answer.await.expect("answered");
    let code = answer.error().map(|fault| fault.code.as_str());
    assert_eq!(code, Some("deadline"));
}
