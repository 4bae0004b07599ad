//! A small control server: all of the protocol, one worker that is only a word.

use std::collections::VecDeque;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use protocol::control::{
    ControlRequest, DaemonStatus, DesiredState, DesiredStates, Event, Finding, Findings, Hello,
    JobAnswer, LifecycleState, LifecycleStatus, Numbering, Questions, SCHEMA, Severity, Status,
    StopReason, Subscribed, WorkerStatus, Workers,
};
use protocol::lines::Lines;
use protocol::pool::{Ran, SessionState};
use protocol::{Answer, Fault, FaultCode, Numbered, Unanswerable, Value, json, to_value};

/// The most lines that wait for one client; of events, those that come then are left out.
const WAITING: usize = 64;

/// How it differs from a server that does everything right.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// What it speaks.
    pub version: u32,
    /// A verb that it does not know.
    pub unknown: &'static str,
    /// What it calls itself.
    pub daemon: &'static str,
    /// It takes connections, and says nothing.
    pub is_silent: bool,
}

pub const USUAL: Manner = Manner {
    version: 1,
    unknown: "",
    daemon: "one",
    is_silent: false,
};

/// A server, ended when it goes.
pub struct Server {
    shared: Arc<Shared>,
    path: PathBuf,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    manner: Manner,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    over: bool,
    desired: bool,
    auto_restart: bool,
    /// Requests with this verb are not answered until it is taken back.
    held: Option<&'static str>,
    requests: Vec<ControlRequest>,
    events: Vec<Numbering<Event>>,
    connections: Vec<Connection>,
    /// How many there ever were.
    accepted: usize,
}

struct Connection {
    number: usize,
    stream: UnixStream,
    is_subscribed: bool,
    waiting: VecDeque<Vec<u8>>,
    missed: u64,
    is_over: bool,
}

