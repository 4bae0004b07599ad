//! Every verb of a connection, and the descriptors that travel on it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use protocol::{
    Access, Code, Create, Granted, Hello, OpenFlags, OpenRequest, Refused, RequestedPath,
    SupervisorMessage, SupervisorResponse, Welcome, frame,
};
use supervisor_socket::{Error, SupervisorSocket};

pub fn open(id: u64, path: impl Into<Vec<u8>>) -> SupervisorMessage {
    SupervisorMessage::Open(OpenRequest {
        id,
        path: RequestedPath::new(path).expect("a path"),
        access: Access::Read,
        flags: OpenFlags::NONE,
        create: Create::No,
        mode: OpenRequest::MODE,
        why: None,
    })
}

/// The frame of a message.
pub fn framed(message: &SupervisorMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).expect("a frame");
    bytes
}

/// Any text as a frame.
pub fn framed_text(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a short text");
    [&length.to_be_bytes(), text].concat()
}

pub fn granted(id: u64, fds: usize) -> SupervisorResponse {
    SupervisorResponse::Granted(Granted {
        id,
        fds,
        expires: Some(Duration::from_secs(600)),
    })
}

pub fn refused(id: u64) -> SupervisorResponse {
    let code = Code::Denied;
    SupervisorResponse::Refused(Refused {
        id: Some(id),
        code,
        errno: code.usual_errno(),
        rule: Some("p.toml:12".to_owned()),
        detail: None,
    })
}

/// A file with this content, to be read.
pub fn file(content: &str) -> File {
    use std::io::Seek as _;
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(content.as_bytes()).expect("written");
    file.rewind().expect("rewound");
    file
}

pub fn content(fd: OwnedFd) -> String {
    let mut content = String::new();
    File::from(fd).read_to_string(&mut content).expect("read");
    content
}

fn patient(mut socket: SupervisorSocket) -> SupervisorSocket {
    socket.set_read_timeout(Some(Duration::from_secs(60)));
    socket.set_write_timeout(Some(Duration::from_secs(60)));
    socket
}

/// Everything that can be said is, and comes as it was sent.
pub fn goes_round(ours: SupervisorSocket, theirs: SupervisorSocket) {
    let (mut ours, mut theirs) = (patient(ours), patient(theirs));
    let hello = SupervisorMessage::Hello(Hello {
        id: 1,
        client: Some("test".to_owned()),
    });
    for message in [hello, open(2, "/data/a"), open(u64::MAX, b"/data/\xff")] {
        theirs.send_message(&message).expect("sent");
        assert_eq!(ours.recv_message().expect("received"), message);
    }
    for response in [SupervisorResponse::Welcome(Welcome { id: 1 }), refused(2)] {
        ours.send_response(&response).expect("sent");
        assert_eq!(theirs.recv_response().expect("received"), response);
    }
    ours.send_response_with(&granted(3, 1), &[file("three").as_fd()])
        .expect("sent");
    assert_eq!(theirs.recv_response(), Ok(granted(3, 1)));
    assert_eq!(content(theirs.recv_fd().expect("the file")), "three");
    theirs.send_fd(file("up")).expect("sent");
    assert_eq!(content(ours.recv_fd().expect("a descriptor")), "up");
}

#[test]
fn every_message_goes_round_on_a_pair() {
    let (ours, theirs) = SupervisorSocket::pair().expect("a pair");
    goes_round(ours, theirs);
}

#[test]
fn every_message_goes_round_on_a_stream_made_elsewhere() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let taken = |stream| SupervisorSocket::from_stream(stream).expect("taken");
    goes_round(taken(ours), taken(theirs));
}

#[test]
fn descriptors_travel_on_the_frame_that_speaks_of_them() {
    let (ours, theirs) = SupervisorSocket::pair().expect("a pair");
    let (mut ours, mut theirs) = (patient(ours), patient(theirs));
    let files = ["one", "two", "three"].map(file);
    let borrowed = files.each_ref().map(AsFd::as_fd);
    ours.send_response(&refused(1)).expect("sent");
    ours.send_response_with(&granted(2, 3), &borrowed)
        .expect("sent");
    ours.send_response(&refused(3)).expect("sent");
    ours.send_response_with(&granted(4, 1), &[file("four").as_fd()])
        .expect("sent");

    assert_eq!(theirs.recv_response(), Ok(refused(1)));
    assert_eq!(theirs.recv_response(), Ok(granted(2, 3)));
    for expected in ["one", "two", "three"] {
        let fd = theirs.recv_fd().expect("a descriptor");
        let flags = FdFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFD).expect("flags"));
        assert!(flags.contains(FdFlag::FD_CLOEXEC));
        assert_eq!(content(fd), expected);
    }
    assert_eq!(theirs.recv_response(), Ok(refused(3)));
    assert_eq!(theirs.recv_response(), Ok(granted(4, 1)));
    assert_eq!(content(theirs.recv_fd().expect("a descriptor")), "four");
}

