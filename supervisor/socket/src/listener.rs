//! A named socket, private from birth, and removed with its owner.

use std::fs::File;
use std::io::ErrorKind::{ConnectionAborted, Interrupted, NotFound, WouldBlock};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::PollFlags;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::unistd::{Pid, geteuid, getpid};

use crate::blocking::{SupervisorSocket, io};
use crate::peer::name_senders;
use crate::wait::Deadline;
use crate::{Error, Result};

/// How long another process may be busy removing a stale socket.
const RECOVERY: Duration = Duration::from_secs(5);

/// A listening socket that only its own user can reach.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// The socket file that is ours: device and inode.
    file: (u64, u64),
    /// Who removes it: a forked child does not.
    owner: Pid,
}

impl Listener {
    /// Listens at `path`.
    ///
    /// The file has mode 0600 from the moment it exists, whatever the umask, which is the whole
    /// process's and is not touched. A socket that a dead process left there is replaced;
    /// one that lives, a symbolic link and any other file are not.
    ///
    /// # Errors
    /// `EADDRINUSE` where a live socket is, `ELOOP` where a symbolic link is, `EEXIST` where
    /// another file is; what the kernel says.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let address = UnixAddr::new(path).map_err(Error::io("bind"))?;
        let socket = stream().map_err(Error::io("socket"))?;
        make_private(&socket, path)?;
        match bind(socket.as_raw_fd(), &address) {
            Err(Errno::EADDRINUSE) => {
                // Whoever else finds the stale socket waits here, and then finds ours alive.
                let _alone = lock(directory(path))?;
                remove_stale(path)?;
                bind(socket.as_raw_fd(), &address).map_err(Error::io("bind"))?;
            }
            bound => bound.map_err(Error::io("bind"))?,
        }
        let metadata = std::fs::symlink_metadata(path).map_err(io("lstat"))?;
        let listener = Self {
            socket: socket.into(),
            path: path.to_owned(),
            file: (metadata.dev(), metadata.ino()),
            owner: getpid(),
        };
        check_private(&metadata)?;
        // Before anybody can connect: a connection inherits it, with what was sent before it was accepted.
        name_senders(listener.as_fd())?;
        listener.socket.set_nonblocking(true).map_err(io("fcntl"))?;
        listen(&listener.socket, Backlog::MAXCONN).map_err(Error::io("listen"))?;
        Ok(listener)
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the next connection, waiting no longer than `time`.
    ///
    /// # Errors
    /// [`Error::Timeout`]; [`Error::PeerRejected`] when another user connected: that connection was
    /// closed, and nothing was read from it.
    pub fn accept(&self, time: Option<Duration>) -> Result<SupervisorSocket> {
        self.accept_before(Deadline::after(time))
    }

    pub(crate) fn accept_before(&self, deadline: Deadline) -> Result<SupervisorSocket> {
        loop {
            deadline.ready(self.as_fd(), PollFlags::POLLIN)?;
            match self.socket.accept() {
                Ok((stream, _)) => return admit(stream),
                // Whoever connected is gone again.
                Err(error)
                    if matches!(error.kind(), WouldBlock | ConnectionAborted | Interrupted) => {}
                Err(error) => return Err(io("accept")(error)),
            }
        }
    }
}

/// Lets in only connections of this user.
fn admit(stream: UnixStream) -> Result<SupervisorSocket> {
    let peer =
        sys::peers::credentials(stream.as_fd()).map_err(Error::io("getsockopt(SO_PEERCRED)"))?;
    if peer.uid != geteuid() {
        return Err(Error::PeerRejected { uid: peer.uid });
    }
    SupervisorSocket::from_stream(stream)
}

impl Drop for Listener {
    fn drop(&mut self) {
        if getpid() != self.owner {
            return;
        }
        // As long as our socket lives its inode is not used again: what has its number is ours.
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours {
            // Nobody is left to be told. The next one to listen here replaces it.
            let _unremoved = std::fs::remove_file(&self.path);
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Removes a socket that nobody listens on any more.
fn remove_stale(path: &Path) -> Result<()> {
    let occupied = |source| Error::Io {
        operation: "bind",
        source,
    };
    let metadata = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == NotFound => return Ok(()),
        metadata => metadata.map_err(io("lstat"))?,
    };
    if metadata.file_type().is_symlink() {
        return Err(occupied(Errno::ELOOP));
    }
    if !metadata.file_type().is_socket() {
        return Err(occupied(Errno::EEXIST));
    }
    if metadata.uid() != geteuid().as_raw() || is_alive(path)? {
        return Err(occupied(Errno::EADDRINUSE));
    }
    std::fs::remove_file(path).map_err(io("unlink"))
}

/// Whether any process still has the socket at `path`.
///
/// A datagram socket asks, so that one that lives answers EPROTOTYPE and notices nothing: a
/// stream would be accepted as its next peer. Only ECONNREFUSED is death.
fn is_alive(path: &Path) -> Result<bool> {
    let asker = UnixDatagram::unbound().map_err(io("socket"))?;
    let address = UnixAddr::new(path).map_err(Error::io("connect"))?;
    Ok(connect(asker.as_raw_fd(), &address) != Err(Errno::ECONNREFUSED))
}

/// The lock of a directory, for as long as it is held.
fn lock(directory: &Path) -> Result<Flock<File>> {
    let start = Instant::now();
    let mut file = File::open(directory).map_err(io("open"))?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            // Whoever may read the directory can hold its lock: they are not waited for for ever.
            Err((_, Errno::EWOULDBLOCK)) if start.elapsed() > RECOVERY => {
                return Err(Error::Timeout);
            }
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => file = back,
            Err((_, errno)) => return Err(Error::io("flock")(errno)),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A stream socket that is nothing yet, close-on-exec.
fn stream() -> nix::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    return socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    #[cfg(not(target_os = "linux"))]
    {
        use nix::fcntl::{FcntlArg, FdFlag, fcntl};
        let socket = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::empty(),
            None,
        )?;
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        Ok(socket)
    }
}

/// Makes the file that `bind` will make private to its owner.
///
/// Linux takes the file's mode from the socket's own, less the umask.
#[cfg(target_os = "linux")]
fn make_private(socket: &OwnedFd, _path: &Path) -> Result<()> {
    nix::sys::stat::fchmod(socket, PRIVATE).map_err(Error::io("fchmod"))
}

/// Elsewhere the directory must keep others out.
#[cfg(not(target_os = "linux"))]
fn make_private(_socket: &OwnedFd, path: &Path) -> Result<()> {
    let metadata = std::fs::metadata(directory(path)).map_err(io("stat"))?;
    match metadata.mode() & 0o077 == 0 && metadata.uid() == geteuid().as_raw() {
        true => Ok(()),
        false => Err(Error::Io {
            operation: "bind in a directory of others",
            source: Errno::EPERM,
        }),
    }
}

/// Fails where the file did not become as private as it was made to be.
#[cfg(target_os = "linux")]
fn check_private(metadata: &std::fs::Metadata) -> Result<()> {
    match metadata.mode() & !libc::S_IFMT & !PRIVATE.bits() == 0 {
        true => Ok(()),
        false => Err(Error::Io {
            operation: "bind privately",
            source: Errno::EPERM,
        }),
    }
}

#[cfg(not(target_os = "linux"))]
fn check_private(_metadata: &std::fs::Metadata) -> Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
const PRIVATE: nix::sys::stat::Mode =
    nix::sys::stat::Mode::S_IRUSR.union(nix::sys::stat::Mode::S_IWUSR);

/// The directory that a path lies in.
fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
