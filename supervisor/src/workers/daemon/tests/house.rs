//! A daemon with real processes for workers, that take jobs over real sockets; and clients.

use super::super::*;
use crate::launch::Exit;
use crate::workers::control::Admission;
use crate::workers::lifecycle::Failure;
use nix::sys::eventfd::{EfdFlags, EventFd};
use protocol::control::{Finding, FromDaemon, Hello, Numbering};
use protocol::lines::Lines;
use protocol::pool::PoolRequest;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use sys::pidfd::Pidfd;

/// Long enough for a machine that does ten other things.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What a worker does with its jobs: it outlives daemons, as processes do.
#[derive(Debug, Default)]
pub struct Mind {
    /// Sessions, and what came of them: `None` while they are at work.
    pub sessions: HashMap<String, Option<Value>>,
    /// How often a job was begun.
    pub begun: u32,
    /// Connections, to be cut.
    pub connections: Vec<UnixStream>,
    /// Who waits for a session's end: connection and number.
    waiting: Vec<(String, UnixStream, u64)>,
}

/// Minds by instance.
pub type Minds = Arc<Mutex<HashMap<String, Arc<Mutex<Mind>>>>>;

/// A process that was started, and by which instance it is known.
#[derive(Clone, Debug)]
pub struct Alive {
    pub pid: u32,
    pub instance: String,
}

/// Processes of all daemons of one test: they outlive them.
#[derive(Clone, Default, Debug)]
pub struct World {
    pub alive: Arc<Mutex<BTreeMap<String, Alive>>>,
    pub minds: Minds,
    counter: Arc<Mutex<u32>>,
    /// Why nothing can be started, if it cannot.
    pub refusal: Arc<Mutex<Option<(Failure, String)>>>,
    /// What the next reading of the pool file gives.
    pub next_file: Arc<Mutex<Option<String>>>,
}

#[derive(Debug)]
pub struct FakeHands {
    world: World,
    sender: Sender<Happened>,
    receiver: Receiver<Happened>,
    bell: Arc<EventFd>,
}

impl World {
    pub fn hands(&self) -> FakeHands {
        let (sender, receiver) = channel();
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap();
        FakeHands {
            world: self.clone(),
            sender,
            receiver,
            bell: Arc::new(bell),
        }
    }

    pub fn pid(&self, id: &str) -> u32 {
        self.alive.lock().unwrap()[id].pid
    }

    pub fn mind(&self, id: &str) -> Arc<Mutex<Mind>> {
        let instance = self.alive.lock().unwrap()[id].instance.clone();
        let mut minds = self.minds.lock().unwrap();
        minds.entry(instance).or_default().clone()
    }

    pub fn kill(&self, id: &str) {
        let pid = self.pid(id);
        Pidfd::open(pid as i32)
            .unwrap()
            .send_signal(libc::SIGKILL)
            .unwrap();
    }
}

impl FakeHands {
    /// Takes over what a daemon before left.
    pub fn former(&self) -> BTreeMap<String, Former> {
        let alive = self.world.alive.lock().unwrap().clone();
        let former = alive.into_iter().map(|(id, one)| {
            self.watch(&id, one.pid);
            (id, Former::Here(born(&one, Vec::new(), true)))
        });
        former.collect()
    }

    /// Tells when a process is gone, whoever started it.
    fn watch(&self, id: &str, pid: u32) {
        let pidfd = Pidfd::open(pid as i32).unwrap();
        let (id, sender, bell) = (id.to_owned(), self.sender.clone(), self.bell.clone());
        let alive = self.world.alive.clone();
        std::thread::spawn(move || {
            let mut fds = [nix::poll::PollFd::new(
                pidfd.as_fd(),
                nix::poll::PollFlags::POLLIN,
            )];
            nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE).unwrap();
            let exit = match pidfd.collect() {
                Ok(Some(sys::pidfd::Ended::Exited(code))) => Exit::Code(code),
                _ => Exit::Signal(9),
            };
            alive.lock().unwrap().retain(|_, one| one.pid != pid);
            let worker = id;
            // A daemon that is over hears nothing.
            let _unheard = sender.send(Happened::Gone {
                worker,
                end: exit.into(),
            });
            bell.write(1).unwrap();
        });
    }
}

