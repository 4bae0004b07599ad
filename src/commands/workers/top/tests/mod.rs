//! What is known, drawn, and what keys do to it, with no terminal and nobody to speak with.

mod answering;
mod drawing;
mod following;

use super::acts::Act;
use super::keys::Key;
use super::link::{News, Peer, Told, peer};
use super::model::{Id, Mode, Model, SEEN};
use super::view::{self, Moment, Theme};
use protocol::control::{
    DaemonStatus, Event, LifecycleState, Question, Questions, SCHEMA, Status, WorkerStatus,
};
use ratatui_core::backend::TestBackend;
use ratatui_core::buffer::Buffer;
use ratatui_core::terminal::Terminal;
use std::time::{Duration, Instant};

/// When everything was started, by the clock that others speak of.
const BEGAN: u64 = 1_000_000_000;

pub fn question(number: u64, object: &str) -> Question {
    Question {
        question: number,
        worker: "idle-1".to_owned(),
        access: "read".to_owned(),
        object: object.to_owned(),
        to: None,
        pid: Some(4711),
        program: Some("/usr/bin/cat".to_owned()),
        ancestors: Vec::new(),
        rule: Some("policy.toml:3".to_owned()),
        why: None,
        scope: None,
        holds_ms: None,
        at_most: None,
        remaining_ms: Some(60_000),
    }
}

fn worker(id: &str, kind: &str) -> WorkerStatus {
    WorkerStatus {
        id: id.to_owned(),
        kind: kind.to_owned(),
        state: LifecycleState::Running,
        desired: true,
        pid: Some(4700),
        instance: None,
        endpoint: None,
        since_unix_ms: BEGAN,
        reattached: false,
        verified: None,
        speaks: true,
        degraded: None,
        auto_restart: false,
        restart_attempt: 0,
        sid: None,
        jobs: 0,
        last_exit: None,
        stop_reason: None,
        detail: None,
    }
}

/// A person in front of a screen that is not there.
struct Desk {
    model: Model,
    began: Instant,
    now: Instant,
    size: (u16, u16),
    theme: Theme,
}

impl Desk {
    fn new(mode: Mode, width: u16, height: u16) -> Self {
        let began = Instant::now();
        Self {
            model: Model::new(mode, "/home/u".into()),
            began,
            now: began,
            size: (width, height),
            theme: Theme { is_coloured: true },
        }
    }

    /// With the daemon there, and a run beside it.
    fn with_all(mode: Mode, width: u16, height: u16) -> Self {
        let mut desk = Self::new(mode, width, height);
        let mut blocked = worker("idle-2", "idle");
        blocked.state = LifecycleState::Blocked;
        blocked.pid = None;
        blocked.detail = Some("its policy cannot be read".to_owned());
        desk.here(&daemon(), vec![worker("idle-1", "idle"), blocked]);
        let mut one = worker("28-5f0e71aa", "run");
        one.detail = Some("make test".to_owned());
        desk.here(&run(), vec![one]);
        desk
    }

    fn here(&mut self, peer: &Peer, workers: Vec<WorkerStatus>) {
        let daemon = DaemonStatus {
            pid: 4600,
            keeper_pid: None,
            version: "0".to_owned(),
            daemon: "1".to_owned(),
            since_unix_ms: BEGAN,
            config: None,
            queued: 0,
            questions: 0,
        };
        self.hear(peer, Told::Here);
        self.hear(
            peer,
            Told::Status(Status {
                schema: SCHEMA,
                daemon,
                workers,
                more: None,
            }),
        );
    }

    fn hear(&mut self, peer: &Peer, told: Told) {
        let peer = peer.clone();
        self.model.take(News { peer, told }, self.now);
    }

    fn happens(&mut self, peer: &Peer, event: Event) {
        self.hear(peer, Told::Event(event));
    }

    fn asks(&mut self, peer: &Peer, question: Question) {
        self.happens(peer, Event::WaitingForApproval(question));
    }

    fn waits(&mut self, peer: &Peer, questions: Vec<Question>) {
        self.hear(peer, Told::Questions(Questions { questions, more: 0 }));
    }

    /// What is on the screen then, which is seen.
    fn draw(&mut self) -> Buffer {
        let (width, height) = self.size;
        let moment = Moment {
            at: self.now,
            unix_ms: BEGAN
                + u64::try_from((self.now - self.began).as_millis()).expect("a short test"),
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("it cannot fail");
        let mut seen = None;
        let drawn = terminal.draw(|frame| {
            seen = view::draw(frame.buffer_mut(), &self.model, moment, self.theme);
        });
        drawn.expect("it cannot fail");
        self.model.see(seen, self.now);
        terminal.backend().buffer().clone()
    }

    /// The same, as text.
    fn screen(&mut self) -> String {
        let buffer = self.draw();
        let width = usize::from(buffer.area.width);
        let lines = buffer.content.chunks(width).map(|cells| {
            let mut line = String::new();
            let mut hidden = 0;
            for cell in cells {
                if hidden > 0 {
                    hidden -= 1;
                    continue;
                }
                line.push_str(cell.symbol());
                hidden = super::text::columns(cell.symbol()).saturating_sub(1);
            }
            line.trim_end().to_owned() + "\n"
        });
        lines.collect()
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    /// Looks at it for long enough.
    fn looks(&mut self) {
        self.draw();
        self.passes(SEEN);
        self.draw();
    }

    fn press(&mut self, key: Key) -> Option<Act> {
        self.model.press(key, self.now)
    }

    fn types(&mut self, text: &str) -> Option<Act> {
        let mut last = None;
        for character in text.chars() {
            assert_eq!(last, None, "before all of it was typed");
            last = self.press(Key::Char(character));
        }
        last
    }

    /// The number of the question that is looked at.
    fn looked(&self) -> Option<u64> {
        self.model.current().map(|waiting| waiting.id.number)
    }
}

fn daemon() -> Peer {
    peer("/run/user/1/supervise/control.sock", true)
}

fn run() -> Peer {
    peer("/run/user/1/supervise/28-5f0e71aa/control.sock", false)
}

fn of_run(number: u64, object: &str) -> Question {
    Question {
        worker: "28-5f0e71aa".to_owned(),
        ..question(number, object)
    }
}

fn id(peer: Peer, number: u64) -> Id {
    Id { peer, number }
}
