//! The socket that a worker was given: bound by whoever started it, made to listen by the worker itself, so that the kernel names the
//! worker to whoever connects.

use std::os::fd::{AsFd as _, OwnedFd, RawFd};
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::sockopt::AcceptConn;
use nix::sys::socket::{Backlog, getsockopt, listen};

use super::WorkerError;

/// A bound socket, and the file that it is bound to.
#[derive(Debug)]
pub(super) struct Endpoint {
    socket: UnixListener,
    file: Option<File>,
}

/// The socket's name in the file system, and which file it is.
#[derive(Debug, PartialEq, Eq)]
struct File {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Endpoint {
    /// The socket with that number, which is closed.
    pub(super) fn inherited(number: RawFd) -> Result<Self, WorkerError> {
        let socket = sys::fds::duplicate_number(number).map_err(|_| WorkerError::NotAWorker)?;
        let endpoint = Self::of(socket)?;
        nix::unistd::close(number).map_err(WorkerError::io("close"))?;
        Ok(endpoint)
    }

    pub(super) fn of(socket: OwnedFd) -> Result<Self, WorkerError> {
        if !sys::peers::is_unix_stream(socket.as_fd()) {
            return Err(WorkerError::NotAWorker);
        }
        let listens = getsockopt(&socket, AcceptConn).map_err(WorkerError::io("getsockopt"))?;
        let socket = UnixListener::from(socket);
        let name = socket.local_addr();
        let name = name.map_err(|error| WorkerError::of("getsockname", &error))?;
        if listens || name.is_unnamed() {
            return Err(WorkerError::NotAWorker);
        }
        socket
            .set_nonblocking(true)
            .map_err(|error| WorkerError::of("fcntl", &error))?;
        let file = name.as_pathname().and_then(File::at);
        Ok(Self { socket, file })
    }

    /// Whoever connects from now on is known to have connected to this process.
    pub(super) fn listen(&self) -> Result<(), WorkerError> {
        let most = Backlog::new(128).map_err(WorkerError::io("listen"))?;
        listen(&self.socket, most).map_err(WorkerError::io("listen"))
    }

    pub(super) fn socket(&self) -> &UnixListener {
        &self.socket
    }

    /// Nobody connects any more. The file goes if it still is the one that was there at the start; somebody else's stays.
    pub(super) fn close(self) {
        drop(self.socket);
        if let Some(file) = self.file
            && File::at(&file.path).as_ref() == Some(&file)
        {
            // A policy may not let the worker; then whoever made it removes it.
            let _removed = std::fs::remove_file(&file.path);
        }
    }
}

impl File {
    fn at(path: &Path) -> Option<Self> {
        let found = std::fs::symlink_metadata(path).ok()?;
        found.file_type().is_socket().then(|| Self {
            path: path.to_owned(),
            device: found.st_dev(),
            inode: found.st_ino(),
        })
    }
}
