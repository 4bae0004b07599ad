//! The face that never waits.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollTimeout, poll};
use protocol::{Code, OpenRequest, Rejected, SupervisorResponse, Welcome};
use supervisor_socket::{
    Channel, Fed, Incoming, MAX_CONSIDERED, Peer, REMEMBERED, SupervisorSocket,
};

use crate::child::{passer_by, writer};
use crate::messages::{content, file, framed, framed_text, granted, open, refused};

pub fn channel() -> (Channel, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (Channel::new(ours).expect("a channel"), theirs)
}

/// The program's end as its own face.
fn program(stream: &UnixStream) -> SupervisorSocket {
    let mut socket = SupervisorSocket::inherited(stream.try_clone().expect("a duplicate"));
    socket.set_read_timeout(Some(Duration::from_secs(60)));
    socket
}

/// One round of a supervisor's loop: what was ready now, and nothing that is not.
pub fn turn(channel: &mut Channel) {
    let mut polled = [PollFd::new(channel.as_fd(), channel.interest())];
    poll(&mut polled, PollTimeout::ZERO).expect("poll");
    let ready = polled[0].revents().expect("known flags");
    channel.ready(ready).expect("the channel works");
}

/// Everything that came and is whole.
pub fn requests(channel: &mut Channel) -> Vec<Incoming> {
    turn(channel);
    std::iter::from_fn(|| channel.next_request()).collect()
}

fn opened(incoming: Incoming) -> (Arc<Peer>, OpenRequest) {
    match incoming {
        Incoming::Open(peer, open) => (peer, open),
        Incoming::Rejected(_, rejected) => panic!("{rejected}"),
    }
}

fn rejected(incoming: Incoming) -> Rejected {
    match incoming {
        Incoming::Rejected(_, rejected) => rejected,
        Incoming::Open(_, open) => panic!("{open:?}"),
    }
}

fn only<T>(items: Vec<T>) -> T {
    let [item] = <[T; 1]>::try_from(items).unwrap_or_else(|items| panic!("{} items", items.len()));
    item
}

