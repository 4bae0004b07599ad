//! Asks its supervisor for a file, as often as it is told to on its standard input: a line `COUNT DEPTH` asks for that many grants, so
//! many at a time, and is answered by the nanoseconds it took. The other side of what the floor does without a supervisor.
#![forbid(unsafe_code)]

use child_shim::OpenOptions;
use protocol::{
    Access, Create, OpenFlags, OpenRequest, RequestedPath, SupervisorMessage, SupervisorResponse,
};
use socket::SupervisorSocket;
use std::io::{BufRead, Write};
use std::os::unix::ffi::OsStringExt;
use std::time::Instant;

fn main() {
    let path = std::env::args_os().nth(1).expect("a file");
    let client = child_shim::connect().expect("a supervisor");
    let name = std::env::var_os("SUPERVISE_SOCKET").expect("the supervisor's name");
    let mut pipe = SupervisorSocket::connect(name).expect("a connection of our own");
    let wanted = RequestedPath::new(path.clone().into_vec()).expect("a path");
    let options = OpenOptions::new().read(true);
    let mut out = std::io::stdout().lock();
    let mut id = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input is text");
        let (count, depth) = line.split_once(' ').expect("COUNT DEPTH");
        let (count, depth): (u64, u64) = (
            count.parse().expect("a number"),
            depth.parse().expect("a number"),
        );
        let start = Instant::now();
        if depth == 1 {
            for _ in 0..count {
                client.open(&path, &options).expect("a grant");
            }
        } else {
            for _ in 0..count / depth {
                for _ in 0..depth {
                    id += 1;
                    pipe.send_message(&request(id, &wanted))
                        .expect("the supervisor listens");
                }
                for _ in 0..depth {
                    match pipe.recv_response().expect("an answer") {
                        SupervisorResponse::Granted(_) => {
                            drop(pipe.recv_fd().expect("a descriptor"))
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
        }
        writeln!(out, "{}", start.elapsed().as_nanos())
            .and_then(|()| out.flush())
            .expect("somebody reads");
    }
}

fn request(id: u64, path: &RequestedPath) -> SupervisorMessage {
    SupervisorMessage::Open(OpenRequest {
        id,
        path: path.clone(),
        access: Access::Read,
        flags: OpenFlags::NONE,
        create: Create::No,
        mode: 0,
        why: None,
    })
}
