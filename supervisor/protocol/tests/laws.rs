//! Decoding is the inverse of encoding, and nothing that a stranger sends can do more than be refused.

use std::time::Duration;

use proptest::prelude::*;
use supervisor_protocol::{
    Access, Code, Create, Granted, Hello, MAX_FDS, OpenFlags, OpenRequest, Refused, RequestedPath,
    SupervisorMessage, SupervisorResponse, Welcome, frame,
};

fn path() -> impl Strategy<Value = RequestedPath> {
    let text = "/[a-zé\"\\\\\n ]{0,40}".prop_map(String::into_bytes);
    let bytes = prop::collection::vec(1u8..=255, 0..60).prop_map(|mut bytes| {
        bytes.insert(0, b'/');
        bytes
    });
    prop_oneof![text, bytes].prop_map(|bytes| RequestedPath::new(bytes).expect("a path"))
}

fn open() -> impl Strategy<Value = SupervisorMessage> {
    let access = prop::sample::select(vec![Access::Read, Access::Write, Access::ReadWrite]);
    let create = prop::sample::select(vec![Create::No, Create::Yes, Create::New]);
    let flags = prop::sample::subsequence(
        vec![
            OpenFlags::APPEND,
            OpenFlags::TRUNCATE,
            OpenFlags::DIRECTORY,
            OpenFlags::NOFOLLOW,
            OpenFlags::NONBLOCK,
        ],
        0..=5,
    );
    let rest = (any::<u64>(), 0u32..=0o7777, prop::option::of(".{0,100}"));
    (path(), access, create, flags, rest).prop_map(
        |(path, access, create, flags, (id, mode, why))| {
            let flags = flags.into_iter().fold(OpenFlags::NONE, OpenFlags::union);
            // Without a file to be made there is no mode to be said.
            let mode = if create == Create::No {
                OpenRequest::MODE
            } else {
                mode
            };
            SupervisorMessage::Open(OpenRequest {
                id,
                path,
                access,
                flags,
                create,
                mode,
                why,
            })
        },
    )
}

fn request() -> impl Strategy<Value = SupervisorMessage> {
    let hello = (any::<u64>(), prop::option::of("[ -~]{0,64}"))
        .prop_map(|(id, client)| SupervisorMessage::Hello(Hello { id, client }));
    prop_oneof![4 => open(), 1 => hello, 1 => (1..=MAX_FDS).prop_map(SupervisorMessage::Fd)]
        .prop_filter("no contradiction", |message| match message {
            SupervisorMessage::Open(open) => open.contradiction().is_none(),
            _ => true,
        })
}

fn response() -> impl Strategy<Value = SupervisorResponse> {
    let granted = (any::<u64>(), 1..=MAX_FDS, prop::option::of(any::<u64>())).prop_map(
        |(id, fds, expires)| {
            SupervisorResponse::Granted(Granted {
                id,
                fds,
                expires: expires.map(Duration::from_millis),
            })
        },
    );
    let texts = (prop::option::of(".{0,100}"), prop::option::of(".{0,100}"));
    let code = prop::sample::select(Code::ALL.to_vec());
    let refused = (prop::option::of(any::<u64>()), code, 1..=4095, texts).prop_map(
        |(id, code, errno, (rule, detail))| {
            SupervisorResponse::Refused(Refused {
                id,
                code,
                errno,
                rule,
                detail,
            })
        },
    );
    prop_oneof![
        granted,
        refused,
        any::<u64>().prop_map(|id| SupervisorResponse::Welcome(Welcome { id })),
        (1..=MAX_FDS).prop_map(SupervisorResponse::Fd),
    ]
}

/// The text of the only frame.
fn text(bytes: &[u8]) -> &[u8] {
    let (header, text) = bytes.split_first_chunk().expect("a header");
    assert_eq!(frame::length(*header), Ok(text.len()));
    text
}

/// Cuts, doubles, flips or inserts something.
fn spoil(mut bytes: Vec<u8>, at: prop::sample::Index, how: u8, byte: u8) -> Vec<u8> {
    let at = at.index(bytes.len());
    match how {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, byte),
        2 => bytes[at] = byte,
        _ => {
            let tail = bytes[at..].to_vec();
            bytes.extend(tail);
        }
    }
    bytes
}

proptest! {
    #[test]
    fn a_request_survives_the_wire(message in request()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).expect("a frame");
        prop_assert_eq!(SupervisorMessage::decode(text(&bytes)), Ok(message));
    }

    #[test]
    fn a_response_survives_the_wire(message in response()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).expect("a frame");
        prop_assert_eq!(SupervisorResponse::decode(text(&bytes)), Ok(message));
    }

    #[test]
    fn garbage_is_refused_with_an_answer_that_can_be_sent(garbage in prop::collection::vec(any::<u8>(), 0..300)) {
        let rejected = SupervisorMessage::decode(&garbage).expect_err("random bytes are no request");
        let mut bytes = Vec::new();
        SupervisorResponse::from(rejected).encode(&mut bytes).expect("a frame");
        prop_assert!(SupervisorResponse::decode(text(&bytes)).is_ok());
        prop_assert!(SupervisorResponse::decode(&garbage).is_err());
    }

    #[test]
    fn a_spoilt_request_is_refused_or_obeys_the_specification(
        message in request(), at in any::<prop::sample::Index>(), how in 0u8..4, byte in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).expect("a frame");
        let spoilt = spoil(text(&bytes).to_vec(), at, how, byte);
        match SupervisorMessage::decode(&spoilt) {
            Ok(SupervisorMessage::Open(open)) => {
                prop_assert_eq!(open.contradiction(), None);
                prop_assert!(RequestedPath::new(open.path.as_bytes()).is_ok());
            }
            Ok(_) => {}
            Err(rejected) => prop_assert!(rejected.detail.len() <= 240),
        }
    }
}
