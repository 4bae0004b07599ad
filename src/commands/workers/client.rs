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
use std::time::{Duration, Instant};
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
            // One that ended meanwhile, or is somebody else's.
            clients.extend(said_to_wait(|| reach(&socket)));
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

    /// The sockets of all that [`Which::connect_all`] would connect to, the daemon's first, whether anybody serves them or not.
    ///
    /// # Errors
    /// They cannot be known.
    pub fn sockets(&self) -> Result<Vec<PathBuf>, String> {
        let mut sockets = vec![self.socket()?];
        if self.socket.is_none() && self.config.is_none() {
            sockets.extend(runs()?);
        }
        Ok(sockets)
    }

    /// Connects, and greets.
    ///
    /// # Errors
    /// Why there is no daemon to speak with, and what to do.
    pub fn connect(&self) -> Result<Client, String> {
        let socket = self.socket()?;
        said_to_wait(|| reach(&socket)).map_err(|missed| missed.to_string())
    }
}

/// Why nobody was met at a socket.
#[derive(Debug)]
pub enum Missed {
    /// Nobody serves it.
    Nobody(String),
    /// Whoever does cannot be spoken with.
    Closed(String),
}

impl std::fmt::Display for Missed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Nobody(why) | Self::Closed(why)) = self;
        f.write_str(why)
    }
}

/// Connects, and greets, and says nothing of how long that takes.
///
/// # Errors
/// Why there is nobody to speak with, and what to do.
pub fn reach(socket: &Path) -> Result<Client, Missed> {
    let stream = UnixStream::connect(socket).map_err(|error| no_daemon(socket, &error))?;
    let mut client = Client {
        stream,
        lines: Lines::new(),
        next: 1,
        events: VecDeque::new(),
    };
    let name = concat!("supervise ", env!("CARGO_PKG_VERSION"));
    let closed = |error: std::io::Error| Missed::Closed(error.to_string());
    client.wait_no_longer_than(Some(GREETING)).map_err(closed)?;
    let hello = ControlRequest::Hello {
        version: VERSION,
        client: Some(name.to_owned()),
    };
    match client.ask_quietly(hello) {
        Ok(_) => {}
        Err(Asked::Refused(fault)) if fault.code == FaultCode::VersionMismatch => {
            return Err(Missed::Closed(format!(
                "the daemon speaks another version than this program: {fault}; `supervise daemon --upgrade` of its own version replaces it"
            )));
        }
        Err(Asked::Refused(fault)) => return Err(Missed::Closed(fault.to_string())),
        Err(Asked::Lost(why)) => {
            return Err(Missed::Closed(format!(
                "{}: the daemon did not answer: {why}; it lets in only its own user, and nobody from a sandbox",
                socket.display()
            )));
        }
    }
    client.wait_no_longer_than(None).map_err(closed)?;
    Ok(client)
}

/// What comes of it, and meanwhile it is said at a terminal that it is waited for.
fn said_to_wait<T>(act: impl FnOnce() -> T) -> T {
    let _waiting = Waiting::until("the daemon answers");
    act()
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

fn no_daemon(socket: &Path, error: &std::io::Error) -> Missed {
    let socket = socket.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Missed::Nobody(format!(
            "no daemon is running ({socket}); start one: supervise daemon --config workers.toml"
        )),
        _ => Missed::Closed(format!("{socket}: {error}")),
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
    fn wait_no_longer_than(&self, time: Option<Duration>) -> std::io::Result<()> {
        self.stream.set_read_timeout(time)
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Asked`]
    pub fn ask(&mut self, request: ControlRequest) -> Result<Value, Asked> {
        said_to_wait(|| self.ask_quietly(request))
    }

    /// Asks, waits for the answer, and says nothing of how long that takes.
    ///
    /// # Errors
    /// [`Asked`]
    pub fn ask_quietly(&mut self, request: ControlRequest) -> Result<Value, Asked> {
        let id = self.next;
        self.next += 1;
        let mut line = Vec::new();
        let lost = |error: &dyn std::fmt::Display| Asked::Lost(error.to_string());
        let request = Numbered { id, req: request };
        request
            .encode(&mut line)
            .map_err(|error| Asked::Refused(Fault::new(FaultCode::TooLarge, error.to_string())))?;
        self.stream.write_all(&line).map_err(|error| lost(&error))?;
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
            if let Some(event) = self.known_event() {
                return Ok(event);
            }
            if let FromDaemon::Event(event) = self.read()? {
                return Ok(event);
            }
        }
    }

    /// An event that came while something else was waited for.
    pub fn known_event(&mut self) -> Option<Numbering<Event>> {
        self.events.pop_front()
    }

    /// The next event that comes within this time.
    ///
    /// # Errors
    /// The daemon is gone, or what it said is no line of its protocol.
    pub fn event_within(&mut self, time: Duration) -> Result<Option<Numbering<Event>>, String> {
        let text = |error: std::io::Error| error.to_string();
        let until = Instant::now() + time;
        loop {
            if let Some(event) = self.known_event() {
                return Ok(Some(event));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.wait_no_longer_than(Some(left)).map_err(text)?;
            let said = self.said();
            self.wait_no_longer_than(None).map_err(text)?;
            match said? {
                Some(FromDaemon::Event(event)) => return Ok(Some(event)),
                // To a question that is waited for no more.
                Some(FromDaemon::Answer(_)) => {}
                None => return Ok(None),
            }
        }
    }

    fn read(&mut self) -> Result<FromDaemon, String> {
        let said = self.said()?;
        said.ok_or_else(|| std::io::Error::from(ErrorKind::WouldBlock).to_string())
    }

    /// What it says next; `None`: nothing, for as long as it was to be waited.
    fn said(&mut self) -> Result<Option<FromDaemon>, String> {
        loop {
            let line = self.lines.next_line().map_err(|error| error.to_string())?;
            if let Some(line) = line {
                let said = FromDaemon::decode(line);
                return said.map(Some).map_err(|error| error.to_string());
            }
            match self.stream.read(self.lines.space()) {
                Ok(0) => return Err("it closed the connection".to_owned()),
                Ok(count) => self.lines.filled(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
