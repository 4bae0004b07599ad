//! Strangers who mean no good: nobody else waits, nothing grows.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollTimeout, poll};
use protocol::Code;
use supervisor_socket::{Channel, Incoming, Listener, SupervisorSocket};

use crate::channel::{channel, requests};
use crate::harness::Workspace;
use crate::messages::{content, file, framed, framed_text, granted, open};

/// Bytes that look different every time, and are the same in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.next() % most + 1;
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// Serves every channel once, as a supervisor's loop does, and says how many requests it answered.
fn serve(channels: &mut Vec<Channel>) -> usize {
    let mut polled: Vec<_> = channels
        .iter()
        .map(|channel| PollFd::new(channel.as_fd(), channel.interest()))
        .collect();
    poll(&mut polled, PollTimeout::ZERO).expect("poll");
    let ready: Vec<_> = polled
        .iter()
        .map(|one| one.revents().expect("known flags"))
        .collect();
    let mut served = 0;
    for (channel, ready) in channels.iter_mut().zip(ready) {
        if channel.ready(ready).is_err() {
            continue;
        }
        while let Some(incoming) = channel.next_request() {
            if let Incoming::Open(_, request) = incoming {
                let answered = channel.answer(&granted(request.id, 1), vec![file("yes").into()]);
                served += usize::from(answered.is_ok());
            }
        }
    }
    channels.retain(|channel| !channel.is_over());
    served
}

/// How many descriptors this process has, as seen when nothing else runs in it.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

#[test]
fn slow_and_silent_peers_hold_up_nobody() {
    let mut channels = Vec::new();
    let mut hostile = Vec::new();
    for piece in [
        &[][..],
        &[0],
        &[0, 0],
        &[0, 0, 1],
        &[0, 0, 1, 0],
        &framed(&open(1, "/a"))[..50],
    ] {
        let (channel, theirs) = channel();
        (&theirs).write_all(piece).expect("written");
        channels.push(channel);
        hostile.push(theirs);
    }
    let (last, theirs) = channel();
    channels.push(last);
    let mut honest = SupervisorSocket::inherited(theirs);
    honest.set_read_timeout(Some(Duration::from_secs(60)));
    for id in 0..1000 {
        honest.send_message(&open(id, "/a")).expect("sent");
        assert_eq!(
            serve(&mut channels),
            1,
            "the answer is there after one round"
        );
        assert_eq!(honest.recv_response(), Ok(granted(id, 1)));
        assert_eq!(content(honest.recv_fd().expect("the file")), "yes");
        // One more byte of a frame that never ends.
        if id < 40 {
            (&hostile[4]).write_all(b" ").expect("written");
        }
    }
    assert_eq!(channels.len(), 7, "none of them did anything forbidden");
}

#[test]
fn garbage_is_answered_or_ends_its_own_connection() {
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for round in 0..500 {
        let (mut channel, theirs) = channel();
        theirs.set_nonblocking(true).expect("non-blocking");
        for _ in 0..4 {
            let bytes = noise.bytes(300);
            let bytes = if round % 2 == 0 {
                bytes
            } else {
                framed_text(&bytes)
            };
            if (&theirs).write_all(&bytes).is_err() {
                break;
            }
            for incoming in requests(&mut channel) {
                match incoming {
                    Incoming::Rejected(_, rejected) => assert_eq!(rejected.code, Code::BadRequest),
                    Incoming::Open(_, open) => panic!("{open:?} of noise"),
                }
            }
        }
        assert!(
            !channel.is_over() || round % 2 == 0,
            "framed garbage is survived"
        );
    }
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    let workspace = Workspace::new();
    let path = workspace.join("door");
    let listener = Listener::bind(&path).expect("bound");
    let mut noise = Noise(1);
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut channels: Vec<Channel> = Vec::new();
    let mut last = Vec::new();
    for number in 0..10_000 {
        assert!(Instant::now() < deadline);
        let theirs = UnixStream::connect(&path).expect("connected");
        if number % 3 == 0 {
            (&theirs).write_all(&noise.bytes(40)).expect("written");
        }
        let accepted = listener
            .accept(Some(Duration::from_secs(60)))
            .expect("accepted");
        channels.push(Channel::new(accepted).expect("a channel"));
        // Some stay a while.
        last.push(theirs);
        if last.len() > 20 {
            last.clear();
        }
        serve(&mut channels);
        assert!(channels.len() <= 42, "what is gone is dropped");
    }
    drop(last);
    serve(&mut channels);
    assert!(channels.is_empty());
}