#[test]
fn a_descriptor_goes_on_a_frame_of_its_own_in_either_direction() {
    let (ours, theirs) = SupervisorSocket::pair().expect("a pair");
    let (mut ours, mut theirs) = (patient(ours), patient(theirs));
    theirs.send_fd(file("up")).expect("sent");
    assert_eq!(content(ours.recv_fd().expect("a descriptor")), "up");
    ours.send_fd(file("down")).expect("sent");
    assert_eq!(content(theirs.recv_fd().expect("a descriptor")), "down");
    theirs.send_message(&open(1, "/a")).expect("sent");
    assert!(matches!(ours.recv_fd(), Err(Error::Malformed { .. })));
}

#[test]
fn a_frame_must_bring_what_it_speaks_of() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut theirs = patient(SupervisorSocket::inherited(theirs));
    let mut frame = Vec::new();
    granted(1, 1).encode(&mut frame).expect("a frame");
    let (read, write) = std::io::pipe().expect("a pipe");

    // Too few.
    sys::messages::send(ours.as_fd(), &frame, &[], sys::messages::Wait::Yes).expect("sent");
    assert!(matches!(
        theirs.recv_response(),
        Err(Error::Malformed { .. })
    ));
    // Too many.
    let two = [write.as_fd(), write.as_fd()];
    sys::messages::send(ours.as_fd(), &frame, &two, sys::messages::Wait::Yes).expect("sent");
    assert!(matches!(
        theirs.recv_response(),
        Err(Error::Malformed { .. })
    ));
    drop(write);
    let mut nothing = String::new();
    (&read)
        .read_to_string(&mut nothing)
        .expect("the end: every copy was closed");
    // The connection survived both.
    frame.clear();
    refused(2).encode(&mut frame).expect("a frame");
    (&ours).write_all(&frame).expect("written");
    assert_eq!(theirs.recv_response(), Ok(refused(2)));
}

#[test]
fn what_does_not_match_is_not_sent() {
    let (mut ours, mut theirs) = SupervisorSocket::pair().expect("a pair");
    assert!(matches!(
        ours.send_response(&granted(1, 1)),
        Err(Error::Malformed { .. })
    ));
    let two = [
        ours.as_fd().try_clone_to_owned().expect("a duplicate"),
        file("x").into(),
    ];
    let two = two.each_ref().map(AsFd::as_fd);
    assert!(matches!(
        ours.send_response_with(&granted(1, 1), &two),
        Err(Error::Malformed { .. })
    ));
    assert!(matches!(
        theirs.send_message(&SupervisorMessage::Fd(1)),
        Err(Error::Malformed { .. })
    ));
    theirs.set_read_timeout(Some(Duration::ZERO));
    assert_eq!(theirs.recv_response(), Err(Error::Timeout), "nothing came");
}

#[test]
fn a_frame_of_the_largest_size_arrives_and_a_larger_one_is_refused_by_its_header() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut ours = patient(SupervisorSocket::from_stream(ours).expect("taken"));
    let mut text = br#"{"id":1,"kind":"hello"}"#.to_vec();
    text.resize(frame::MAX, b' ');
    let writer = std::thread::spawn(move || {
        (&theirs).write_all(&framed_text(&text)).expect("written");
        // Only the header of the other: nothing is waited for, nothing allocated.
        (&theirs).write_all(&[0, 1, 0, 1]).expect("written");
        theirs
    });
    assert!(matches!(
        ours.recv_message(),
        Ok(SupervisorMessage::Hello(_))
    ));
    assert_eq!(
        ours.recv_message(),
        Err(Error::TooLarge {
            length: frame::MAX + 1
        })
    );
    assert_eq!(ours.recv_message(), Err(Error::Poisoned));
    assert_eq!(ours.send_response(&refused(1)), Err(Error::Poisoned));
    drop(writer.join().expect("the writer"));
}

#[test]
fn what_is_too_large_to_send_is_not_begun() {
    let (mut ours, mut theirs) = SupervisorSocket::pair().expect("a pair");
    let SupervisorResponse::Refused(mut long) = refused(1) else {
        unreachable!()
    };
    long.detail = Some("x".repeat(frame::MAX));
    let sent = ours.send_response(&SupervisorResponse::Refused(long));
    assert!(matches!(sent, Err(Error::TooLarge { .. })), "{sent:?}");
    ours.send_response(&refused(2))
        .expect("the connection is as it was");
    assert_eq!(theirs.recv_response(), Ok(refused(2)));
}

