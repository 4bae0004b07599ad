use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::{getgid, getpid, getuid};

use super::*;

const BYTES: Welcome = Welcome {
    fds: 0,
    sender: false,
};

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("a socket pair")
}

/// A pipe whose reading end tells whether any copy of its writing end is still open.
fn pipe() -> (File, OwnedFd) {
    let (read, write) = std::io::pipe().expect("a pipe");
    (File::from(OwnedFd::from(read)), write.into())
}

fn all_copies_closed(read: &mut File) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut polled = [PollFd::new(read.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).expect("poll");
    polled[0]
        .revents()
        .expect("known flags")
        .contains(PollFlags::POLLHUP)
}

#[test]
fn descriptors_arrive_in_order_and_close_on_exec() {
    let (ours, theirs) = pair();
    let file = File::open("/dev/null").expect("/dev/null");
    let zero = File::open("/dev/zero").expect("/dev/zero");
    let sent = send(
        theirs.as_fd(),
        b"two",
        &[file.as_fd(), zero.as_fd()],
        Wait::Yes,
    );
    assert_eq!(sent, Ok(3));
    let mut buffer = [0; 16];
    let welcome = Welcome {
        fds: 2,
        sender: false,
    };
    let received = receive(ours.as_fd(), &mut buffer, welcome, Wait::Yes).expect("received");
    assert_eq!(&buffer[..received.length], b"two");
    assert_eq!(received.lost, None);
    let inodes: Vec<_> = received
        .fds
        .iter()
        .map(|fd| nix::sys::stat::fstat(fd).unwrap().st_rdev)
        .collect();
    assert_eq!(
        inodes,
        [&file, &zero].map(|file| nix::sys::stat::fstat(file).unwrap().st_rdev)
    );
    for fd in &received.fds {
        let flags = FdFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFD).expect("flags"));
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
    }
}

#[test]
fn one_descriptor_asked_for_never_admits_a_second() {
    for sender in [false, true] {
        let (ours, theirs) = pair();
        let (mut read, write) = pipe();
        assert_eq!(
            send(
                theirs.as_fd(),
                b"x",
                &[write.as_fd(), write.as_fd()],
                Wait::Yes
            ),
            Ok(1)
        );
        drop(write);
        let welcome = Welcome { fds: 1, sender };
        let received = receive(ours.as_fd(), &mut [0; 4], welcome, Wait::Yes).expect("received");
        assert_eq!(received.lost, Some(Lost::Surplus));
        assert!(received.fds.is_empty());
        assert!(all_copies_closed(&mut read));
    }
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    for sender in [false, true] {
        let (ours, theirs) = pair();
        let (mut read, write) = pipe();
        let many = [write.as_fd(); MAX_FDS];
        assert_eq!(send(theirs.as_fd(), b"x", &many, Wait::Yes), Ok(1));
        drop(write);
        let welcome = Welcome { fds: 0, sender };
        let received = receive(ours.as_fd(), &mut [0; 4], welcome, Wait::Yes).expect("received");
        assert_eq!(received.lost, Some(Lost::Surplus));
        assert!(all_copies_closed(&mut read));
    }
}

#[test]
fn descriptors_need_a_byte_and_have_a_limit() {
    let (ours, theirs) = pair();
    assert_eq!(
        send(theirs.as_fd(), b"", &[ours.as_fd()], Wait::Yes),
        Err(Errno::EINVAL)
    );
    let too_many = [ours.as_fd(); MAX_FDS + 1];
    assert_eq!(
        send(theirs.as_fd(), b"x", &too_many, Wait::Yes),
        Err(Errno::EINVAL)
    );
    let welcome = Welcome {
        fds: MAX_FDS + 1,
        sender: false,
    };
    let refused = receive(ours.as_fd(), &mut [0; 4], welcome, Wait::No).map(|_| ());
    assert_eq!(refused, Err(Errno::EINVAL));
}

#[test]
fn a_dead_peer_is_an_error_and_no_signal() {
    let (ours, theirs) = pair();
    drop(theirs);
    assert_eq!(send(ours.as_fd(), b"x", &[], Wait::Yes), Err(Errno::EPIPE));
    let received = receive(ours.as_fd(), &mut [0; 4], BYTES, Wait::Yes).expect("the end");
    assert_eq!(received.length, 0);
}

#[test]
fn not_waiting_is_an_answer() {
    let (ours, _theirs) = pair();
    let nothing = receive(ours.as_fd(), &mut [0; 4], BYTES, Wait::No).map(|_| ());
    assert_eq!(nothing, Err(Errno::EAGAIN));
    let block = [0; 4096];
    loop {
        match send(ours.as_fd(), &block, &[], Wait::No) {
            Ok(sent) => assert!(sent > 0),
            Err(errno) => return assert_eq!(errno, Errno::EAGAIN),
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_message_names_its_sender_and_other_bytes_stay_outside() {
    let (ours, mut theirs) = pair();
    crate::peers::pass_credentials(ours.as_fd()).expect("SO_PASSCRED");
    let pidfds = crate::peers::pass_pidfd(ours.as_fd()).expect("SO_PASSPIDFD");
    theirs.write_all(b"hello").expect("written");
    let welcome = Welcome {
        fds: 0,
        sender: true,
    };
    let mut buffer = [0; 16];
    let received = receive(ours.as_fd(), &mut buffer, welcome, Wait::Yes).expect("received");
    assert_eq!(received.lost, None);
    let sender = received.sender.expect("a sender");
    assert_eq!(sender.credentials.pid, getpid());
    assert_eq!(sender.credentials.uid, getuid());
    assert_eq!(sender.credentials.gid, getgid());
    assert_eq!(sender.pidfd.is_some(), pidfds);
}

#[test]
#[cfg(target_os = "linux")]
fn refused_descriptors_never_leave_their_sender() {
    let (ours, theirs) = pair();
    if !crate::peers::refuse_descriptors(ours.as_fd()).expect("SO_PASSRIGHTS") {
        println!("SKIP SO_PASSRIGHTS needs Linux 6.16");
        assert!(std::env::var_os("SUPERVISE_MUST_WORK").is_none());
        return;
    }
    assert_eq!(
        send(theirs.as_fd(), b"x", &[ours.as_fd()], Wait::Yes),
        Err(Errno::EPERM)
    );
    assert_eq!(send(theirs.as_fd(), b"x", &[], Wait::Yes), Ok(1));
}

#[test]
fn a_pair_names_its_maker_and_is_known_as_a_stream() {
    let (ours, _theirs) = pair();
    let peer = crate::peers::credentials(ours.as_fd()).expect("SO_PEERCRED");
    assert_eq!(peer.pid, getpid());
    assert!(crate::peers::is_unix_stream(ours.as_fd()));
    let datagram = std::os::unix::net::UnixDatagram::unbound().expect("a datagram socket");
    assert!(!crate::peers::is_unix_stream(datagram.as_fd()));
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a TCP socket");
    assert!(!crate::peers::is_unix_stream(tcp.as_fd()));
    let file = File::open("/dev/null").expect("/dev/null");
    assert!(!crate::peers::is_unix_stream(file.as_fd()));
}