impl Server {
    pub fn start(path: &Path, manner: Manner) -> Self {
        let listener = UnixListener::bind(path).expect("bound");
        let shared = Arc::new(Shared {
            manner,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a client");
                if accepting.state().over {
                    return;
                }
                accepting.take(&stream);
            }
        });
        Self {
            shared,
            path: path.to_owned(),
            acceptor: Some(acceptor),
        }
    }

    /// Says to everybody who subscribed that this happened.
    pub fn emit(&self, event: Event) {
        let mut state = self.shared.state();
        let seq = state.events.len() as u64 + 1;
        let numbered = Numbering { event, seq };
        state.events.push(numbered.clone());
        for connection in &mut state.connections {
            if connection.is_subscribed {
                connection.tell(&numbered);
            }
        }
        self.shared.changed.notify_all();
    }

    /// Leaves requests with this verb unanswered, or answers those that wait and all others.
    pub fn hold(&self, verb: Option<&'static str>) {
        self.shared.state().held = verb;
        self.shared.changed.notify_all();
    }

    /// How many connections there are now.
    pub fn connections(&self) -> usize {
        let state = self.shared.state();
        state.connections.iter().filter(|one| !one.is_over).count()
    }

    /// How many there were.
    pub fn accepted(&self) -> usize {
        self.shared.state().accepted
    }

    pub fn requests(&self) -> Vec<ControlRequest> {
        self.shared.state().requests.clone()
    }

    /// Ends as a process does that is killed, but for its end of the connections, which it goes on reading: whether the clients close
    /// theirs can be seen. The name is free then.
    pub fn die(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.shared.state().over = true;
        self.shared.changed.notify_all();
        drop(UnixStream::connect(&self.path));
        acceptor.join().expect("no panic");
        std::fs::remove_file(&self.path).expect("its own");
        for connection in &self.shared.state().connections {
            // One that is closed already has no other direction.
            let _shut = connection.stream.shutdown(Shutdown::Write);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.die();
        for connection in &self.shared.state().connections {
            let _shut = connection.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Connection {
    fn tell(&mut self, event: &Numbering<Event>) {
        if self.waiting.len() >= WAITING {
            self.missed += 1;
            return;
        }
        let mut line = Vec::new();
        if self.missed > 0 {
            let missed = std::mem::take(&mut self.missed);
            let seq = event.seq - 1;
            let lagged = Event::Lagged { missed };
            let event = Numbering { event: lagged, seq };
            event.encode(&mut line).expect("a line");
        }
        event.encode(&mut line).expect("a line");
        self.waiting.push_back(line);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a connection on two threads, one for each direction.
    fn take(self: &Arc<Self>, stream: &UnixStream) {
        let mut state = self.state();
        let number = state.accepted;
        state.accepted += 1;
        state.connections.push(Connection {
            number,
            stream: stream.try_clone().expect("a duplicate"),
            is_subscribed: false,
            waiting: VecDeque::new(),
            missed: 0,
            is_over: false,
        });
        drop(state);
        for act in [Self::read, Self::write] {
            let shared = Arc::clone(self);
            let stream = stream.try_clone().expect("a duplicate");
            std::thread::spawn(move || act(&shared, number, &stream));
        }
    }

    fn read(&self, number: usize, stream: &UnixStream) {
        let mut lines = Lines::new();
        while let Ok(count @ 1..) = std::io::Read::read(&mut &*stream, lines.space()) {
            lines.filled(count);
            while let Ok(Some(line)) = lines.next_line() {
                if !self.manner.is_silent {
                    self.hear(number, ControlRequest::decode(line));
                }
            }
        }
        let mut state = self.state();
        if let Some(connection) = state.connection(number) {
            connection.is_over = true;
        }
        self.changed.notify_all();
    }

    fn write(&self, number: usize, stream: &UnixStream) {
        let mut state = self.state();
        loop {
            let over = state.over;
            let Some(connection) = state.connection(number) else {
                return;
            };
            if over || connection.is_over {
                return;
            }
            let Some(line) = connection.waiting.front().cloned() else {
                state = self.wait(state);
                continue;
            };
            drop(state);
            let written = std::io::Write::write_all(&mut &*stream, &line);
            state = self.state();
            if written.is_err() {
                return;
            }
            let last = state.events.last().map_or(0, |event| event.seq);
            let Some(connection) = state.connection(number) else {
                return;
            };
            // Only now: what is being written is waiting, too.
            connection.waiting.pop_front();
            if connection.waiting.is_empty() && connection.missed > 0 {
                let missed = std::mem::take(&mut connection.missed);
                let event = Event::Lagged { missed };
                connection.tell(&Numbering { event, seq: last });
            }
        }
    }

    fn hear(&self, number: usize, request: Result<Numbered<ControlRequest>, Unanswerable>) {
        let mut after = None;
        let answer = match request {
            Err(unanswerable) => Answer::from(unanswerable),
            Ok(Numbered { id, req }) => {
                let verb = verb(&req);
                let mut state = self.state();
                state.requests.push(req.clone());
                while state.held.is_some_and(|held| held == verb) && !state.over {
                    state = self.wait(state);
                }
                drop(state);
                let is_subscription = matches!(req, ControlRequest::Subscribe { .. });
                let outcome = match verb == self.manner.unknown {
                    true => Err(Fault::new(FaultCode::UnknownRequest, "a newer verb")),
                    false => self.answer(req.clone()),
                };
                if let (true, Ok(subscribed)) = (is_subscription, &outcome) {
                    let ControlRequest::Subscribe { after: wanted } = req else {
                        unreachable!("it was one")
                    };
                    after = wanted.or(subscribed["seq"].as_u64());
                }
                let id = Some(id);
                Answer { id, outcome }
            }
        };
        let mut line = Vec::new();
        answer.encode(&mut line);
        let mut state = self.state();
        // What happened since the answer was made comes right behind it.
        let events = after.map(|after| state.events[after as usize..].to_vec());
        if let Some(connection) = state.connection(number) {
            connection.waiting.push_back(line);
            connection.is_subscribed |= events.is_some();
            for event in events.iter().flatten() {
                connection.tell(event);
            }
        }
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: ControlRequest) -> Result<Value, Fault> {
        let mut state = self.state();
        let data = match request {
            ControlRequest::Hello { version, .. } if version != self.manner.version => {
                return Err(Fault::version_mismatch(version, self.manner.version));
            }
            ControlRequest::Hello { .. } => to_value(Hello {
                version: self.manner.version,
                server: "test".to_owned(),
                daemon: self.manner.daemon.to_owned(),
            }),
            ControlRequest::Start { .. } | ControlRequest::Restart { .. } => {
                state.desired = true;
                to_value(Workers {
                    workers: vec![state.worker("a-1")],
                })
            }
            ControlRequest::Stop { .. } => {
                state.desired = false;
                to_value(Workers {
                    workers: vec![state.worker("a-1")],
                })
            }
            ControlRequest::GetDesiredState { .. } => to_value(DesiredStates {
                workers: vec![DesiredState {
                    worker: "a-1".to_owned(),
                    running: state.desired,
                    auto_restart: state.auto_restart,
                    restart: Default::default(),
                    env: Vec::new(),
                    reason: Some(StopReason::User),
                    since_unix_ms: 1,
                }],
                more: None,
            }),
            ControlRequest::GetLifecycleStatus { .. } => to_value(LifecycleStatus {
                state: state.worker("a-1").state,
                desired: state.desired,
                reason: None,
                restart_attempt: 0,
                detail: None,
                synthesized: false,
            }),
            ControlRequest::Status { after, .. } => {
                // A worker on each page.
                let (id, more) = match after.as_deref() {
                    None => ("a-1", Some("a-1".to_owned())),
                    Some(_) => ("a-2", None),
                };
                to_value(Status {
                    schema: SCHEMA,
                    daemon: DaemonStatus {
                        pid: std::process::id(),
                        keeper_pid: None,
                        version: String::new(),
                        daemon: self.manner.daemon.to_owned(),
                        since_unix_ms: 0,
                        config: None,
                        queued: 0,
                        questions: 0,
                    },
                    workers: vec![state.worker(id)],
                    more,
                })
            }
            ControlRequest::Subscribe { .. } => to_value(Subscribed {
                seq: state.events.len() as u64,
            }),
            ControlRequest::EnableAutoRestart { .. } => {
                state.auto_restart = true;
                Ok(json!({}))
            }
            ControlRequest::DisableAutoRestart { .. } => {
                state.auto_restart = false;
                Ok(json!({}))
            }
            ControlRequest::ValidateSetup {} => to_value(Findings {
                findings: vec![Finding {
                    code: "linger".to_owned(),
                    severity: Severity::Warning,
                    message: "off".to_owned(),
                    fix: Some("loginctl enable-linger".to_owned()),
                }],
            }),
            ControlRequest::Run { job, .. } => to_value(JobAnswer {
                worker: "a-1".to_owned(),
                ran: Ran {
                    sid: "0".repeat(32),
                    state: SessionState::Waiting,
                    output: job,
                },
            }),
            ControlRequest::Continue { sid, input, .. } => to_value(JobAnswer {
                worker: "a-1".to_owned(),
                ran: Ran {
                    sid,
                    state: SessionState::Done,
                    output: input.unwrap_or_default(),
                },
            }),
            ControlRequest::Questions {} => to_value(Questions {
                questions: Vec::new(),
                more: 0,
            }),
            ControlRequest::Approve { question, .. } | ControlRequest::Refuse { question, .. } => {
                let text = format!("there is no question {question}");
                return Err(Fault::new(FaultCode::UnknownQuestion, text));
            }
            _ => Ok(json!({})),
        };
        data.map_err(|error| Fault::new(FaultCode::Failed, error.to_string()))
    }
}

impl State {
    fn connection(&mut self, number: usize) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|one| one.number == number)
    }

    fn worker(&self, id: &str) -> WorkerStatus {
        let state = match self.desired {
            true => LifecycleState::Running,
            false => LifecycleState::Stopped,
        };
        let text = json!({"id": id, "kind": "a", "state": state, "desired": self.desired});
        protocol::from_value(text).expect("a worker")
    }
}

fn verb(request: &ControlRequest) -> String {
    let text = to_value(request).expect("JSON");
    let fields = text.as_object().expect("one verb");
    fields.keys().next().cloned().unwrap_or_default()
}
