//! The other process of a test: this same program again, told what to do by its environment.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use protocol::{Hello, SupervisorMessage};
use supervisor_socket::SupervisorSocket;

/// A child that is killed and waited for when the test is over.
pub struct Running(pub Child);

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end.
    pub fn ended(mut self) {
        let status = self.0.wait().expect("our own child can be waited for");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.try_wait().expect("our own child").is_none() {
            self.0.kill().expect("our own child can be killed");
            self.0.wait().expect("our own child can be waited for");
        }
    }
}

/// This program in a role.
pub fn in_role(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own file"));
    command
        .args(["--exact", "child::role", "--nocapture"])
        .env("ROLE", role)
        .stdout(Stdio::piped());
    command
}

/// Runs the test of this name in a process of its own. Whether this is that process.
pub fn alone(test: &str) -> bool {
    if std::env::var_os("ROLE").is_some_and(|role| role == "alone") {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own file"));
    let ran = crate::harness::run::run(
        command
            .args(["--exact", test, "--nocapture"])
            .env("ROLE", "alone"),
    );
    assert!(ran.status.success(), "{ran}");
    assert!(ran.stdout.contains("1 passed"), "{ran}");
    false
}

/// A child that has the socket as its standard input, has written each piece with one call, and stays.
pub fn writer(socket: &UnixStream, pieces: &[&[u8]]) -> Running {
    let mut child = start(in_role("write").env("STAY", "1"), socket, pieces);
    let output = child.0.stdout.take().expect("a pipe was asked for");
    let written = BufReader::new(output)
        .lines()
        .any(|line| line.is_ok_and(|line| line.ends_with(WRITTEN)));
    assert!(written, "the child writes");
    child
}

/// A child that has written each piece with one call, and has ended; its number.
pub fn passer_by(socket: &UnixStream, pieces: &[&[u8]]) -> u32 {
    let child = start(&mut in_role("write"), socket, pieces);
    let pid = child.pid();
    child.ended();
    pid
}

const WRITTEN: &str = "WRITTEN";

fn start(command: &mut Command, socket: &UnixStream, pieces: &[&[u8]]) -> Running {
    let hex = |piece: &&[u8]| {
        piece
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let pieces: Vec<String> = pieces.iter().map(hex).collect();
    let socket = OwnedFd::from(socket.try_clone().expect("a duplicate"));
    let command = command.env("PIECES", pieces.join(",")).stdin(socket);
    Running(command.spawn().expect("this program starts"))
}

/// What the child does. Without a role it is no child.
#[test]
fn role() {
    match std::env::var("ROLE").as_deref() {
        Ok("write") => write(),
        Ok("connect") => connect(),
        Ok(role) => panic!("no role {role}"),
        Err(_) => {}
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn write() {
    use std::os::fd::AsFd as _;
    let socket = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .expect("a duplicate");
    let mut socket = UnixStream::from(socket);
    for piece in variable("PIECES")
        .split(',')
        .filter(|piece| !piece.is_empty())
    {
        let byte = |at: usize| u8::from_str_radix(&piece[at..at + 2], 16).expect("hexadecimal");
        let piece: Vec<u8> = (0..piece.len()).step_by(2).map(byte).collect();
        assert_eq!(socket.write(&piece).expect("written"), piece.len());
    }
    println!("{WRITTEN}");
    if std::env::var_os("STAY").is_some() {
        std::thread::sleep(Duration::from_secs(600));
    }
}

/// Connects, greets, and says what came of it.
fn connect() {
    let greeting = SupervisorMessage::Hello(Hello {
        id: 5,
        client: None,
    });
    let answer = SupervisorSocket::connect(variable("DOOR")).and_then(|mut socket| {
        println!("LISTENER {:?}", socket.peer_pid());
        socket.set_read_timeout(Some(Duration::from_secs(60)));
        socket.send_message(&greeting)?;
        socket.recv_response()
    });
    println!("ANSWER {answer:?}");
}
