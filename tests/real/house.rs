//! A working directory, a secret beside it, and somebody who listens.

use crate::harness::Workspace;
use crate::harness::built::supervise;
use crate::harness::run::{Ran, eventually, run};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// What the file beside the working directory holds.
pub const SECRET: &str = "the-secret-of-the-house";

pub struct House(Workspace);

impl House {
    pub fn new() -> Self {
        let house = Self(Workspace::new());
        for name in ["work", "outside"] {
            house.make(name);
        }
        for name in ["state", "runtime"] {
            crate::harness::set_mode(&house.make(name), 0o700);
        }
        house.0.write("outside/key", SECRET);
        house
    }

    pub fn make(&self, name: &str) -> PathBuf {
        self.0.make_dir(name)
    }

    /// The only place that programs may write.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    pub fn outside(&self) -> String {
        self.0.join("outside").to_str().expect("UTF-8").to_owned()
    }

    pub fn key(&self) -> String {
        format!("{}/key", self.outside())
    }

    /// Everything about what must not change: names, contents, modes, times.
    pub fn look(&self) -> Vec<(PathBuf, Vec<u8>, u32, i64, u64)> {
        let entries = std::fs::read_dir(self.outside()).expect("the directory is ours");
        let mut seen: Vec<_> = entries
            .map(|entry| look(&entry.expect("an entry can be read").path()))
            .collect();
        seen.sort();
        seen
    }

    /// Runs a command in the working directory, with the policy that is built in or a preset.
    pub fn run(&self, preset: Option<&str>, words: &[&str]) -> Ran {
        let options = preset.map(|preset| ["-p", preset]);
        let options = options.as_ref().map_or(&[][..], |options| &options[..]);
        run(self.command(options).args(words))
    }

    /// The command, to be told what to run in the working directory.
    pub fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(supervise());
        command
            .args(options)
            .arg("--")
            .current_dir(self.work())
            .env("XDG_STATE_HOME", self.0.join("state"))
            .env("XDG_RUNTIME_DIR", self.0.join("runtime"))
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("TMPDIR");
        // Version managers shadow the system's programs with scripts that need their own home.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let kept = std::env::split_paths(&path).filter(|directory| !directory.ends_with("shims"));
        command.env(
            "PATH",
            std::env::join_paths(kept).expect("these came from a PATH"),
        );
        command
    }
}

fn look(path: &Path) -> (PathBuf, Vec<u8>, u32, i64, u64) {
    let status = std::fs::symlink_metadata(path).expect("an entry can be looked at");
    let content = std::fs::read(path).unwrap_or_default();
    (
        path.to_owned(),
        content,
        status.mode(),
        status.mtime(),
        status.nlink(),
    )
}

/// A Python that is the system's.
pub fn python() -> Result<(), String> {
    let is_there = ["/usr/bin/python3", "/usr/local/bin/python3"]
        .iter()
        .any(|path| Path::new(path).exists());
    if is_there {
        Ok(())
    } else {
        Err("`python3` is not installed".to_owned())
    }
}

/// Listens on a TCP port and a Unix socket, and notes who comes.
pub struct Server {
    address: SocketAddr,
    directory: Workspace,
    seen: Arc<Mutex<Vec<Visitor>>>,
}

/// Who came: by TCP, the other end; by the Unix socket, the process.
#[derive(PartialEq)]
enum Visitor {
    Address(SocketAddr),
    Process(i32),
}

impl Server {
    pub fn start() -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = tcp.local_addr().expect("an address");
        let directory = Workspace::new();
        let unix = UnixListener::bind(directory.join("socket")).expect("a socket");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (by_tcp, by_unix) = (Arc::clone(&seen), Arc::clone(&seen));
        std::thread::spawn(move || {
            while let Ok((_, from)) = tcp.accept() {
                by_tcp
                    .lock()
                    .expect("nobody panics here")
                    .push(Visitor::Address(from));
            }
        });
        std::thread::spawn(move || {
            while let Ok((stream, _)) = unix.accept() {
                let who = getsockopt(&stream, PeerCredentials).expect("the kernel knows");
                by_unix
                    .lock()
                    .expect("nobody panics here")
                    .push(Visitor::Process(who.pid()));
            }
        });
        Self {
            address,
            directory,
            seen,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// How many have come. Connections of our own flush those that came before them: the kernel hands them out in order.
    pub fn connections(&self) -> usize {
        let tcp = TcpStream::connect(self.address).expect("the test's own server listens");
        let _unix = UnixStream::connect(self.socket()).expect("the test's own server listens");
        let own = [
            Visitor::Address(tcp.local_addr().expect("an address")),
            Visitor::Process(std::process::id() as i32),
        ];
        let seen = || self.seen.lock().expect("nobody panics here");
        eventually("our own connections were seen", || {
            own.iter().all(|visitor| seen().contains(visitor))
        });
        seen()
            .iter()
            .filter(|visitor| !own.contains(visitor))
            .count()
    }
}
