//! However a stream is cut into pieces, the same messages come of it, each with its own descriptors.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use proptest::prelude::*;
use protocol::SupervisorMessage;
use supervisor_socket::{Incoming, MAX_CONSIDERED, SupervisorSocket};

use crate::channel::{channel, requests};
use crate::messages::{content, file, framed, granted, open, refused};

/// Paths of any length, so that frames of every size meet every boundary of a buffer.
fn messages(most: usize) -> impl Strategy<Value = Vec<SupervisorMessage>> {
    prop::collection::vec(1usize..4000, 1..most).prop_map(|lengths| {
        let messages = lengths.into_iter().enumerate();
        messages
            .map(|(id, length)| open(id as u64, format!("/{}", "a".repeat(length))))
            .collect()
    })
}

/// Writes the bytes in pieces of these lengths, again and again.
fn in_pieces(stream: &UnixStream, bytes: &[u8], lengths: &[usize], mut after_each: impl FnMut()) {
    let mut rest = bytes;
    for length in lengths.iter().cycle() {
        let (piece, later) = rest.split_at(rest.len().min(*length));
        (&*stream).write_all(piece).expect("written");
        after_each();
        if later.is_empty() {
            return;
        }
        rest = later;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_channel_finds_the_messages_of_a_stream(
        messages in messages(MAX_CONSIDERED), lengths in prop::collection::vec(1usize..6000, 1..10),
    ) {
        let (mut channel, theirs) = channel();
        let bytes: Vec<u8> = messages.iter().flat_map(framed).collect();
        let mut found = Vec::new();
        in_pieces(&theirs, &bytes, &lengths, || {
            // A piece may be more than is read at once.
            loop {
                let before = found.len();
                found.extend(requests(&mut channel).into_iter().map(|incoming| match incoming {
                    Incoming::Open(_, open) => SupervisorMessage::Open(open),
                    Incoming::Rejected(_, rejected) => panic!("{rejected}"),
                }));
                if before == found.len() && channel.feed() == Ok(supervisor_socket::Fed::Nothing) {
                    break;
                }
            }
        });
        prop_assert_eq!(found, messages);
    }

    #[test]
    fn a_waiting_reader_finds_the_messages_of_a_stream(
        messages in messages(8), lengths in prop::collection::vec(1usize..6000, 1..10),
    ) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut ours = SupervisorSocket::from_stream(ours).expect("taken");
        ours.set_read_timeout(Some(Duration::from_secs(60)));
        let bytes: Vec<u8> = messages.iter().flat_map(framed).collect();
        let writer = std::thread::spawn(move || in_pieces(&theirs, &bytes, &lengths, || {}));
        for message in messages {
            prop_assert_eq!(ours.recv_message(), Ok(message));
        }
        writer.join().expect("the writer");
    }

    #[test]
    fn descriptors_stay_with_their_answers(counts in prop::collection::vec(0usize..=protocol::MAX_FDS, 1..20)) {
        let (mut ours, mut theirs) = SupervisorSocket::pair().expect("a pair");
        theirs.set_read_timeout(Some(Duration::from_secs(60)));
        for (id, count) in counts.iter().enumerate() {
            let id = id as u64;
            let files: Vec<_> = (0..*count).map(|number| file(&format!("{id} {number}"))).collect();
            let fds: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
            match count {
                0 => ours.send_response(&refused(id)),
                _ => ours.send_response_with(&granted(id, *count), &fds),
            }.expect("sent");
        }
        for (id, count) in counts.into_iter().enumerate() {
            let id = id as u64;
            let expected = if count == 0 { refused(id) } else { granted(id, count) };
            prop_assert_eq!(theirs.recv_response(), Ok(expected));
            for number in 0..count {
                prop_assert_eq!(content(theirs.recv_fd().expect("a descriptor")), format!("{id} {number}"));
            }
        }
    }
}
