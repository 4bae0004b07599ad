//! The server, with real sockets and clients of every manner.

use super::*;
use protocol::control::{FromDaemon, Numbering};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// A server whose requests are answered with what they were, and the directory that its socket is in.
struct House {
    control: Control,
    poller: Poller,
    directory: tempfile::TempDir,
    /// Requests for `questions` are not answered, but kept.
    kept: Vec<Asked>,
}

/// Somebody who asks, and what was read of the answers.
struct Guest {
    stream: UnixStream,
    read: Vec<u8>,
    is_closed: bool,
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("control")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let poller = Poller::new().unwrap();
        let hello = Hello {
            version: protocol::control::VERSION,
            server: "test".to_owned(),
            daemon: "d1".to_owned(),
        };
        let admission = Admission { group: None };
        let control = Control::new(listener.into(), admission, hello, &poller).unwrap();
        Self {
            control,
            poller,
            directory,
            kept: Vec::new(),
        }
    }

    fn guest(&mut self) -> Guest {
        let stream = UnixStream::connect(self.directory.path().join("control")).unwrap();
        stream.set_nonblocking(true).unwrap();
        let guest = Guest {
            stream,
            read: Vec::new(),
            is_closed: false,
        };
        self.turn();
        guest
    }

    fn greeted(&mut self) -> Guest {
        let mut guest = self.guest();
        guest.say(&json!({"id": 0, "req": {"hello": {"version": 1}}}));
        assert_eq!(guest.hear(self).unwrap()["data"]["daemon"], "d1");
        guest
    }

    /// Does what there is to do now.
    fn turn(&mut self) {
        let mut ready = Vec::new();
        for _ in 0..200 {
            self.poller.wait(Some(Instant::now()), &mut ready).unwrap();
            if ready.is_empty() {
                return;
            }
            let mut asked = Vec::new();
            for one in ready.clone() {
                let now = Instant::now();
                self.control
                    .on_ready(&self.poller, one, now, &mut asked)
                    .unwrap();
            }
            while let Some(one) = asked.pop() {
                self.reply(one, &mut asked);
            }
        }
    }

    fn reply(&mut self, asked: Asked, more: &mut Vec<Asked>) {
        let Asked { client, id, .. } = asked;
        match &asked.request {
            ControlRequest::Questions {} => self.kept.push(asked),
            ControlRequest::Subscribe { after } => {
                let after = *after;
                self.control
                    .subscribe(&self.poller, client, id, after, more)
                    .unwrap();
            }
            request => {
                let response = ControlResponse::done(id, serde_json::to_value(request).unwrap());
                self.control
                    .answer(&self.poller, client, response, more)
                    .unwrap();
            }
        }
    }

    fn tell(&mut self, number: u64) {
        let message = format!("{number} {}", "x".repeat(1000));
        let event = Event::Error {
            worker: None,
            message,
        };
        self.control.tell(&self.poller, event).unwrap();
    }
}

impl Guest {
    fn say(&mut self, message: &Value) {
        self.send(format!("{message}\n").as_bytes());
    }

    fn send(&mut self, bytes: &[u8]) {
        assert_eq!(self.stream.write(bytes).unwrap(), bytes.len());
    }

    /// The next line; `None` where there is none, or no more.
    fn line(&mut self, house: &mut House) -> Option<Vec<u8>> {
        for _ in 0..100 {
            if let Some(at) = self.read.iter().position(|byte| *byte == b'\n') {
                return Some(self.read.drain(..=at).collect());
            }
            house.turn();
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.is_closed = true;
                    return None;
                }
                Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    self.is_closed = true;
                    return None;
                }
                Err(error) => panic!("{error}"),
            }
        }
        None
    }

    fn hear(&mut self, house: &mut House) -> Option<Value> {
        let line = self.line(house)?;
        Some(serde_json::from_slice(&line).unwrap())
    }

    /// Events, until there is none.
    fn events(&mut self, house: &mut House) -> Vec<Numbering<Event>> {
        let mut events = Vec::new();
        while let Some(line) = self.line(house) {
            match FromDaemon::decode(&line).unwrap() {
                FromDaemon::Event(event) => events.push(event),
                FromDaemon::Answer(_) => {}
            }
        }
        events
    }
}

#[test]
fn nothing_is_heard_before_the_greeting_and_versions_must_agree() {
    let mut house = House::new();
    for (line, code) in [
        (
            json!({"id": 7, "req": {"status": {}}}),
            "handshake_required",
        ),
        (
            json!({"id": 7, "req": {"hello": {"version": 2}}}),
            "version_mismatch",
        ),
        (json!({"id": 7, "req": {"dance": {}}}), "unknown_request"),
    ] {
        let mut guest = house.guest();
        guest.say(&line);
        let answer = guest.hear(&mut house).unwrap();
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(7), &json!(code))
        );
        assert_eq!(guest.hear(&mut house), None);
        assert!(guest.is_closed, "{code}");
    }
    let mut guest = house.greeted();
    guest.say(&json!({"id": 8, "req": {"dance": {}}}));
    assert_eq!(
        guest.hear(&mut house).unwrap()["error"]["code"],
        "unknown_request"
    );
    guest.say(&json!({"id": 9, "req": {"reload": {}}}));
    assert_eq!(
        guest.hear(&mut house).unwrap()["data"],
        json!({"reload": {}})
    );
}