fn code(response: SupervisorResponse) -> Code {
    match response {
        SupervisorResponse::Refused(refused) => refused.code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_comes_with_its_sender_and_the_answer_with_the_file() {
    let (mut channel, theirs) = channel();
    let child = writer(&theirs, &[&framed(&open(7, "/a"))]);
    let (peer, request) = opened(only(requests(&mut channel)));
    assert_eq!(peer.pid.as_raw().unsigned_abs(), child.pid());
    assert_eq!(peer.uid, nix::unistd::getuid());
    assert_eq!((request.id, request.path.as_bytes()), (7, b"/a".as_slice()));
    channel
        .answer(&granted(7, 1), vec![file("content").into()])
        .expect("answered");
    let mut program = program(&theirs);
    assert_eq!(program.recv_response(), Ok(granted(7, 1)));
    assert_eq!(content(program.recv_fd().expect("the file")), "content");
    assert!(!channel.wants_write());
}

#[test]
fn nothing_to_read_is_no_reason_to_wait() {
    let (mut channel, _theirs) = channel();
    assert_eq!(channel.feed(), Ok(Fed::Nothing));
    assert!(channel.next_request().is_none());
    assert!(channel.wants_read());
    assert!(!channel.wants_write());
}

#[test]
fn a_greeting_is_answered_here() {
    let (mut channel, theirs) = channel();
    (&theirs)
        .write_all(&framed_text(br#"{"id":3,"kind":"hello"}"#))
        .expect("written");
    assert!(requests(&mut channel).is_empty());
    assert_eq!(
        program(&theirs).recv_response(),
        Ok(SupervisorResponse::Welcome(Welcome { id: 3 }))
    );
}

#[test]
fn requests_that_come_together_are_told_apart() {
    let (mut channel, theirs) = channel();
    let together: Vec<u8> = (0..20).flat_map(|id| framed(&open(id, "/a"))).collect();
    (&theirs).write_all(&together).expect("written");
    let ids: Vec<u64> = requests(&mut channel)
        .into_iter()
        .map(|incoming| opened(incoming).1.id)
        .collect();
    assert_eq!(ids, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_request_in_single_bytes_is_a_request() {
    let (mut channel, theirs) = channel();
    let frame = framed(&open(1, "/a"));
    let (last, rest) = frame.split_last().expect("bytes");
    for byte in rest {
        (&theirs).write_all(&[*byte]).expect("written");
        assert!(requests(&mut channel).is_empty());
    }
    (&theirs).write_all(&[*last]).expect("written");
    assert_eq!(opened(only(requests(&mut channel))).1.id, 1);
}

#[test]
fn processes_that_share_a_connection_keep_their_identities() {
    let (mut channel, theirs) = channel();
    let pids: Vec<u32> = (0..3)
        .map(|id| passer_by(&theirs, &[&framed(&open(id, "/a"))]))
        .collect();
    for (id, pid) in pids.into_iter().enumerate() {
        // One reading never goes past the bytes of one sender.
        let (peer, request) = opened(only(requests(&mut channel)));
        assert_eq!(
            (peer.pid.as_raw().unsigned_abs(), request.id),
            (pid, id as u64)
        );
    }
}

#[test]
fn interleaved_halves_are_nobodys_and_whole_frames_are_served() {
    let (mut channel, theirs) = channel();
    let frame = framed(&open(1, "/victim"));
    let dawdler = writer(&theirs, &[&frame[..30]]);
    let honest = writer(&theirs, &[&framed(&open(2, "/b"))]);
    assert!(requests(&mut channel).is_empty());
    turn(&mut channel);
    match channel.next_request() {
        Some(Incoming::Rejected(peer, rejected)) => {
            assert_eq!(peer.pid.as_raw().unsigned_abs(), dawdler.pid());
            assert_eq!((rejected.id, rejected.code), (None, Code::BadRequest));
        }
        other => panic!("{other:?}"),
    }
    let (peer, request) = opened(channel.next_request().expect("the honest request"));
    assert_eq!(
        (peer.pid.as_raw().unsigned_abs(), request.id),
        (honest.pid(), 2)
    );
    assert!(!channel.is_over());
}

#[test]
fn a_frame_finished_by_another_process_is_never_a_request() {
    let (mut channel, theirs) = channel();
    let frame = framed(&open(1, "/victim"));
    for cut in [1, 3, 4, 5, 40] {
        passer_by(&theirs, &[&frame[..cut]]);
        passer_by(&theirs, &[&frame[cut..]]);
    }
    while !channel.is_over() {
        for incoming in requests(&mut channel) {
            assert_eq!(rejected(incoming).code, Code::BadRequest);
        }
    }
}

#[test]
fn what_can_be_survived_is_answered_and_survived() {
    let (mut channel, theirs) = channel();
    let mut program = program(&theirs);
    for (text, expected) in [
        (b"no JSON".as_slice(), Code::BadRequest),
        (
            br#"{"id":4,"kind":"open","path":"relative","access":["read"]}"#,
            Code::BadRequest,
        ),
        (
            br#"{"id":4,"kind":"open","path":"/a","access":["read"],"pid":1}"#,
            Code::BadRequest,
        ),
        (br#"{"v":9,"id":4,"kind":"open"}"#, Code::Unsupported),
        (br#"{"kind":"fd","fds":1}"#, Code::Unsupported),
    ] {
        (&theirs).write_all(&framed_text(text)).expect("written");
        assert_eq!(rejected(only(requests(&mut channel))).code, expected);
        assert_eq!(code(program.recv_response().expect("an answer")), expected);
    }
    (&theirs)
        .write_all(&framed(&open(5, "/a")))
        .expect("written");
    assert_eq!(opened(only(requests(&mut channel))).1.id, 5);
}

#[test]
fn a_length_that_cannot_be_is_answered_and_ends_the_connection() {
    for header in [[0, 0, 0, 0], [0, 1, 0, 1], [0xff; 4]] {
        let (mut channel, theirs) = channel();
        (&theirs).write_all(&header).expect("written");
        assert_eq!(
            rejected(only(requests(&mut channel))).code,
            Code::BadRequest
        );
        assert!(channel.is_over());
        assert!(channel.interest().is_empty());
        assert_eq!(
            code(program(&theirs).recv_response().expect("an answer")),
            Code::BadRequest
        );
    }
}

#[test]
fn a_request_that_is_repeated_is_refused_and_the_next_is_not() {
    let (mut channel, theirs) = channel();
    let mut program = program(&theirs);
    program.send_message(&open(7, "/a")).expect("sent");
    opened(only(requests(&mut channel)));
    program.send_message(&open(7, "/b")).expect("sent");
    let replayed = rejected(only(requests(&mut channel)));
    assert_eq!((replayed.id, replayed.code), (Some(7), Code::Replayed));
    assert_eq!(
        code(program.recv_response().expect("an answer")),
        Code::Replayed
    );
    // Neither the largest id nor any number of them locks anybody out.
    for id in std::iter::once(u64::MAX).chain(8..8 + 3 * REMEMBERED as u64) {
        program.send_message(&open(id, "/a")).expect("sent");
        assert_eq!(opened(only(requests(&mut channel))).1.id, id);
        channel.answer(&refused(id), Vec::new()).expect("answered");
        assert_eq!(program.recv_response(), Ok(refused(id)));
    }
    // Another process does not know which ids were used.
    passer_by(&theirs, &[&framed(&open(u64::MAX, "/c"))]);
    opened(only(requests(&mut channel)));
}

#[test]
fn requests_beyond_the_bound_wait_and_none_is_lost() {
    let (mut channel, theirs) = channel();
    let all = 3 * MAX_CONSIDERED as u64;
    let sender = std::thread::spawn({
        let mut program = program(&theirs);
        move || {
            for id in 0..all {
                program.send_message(&open(id, "/a")).expect("sent");
            }
            (0..all)
                .map(|_| program.recv_response().expect("an answer").id())
                .collect::<Vec<_>>()
        }
    });
    let mut asked = std::collections::VecDeque::new();
    let mut answered = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    while answered < all {
        assert!(Instant::now() < deadline);
        let before = asked.len();
        asked.extend(
            requests(&mut channel)
                .into_iter()
                .map(|incoming| opened(incoming).1.id),
        );
        assert!(asked.len() <= MAX_CONSIDERED);
        if asked.len() == MAX_CONSIDERED {
            assert!(!channel.wants_read());
            assert_eq!(channel.feed(), Ok(Fed::Nothing));
        }
        if before == asked.len() {
            // Nothing more comes in until something goes out.
            if let Some(id) = asked.pop_front() {
                channel.answer(&refused(id), Vec::new()).expect("answered");
                answered += 1;
            }
        }
    }
    assert_eq!(
        sender.join().expect("the sender"),
        (0..all).map(Some).collect::<Vec<_>>()
    );
}

#[test]
fn a_peer_that_never_reads_costs_a_bounded_queue_and_gets_everything_when_it_reads() {
    let (mut channel, theirs) = channel();
    nix::sys::socket::setsockopt(&channel, nix::sys::socket::sockopt::SndBuf, &4096)
        .expect("SO_SNDBUF");
    theirs.set_nonblocking(true).expect("non-blocking");
    let mut next = 0;
    let mut sent = Vec::new();
    let mut refusals = 0;
    // It asks as long as it can, and reads nothing.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < deadline, "there is no bound");
        let frame = framed(&open(next, "/a"));
        match (&theirs).write(&frame) {
            Ok(length) => {
                assert_eq!(length, frame.len());
                sent.push(next);
                next += 1;
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                if !channel.wants_read() {
                    break;
                }
            }
        }
        for incoming in requests(&mut channel) {
            let id = opened(incoming).1.id;
            refusals += 1;
            channel.answer(&refused(id), Vec::new()).expect("answered");
        }
    }
    assert!(channel.wants_write());
    assert!(refusals < sent.len(), "the rest waits in the socket");
    // Now it reads.
    theirs.set_nonblocking(false).expect("blocking");
    let mut program = program(&theirs);
    let reader = std::thread::spawn(move || {
        let answers: Vec<_> = sent
            .iter()
            .map(|_| program.recv_response().expect("an answer").id())
            .collect();
        (sent, answers)
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    while !reader.is_finished() {
        assert!(Instant::now() < deadline);
        for incoming in requests(&mut channel) {
            let id = opened(incoming).1.id;
            channel.answer(&refused(id), Vec::new()).expect("answered");
        }
    }
    let (sent, answers) = reader.join().expect("the reader");
    assert_eq!(answers, sent.into_iter().map(Some).collect::<Vec<_>>());
}

#[test]
fn files_that_wait_in_the_queue_arrive_with_their_answers() {
    let (mut channel, theirs) = channel();
    nix::sys::socket::setsockopt(&channel, nix::sys::socket::sockopt::SndBuf, &4096)
        .expect("SO_SNDBUF");
    let mut program = program(&theirs);
    for id in 0..MAX_CONSIDERED as u64 {
        program.send_message(&open(id, "/a")).expect("sent");
        let id = opened(only(requests(&mut channel))).1.id;
        let fd = OwnedFd::from(file(&format!("file {id}")));
        channel.answer(&granted(id, 1), vec![fd]).expect("answered");
        if channel.wants_write() && !channel.wants_read() {
            break;
        }
    }
    let mut received = 0;
    loop {
        turn(&mut channel);
        let done = !channel.wants_write();
        program.set_read_timeout(Some(Duration::ZERO));
        while let Ok(response) = program.recv_response() {
            assert_eq!(response, granted(received, 1));
            assert_eq!(
                content(program.recv_fd().expect("the file")),
                format!("file {received}")
            );
            received += 1;
        }
        if done {
            return assert_eq!(received, MAX_CONSIDERED as u64);
        }
    }
}

#[test]
fn an_answer_brings_what_it_speaks_of() {
    let (mut channel, theirs) = channel();
    program(&theirs).send_message(&open(1, "/a")).expect("sent");
    opened(only(requests(&mut channel)));
    assert!(channel.answer(&granted(1, 1), Vec::new()).is_err());
    assert!(channel.answer(&refused(1), vec![file("x").into()]).is_err());
    theirs.set_nonblocking(true).expect("non-blocking");
    let nothing = (&theirs).read(&mut [0]).expect_err("nothing was sent");
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_peer_that_takes_no_descriptors_gets_a_refusal() {
    let (mut channel, theirs) = channel();
    if !sys::peers::refuse_descriptors(theirs.as_fd()).expect("SO_PASSRIGHTS") {
        return crate::harness::skip(
            "a_peer_that_takes_no_descriptors_gets_a_refusal",
            "SO_PASSRIGHTS needs Linux 6.16",
        );
    }
    let mut program = program(&theirs);
    program.send_message(&open(1, "/a")).expect("sent");
    opened(only(requests(&mut channel)));
    channel
        .answer(&granted(1, 1), vec![file("x").into()])
        .expect("answered");
    assert_eq!(
        code(program.recv_response().expect("an answer")),
        Code::Failed
    );
    assert!(!channel.is_over());
}

#[test]
fn a_peer_that_is_gone_is_over_and_no_signal() {
    let (mut channel, theirs) = channel();
    program(&theirs).send_message(&open(1, "/a")).expect("sent");
    opened(only(requests(&mut channel)));
    // Not only closed: what another test forks has copies of this end until it executes.
    theirs.shutdown(Shutdown::Both).expect("connected");
    assert!(channel.answer(&refused(1), Vec::new()).is_err());
    assert!(channel.is_over());

    let (mut channel, theirs) = self::channel();
    theirs.shutdown(Shutdown::Both).expect("connected");
    assert!(requests(&mut channel).is_empty());
    assert!(channel.is_over());
}

#[test]
fn a_peer_that_closes_while_nothing_more_is_read_of_it_is_noticed() {
    let (mut channel, theirs) = channel();
    let mut program = program(&theirs);
    for id in 0..MAX_CONSIDERED as u64 {
        program.send_message(&open(id, "/a")).expect("sent");
    }
    assert_eq!(requests(&mut channel).len(), MAX_CONSIDERED);
    assert!(channel.interest().is_empty());
    drop((program, theirs));
    // What another test forks has copies of these ends until it executes.
    let end = Instant::now() + Duration::from_secs(20);
    while !channel.is_over() {
        assert!(Instant::now() < end, "nobody noticed");
        turn(&mut channel);
    }
}

#[test]
fn a_living_process_is_one_peer_and_another_is_another() {
    let (mut channel, theirs) = channel();
    let mut program = program(&theirs);
    let mut peers = Vec::new();
    for id in 0..3 {
        program.send_message(&open(id, "/a")).expect("sent");
        peers.push(opened(only(requests(&mut channel))).0);
    }
    let pid = passer_by(&theirs, &[&framed(&open(3, "/a"))]);
    let other = opened(only(requests(&mut channel))).0;
    assert_eq!(other.pid.as_raw().unsigned_abs(), pid);
    if peers[0].pidfd.is_some() {
        assert!(Arc::ptr_eq(&peers[0], &peers[1]) && Arc::ptr_eq(&peers[1], &peers[2]));
    }
    assert!(!Arc::ptr_eq(&peers[2], &other));
}

#[test]
fn however_long_one_process_has_sent_another_is_told_from_it() {
    let (mut channel, theirs) = channel();
    let mut program = program(&theirs);
    let mut first = None;
    for id in 0..100 {
        program.send_message(&open(id, "/a")).expect("sent");
        let peer = opened(only(requests(&mut channel))).0;
        channel.answer(&refused(id), Vec::new()).expect("answered");
        let first = first.get_or_insert_with(|| Arc::clone(&peer));
        assert_eq!(peer.pid, nix::unistd::getpid());
        assert!(first.pidfd.is_none() || Arc::ptr_eq(first, &peer));
    }
    let has_pidfds = first.is_some_and(|first| first.pidfd.is_some());
    for round in 0..3 {
        let child = writer(&theirs, &[&framed(&open(0, "/a"))]);
        let peer = opened(only(requests(&mut channel))).0;
        assert_eq!(peer.pid.as_raw().unsigned_abs(), child.pid());
        // The first of them may have come without, the next one not.
        assert!(round == 0 || peer.pidfd.is_some() == has_pidfds);
        program
            .send_message(&open(1000 + round, "/a"))
            .expect("sent");
        let peer = opened(only(requests(&mut channel))).0;
        assert_eq!(peer.pid, nix::unistd::getpid());
        assert_eq!(peer.pidfd.is_some(), has_pidfds);
    }
}

#[test]
fn what_came_before_senders_were_named_ends_the_connection() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (&theirs)
        .write_all(&framed(&open(1, "/a")))
        .expect("written");
    let mut channel = Channel::new(ours).expect("a channel");
    assert_eq!(channel.feed(), Err(supervisor_socket::Error::PeerUnknown));
    assert!(channel.is_over());
    assert!(channel.next_request().is_none());
}

#[test]
fn what_comes_once_an_end_is_prepared_has_a_sender() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    Channel::prepare(ours.as_fd()).expect("prepared");
    let pid = passer_by(&theirs, &[&framed(&open(1, "/a"))]);
    let mut channel = Channel::new(ours).expect("a channel");
    let peer = opened(only(requests(&mut channel))).0;
    assert_eq!(peer.pid.as_raw().unsigned_abs(), pid);
}
