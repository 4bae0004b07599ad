//! Programs that serve an endpoint as workers do, and a client that says what it likes.

use super::Workspace;
use super::process::inherit;
use super::run::{DEADLINE, eventually};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The numbers that a worker inherits its endpoint and its commission under.
const ENDPOINT: i32 = 4;
const COMMISSION: i32 = 5;

/// The secret of every worker here.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A running worker, killed when the test is over.
pub struct Worker {
    child: Child,
    pub endpoint: PathBuf,
    directory: Workspace,
}

impl Worker {
    /// Starts a program as a worker, with an endpoint that is bound and nothing more, and waits until it listens.
    pub fn start(command: &mut Command) -> Self {
        let worker = Self::start_deaf(command);
        eventually("the worker listened", || {
            UnixStream::connect(&worker.endpoint).is_ok()
        });
        worker
    }

    /// The same, without waiting.
    pub fn start_deaf(command: &mut Command) -> Self {
        let directory = Workspace::new();
        let endpoint = directory.join("endpoint");
        let bound = bound(&endpoint);
        let commission = format!(
            r#"{{"v":1,"secret":"{SECRET}","instance":"{}","boot_id":"boot","endpoint":"{}","service":"test","version":"7"}}"#,
            "ab".repeat(16),
            endpoint.display(),
        );
        let (reader, writer) = std::io::pipe().expect("a pipe");
        (&writer)
            .write_all(format!("{commission}\n").as_bytes())
            .expect("a pipe takes a line");
        drop(writer);
        command
            .env("SUPERVISE_WORKER_FD", ENDPOINT.to_string())
            .env("SUPERVISE_WORKER_SECRET_FD", COMMISSION.to_string())
            .stdin(Stdio::null());
        inherit(
            command,
            vec![(bound, ENDPOINT), (OwnedFd::from(reader), COMMISSION)],
        );
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            endpoint,
            directory,
        }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process number")
    }

    /// Where the test may put files for it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Waits until it ended.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the worker ended", || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        status.expect("waited for")
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        nix::sys::signal::kill(pid, signal).expect("our child");
    }

    /// A client that has said nothing yet.
    pub fn connect(&self) -> Peer {
        Peer::connect(&self.endpoint)
    }

    /// A client that may ask.
    #[track_caller]
    pub fn client(&self) -> Peer {
        let mut peer = self.connect();
        let answer = peer.ask(r#"{"id":1,"req":{"handshake":{"version":1}}}"#);
        assert!(answer.replace(' ', "").contains(r#""ok":true"#), "{answer}");
        peer
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that ended is none any more.
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A socket that is bound to `path` and does not listen.
pub fn bound(path: &Path) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let made = socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("a socket");
    let name = UnixAddr::new(path).expect("a short path");
    bind(std::os::fd::AsRawFd::as_raw_fd(&made), &name).expect("bound");
    made
}

/// One end of a connection that lines are said on.
pub struct Peer(BufReader<UnixStream>);

impl Peer {
    pub fn connect(path: &Path) -> Self {
        Self::of(UnixStream::connect(path).expect("somebody listens"))
    }

    pub fn of(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        Self(BufReader::new(stream))
    }

    pub fn stream(&self) -> &UnixStream {
        self.0.get_ref()
    }

    /// Says a line.
    #[track_caller]
    pub fn say(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.stream().write_all(line.as_bytes()).expect("said");
    }

    /// The next line of the other end.
    #[track_caller]
    pub fn hear(&mut self) -> String {
        self.heard().expect("a line, and not the end")
    }

    /// The next line, or `None` at the end.
    #[track_caller]
    pub fn heard(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The answer to a line.
    #[track_caller]
    pub fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
    }

    /// Whether nothing comes for a moment, which proves nothing, but fails where something is sent at once.
    pub fn is_silent(&mut self) -> bool {
        let moment = Duration::from_millis(50);
        self.stream()
            .set_read_timeout(Some(moment))
            .expect("a timeout");
        let heard = self.0.fill_buf().map(<[u8]>::len);
        self.stream()
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout");
        matches!(heard, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }
}
