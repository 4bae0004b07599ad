//! What takes longer than a second is said to whoever sits at a terminal, and to nobody else.

use super::Scene;
use super::harness::run::{DEADLINE, run};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What stands for a daemon: it answers when it is told to.
struct Slow {
    socket: PathBuf,
    answer: Sender<()>,
    thread: JoinHandle<()>,
}

impl Slow {
    fn new(scene: &Scene) -> Self {
        let socket = scene.kept.join("slow");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (answer, told) = channel();
        let thread = std::thread::spawn(move || serve(&listener, &told));
        Self {
            socket,
            answer,
            thread,
        }
    }

    fn arguments(&self) -> [&str; 3] {
        ["status", "--socket", self.socket.to_str().expect("text")]
    }
}

fn serve(listener: &UnixListener, told: &Receiver<()>) {
    let (stream, _) = listener.accept().expect("somebody");
    let mut lines = BufReader::new(&stream).lines();
    let mut answer = |data: &str| {
        let line = lines.next().expect("a request").expect("a line");
        let request: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        if request["req"]["hello"].is_null() {
            told.recv().expect("somebody tells");
        }
        let id = &request["id"];
        writeln!(&stream, r#"{{"id":{id},"ok":true,"data":{data}}}"#).expect("it is heard");
    };
    answer(r#"{"version":1,"server":"slow","daemon":"1"}"#);
    answer(r#"{"schema":1,"daemon":{"pid":4711},"workers":[]}"#);
}

#[test]
fn a_wait_is_said_at_a_terminal_and_gone_when_it_is_over() {
    let scene = Scene::new();
    let slow = Slow::new(&scene);
    let terminal = nix::pty::openpty(None, None).expect("a terminal");
    let mut command = scene.supervise(&slow.arguments());
    command.stdout(Stdio::piped()).stderr(terminal.slave);
    let mut child = command.spawn().expect("it starts");
    // Which holds the terminal, too.
    drop(command);
    let mut screen = File::from(terminal.master);
    fcntl(&screen, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
    let mut seen = String::new();
    let mut look = |seen: &mut String| {
        let mut bytes = [0; 4096];
        // Nothing there now, or everybody has left.
        while let Ok(length @ 1..) = screen.read(&mut bytes) {
            seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    };
    let deadline = Instant::now() + DEADLINE;
    while !seen.contains("waiting until the daemon answers, 1 s") {
        assert!(Instant::now() < deadline, "{seen:?}");
        look(&mut seen);
        std::thread::sleep(Duration::from_millis(5));
    }
    slow.answer.send(()).expect("it waits");
    let mut printed = String::new();
    let mut out = child.stdout.take().expect("a pipe");
    out.read_to_string(&mut printed).expect("text");
    assert!(child.wait().expect("it ends").success());
    slow.thread.join().expect("it served");
    look(&mut seen);
    assert!(printed.contains("4711"), "{printed}");
    let (_, rest) = seen.rsplit_once(" s").expect("it was said");
    assert!(rest.len() > 2 && rest.trim().is_empty(), "{seen:?}");
    assert!(rest.ends_with('\r'), "{seen:?}");
}

#[test]
fn a_wait_is_not_said_to_a_pipe() {
    let scene = Scene::new();
    let slow = Slow::new(&scene);
    let answer = slow.answer.clone();
    // Longer than what a terminal is told after.
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        answer.send(()).expect("it waits");
    });
    let ran = run(&mut scene.supervise(&slow.arguments())).expect_code(0);
    assert_eq!(ran.stderr, "");
    late.join().expect("it was sent");
    slow.thread.join().expect("it served");
}