fn born(one: &Alive, output: Vec<(crate::workers::logs::Stream, OwnedFd)>, again: bool) -> Born {
    Born {
        pid: one.pid,
        instance: one.instance.clone(),
        endpoint: None,
        output,
        is_reattached: again,
        verified: None,
        degraded: None,
    }
}

impl Hands for FakeHands {
    fn start(&mut self, order: &Order<'_>) -> Result<Born, Unborn> {
        if let Some((how, cause)) = self.world.refusal.lock().unwrap().clone() {
            return Err(Unborn { how, cause });
        }
        let command = &order.kind.command;
        let child = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| Unborn {
            how: Failure::Lasting,
            cause: error.to_string(),
        })?;
        let mut counter = self.world.counter.lock().unwrap();
        *counter += 1;
        let one = Alive {
            pid: child.id(),
            instance: format!("i{counter}"),
        };
        let id = order.id.to_owned();
        self.world.alive.lock().unwrap().insert(id, one.clone());
        self.watch(order.id, one.pid);
        let output = child.stdout.take().unwrap().into();
        let output = vec![(crate::workers::logs::Stream::Output, output)];
        Ok(born(&one, output, false))
    }

    fn ask(&mut self, worker: &str) -> Result<(), Errno> {
        match self.world.alive.lock().unwrap().get(worker) {
            Some(one) => Pidfd::open(one.pid as i32)?.send_signal(libc::SIGTERM),
            None => Ok(()),
        }
    }

    fn kill(&mut self, worker: &str) {
        if let Some(one) = self.world.alive.lock().unwrap().get(worker) {
            let _gone = Pidfd::open(one.pid as i32).and_then(|p| p.send_signal(libc::SIGKILL));
        }
    }

    fn reach(&mut self, worker: &str) {
        let Some(one) = self.world.alive.lock().unwrap().get(worker).cloned() else {
            return;
        };
        let mind = self.world.mind(worker);
        let (ours, theirs) = UnixStream::pair().unwrap();
        mind.lock()
            .unwrap()
            .connections
            .push(theirs.try_clone().unwrap());
        std::thread::spawn(move || serve_jobs(&mind, theirs));
        let reached = Happened::Reached {
            worker: worker.to_owned(),
            instance: one.instance,
            stream: ours,
            verified: "by the test".to_owned(),
        };
        self.sender.send(reached).unwrap();
        self.bell.write(1).unwrap();
    }

    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.bell.as_fd()]
    }

    fn next(&mut self) -> Result<Option<Happened>, String> {
        let _reset = self.bell.read();
        Ok(self.receiver.try_recv().ok())
    }

    fn findings(&self) -> Vec<Finding> {
        Vec::new()
    }

    fn reread(&mut self) -> Result<PoolFile, String> {
        let text = self.world.next_file.lock().unwrap().clone();
        let text = text.ok_or("there is no such file")?;
        parse(&text)
    }

    fn prepare_upgrade(&mut self, _: Option<&str>) -> Result<(), String> {
        Ok(())
    }
}

pub fn parse(text: &str) -> Result<PoolFile, String> {
    let text = format!("version = 1\n{text}");
    PoolFile::parse("pool.toml", text, Path::new("/")).map_err(|error| error.to_string())
}

/// A worker's side: `{"hold": true}` is at work until it is released, `{"ask": x}` wants input, all else is done at once.
fn serve_jobs(mind: &Arc<Mutex<Mind>>, mut stream: UnixStream) {
    let mut lines = Lines::new();
    loop {
        let count = match stream.read(lines.space()) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        lines.filled(count);
        while let Some(line) = lines.next_line().unwrap() {
            let request = PoolRequest::decode(line).unwrap();
            let answer = think(mind, &stream, request.id, request.req);
            if let Some(mut answer) = answer {
                answer["id"] = json!(request.id);
                if stream.write_all(format!("{answer}\n").as_bytes()).is_err() {
                    return;
                }
            }
        }
    }
}

