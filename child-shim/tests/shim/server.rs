//! The supervisor's end: grants what lies below one directory, and remembers who asked.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use protocol::{Code, Create, Granted, OpenFlags, OpenRequest, Refused, SupervisorResponse};
use socket::{Channel, Incoming, Listener};

use crate::harness::Workspace;

/// A supervisor that serves until it is dropped.
pub struct Supervisor {
    pub workspace: Workspace,
    /// The inherited connection, for children.
    pub inherited: UnixStream,
    /// The name to connect to.
    pub name: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    /// Requests for names with `slow` in them wait until this is set.
    decided: AtomicBool,
    asked: Mutex<Vec<(u32, OpenRequest)>>,
    connections: Mutex<usize>,
}

impl Supervisor {
    pub fn start() -> Self {
        let workspace = Workspace::open_to_all();
        crate::harness::set_mode(&workspace.make_dir("granted"), 0o755);
        let (ours, inherited) = UnixStream::pair().expect("a pair");
        let name = workspace.join("door");
        let listener = Listener::bind(&name).expect("bound");
        let shared = Arc::new(Shared::default());
        let root = workspace.join("granted");
        let serving = Serving {
            shared: Arc::clone(&shared),
            root,
            listener,
            channels: vec![Channel::new(ours).expect("a channel")],
            waiting: Vec::new(),
        };
        let thread = Some(std::thread::spawn(|| serving.serve()));
        Self {
            workspace,
            inherited,
            name,
            shared,
            thread,
        }
    }

    /// Makes a file that is granted, and that nobody can open by its name who is not root.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self
            .workspace
            .write(Path::new("granted").join(name), content);
        crate::harness::set_mode(&path, 0);
        path
    }

    /// Decides what waits.
    pub fn decide(&self) {
        self.shared.decided.store(true, Ordering::SeqCst);
    }

    /// Who asked for what.
    pub fn asked(&self) -> Vec<(u32, OpenRequest)> {
        self.shared.asked.lock().expect("the requests").clone()
    }

    /// How many have connected by name.
    pub fn connections(&self) -> usize {
        *self.shared.connections.lock().expect("the count")
    }

    /// A second end of the inherited connection, for one child.
    pub fn end(&self) -> UnixStream {
        self.inherited.try_clone().expect("a duplicate")
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the supervisor did not panic");
        }
    }
}

struct Serving {
    shared: Arc<Shared>,
    root: PathBuf,
    listener: Listener,
    channels: Vec<Channel>,
    waiting: Vec<(usize, OpenRequest)>,
}

impl Serving {
    fn serve(mut self) {
        while !self.shared.over.load(Ordering::SeqCst) {
            self.turn();
            if self.shared.decided.load(Ordering::SeqCst) {
                for (channel, request) in std::mem::take(&mut self.waiting) {
                    self.answer(channel, &request);
                }
            }
        }
    }

    fn turn(&mut self) {
        let listening = PollFd::new(self.listener.as_fd(), PollFlags::POLLIN);
        // What is over keeps its place, so that the numbers of the others stay.
        let served = self
            .channels
            .iter()
            .enumerate()
            .filter(|(_, channel)| !channel.is_over());
        let numbers: Vec<usize> = served.clone().map(|(number, _)| number).collect();
        let mut polled: Vec<_> = std::iter::once(listening)
            .chain(served.map(|(_, channel)| PollFd::new(channel.as_fd(), channel.interest())))
            .collect();
        poll(&mut polled, PollTimeout::from(5u8)).expect("poll");
        let ready: Vec<_> = polled
            .iter()
            .map(|one| one.revents().expect("known flags"))
            .collect();
        if !ready[0].is_empty() {
            let accepted = self
                .listener
                .accept(Some(Duration::ZERO))
                .expect("accepted");
            self.channels
                .push(Channel::new(accepted).expect("a channel"));
            *self.shared.connections.lock().expect("the count") += 1;
        }
        for (number, ready) in numbers.into_iter().zip(&ready[1..]) {
            self.channels[number]
                .ready(*ready)
                .expect("the channel works");
            while let Some(incoming) = self.channels[number].next_request() {
                if let Incoming::Open(peer, request) = incoming {
                    let asked = (peer.pid.as_raw().unsigned_abs(), request.clone());
                    self.shared.asked.lock().expect("the requests").push(asked);
                    if request
                        .path
                        .as_bytes()
                        .windows(4)
                        .any(|part| part == b"slow")
                    {
                        self.waiting.push((number, request));
                    } else {
                        self.answer(number, &request);
                    }
                }
            }
        }
    }

    fn answer(&mut self, channel: usize, request: &OpenRequest) {
        let path = Path::new(OsStr::from_bytes(request.path.as_bytes()));
        let decided = match path.starts_with(&self.root) {
            true => opened(path, request).map_err(|errno| (Code::Failed, errno)),
            false => Err((Code::Denied, Code::Denied.usual_errno())),
        };
        let expires = Some(Duration::from_secs(600));
        let (response, fds) = match decided {
            Ok(fd) => (
                SupervisorResponse::Granted(Granted {
                    id: request.id,
                    fds: 1,
                    expires,
                }),
                vec![fd],
            ),
            Err((code, errno)) => {
                let rule = Some("test.toml:12".to_owned());
                let refused = Refused {
                    id: Some(request.id),
                    code,
                    errno,
                    rule,
                    detail: None,
                };
                (SupervisorResponse::Refused(refused), Vec::new())
            }
        };
        // Whoever asked may be gone.
        let _delivered = self.channels[channel].answer(&response, fds);
    }
}

fn opened(path: &Path, request: &OpenRequest) -> Result<OwnedFd, i32> {
    let access = match (request.access.reads(), request.access.writes()) {
        (true, false) => OFlag::O_RDONLY,
        (false, _) => OFlag::O_WRONLY,
        (true, true) => OFlag::O_RDWR,
    };
    let create = match request.create {
        Create::No => OFlag::empty(),
        Create::Yes => OFlag::O_CREAT,
        Create::New => OFlag::O_CREAT | OFlag::O_EXCL,
    };
    let mut flags = access | create | OFlag::O_CLOEXEC;
    flags.set(OFlag::O_APPEND, request.flags.contains(OpenFlags::APPEND));
    flags.set(OFlag::O_TRUNC, request.flags.contains(OpenFlags::TRUNCATE));
    if access == OFlag::O_RDONLY {
        // The supervisor of an ordinary user could not open it either.
        crate::harness::set_mode(path, 0o600);
    }
    let opened = nix::fcntl::open(path, flags, Mode::from_bits_truncate(request.mode));
    if access == OFlag::O_RDONLY {
        crate::harness::set_mode(path, 0);
    }
    opened.map_err(|errno| errno as i32)
}
