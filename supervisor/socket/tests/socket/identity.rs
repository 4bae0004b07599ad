//! Who sent it, by the word of the kernel.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use supervisor_socket::{Error, Listener, SupervisorSocket};

use crate::child::{Running, in_role, passer_by, writer};
use crate::harness::process::{NOBODY, as_uid};
use crate::harness::{Workspace, feature, require};
use crate::messages::{framed, open};

fn pair() -> (SupervisorSocket, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut ours = SupervisorSocket::from_stream(ours).expect("taken");
    ours.set_read_timeout(Some(Duration::from_secs(60)));
    (ours, theirs)
}

#[test]
fn a_pair_knows_nobody_before_the_first_message() {
    let (ours, _theirs) = SupervisorSocket::pair().expect("a pair");
    assert_eq!(ours.peer_pid(), Err(Error::PeerUnknown));
}

#[test]
fn a_message_over_an_inherited_pair_names_its_sender_and_not_who_made_the_pair() {
    let (mut ours, theirs) = pair();
    let child = writer(&theirs, &[&framed(&open(1, "/a"))]);
    ours.recv_message().expect("a message");
    assert_eq!(ours.peer_pid(), Ok(child.pid()));
    assert_ne!(ours.peer_pid(), Ok(std::process::id()));
    // What the naive question says about the same socket.
    let naive = sys::peers::credentials(std::os::fd::AsFd::as_fd(&ours)).expect("SO_PEERCRED");
    assert_eq!(naive.pid.as_raw().unsigned_abs(), std::process::id());
}

#[test]
fn the_identity_follows_the_message() {
    let (mut ours, theirs) = pair();
    let first = writer(&theirs, &[&framed(&open(1, "/a"))]);
    ours.recv_message().expect("a message");
    let second = writer(&theirs, &[&framed(&open(2, "/b"))]);
    assert_eq!(ours.peer_pid(), Ok(first.pid()));
    ours.recv_message().expect("a message");
    assert_eq!(ours.peer_pid(), Ok(second.pid()));
    (&theirs)
        .write_all(&framed(&open(3, "/c")))
        .expect("written");
    ours.recv_message().expect("a message");
    assert_eq!(ours.peer_pid(), Ok(std::process::id()));
}

#[test]
fn messages_that_wait_together_keep_their_senders() {
    let (mut ours, theirs) = pair();
    let mut senders = Vec::new();
    for id in 0..3 {
        let two = [framed(&open(2 * id, "/a")), framed(&open(2 * id + 1, "/b"))].concat();
        let child = passer_by(&theirs, &[&two]);
        senders.extend([child, child]);
    }
    for (id, sender) in senders.into_iter().enumerate() {
        let message = ours.recv_message().expect("a message");
        assert_eq!(message.id(), Some(id as u64));
        assert_eq!(ours.peer_pid(), Ok(sender));
    }
}

#[test]
fn a_frame_whose_bytes_two_processes_sent_is_nobodys() {
    let (mut ours, theirs) = pair();
    let frame = framed(&open(1, "/secret"));
    passer_by(&theirs, &[&frame[..20]]);
    passer_by(&theirs, &[&frame[20..]]);
    let received = ours.recv_message();
    assert!(
        matches!(received, Err(Error::Malformed { .. })),
        "{received:?}"
    );
    // What the second one sent is no frame either.
    assert!(ours.recv_message().is_err());
}

#[test]
fn half_a_frame_does_not_spoil_the_next_ones_frame() {
    let (mut ours, theirs) = pair();
    let _dawdler = writer(&theirs, &[&framed(&open(1, "/a"))[..2]]);
    let honest = writer(&theirs, &[&framed(&open(2, "/b"))]);
    assert!(matches!(ours.recv_message(), Err(Error::Malformed { .. })));
    assert_eq!(ours.recv_message(), Ok(open(2, "/b")));
    assert_eq!(ours.peer_pid(), Ok(honest.pid()));
}

#[test]
fn the_sender_comes_with_a_pidfd_of_itself() {
    let (mut ours, theirs) = pair();
    let child = writer(&theirs, &[&framed(&open(1, "/a"))]);
    ours.recv_message().expect("a message");
    let peer = ours.peer().expect("a peer");
    let Some(pidfd) = &peer.pidfd else {
        return crate::harness::skip(
            "the_sender_comes_with_a_pidfd_of_itself",
            "SO_PASSPIDFD needs Linux 6.5",
        );
    };
    use std::os::fd::AsRawFd as _;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))
        .expect("fdinfo");
    let line = format!("Pid:\t{}\n", child.pid());
    assert!(info.contains(&line), "{info}");
}

#[test]
fn a_named_connection_knows_its_peer_from_the_beginning() {
    let workspace = Workspace::new();
    let path = workspace.join("door");
    let listener = Listener::bind(&path).expect("bound");
    let child = Running(
        in_role("connect")
            .env("DOOR", &path)
            .stdin(Stdio::null())
            .spawn()
            .expect("started"),
    );
    let mut ours = listener
        .accept(Some(Duration::from_secs(60)))
        .expect("accepted");
    assert_eq!(ours.peer_pid(), Ok(child.pid()));
    assert_eq!(
        ours.recv_message().expect("a message").id(),
        Some(5),
        "sent before it was accepted"
    );
    assert_eq!(ours.peer_pid(), Ok(child.pid()));
    // And so does the other side.
    drop(ours);
    let mut child = child;
    let mut said = String::new();
    let output = child.0.stdout.as_mut().expect("a pipe was asked for");
    std::io::Read::read_to_string(output, &mut said).expect("read");
    assert!(
        said.contains(&format!("LISTENER Ok({})", std::process::id())),
        "{said}"
    );
}

#[test]
fn a_stranger_is_dropped_before_a_byte_is_read() {
    require!(feature::root());
    let workspace = Workspace::open_to_all();
    let path = workspace.join("door");
    let listener = Listener::bind(&path).expect("bound");
    // As if somebody had opened it to all.
    crate::harness::set_mode(&path, 0o777);
    let program = workspace.join("test");
    crate::harness::built::copy_program(
        &std::env::current_exe().expect("a test knows its own file"),
        &program,
    );
    crate::harness::set_mode(&program, 0o755);
    let mut command = std::process::Command::new(&program);
    command
        .args(["--exact", "child::role", "--nocapture"])
        .env("ROLE", "connect")
        .env("DOOR", &path);
    let stranger = crate::harness::run::start(as_uid(&mut command, NOBODY));
    let accepted = listener.accept(Some(Duration::from_secs(60)));
    let rejected = Error::PeerRejected {
        uid: nix::unistd::Uid::from_raw(NOBODY),
    };
    assert_eq!(accepted.map(|_| ()), Err(rejected));
    // The stranger, for its part, does not talk to a listener of another user.
    let said = stranger.wait();
    assert!(said.stdout.contains("PeerRejected"), "{said}");
}
