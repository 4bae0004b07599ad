//! What plays the service manager: it starts the keeper, hears what it says, and stores what it is given to store.

use crate::harness::Workspace;
use crate::harness::process::inherit;
use crate::harness::run::eventually;
use crate::stage::Stage;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use sys::messages::{Wait, Welcome, receive};

/// A service manager.
pub struct Manager {
    socket: UnixDatagram,
    address: String,
    /// How many descriptors it stores.
    pub room: usize,
    /// What it stores.
    pub stored: Vec<(String, OwnedFd)>,
    /// What it was told, without what is about the store.
    pub said: Vec<String>,
    /// Further variables for the keeper.
    pub variables: Vec<(&'static str, String)>,
}

impl Manager {
    /// It listens at a path.
    pub fn new(place: &Workspace) -> Self {
        let path = place.join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self {
            socket,
            address: path.to_str().expect("a name of ours").to_owned(),
            room: 1000,
            stored: Vec::new(),
            said: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Starts a keeper, and hands it what is stored.
    pub fn start(&self, place: Workspace, keeper: &[OsString]) -> Stage {
        // The number of the process that is executed is not known before.
        let mut starter = Command::new("sh");
        starter.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]);
        starter.env("NOTIFY_SOCKET", &self.address);
        starter.env("FDSTORE", self.room.to_string());
        starter.env("LISTEN_FDS", self.stored.len().to_string());
        let names: Vec<&str> = self.stored.iter().map(|(name, _)| &**name).collect();
        starter.env("LISTEN_FDNAMES", names.join(":"));
        starter.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let copy = |(at, (_, fd)): (usize, &(String, OwnedFd))| {
            (fd.try_clone().expect("a descriptor"), 3 + at as RawFd)
        };
        let fds = self.stored.iter().enumerate().map(copy).collect();
        inherit(&mut starter, fds);
        Stage::started_by(starter, place, keeper)
    }

    /// Hears what was said.
    pub fn hear(&mut self) {
        let welcome = Welcome {
            fds: 8,
            sender: false,
        };
        let mut buffer = [0; 4096];
        while let Ok(received) = receive(self.socket.as_fd(), &mut buffer, welcome, Wait::No) {
            assert_eq!(received.lost, None);
            let text = std::str::from_utf8(&buffer[..received.length]).expect("text");
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
            match name {
                Some(name) if text.starts_with("FDSTORE=1\nFDPOLL=0\n") => {
                    let is_new = self.stored.iter().all(|(stored, _)| stored != name);
                    assert!(is_new, "{name} is stored twice");
                    assert!(self.stored.len() < self.room, "there was room for so many");
                    let [fd]: [OwnedFd; 1] = received.fds.try_into().expect("one descriptor");
                    self.stored.push((name.to_owned(), fd));
                }
                Some(name) if text.starts_with("FDSTOREREMOVE=1\n") => {
                    self.stored.retain(|(stored, _)| stored != name);
                }
                _ => {
                    assert!(received.fds.is_empty() && !text.contains("FD"), "{text}");
                    self.said.push(text.to_owned());
                }
            }
        }
    }

    /// Hears until this is so.
    #[track_caller]
    pub fn hear_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        eventually(what, || {
            self.hear();
            is_so(self)
        });
    }

    /// How often a line was said.
    pub fn times(&self, line: &str) -> usize {
        let lines = self.said.iter().flat_map(|text| text.lines());
        lines.filter(|said| *said == line).count()
    }

    /// How many workers are stored.
    pub fn workers(&self) -> usize {
        let names = self.stored.iter().map(|(name, _)| name.split('-').nth(1));
        names.collect::<std::collections::BTreeSet<_>>().len()
    }
}
