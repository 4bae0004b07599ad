//! The ways to the supervisor that this process was given.

use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::unistd::getpid;

/// The ways to the supervisor: an inherited connection, and a name to connect to.
#[derive(Debug, Default)]
pub struct Doors {
    pub(crate) inherited: Option<UnixStream>,
    pub(crate) named: Option<PathBuf>,
}

impl Doors {
    /// What `SUPERVISE_FD` and `SUPERVISE_SOCKET` name.
    ///
    /// The inherited connection is given out once: what tells the processes apart that share it
    /// does not tell two clients of one process apart. Whoever comes later has the name.
    #[must_use]
    pub fn from_environment() -> Self {
        static GIVEN_TO: AtomicI32 = AtomicI32::new(0);
        let process = getpid().as_raw();
        let number = std::env::var("SUPERVISE_FD")
            .ok()
            .and_then(|number| number.parse().ok());
        let inherited = number.and_then(Self::inherited_connection);
        let inherited = inherited.filter(|_| GIVEN_TO.swap(process, Ordering::Relaxed) != process);
        let named = std::env::var_os("SUPERVISE_SOCKET").filter(|name| !name.is_empty());
        Self {
            inherited,
            named: named.map(PathBuf::from),
        }
    }

    /// The connection with that number, if it still is one.
    ///
    /// Programs close what they do not know, and the number is soon another file's. A pair that this
    /// process made itself, and a socket with a name, are not what a supervisor leaves to a child.
    /// Whoever takes it here takes turns on it with every other client of this process.
    #[must_use]
    pub fn inherited_connection(number: RawFd) -> Option<UnixStream> {
        let fd = sys::fds::duplicate_number(number).ok()?;
        if !sys::peers::is_unix_stream(fd.as_fd()) {
            return None;
        }
        let maker = sys::peers::credentials(fd.as_fd()).ok()?;
        let stream = UnixStream::from(fd);
        let nameless = stream.local_addr().is_ok_and(|name| name.is_unnamed())
            && stream.peer_addr().is_ok_and(|name| name.is_unnamed());
        (nameless && maker.pid != getpid()).then_some(stream)
    }

    /// A connection to be used, and perhaps shared, by this process and others.
    #[must_use]
    pub fn with_inherited(mut self, connection: UnixStream) -> Self {
        self.inherited = Some(connection);
        self
    }

    /// A name to connect to.
    #[must_use]
    pub fn with_named(mut self, path: impl Into<PathBuf>) -> Self {
        self.named = Some(path.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn what_is_no_inherited_connection_is_not_taken_for_one() {
        let ours = UnixStream::pair().expect("a pair");
        let file = std::fs::File::open("/dev/null").expect("/dev/null");
        for number in [ours.0.as_raw_fd(), file.as_raw_fd(), -1, i32::MAX] {
            assert!(Doors::inherited_connection(number).is_none(), "{number}");
        }
    }
}
