//! Asking, from any number of threads and processes.

use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::{Pid, getpid};
use protocol::{Create, OpenRequest, SupervisorMessage, SupervisorResponse};
use socket::SupervisorSocket;
use sys::messages::Wait;

use crate::{Doors, Error, OpenOptions};

/// How many connections of its own a process keeps for its next requests.
const KEPT: usize = 4;

/// Asks the supervisor for files. It can be cloned and shared between threads, and a child that was
/// forked may go on using it.
///
/// Each request has a connection for itself until its answer is there, so that one that an operator
/// must decide delays no other. The inherited connection belongs to every process that inherited
/// it: it is held by a record lock meanwhile, and whoever finds it taken connects by name.
#[derive(Clone, Debug)]
pub struct Client(Arc<Connections>);

/// A file that was granted.
#[derive(Debug)]
pub struct Grant {
    /// The open file, close-on-exec.
    pub fd: OwnedFd,
    /// How long the same request will be granted again without a new decision.
    pub expires: Option<Duration>,
}

impl Client {
    /// A client of these ways to the supervisor.
    ///
    /// # Errors
    /// [`Error::NoDoor`] when there is none; [`Error::Socket`] when the only one is closed.
    pub fn new(doors: Doors) -> Result<Self, Error> {
        let client = Self::of(doors)?;
        client.reach()?;
        Ok(client)
    }

    /// The same, and nothing is tried yet.
    pub(crate) fn of(doors: Doors) -> Result<Self, Error> {
        let Doors { inherited, named } = doors;
        if inherited.is_none() && named.is_none() {
            return Err(Error::NoDoor);
        }
        Ok(Self(Arc::new(Connections::new(inherited, named))))
    }

    /// Connects where that is the only way, and keeps the connection for the first request.
    pub(crate) fn reach(&self) -> Result<(), Error> {
        let connections = self.0.of_this_process();
        if matches!(connections.free().inherited, Inherited::Gone) {
            connections.lease()?.give_back(None);
        }
        Ok(())
    }

    /// Asks for a file.
    ///
    /// # Errors
    /// [`Error::Refused`] by the supervisor; [`Error::Socket`] when it cannot be reached.
    pub fn open(&self, path: impl AsRef<Path>, options: &OpenOptions) -> Result<File, Error> {
        self.request(path, options).map(|grant| grant.fd.into())
    }

    /// Asks for a file, and hears what else was granted.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub fn request(&self, path: impl AsRef<Path>, options: &OpenOptions) -> Result<Grant, Error> {
        let connections = self.0.of_this_process();
        let request = options.request(connections.next_id(), path.as_ref())?;
        loop {
            let mut lease = connections.lease()?;
            let answer = ask(&mut lease.socket, &request, options.reply_timeout());
            let failed = match &answer {
                Err(Error::Socket(error)) => Some(error),
                _ => None,
            };
            let was_closed = matches!(
                failed,
                Some(socket::Error::Closed | socket::Error::Poisoned)
            );
            let is_new = lease.kind == Kind::New;
            lease.give_back(failed);
            // It was closed while it was idle: there may be another way. But a file that must not
            // have been there could be there now, by the request that was lost.
            if !was_closed || is_new || request.create == Create::New {
                return answer;
            }
        }
    }
}

/// One request and its answer.
fn ask(
    socket: &mut SupervisorSocket,
    request: &OpenRequest,
    time: Option<Duration>,
) -> Result<Grant, Error> {
    socket.set_write_timeout(time);
    socket.set_read_timeout(time);
    socket.send_message(&SupervisorMessage::Open(request.clone()))?;
    loop {
        let response = socket.recv_response()?;
        // The answer to a process that died while it waited on the same connection, or to a
        // request of ours that timed out; without an id, to bytes of others that were no request.
        // Its file is closed with the next frame.
        if response.id() != Some(request.id) {
            continue;
        }
        return match response {
            SupervisorResponse::Granted(granted) => {
                let fd = socket.recv_fd()?;
                Ok(Grant {
                    fd,
                    expires: granted.expires,
                })
            }
            SupervisorResponse::Refused(refused) => Err(Error::Refused(refused)),
            SupervisorResponse::Welcome(_) | SupervisorResponse::Fd(_) => {
                let detail = "an answer to another question".to_owned();
                Err(socket::Error::Malformed { detail }.into())
            }
        };
    }
}

/// The connections of one process.
#[derive(Debug)]
struct Connections {
    process: Pid,
    inherited: Option<UnixStream>,
    named: Option<PathBuf>,
    free: Mutex<Free>,
    /// Told when the inherited connection is free again, or gone.
    freed: Condvar,
    ids: AtomicU64,
    /// Those of a forked child: of ours, another thread may have held the lock when it was forked.
    child: OnceLock<Box<Connections>>,
}

/// What no request is using.
#[derive(Debug)]
struct Free {
    inherited: Inherited,
    own: Vec<SupervisorSocket>,
    /// How many threads wait for the inherited connection.
    waiting: usize,
}

/// The inherited connection, as this process sees it.
#[derive(Debug)]
enum Inherited {
    Free(Box<SupervisorSocket>),
    InUse,
    /// There is none, or it was closed.
    Gone,
}

