//! Deadlines, and what is left of a connection after one.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use protocol::SupervisorResponse;
use supervisor_socket::{Error, SupervisorSocket};

use crate::messages::{framed, open, refused};

const SHORT: Option<Duration> = Some(Duration::from_millis(30));

fn pair() -> (SupervisorSocket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    (SupervisorSocket::from_stream(ours).expect("taken"), theirs)
}

#[test]
fn silence_is_a_timeout_and_harms_nothing() {
    let (mut ours, theirs) = pair();
    ours.set_read_timeout(SHORT);
    assert_eq!(ours.recv_message(), Err(Error::Timeout));
    assert_eq!(ours.recv_message(), Err(Error::Timeout));
    (&theirs)
        .write_all(&framed(&open(1, "/a")))
        .expect("written");
    assert_eq!(ours.recv_message(), Ok(open(1, "/a")));
}

#[test]
fn a_timeout_in_mid_frame_poisons_and_every_later_call_says_so() {
    let (mut ours, theirs) = pair();
    ours.set_read_timeout(SHORT);
    let frame = framed(&open(1, "/a"));
    (&theirs)
        .write_all(&frame[..frame.len() - 1])
        .expect("written");
    assert_eq!(ours.recv_message(), Err(Error::Timeout));
    (&theirs)
        .write_all(&frame[frame.len() - 1..])
        .expect("written");
    assert_eq!(ours.recv_message(), Err(Error::Poisoned));
    assert_eq!(ours.recv_response(), Err(Error::Poisoned));
    assert_eq!(ours.recv_fd().map(|_| ()), Err(Error::Poisoned));
    assert_eq!(ours.send_response(&refused(1)), Err(Error::Poisoned));
    assert_eq!(ours.send_fd(std::io::stdin()), Err(Error::Poisoned));
}

#[test]
fn the_deadline_is_the_messages_and_not_each_bytes() {
    let (mut ours, theirs) = pair();
    ours.set_read_timeout(Some(Duration::from_millis(200)));
    let dripping = std::thread::spawn(move || {
        for byte in framed(&open(1, "/a")) {
            if (&theirs).write_all(&[byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let start = Instant::now();
    assert_eq!(ours.recv_message(), Err(Error::Timeout));
    assert!(start.elapsed() >= Duration::from_millis(200));
    drop(ours);
    dripping.join().expect("the thread");
}

#[test]
fn a_peer_that_never_reads_is_a_timeout() {
    let (mut ours, _theirs) = pair();
    ours.set_write_timeout(SHORT);
    let SupervisorResponse::Refused(mut long) = refused(1) else {
        unreachable!()
    };
    long.detail = Some("x".repeat(60_000));
    let long = SupervisorResponse::Refused(long);
    let stuck = (0..1000).find_map(|_| ours.send_response(&long).err());
    assert_eq!(stuck, Some(Error::Timeout));
}

#[test]
fn a_frame_that_was_partly_written_poisons() {
    let (mut ours, theirs) = pair();
    nix::sys::socket::setsockopt(&ours, nix::sys::socket::sockopt::SndBuf, &4096)
        .expect("SO_SNDBUF");
    ours.set_write_timeout(SHORT);
    let SupervisorResponse::Refused(mut long) = refused(1) else {
        unreachable!()
    };
    long.detail = Some("x".repeat(60_000));
    assert_eq!(
        ours.send_response(&SupervisorResponse::Refused(long)),
        Err(Error::Timeout)
    );
    assert_eq!(ours.send_response(&refused(2)), Err(Error::Poisoned));
    drop(theirs);
}

#[test]
fn without_a_timeout_a_call_waits() {
    let (mut ours, theirs) = pair();
    ours.set_read_timeout(SHORT);
    assert_eq!(ours.recv_message(), Err(Error::Timeout));
    ours.set_read_timeout(None);
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        (&theirs)
            .write_all(&framed(&open(1, "/a")))
            .expect("written");
    });
    assert_eq!(ours.recv_message(), Ok(open(1, "/a")));
    late.join().expect("the thread");
}
