//! What is asked stays asked, until it is answered, whoever answers.

use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use protocol::SupervisorResponse;
use supervisor_socket::{Channel, Incoming, SupervisorSocket};

use crate::channel::{requests, turn};
use crate::messages::{file, framed, framed_text, granted, open, refused};

/// A pair, and what a successor finds at our end of it.
fn pair() -> (OwnedFd, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    // The successor cannot name senders of what came before it asked for that.
    Channel::prepare(std::os::fd::AsFd::as_fd(&ours)).expect("prepared");
    (ours.into(), theirs)
}

fn taken(socket: &OwnedFd) -> Channel {
    Channel::durable(socket.try_clone().expect("a duplicate")).expect("a channel")
}

fn ids(incoming: Vec<Incoming>) -> Vec<u64> {
    let id = |incoming| match incoming {
        Incoming::Open(_, open) => open.id,
        Incoming::Rejected(_, rejected) => panic!("{rejected}"),
    };
    incoming.into_iter().map(id).collect()
}

#[test]
fn what_was_not_answered_is_found_by_the_next() {
    let (socket, mut program) = pair();
    for id in 1..=4 {
        program.write_all(&framed(&open(id, "/a"))).expect("sent");
    }
    let mut first = taken(&socket);
    assert_eq!(ids(requests(&mut first)), [1, 2, 3, 4]);
    // The third is answered before the second: it waits with it.
    for id in [1, 3] {
        first.answer(&refused(id), Vec::new()).expect("answered");
    }
    drop(first);
    let mut second = taken(&socket);
    assert_eq!(ids(requests(&mut second)), [2, 3, 4]);
    for id in [2, 3, 4] {
        second.answer(&refused(id), Vec::new()).expect("answered");
    }
    assert_eq!(ids(requests(&mut taken(&socket))), [0u64; 0]);
    let mut program = SupervisorSocket::inherited(program);
    program.set_read_timeout(Some(Duration::from_secs(60)));
    let answered = std::iter::repeat_with(|| program.recv_response().expect("an answer").id());
    assert_eq!(
        answered.take(5).collect::<Vec<_>>(),
        [Some(1), Some(3), Some(2), Some(3), Some(4)]
    );
}

#[test]
fn a_request_that_waits_makes_no_noise_and_holds_up_no_other() {
    let (socket, mut program) = pair();
    let mut channel = taken(&socket);
    assert_eq!(ids(requests(&mut channel)), [0u64; 0]);
    program.write_all(&framed(&open(1, "/a"))).expect("sent");
    assert_eq!(ids(requests(&mut channel)), [1]);
    // It is still in the socket; nothing is to be polled for it.
    turn(&mut channel);
    let is_ready = |channel: &Channel| {
        use nix::poll::{PollFd, PollTimeout, poll};
        use std::os::fd::AsFd as _;
        let mut polled = [PollFd::new(channel.as_fd(), channel.interest())];
        poll(&mut polled, PollTimeout::ZERO).expect("poll") > 0
    };
    assert!(!is_ready(&channel));
    program.write_all(&framed(&open(2, "/b"))).expect("sent");
    assert!(is_ready(&channel));
    assert_eq!(ids(requests(&mut channel)), [2]);
    channel
        .answer(&granted(2, 1), vec![file("x").into()])
        .expect("answered");
    channel.answer(&refused(1), Vec::new()).expect("answered");
    assert!(!is_ready(&channel) || ids(requests(&mut channel)).is_empty());
    assert_eq!(ids(requests(&mut taken(&socket))), [0u64; 0]);
}

#[test]
fn a_greeting_and_what_breaks_the_protocol_are_done_with_at_once() {
    let (socket, mut program) = pair();
    program
        .write_all(&framed_text(br#"{"v":1,"id":3,"kind":"hello"}"#))
        .expect("sent");
    program.write_all(&framed_text(b"{}")).expect("sent");
    program.write_all(&framed(&open(7, "/a"))).expect("sent");
    let mut first = taken(&socket);
    let found = requests(&mut first);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(matches!(found[0], Incoming::Rejected(..)), "{found:?}");
    drop(first);
    assert_eq!(ids(requests(&mut taken(&socket))), [7]);
    let mut program = SupervisorSocket::inherited(program);
    program.set_read_timeout(Some(Duration::from_secs(60)));
    let greeting = program.recv_response().expect("an answer");
    assert!(matches!(greeting, SupervisorResponse::Welcome(_)));
}

#[test]
fn as_many_requests_as_wait_in_the_socket_are_found_in_the_end() {
    const MANY: u64 = 200;
    let (socket, mut program) = pair();
    let mut channel = taken(&socket);
    let mut seen = Vec::new();
    for id in 1..=MANY {
        program.write_all(&framed(&open(id, "/a"))).expect("sent");
    }
    while seen.len() < MANY as usize {
        let found = ids(requests(&mut channel));
        assert!(!found.is_empty(), "{} were found", seen.len());
        for id in found {
            channel.answer(&refused(id), Vec::new()).expect("answered");
            seen.push(id);
            // An answer makes room, and what has room is asked for then.
            let more = std::iter::from_fn(|| channel.next_request()).collect();
            for id in ids(more) {
                channel.answer(&refused(id), Vec::new()).expect("answered");
                seen.push(id);
            }
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=MANY).collect::<Vec<_>>());
    assert_eq!(ids(requests(&mut taken(&socket))), [0u64; 0]);
}