#[test]
fn a_line_that_is_too_long_ends_the_connection_and_half_a_line_holds_up_nobody() {
    let mut house = House::new();
    let mut half = house.greeted();
    half.send(b"{\"id\": 1, \"req\": {\"rel");
    let mut long = house.greeted();
    let mut sent = 0;
    while sent <= protocol::lines::MAX {
        sent += long.stream.write(&[b' '; 8192]).unwrap();
        house.turn();
    }
    let answer = long.hear(&mut house).unwrap();
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!(null), &json!("too_large"))
    );
    assert_eq!(long.hear(&mut house), None);
    assert!(long.is_closed);
    half.send(b"oad\": {}}}\n");
    assert_eq!(half.hear(&mut house).unwrap()["id"], 1);
}

#[test]
fn answers_come_by_number_in_whatever_order() {
    let mut house = House::new();
    let mut guest = house.greeted();
    guest.say(&json!({"id": 1, "req": {"questions": {}}}));
    guest.say(&json!({"id": 2, "req": {"reload": {}}}));
    assert_eq!(guest.hear(&mut house).unwrap()["id"], 2);
    let Asked { client, id, .. } = house.kept.remove(0);
    let response = ControlResponse::done(id, Value::Null);
    house
        .control
        .answer(&house.poller, client, response, &mut Vec::new())
        .unwrap();
    assert_eq!(guest.hear(&mut house).unwrap()["id"], 1);
}

#[test]
fn whoever_says_no_more_is_still_answered() {
    let mut house = House::new();
    let mut guest = house.greeted();
    guest.say(&json!({"id": 1, "req": {"questions": {}}}));
    guest.stream.shutdown(std::net::Shutdown::Write).unwrap();
    house.turn();
    let Asked { client, id, .. } = house.kept.remove(0);
    assert!(house.control.has(client));
    let response = ControlResponse::done(id, Value::Null);
    house
        .control
        .answer(&house.poller, client, response, &mut Vec::new())
        .unwrap();
    assert_eq!(guest.hear(&mut house).unwrap()["id"], 1);
    assert_eq!(guest.hear(&mut house), None);
    assert!(guest.is_closed && !house.control.has(client));
}

#[test]
fn whoever_is_gone_is_forgotten() {
    let mut house = House::new();
    let mut guest = house.greeted();
    guest.say(&json!({"id": 1, "req": {"questions": {}}}));
    house.turn();
    let client = house.kept[0].client;
    drop(guest);
    house.turn();
    assert!(!house.control.has(client) && house.control.clients.is_empty());
}

#[test]
fn every_event_comes_to_everybody_once_and_in_order() {
    let mut house = House::new();
    house.tell(1);
    let mut guests: Vec<Guest> = (0..3).map(|_| house.greeted()).collect();
    for (at, guest) in guests.iter_mut().enumerate() {
        let after = [None, Some(0), Some(99)][at];
        guest.say(&json!({"id": 1, "req": {"subscribe": {"after": after}}}));
        house.turn();
    }
    for number in 2..=50 {
        house.tell(number);
    }
    for (guest, first) in guests.iter_mut().zip([2, 1, 2]) {
        let numbers: Vec<u64> = guest
            .events(&mut house)
            .iter()
            .map(|event| event.seq)
            .collect();
        assert_eq!(numbers, (first..=50).collect::<Vec<_>>());
    }
}

#[test]
fn who_is_slow_is_told_how_much_was_missed_and_stalls_nobody() {
    let mut house = House::new();
    let (mut slow, mut quick) = (house.greeted(), house.greeted());
    for guest in [&mut slow, &mut quick] {
        guest.say(&json!({"id": 1, "req": {"subscribe": {}}}));
    }
    house.turn();
    let mut seen = 0;
    for number in 1..=20_000 {
        house.tell(number);
        if number % 500 == 0 {
            let events = quick.events(&mut house);
            assert!(
                events
                    .iter()
                    .all(|event| !matches!(event.event, Event::Lagged { .. }))
            );
            seen += events.len() as u64;
        }
    }
    assert_eq!(seen, 20_000, "who reads misses nothing");
    let (mut next, mut missed) = (1, 0);
    for event in slow.events(&mut house) {
        if let Event::Lagged { missed: more } = event.event {
            missed += more;
            next += more;
            assert_eq!(event.seq, next - 1);
        } else {
            assert_eq!(event.seq, next);
            next += 1;
        }
    }
    assert_eq!(next, 20_001, "all are told or counted");
    assert!(missed > 10_000, "{missed}");
}

#[test]
fn who_asks_and_never_reads_is_not_read_any_more_and_stalls_nobody() {
    let mut house = House::new();
    let (mut flood, mut other) = (house.greeted(), house.greeted());
    let line = json!({"id": 1, "req": {"start": {"worker": "x".repeat(4000)}}}).to_string() + "\n";
    let mut sent = 0;
    for _ in 0..2000 {
        match flood.stream.write(line.as_bytes()) {
            Ok(count) => sent += count,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        house.turn();
    }
    assert!(sent < 4 << 20, "{sent} bytes were taken");
    other.say(&json!({"id": 5, "req": {"reload": {}}}));
    assert_eq!(other.hear(&mut house).unwrap()["id"], 5);
    let mut answers = 0;
    while flood.hear(&mut house).is_some() {
        answers += 1;
    }
    assert_eq!(
        answers,
        sent / line.len(),
        "in the end all of it is answered"
    );
}

#[test]
fn too_many_at_once_are_let_in_when_others_leave() {
    let mut house = House::new();
    let guests: Vec<Guest> = (0..MOST_CLIENTS).map(|_| house.guest()).collect();
    let mut surplus = house.guest();
    assert_eq!(surplus.hear(&mut house), None);
    assert!(surplus.is_closed);
    drop(guests);
    house.turn();
    house.greeted();
}
