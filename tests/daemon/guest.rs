//! A client of the control socket, line by line.

use crate::harness::run::DEADLINE;
use crate::house::House;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

/// A client by hand.
pub struct Guest {
    stream: BufReader<UnixStream>,
    next: u64,
}

impl Guest {
    pub fn new(house: &House) -> Self {
        let mut guest = Self::unannounced(house);
        guest.asks(json!({"hello": {"version": 1}}));
        guest
    }

    /// One that has not greeted.
    pub fn unannounced(house: &House) -> Self {
        let stream = UnixStream::connect(house.socket()).expect("it listens");
        let time = Some(DEADLINE);
        stream
            .set_read_timeout(time)
            .expect("a socket has a timeout");
        Self {
            stream: BufReader::new(stream),
            next: 1,
        }
    }

    /// The answer to a request.
    #[track_caller]
    pub fn asks(&mut self, request: Value) -> Value {
        self.says(request);
        self.hears()
    }

    #[track_caller]
    pub fn says(&mut self, request: Value) {
        let line = format!("{}\n", json!({"id": self.next, "req": request}));
        self.next += 1;
        let stream = self.stream.get_mut();
        stream.write_all(line.as_bytes()).expect("it reads");
    }

    /// Waits until the other end is closed, and gives what was still said.
    pub fn rest(&mut self) -> std::io::Result<String> {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).map(|_| rest)
    }

    /// The next line.
    #[track_caller]
    pub fn hears(&mut self) -> Value {
        let mut answer = String::new();
        self.stream.read_line(&mut answer).expect("it answers");
        serde_json::from_str(&answer).expect("JSON")
    }
}