#[test]
fn descriptors_that_no_request_has_are_never_kept() {
    let (mut channel, theirs) = channel();
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let write = OwnedFd::from(write);
    for count in 1..=sys::messages::MAX_FDS {
        let many = vec![write.as_fd(); count];
        let frame = framed(&open(count as u64, "/a"));
        let sent = sys::messages::send(theirs.as_fd(), &frame, &many, sys::messages::Wait::Yes);
        let incoming = requests(&mut channel);
        match sent {
            // The kernel did not let them leave.
            Err(errno) => assert_eq!((errno, incoming.len()), (nix::errno::Errno::EPERM, 0)),
            Ok(_) => assert!(matches!(incoming.as_slice(), [Incoming::Rejected(..)])),
        }
    }
    drop(write);
    let mut nothing = Vec::new();
    std::io::Read::read_to_end(&mut read, &mut nothing).expect("the end: every copy was closed");
}

/// Runs alone, in a process of its own: it counts the descriptors of the whole process.
#[test]
fn the_number_of_descriptors_is_constant_under_flood() {
    if !crate::child::alone("flood::the_number_of_descriptors_is_constant_under_flood") {
        return;
    }
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut channels = vec![Channel::new(ours).expect("a channel")];
    let mut program = SupervisorSocket::inherited(theirs);
    program.set_read_timeout(Some(Duration::from_secs(60)));
    let mut counted = None;
    for round in 0..2000 {
        // A grant, a grant that is not taken out, a replay, garbage, and descriptors that nobody wants.
        let id = 2 * round;
        program.send_message(&open(id, "/a")).expect("sent");
        program.send_message(&open(id + 1, "/b")).expect("sent");
        program.send_message(&open(id + 1, "/b")).expect("sent");
        // Refused by the kernel, or received and closed.
        let _either = program.send_fd(std::io::stderr());
        while serve(&mut channels) > 0 {}
        assert_eq!(program.recv_response(), Ok(granted(id, 1)));
        assert_eq!(content(program.recv_fd().expect("the file")), "yes");
        assert_eq!(program.recv_response(), Ok(granted(id + 1, 1)));
        program.set_read_timeout(Some(Duration::ZERO));
        while program.recv_response().is_ok() {}
        program.set_read_timeout(Some(Duration::from_secs(60)));
        let now = descriptors();
        assert_eq!(*counted.get_or_insert(now), now, "in round {round}");
    }
    assert_eq!(channels.len(), 1);
}

#[test]
fn urgent_bytes_are_no_reason_to_spin() {
    use nix::sys::socket::MsgFlags;
    use std::os::fd::AsRawFd as _;
    let frame = framed(&open(1, "/a"));
    for pattern in ["!", "!!", "!f", "f!", "!f!", "!!f!!f!", "ff!f"] {
        let (mut channel, theirs) = channel();
        for what in pattern.chars() {
            let sent = match what {
                'f' => (&theirs)
                    .write_all(&frame)
                    .map_err(|_| nix::errno::Errno::EPIPE),
                _ => nix::sys::socket::send(theirs.as_raw_fd(), b"!", MsgFlags::MSG_OOB).map(drop),
            };
            if let Err(errno) = sent {
                return crate::harness::skip(
                    "urgent_bytes_are_no_reason_to_spin",
                    &format!("MSG_OOB gives {errno}"),
                );
            }
        }
        for _ in 0..10 {
            requests(&mut channel);
        }
        let mut polled = [PollFd::new(channel.as_fd(), channel.interest())];
        let ready = poll(&mut polled, PollTimeout::ZERO).expect("poll");
        assert!(
            channel.is_over() || ready == 0,
            "after {pattern}: {:?}",
            polled[0].revents()
        );
    }
}
