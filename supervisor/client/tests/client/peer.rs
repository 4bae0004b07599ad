//! The supervisor's end, as a test tells it.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use nix::poll::{PollFd, PollTimeout, poll};
use protocol::{
    Access, Code, Create, Granted, OpenFlags, OpenRequest, Refused, RequestedPath,
    SupervisorResponse,
};
use socket::{Channel, Incoming};
use supervisor_client::{Client, Error};

use crate::DEADLINE;

pub struct Peer(Channel);

/// A client, and the peer that it asks.
pub fn connected() -> (Client, Peer) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let peer = Peer(Channel::new(ours).expect("a channel"));
    (patient(theirs), peer)
}

/// A client whose test fails when it is not answered.
pub fn patient(connection: UnixStream) -> Client {
    let client = Client::from_fd(connection).expect("a client");
    client.with_timeout(DEADLINE)
}

/// Runs the peer beside the client.
pub fn meanwhile<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}

pub fn request(path: &str) -> OpenRequest {
    OpenRequest {
        id: 0,
        path: RequestedPath::new(path).expect("a path"),
        access: Access::Read,
        flags: OpenFlags::NONE,
        create: Create::No,
        mode: OpenRequest::MODE,
        why: None,
    }
}

pub fn path(request: &OpenRequest) -> &str {
    std::str::from_utf8(request.path.as_bytes()).expect("text")
}

pub fn content(opened: Result<OwnedFd, Error>) -> String {
    let mut content = String::new();
    let mut file = File::from(opened.expect("granted"));
    file.read_to_string(&mut content).expect("read");
    content
}

pub fn file(content: &str) -> OwnedFd {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(content.as_bytes()).expect("written");
    file.rewind().expect("rewound");
    file.into()
}

impl Peer {
    fn turn(&mut self, deadline: Instant) {
        let mut polled = [PollFd::new(self.0.as_fd(), self.0.interest())];
        poll(&mut polled, PollTimeout::from(20u8)).expect("poll");
        let ready = polled[0].revents().expect("known flags");
        self.0.ready(ready).expect("the channel works");
        assert!(Instant::now() < deadline, "nothing came");
    }

    pub fn requests(&mut self, count: usize) -> Vec<OpenRequest> {
        let deadline = Instant::now() + DEADLINE;
        let mut requests = Vec::new();
        while requests.len() < count {
            match self.0.next_request() {
                Some(Incoming::Open(_, request)) => requests.push(request),
                Some(Incoming::Rejected(_, rejected)) => panic!("{rejected}"),
                None => self.turn(deadline),
            }
        }
        requests
    }

    pub fn request(&mut self) -> OpenRequest {
        self.requests(1).remove(0)
    }

    pub fn grant(&mut self, request: &OpenRequest, file: OwnedFd) {
        let response = SupervisorResponse::Granted(Granted {
            id: request.id,
            fds: 1,
            expires: None,
        });
        self.0.answer(&response, vec![file]).expect("answered");
    }

    pub fn refuse(&mut self, request: &OpenRequest) {
        let refused = SupervisorResponse::Refused(refusal(Some(request.id)));
        self.0.answer(&refused, Vec::new()).expect("answered");
    }

    /// Waits for the other end to be closed.
    pub fn until_over(mut self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.0.is_over() {
            self.turn(deadline);
        }
    }
}

pub fn refusal(id: Option<u64>) -> Refused {
    Refused {
        id,
        code: Code::Denied,
        errno: Code::Denied.usual_errno(),
        rule: Some("p.toml:12".to_owned()),
        detail: None,
    }
}