fn think(
    mind: &Arc<Mutex<Mind>>,
    stream: &UnixStream,
    id: u64,
    request: PoolRequest,
) -> Option<Value> {
    let mut mind = mind.lock().unwrap();
    let ok = |data: Value| Some(json!({"ok": true, "data": data}));
    let no = |code: &str| Some(json!({"ok": false, "error": {"code": code, "message": ""}}));
    match request {
        PoolRequest::Handshake { version } => ok(json!({"version": version})),
        PoolRequest::Status { .. } => {
            let is_running = |result: &Option<Value>| result.is_none();
            let session = |sid: &String, state| json!({"sid": sid, "state": state});
            let running = mind.sessions.iter().find(|(_, result)| is_running(result));
            let over = mind
                .sessions
                .iter()
                .filter(|(_, result)| !is_running(result));
            let over: Vec<_> = over.map(|(sid, _)| session(sid, "done")).collect();
            let running = running.map(|(sid, _)| session(sid, "running"));
            ok(json!({"state": "idle", "running": running, "history": over}))
        }
        PoolRequest::Run { job, sid, .. } => {
            let sid = sid.unwrap();
            if mind.sessions.contains_key(&sid) {
                return no("session_exists");
            }
            mind.begun += 1;
            if job["hold"] == true {
                mind.sessions.insert(sid.clone(), None);
                mind.waiting.push((sid, stream.try_clone().unwrap(), id));
                return None;
            }
            let state = if job["ask"].is_null() {
                "done"
            } else {
                "waiting"
            };
            let ran = json!({"sid": sid, "state": state, "output": job});
            mind.sessions.insert(sid, Some(ran.clone()));
            ok(ran)
        }
        PoolRequest::Continue { sid, input, .. } => match mind.sessions.get(&sid).cloned() {
            None => no("session_not_found"),
            Some(None) => {
                mind.waiting.push((sid, stream.try_clone().unwrap(), id));
                None
            }
            Some(Some(ran)) => match input {
                None => ok(ran),
                Some(input) => {
                    let ran = json!({"sid": sid, "state": "done", "output": input});
                    mind.sessions.insert(sid, Some(ran.clone()));
                    ok(ran)
                }
            },
        },
        PoolRequest::Shutdown {} => ok(json!({})),
    }
}

impl Mind {
    /// Ends the job that is held.
    pub fn release(&mut self, sid: &str, output: Value) {
        let ran = json!({"sid": sid, "state": "done", "output": output});
        self.sessions.insert(sid.to_owned(), Some(ran.clone()));
        self.waiting.retain_mut(|(waiting, stream, id)| {
            let is_that = waiting == sid;
            if is_that {
                let answer = json!({"id": id, "ok": true, "data": ran});
                let _gone = stream.write_all(format!("{answer}\n").as_bytes());
            }
            !is_that
        });
    }

