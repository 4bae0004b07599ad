//! The command's end of the control socket.

use crate::commands::daemon::{Place, read};
use crate::commands::run::desk::control_socket;
use crate::waiting::Waiting;
use protocol::control::{ControlRequest, Event, FromDaemon, Numbering, VERSION};
use protocol::lines::Lines;
use protocol::{Fault, FaultCode, Numbered};
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use supervisor::workers::config::DaemonSettings;

/// Which daemon is meant.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Which {
    /// The control socket, by default that of this user's daemon
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub socket: Option<PathBuf>,
    /// The pool file, where it names directories of its own
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    lines: Lines,
    next: u64,
    events: VecDeque<Numbering<Event>>,
}

/// How long the daemon may take to greet.
const GREETING: Duration = Duration::from_secs(10);

impl Which {
    /// Connects to the one that is meant, or else to everybody: this user's daemon, and all runs whose questions are answered over
    /// a socket of their own.
    ///
    /// # Errors
    /// There is nobody, or the one that is meant is not there.
    pub fn connect_all(&self) -> Result<Vec<Client>, String> {
        if self.socket.is_some() || self.config.is_some() {
            return Ok(vec![self.connect()?]);
        }
        let daemon = self.connect();
        let mut clients = Vec::new();
        for socket in runs()? {
            let run = Self {
                socket: Some(socket),
                config: None,
            };
            // One that ended meanwhile, or is somebody else's.
            clients.extend(run.connect());
        }
        match daemon {
            Err(why) if clients.is_empty() => {
                Err(format!("{why}; nor is there a run with --approver control"))
            }
            daemon => {
                clients.splice(0..0, daemon);
                Ok(clients)
            }
        }
    }

    fn socket(&self) -> Result<PathBuf, String> {
        if let Some(socket) = &self.socket {
            return Ok(socket.clone());
        }
        let settings = match &self.config {
            Some(config) => read(config)?.daemon,
            None => DaemonSettings::default(),
        };
        Ok(Place::of(&settings)?.control())
    }

    /// Connects, and greets.
    ///
    /// # Errors
    /// Why there is no daemon to speak with, and what to do.
    pub fn connect(&self) -> Result<Client, String> {
        let socket = self.socket()?;
        let stream = UnixStream::connect(&socket).map_err(|error| no_daemon(&socket, &error))?;
        let mut client = Client {
            stream,
            lines: Lines::new(),
            next: 1,
            events: VecDeque::new(),
        };
        let name = concat!("supervise ", env!("CARGO_PKG_VERSION"));
        client.wait_no_longer_than(Some(GREETING))?;
        let hello = ControlRequest::Hello {
            version: VERSION,
            client: Some(name.to_owned()),
        };
        match client.ask(hello) {
            Ok(_) => {}
            Err(Asked::Refused(fault)) if fault.code == FaultCode::VersionMismatch => {
                return Err(format!(
                    "the daemon speaks another version than this program: {fault}; `supervise daemon --upgrade` of its own version replaces it"
                ));
            }
            Err(Asked::Refused(fault)) => return Err(fault.to_string()),
            Err(Asked::Lost(why)) => {
                return Err(format!(
                    "{}: the daemon did not answer: {why}; it lets in only its own user, and nobody from a sandbox",
                    socket.display()
                ));
            }
        }
        client.wait_no_longer_than(None)?;
        Ok(client)
    }
}

/// The control sockets of this user's runs.
fn runs() -> Result<Vec<PathBuf>, String> {
    let home = crate::places::home().map_err(|error| error.to_string())?;
    let entries = std::fs::read_dir(crate::places::runtime(&home));
    let sockets = entries.into_iter().flatten().flatten();
    let sockets = sockets.map(|entry| control_socket(&entry.path()));
    let mut sockets: Vec<_> = sockets.filter(|socket| socket.exists()).collect();
    sockets.sort();
    Ok(sockets)
}

fn no_daemon(socket: &Path, error: &std::io::Error) -> String {
    let socket = socket.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => format!(
            "no daemon is running ({socket}); start one: supervise daemon --config workers.toml"
        ),
        _ => format!("{socket}: {error}"),
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Asked {
    /// The answer is a no.
    Refused(Fault),
    /// The connection is gone.
    Lost(String),
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(fault) => f.write_str(&crate::render::visible(&fault.message)),
            Self::Lost(why) => write!(f, "the daemon is gone: {why}"),
        }
    }
}

impl Client {
    fn wait_no_longer_than(&self, time: Option<Duration>) -> Result<(), String> {
        let set = self.stream.set_read_timeout(time);
        set.map_err(|error| error.to_string())
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Asked`]
    pub fn ask(&mut self, request: ControlRequest) -> Result<Value, Asked> {
        let id = self.next;
        self.next += 1;
        let mut line = Vec::new();
        let lost = |error: &dyn std::fmt::Display| Asked::Lost(error.to_string());
        let request = Numbered { id, req: request };
        request
            .encode(&mut line)
            .map_err(|error| Asked::Refused(Fault::new(FaultCode::TooLarge, error.to_string())))?;
        self.stream.write_all(&line).map_err(|error| lost(&error))?;
        let _waiting = Waiting::until("the daemon answers");
        loop {
            match self.read().map_err(Asked::Lost)? {
                FromDaemon::Event(event) => self.events.push_back(event),
                FromDaemon::Answer(answer) if answer.id == Some(id) => {
                    return answer.outcome.map_err(Asked::Refused);
                }
                // One to a line that it could not read is meant for us, too.
                FromDaemon::Answer(answer) if answer.id.is_none() => {
                    return answer.outcome.map_err(Asked::Refused);
                }
                FromDaemon::Answer(_) => {}
            }
        }
    }

    /// The next event; `None` when the daemon is gone.
    ///
    /// # Errors
    /// What it said is no line of its protocol.
    pub fn event(&mut self) -> Result<Numbering<Event>, String> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if let FromDaemon::Event(event) = self.read()? {
                return Ok(event);
            }
        }
    }

    fn read(&mut self) -> Result<FromDaemon, String> {
        loop {
            let line = self.lines.next_line().map_err(|error| error.to_string())?;
            if let Some(line) = line {
                return FromDaemon::decode(line).map_err(|error| error.to_string());
            }
            match self.stream.read(self.lines.space()) {
                Ok(0) => return Err("it closed the connection".to_owned()),
                Ok(count) => self.lines.filled(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
