//! How a connection ends, and what is left of it.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket::Listener;
use supervisor_client::{Client, Error};

use crate::peer::{connected, content, file, meanwhile, patient, request};

#[tokio::test]
async fn everybody_hears_that_the_supervisor_is_gone() {
    let (client, mut peer) = connected();
    let asked: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.open(request("/a")).await })
        })
        .collect();
    meanwhile(move || drop(peer.requests(3)))
        .await
        .expect("the peer");
    for asked in asked {
        let opened = asked.await.expect("a task");
        assert_eq!(
            opened.expect_err("closed"),
            Error::Socket(socket::Error::Closed)
        );
    }
    let later = client.open(request("/a")).await;
    assert_eq!(
        later.expect_err("closed"),
        Error::Socket(socket::Error::Closed)
    );
}

#[tokio::test]
async fn what_is_no_answer_ends_the_connection_for_everybody() {
    let frame = |text: &str| {
        let length = u32::try_from(text.len()).expect("a short text");
        [&length.to_be_bytes(), text.as_bytes()].concat()
    };
    let garbage = [
        vec![0; 4],
        vec![255; 4],
        frame("{}"),
        // Without the descriptor that it speaks of.
        frame(r#"{"id":1,"decision":"granted","fds":1}"#),
    ];
    for bytes in garbage {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let client = patient(theirs);
        ours.write_all(&bytes).expect("written");
        for _ in 0..2 {
            let error = client.open(request("/a")).await.expect_err("no answer");
            assert!(
                matches!(
                    error,
                    Error::Socket(socket::Error::Malformed { .. } | socket::Error::TooLarge { .. })
                ),
                "{bytes:?}: {error}"
            );
        }
    }
}

#[tokio::test]
async fn the_connection_is_closed_with_the_last_client() {
    let (client, mut peer) = connected();
    let last = client.clone().with_timeout(Duration::from_secs(60));
    drop(client);
    let peer = meanwhile(move || {
        let request = peer.request();
        peer.grant(&request, file("still"));
        peer
    });
    assert_eq!(content(last.open(request("/a")).await), "still");
    drop(last);
    let peer = peer.await.expect("the peer");
    meanwhile(|| peer.until_over()).await.expect("over");
}

/// The task that owns the connection has no room to send, and is woken all the same.
#[tokio::test]
async fn the_connection_is_closed_also_when_nobody_reads_it() {
    let (client, peer) = connected();
    let hasty = client.clone().with_timeout(Duration::from_millis(20));
    let long = format!("/{}", "x".repeat(4000));
    let asked: Vec<_> = (0..200)
        .map(|_| {
            let (hasty, long) = (hasty.clone(), long.clone());
            tokio::spawn(async move { hasty.open(request(&long)).await })
        })
        .collect();
    for asked in asked {
        let opened = asked.await.expect("a task");
        assert_eq!(
            opened.expect_err("never read"),
            Error::Socket(socket::Error::Timeout)
        );
    }
    drop((client, hasty));
    meanwhile(|| peer.until_over()).await.expect("over");
}

#[test]
fn a_runtime_that_ends_leaves_nobody_waiting() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let first = runtime();
    let (client, _peer) = first.block_on(async { connected() });
    drop(first);
    let opened = runtime().block_on(client.open(request("/a")));
    assert_eq!(
        opened.expect_err("closed"),
        Error::Socket(socket::Error::Closed)
    );
}

#[tokio::test]
async fn a_client_connects_by_name() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let name = directory.path().join("door");
    let nobody = Client::connect_to(&name).await;
    assert!(matches!(
        nobody,
        Err(Error::Socket(socket::Error::Io {
            operation: "connect",
            ..
        }))
    ));
    let listener = Listener::bind(&name).expect("bound");
    let client = Client::connect_to(&name).await.expect("connected");
    let accepted = meanwhile(move || listener.accept(Some(Duration::from_secs(60))))
        .await
        .expect("a task");
    drop(accepted.expect("accepted"));
    let opened = client.open(request("/a")).await;
    assert_eq!(
        opened.expect_err("closed"),
        Error::Socket(socket::Error::Closed)
    );
}