    /// Cuts all connections, as a daemon's end would.
    pub fn cut(&mut self) {
        self.waiting.clear();
        for stream in self.connections.drain(..) {
            let _gone = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// One daemon.
pub struct House {
    pub daemon: Daemon<FakeHands>,
    pub directory: Arc<tempfile::TempDir>,
    pub world: World,
}

impl House {
    pub fn new(file: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::next_in(Arc::new(directory), World::default(), file)
    }

    /// The next daemon of the same place, with the processes that are there.
    pub fn next(self, file: &str) -> Self {
        let (directory, world) = (self.directory.clone(), self.world.clone());
        drop(self);
        for mind in world.minds.lock().unwrap().values() {
            mind.lock().unwrap().cut();
        }
        Self::next_in(directory, world, file)
    }

    fn next_in(directory: Arc<tempfile::TempDir>, world: World, file: &str) -> Self {
        let path = directory.path();
        let socket = path.join("control");
        let _absent = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let poller = Poller::new().unwrap();
        let hello = Hello {
            version: protocol::control::VERSION,
            server: "test".to_owned(),
            daemon: "d".to_owned(),
        };
        let admission = Admission { group: None };
        let control = Control::new(listener.into(), admission, hello, &poller).unwrap();
        let hands = world.hands();
        let former = hands.former();
        let setup = Setup {
            file: parse(file).unwrap(),
            config: None,
            daemon: "d".to_owned(),
            poller,
            control,
            desired: DesiredFile::in_directory(path).unwrap(),
            ledger: Ledger::open(&path.join("jobs")).unwrap(),
            logs: Logs::begin(path).unwrap(),
            hands,
            board: Board::new().unwrap(),
            former,
        };
        Self {
            daemon: Daemon::begin(setup).unwrap(),
            directory,
            world,
        }
    }

    /// Lets the daemon do what there is to do within a moment.
    pub fn turn(&mut self) {
        let mut ready = Vec::new();
        let bell = self.daemon.hands.bell.clone();
        // Never longer than a moment, so that who turns can look for something.
        let waker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            bell.write(1).unwrap();
        });
        self.daemon.turn(&mut ready).unwrap();
        waker.join().unwrap();
    }

    /// Turns until that is so.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "it never came to it that {what}");
            self.turn();
        }
    }

    pub fn guest(&mut self) -> Guest {
        let stream = UnixStream::connect(self.directory.path().join("control")).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut guest = Guest {
            stream,
            read: Vec::new(),
            next: 1,
            answers: BTreeMap::new(),
            events: Vec::new(),
        };
        guest
            .asks(
                self,
                json!({"hello": {"version": 1, "client": "supervise 1"}}),
            )
            .expect("a greeting");
        guest
    }

    /// Waits until the worker is in that state.
    #[track_caller]
    pub fn until_state(&mut self, id: &str, state: &str) -> Value {
        let mut guest = self.guest();
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = guest.asks(self, json!({"status": {"worker": id}})).unwrap();
            let worker = status["workers"][0].clone();
            if worker["state"] == state {
                return worker;
            }
            assert!(Instant::now() < deadline, "never {state}: {worker}");
            self.turn();
        }
    }
}

/// Somebody who asks.
pub struct Guest {
    stream: UnixStream,
    read: Vec<u8>,
    next: u64,
    answers: BTreeMap<u64, Result<Value, String>>,
    pub events: Vec<Numbering<Event>>,
}

impl Guest {
    /// Asks, and goes on with other things.
    pub fn begins(&mut self, request: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let line = format!("{}\n", json!({"id": id, "req": request}));
        self.stream.write_all(line.as_bytes()).unwrap();
        id
    }

    /// Asks, and waits for the answer: its data, or its code.
    #[track_caller]
    pub fn asks(&mut self, house: &mut House, request: Value) -> Result<Value, String> {
        let id = self.begins(request);
        self.hears(house, id)
    }

    #[track_caller]
    pub fn hears(&mut self, house: &mut House, id: u64) -> Result<Value, String> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.listen();
            if let Some(answer) = self.answers.remove(&id) {
                return answer;
            }
            assert!(Instant::now() < deadline, "no answer");
            house.turn();
        }
    }

    /// The answer, if it is there.
    pub fn heard(&mut self, house: &mut House, id: u64) -> Option<Result<Value, String>> {
        house.turn();
        self.listen();
        self.answers.remove(&id)
    }

    pub fn listen(&mut self) {
        let mut buffer = [0; 65536];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.read.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error}"),
            }
        }
        while let Some(at) = self.read.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.read.drain(..=at).collect();
            match FromDaemon::decode(&line).unwrap() {
                FromDaemon::Event(event) => self.events.push(event),
                FromDaemon::Answer(answer) => {
                    let outcome = answer.outcome.map_err(|fault| fault.code.to_string());
                    self.answers.insert(answer.id.unwrap(), outcome);
                }
            }
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // What a test leaves is no process. The last daemon of a world ends all.
        if Arc::strong_count(&self.directory) == 1 {
            for one in self.world.alive.lock().unwrap().values() {
                let _gone = Pidfd::open(one.pid as i32).and_then(|p| p.send_signal(libc::SIGKILL));
            }
        }
    }
}
