//! Answers find their requests.

use std::future::Future as _;
use std::io::{PipeReader, PipeWriter, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::SupervisorResponse;
use supervisor_client::Error;

use crate::DEADLINE;
use crate::peer::{connected, content, file, meanwhile, path, patient, refusal, request};

/// The peer answers only when it has all of them, and the last one first.
#[tokio::test]
async fn requests_are_under_way_at_once_and_answered_in_any_order() {
    const MANY: usize = 30;
    let (client, mut peer) = connected();
    let peer = meanwhile(move || {
        let requests = peer.requests(MANY);
        for (number, request) in requests.iter().enumerate().rev() {
            match number % 3 {
                0 => peer.refuse(request),
                _ => peer.grant(request, file(path(request))),
            }
        }
        (requests, peer)
    });
    let asked: Vec<_> = (0..MANY)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move { client.open(request(&format!("/{number}"))).await })
        })
        .collect();
    for (number, asked) in asked.into_iter().enumerate() {
        let opened = asked.await.expect("a task");
        match number % 3 {
            0 => assert!(matches!(opened, Err(Error::Refused(refused)) if refused.errno == 13)),
            _ => assert_eq!(content(opened), format!("/{number}")),
        }
    }
    let (requests, _peer) = peer.await.expect("the peer");
    let paths: Vec<_> = requests.iter().map(path).collect();
    let sent: Vec<_> = (0..MANY).map(|number| format!("/{number}")).collect();
    assert_eq!(paths, sent, "in the order in which they were made");
}

/// A pipe, to see from one end whether the other is open anywhere.
fn pipe() -> (PipeReader, PipeWriter) {
    std::io::pipe().expect("a pipe")
}

fn is_closed(writer: &PipeWriter) -> bool {
    let mut polled = [PollFd::new(writer.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).expect("poll") > 0
}

async fn until_closed(writer: &PipeWriter) {
    let deadline = Instant::now() + DEADLINE;
    while !is_closed(writer) {
        assert!(Instant::now() < deadline, "it stays open");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_late_answer_is_closed_and_is_not_the_next_ones() {
    let (client, mut peer) = connected();
    let hasty = client.clone().with_timeout(Duration::from_millis(20));
    let (first, mut peer) = {
        let asked = meanwhile(move || (peer.request(), peer));
        let late = hasty.open(request("/late")).await;
        assert_eq!(
            late.expect_err("too late"),
            Error::Socket(socket::Error::Timeout)
        );
        asked.await.expect("the peer")
    };
    let (reader, writer) = pipe();
    let peer = meanwhile(move || {
        let second = peer.request();
        peer.grant(&first, reader.into());
        peer.grant(&second, file("the next"));
        peer
    });
    assert_eq!(content(client.open(request("/next")).await), "the next");
    until_closed(&writer).await;
    peer.await.expect("the peer");
}

#[tokio::test]
async fn a_request_that_is_given_up_closes_what_comes_for_it() {
    let (client, mut peer) = connected();
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.open(request("/given-up")).await }
    });
    let (first, mut peer) = meanwhile(move || (peer.request(), peer))
        .await
        .expect("the peer");
    asked.abort();
    assert!(asked.await.expect_err("given up").is_cancelled());
    let (reader, writer) = pipe();
    peer.grant(&first, reader.into());
    until_closed(&writer).await;
    let peer = meanwhile(move || {
        let second = peer.request();
        peer.grant(&second, file("the next"));
        peer
    });
    assert_eq!(content(client.open(request("/next")).await), "the next");
    peer.await.expect("the peer");
}

/// Nothing is sent before the task has run, which it cannot while this one does not wait.
#[tokio::test]
async fn a_request_that_is_given_up_before_it_is_sent_is_never_sent() {
    let (client, mut peer) = connected();
    {
        let mut given_up = pin!(client.open(request("/given-up")));
        let polled = given_up
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
    let peer = meanwhile(move || {
        let first = peer.request();
        assert_eq!(path(&first), "/next");
        peer.grant(&first, file("the next"));
        peer
    });
    assert_eq!(content(client.open(request("/next")).await), "the next");
    peer.await.expect("the peer");
}

/// Much more than the socket has room for, while the peer reads only as fast as it answers.
#[tokio::test]
async fn more_requests_than_the_socket_holds_are_all_answered() {
    const MANY: usize = 400;
    let (client, mut peer) = connected();
    let asked: Vec<_> = (0..MANY)
        .map(|number| {
            let client = client.clone();
            let long = format!("/{}/{number}", "x".repeat(4000));
            tokio::spawn(async move { client.open(request(&long)).await })
        })
        .collect();
    // All are made before the first is read.
    tokio::task::yield_now().await;
    let peer = meanwhile(move || {
        for _ in 0..MANY {
            let request = peer.request();
            let number = path(&request)
                .rsplit('/')
                .next()
                .expect("a number")
                .to_owned();
            peer.grant(&request, file(&number));
        }
        peer
    });
    for (number, asked) in asked.into_iter().enumerate() {
        assert_eq!(content(asked.await.expect("a task")), number.to_string());
    }
    peer.await.expect("the peer");
}

#[tokio::test]
async fn an_answer_may_come_byte_by_byte_and_a_strange_one_is_passed_over() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let client = patient(theirs);
    let peer = meanwhile(move || {
        let mut peer =
            socket::SupervisorSocket::from_stream(ours.try_clone().expect("a duplicate"))
                .expect("the supervisor's end");
        let asked = peer.recv_message().expect("a request");
        let mut bytes = Vec::new();
        for id in [None, Some(u64::MAX), asked.id()] {
            let response = SupervisorResponse::Refused(refusal(id));
            response.encode(&mut bytes).expect("a frame");
        }
        for byte in bytes {
            (&ours).write_all(&[byte]).expect("written");
        }
        (ours, peer)
    });
    match client.open(request("/a")).await {
        Err(Error::Refused(refused)) => assert_eq!(refused.rule.as_deref(), Some("p.toml:12")),
        other => panic!("{other:?}"),
    }
    peer.await.expect("the peer");
}