impl Connections {
    fn new(inherited: Option<UnixStream>, named: Option<PathBuf>) -> Self {
        let twin = inherited
            .as_ref()
            .and_then(|stream| stream.try_clone().ok());
        let free = Free {
            inherited: twin.map_or(Inherited::Gone, |twin| {
                Inherited::Free(Box::new(SupervisorSocket::inherited(twin)))
            }),
            own: Vec::new(),
            waiting: 0,
        };
        Self {
            process: getpid(),
            inherited,
            named,
            free: Mutex::new(free),
            freed: Condvar::new(),
            // Where several processes use one connection, none may take the answer of another
            // for its own. 53 bits, which every JSON library can count to.
            ids: AtomicU64::new(RandomState::new().build_hasher().finish() >> 12),
            child: OnceLock::new(),
        }
    }

    /// These, or in a forked child its own.
    fn of_this_process(&self) -> &Self {
        let process = getpid();
        let mut these = self;
        while these.process != process {
            these = these.child.get_or_init(|| {
                let inherited = these
                    .inherited
                    .as_ref()
                    .and_then(|stream| stream.try_clone().ok());
                Box::new(Self::new(inherited, these.named.clone()))
            });
        }
        these
    }

    fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        // No thread panics while it holds the lock with anything half done.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection for one request: one of our own, the inherited one if nobody has it, a new one
    /// if there is a name; else the inherited one when it is free.
    fn lease(&self) -> Result<Lease<'_>, Error> {
        let lease = |socket, kind| {
            Ok(Lease {
                connections: self,
                socket,
                kind,
            })
        };
        let mut free = self.free();
        if let Some(socket) = free.own.pop() {
            return lease(Box::new(socket), Kind::Kept);
        }
        if let Some(socket) = free.take_inherited() {
            if hold(&socket, Wait::No) {
                return lease(socket, Kind::Inherited);
            }
            free.inherited = Inherited::Free(socket);
        }
        let has_inherited = !matches!(free.inherited, Inherited::Gone);
        drop(free);
        match self.named.as_ref().map(SupervisorSocket::connect) {
            Some(Ok(socket)) => return lease(Box::new(socket), Kind::New),
            Some(Err(error)) if !has_inherited => return Err(error.into()),
            Some(Err(_)) | None => {}
        }
        let mut free = self.free();
        loop {
            if let Some(socket) = free.take_inherited() {
                drop(free);
                hold(&socket, Wait::Yes);
                return lease(socket, Kind::Inherited);
            }
            if matches!(free.inherited, Inherited::Gone) {
                return Err(Error::NoDoor);
            }
            free.waiting += 1;
            free = self
                .freed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
            free.waiting -= 1;
        }
    }
}

impl Free {
    fn take_inherited(&mut self) -> Option<Box<SupervisorSocket>> {
        match std::mem::replace(&mut self.inherited, Inherited::InUse) {
            Inherited::Free(socket) => Some(socket),
            other => {
                self.inherited = other;
                None
            }
        }
    }
}

/// A connection that one request is using.
struct Lease<'a> {
    connections: &'a Connections,
    socket: Box<SupervisorSocket>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    New,
    Kept,
    Inherited,
}

impl Lease<'_> {
    /// Lets others use it, unless it failed.
    fn give_back(self, failed: Option<&socket::Error>) {
        let mut free = self.connections.free();
        if self.kind == Kind::Inherited {
            // A connection that others share is given up only when nobody can use it.
            use socket::Error::{Closed, Poisoned, TooLarge};
            let is_gone = matches!(failed, Some(Closed | Poisoned | TooLarge { .. }));
            release(&self.socket);
            free.inherited = if is_gone {
                Inherited::Gone
            } else {
                Inherited::Free(self.socket)
            };
            if free.waiting > 0 {
                self.connections.freed.notify_all();
            }
        } else if failed.is_none() && free.own.len() < KEPT {
            free.own.push(*self.socket);
        }
    }
}

/// Takes the record lock that says who uses an inherited connection; whether it is ours now.
///
/// It is of this process, not of the connection, so it tells us from those who share that; and it
/// goes with the process, however that ends. Where sockets have no locks, there is nothing to wait for.
fn hold(socket: &SupervisorSocket, wait: Wait) -> bool {
    let lock = record_lock(libc::F_WRLCK);
    loop {
        let how = match wait {
            Wait::Yes => FcntlArg::F_SETLKW(&lock),
            Wait::No => FcntlArg::F_SETLK(&lock),
        };
        match fcntl(socket.as_fd(), how) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return false,
            _ => return true,
        }
    }
}

fn release(socket: &SupervisorSocket) {
    // It cannot fail where taking it did not; where there are no locks there is none to be released.
    let _released = fcntl(
        socket.as_fd(),
        FcntlArg::F_SETLK(&record_lock(libc::F_UNLCK)),
    );
}

/// A lock of the whole file.
fn record_lock(kind: impl TryInto<libc::c_short>) -> libc::flock {
    libc::flock {
        l_type: kind.try_into().unwrap_or_default(),
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