#[test]
fn zero_length_and_garbage_are_told_apart_from_what_can_be_survived() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut ours = patient(SupervisorSocket::from_stream(ours).expect("taken"));
    (&theirs)
        .write_all(&framed_text(b"no JSON"))
        .expect("written");
    (&theirs)
        .write_all(&framed(&open(1, "/a")))
        .expect("written");
    assert!(matches!(ours.recv_message(), Err(Error::Malformed { .. })));
    assert_eq!(
        ours.recv_message(),
        Ok(open(1, "/a")),
        "the connection survived"
    );
    (&theirs).write_all(&[0, 0, 0, 0]).expect("written");
    assert!(matches!(ours.recv_message(), Err(Error::Malformed { .. })));
    assert_eq!(ours.recv_message(), Err(Error::Poisoned));
}

#[test]
fn a_closed_peer_is_closed_and_no_signal() {
    let (mut ours, theirs) = SupervisorSocket::pair().expect("a pair");
    drop(theirs);
    assert_eq!(ours.recv_message(), Err(Error::Closed));
    assert_eq!(ours.send_response(&refused(1)), Err(Error::Closed));
}

#[test]
fn a_peer_that_closes_in_mid_frame_poisons() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let mut ours = patient(SupervisorSocket::from_stream(ours).expect("taken"));
    (&theirs)
        .write_all(&framed(&open(1, "/a"))[..9])
        .expect("written");
    drop(theirs);
    assert_eq!(ours.recv_message(), Err(Error::Closed));
    assert_eq!(ours.recv_message(), Err(Error::Poisoned));
}

#[test]
fn descriptors_that_nobody_takes_are_closed_with_the_next_frame() {
    let (mut ours, mut theirs) = SupervisorSocket::pair().expect("a pair");
    let (read, write) = std::io::pipe().expect("a pipe");
    ours.send_response_with(&granted(1, 1), &[write.as_fd()])
        .expect("sent");
    drop(write);
    ours.send_response(&refused(2)).expect("sent");
    assert_eq!(theirs.recv_response(), Ok(granted(1, 1)));
    assert_eq!(theirs.recv_response(), Ok(refused(2)));
    let mut nothing = String::new();
    (&read)
        .read_to_string(&mut nothing)
        .expect("the end: every copy was closed");
}

#[test]
fn a_socket_that_somebody_made_non_blocking_waits_all_the_same() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("non-blocking");
    let mut ours = SupervisorSocket::inherited(ours);
    let asker = std::thread::spawn(move || ours.recv_response());
    let mut frame = Vec::new();
    refused(1).encode(&mut frame).expect("a frame");
    (&theirs).write_all(&frame[..5]).expect("written");
    (&theirs).write_all(&frame[5..]).expect("written");
    assert_eq!(asker.join().expect("the thread"), Ok(refused(1)));
}

#[test]
fn the_number_of_the_descriptor_is_told() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let number = ours.as_raw_fd();
    assert_eq!(
        SupervisorSocket::from_stream(ours)
            .expect("taken")
            .as_raw_fd(),
        number
    );
    drop(theirs);
}

/// Runs alone, in a process of its own: it lowers a limit of the whole process.
#[test]
fn a_program_that_may_have_no_more_descriptors_is_told_so_and_goes_on() {
    if !crate::child::alone(
        "messages::a_program_that_may_have_no_more_descriptors_is_told_so_and_goes_on",
    ) {
        return;
    }
    let (ours, theirs) = SupervisorSocket::pair().expect("a pair");
    let (mut ours, mut theirs) = (patient(ours), patient(theirs));
    ours.send_response_with(&granted(1, 1), &[file("one").as_fd()])
        .expect("sent");
    ours.send_response_with(
        &granted(2, 2),
        &[file("two").as_fd(), file("three").as_fd()],
    )
    .expect("sent");
    ours.send_response(&refused(3)).expect("sent");
    let next = nix::unistd::dup(&theirs).expect("a duplicate").as_raw_fd();
    let limit = |soft| {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, soft, 1024)
    };
    // The number that would come next is too high now.
    limit(u64::try_from(next).expect("a number")).expect("lowered");
    let full = Error::Io {
        operation: "recvmsg",
        source: nix::errno::Errno::EMFILE,
    };
    assert_eq!(theirs.recv_response(), Err(full.clone()));
    // There is room for one of two: then for none.
    limit(u64::try_from(next).expect("a number") + 1).expect("raised");
    assert_eq!(theirs.recv_response(), Err(full));
    assert_eq!(theirs.recv_response(), Ok(refused(3)));
    // Who sends is measured by the limit, too: all that this user has on its way counts against it.
    limit(1024).expect("raised");
    ours.send_response_with(&granted(4, 1), &[theirs.as_fd()])
        .expect("sent");
    limit(u64::try_from(next).expect("a number") + 1).expect("lowered");
    assert_eq!(theirs.recv_response(), Ok(granted(4, 1)));
    theirs.recv_fd().expect("the room is still there");
}
