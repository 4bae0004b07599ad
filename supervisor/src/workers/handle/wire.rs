//! A connection to an endpoint, on which lines are sent and received until one deadline, and each byte's sender is known.

use super::{Error, ProbeFailure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use protocol::probe::MAX_LINE;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};
use sys::messages::{Sender, Wait, Welcome, receive, send};

pub(super) struct Wire {
    stream: UnixStream,
    deadline: Instant,
}

impl Wire {
    /// Connects, and has the kernel name the sender of whatever comes.
    pub fn connect(path: &Path, deadline: Instant) -> Result<Self, Error> {
        let failed = |errno| Error::Connect {
            path: path.to_owned(),
            errno,
        };
        let address = UnixAddr::new(path).map_err(failed)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
        loop {
            match connect(socket.as_raw_fd(), &address) {
                Ok(()) => break,
                // Others wait there already. Nothing tells when there is room.
                Err(Errno::EAGAIN) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        // A worker says nothing before it is asked; what it said before this has no sender, and is refused.
        sys::peers::pass_credentials(socket.as_fd()).map_err(io("setsockopt"))?;
        sys::peers::pass_pidfd(socket.as_fd()).map_err(io("setsockopt"))?;
        Ok(Self {
            stream: UnixStream::from(socket),
            deadline,
        })
    }

    /// Who called `listen`, as far as the kernel has it as a process.
    pub fn listener(&self) -> Option<(i32, Option<OwnedFd>)> {
        let credentials = sys::peers::credentials(self.stream.as_fd()).ok()?;
        let pidfd = sys::peers::pidfd(self.stream.as_fd()).ok().flatten();
        Some((credentials.pid.as_raw(), pidfd))
    }

    pub fn send(&self, line: &[u8]) -> Result<(), ProbeFailure> {
        let mut rest = line;
        while !rest.is_empty() {
            match send(self.stream.as_fd(), rest, &[], Wait::No) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::EAGAIN) => self.until(PollFlags::POLLOUT)?,
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(ProbeFailure::Closed),
                Err(errno) => return Err(io("sendmsg")(errno)),
            }
        }
        Ok(())
    }

    /// The next line, every byte of which was sent by whom `check` takes for the worker. Nothing comes after it.
    pub fn line(
        &self,
        mut check: impl FnMut(Option<&Sender>) -> Result<(), Error>,
    ) -> Result<Vec<u8>, Error> {
        let mut line = Vec::new();
        let mut buffer = [0; MAX_LINE];
        let welcome = Welcome {
            fds: 0,
            sender: true,
        };
        loop {
            let room = &mut buffer[..MAX_LINE - line.len()];
            let received = match receive(self.stream.as_fd(), room, welcome, Wait::No) {
                Err(Errno::EAGAIN) => {
                    self.until(PollFlags::POLLIN)?;
                    continue;
                }
                Err(Errno::ECONNRESET) => return Err(ended(line.len()).into()),
                received => received.map_err(io("recvmsg"))?,
            };
            if received.length == 0 {
                return Err(ended(line.len()).into());
            }
            check(received.sender.as_ref())?;
            let came = &buffer[..received.length];
            match came.iter().position(|byte| *byte == b'\n') {
                Some(at) if at + 1 == came.len() => {
                    line.extend_from_slice(came);
                    return Ok(line);
                }
                Some(at) => {
                    let length = came.len() - at - 1;
                    return Err(ProbeFailure::Surplus { length }.into());
                }
                None => line.extend_from_slice(came),
            }
            if line.len() == MAX_LINE {
                return Err(ProbeFailure::Oversized.into());
            }
        }
    }

    /// The connection, as any other: it waits, and names nobody.
    pub fn into_stream(self) -> Result<UnixStream, ProbeFailure> {
        let stream = self.stream;
        nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::PassCred, &false)
            .map_err(io("setsockopt"))?;
        sys::peers::pass_no_pidfd(stream.as_fd()).map_err(io("setsockopt"))?;
        let blocking = stream.set_nonblocking(false);
        blocking.map_err(|error| {
            io("fcntl")(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
        })?;
        Ok(stream)
    }

    fn until(&self, what: PollFlags) -> Result<(), ProbeFailure> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ProbeFailure::Silent);
            }
            let mut polled = [PollFd::new(self.stream.as_fd(), what)];
            match poll(&mut polled, milliseconds(left)) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(io("poll")(errno)),
            }
        }
    }
}

/// Rounded up, so that nobody waits in a busy loop.
pub(super) fn milliseconds(time: Duration) -> PollTimeout {
    let millis = time.as_micros().div_ceil(1000);
    let millis = i32::try_from(millis).ok();
    millis
        .and_then(|millis| PollTimeout::try_from(millis).ok())
        .unwrap_or(PollTimeout::MAX)
}

/// The end of the stream after so much of a line.
fn ended(length: usize) -> ProbeFailure {
    match length {
        0 => ProbeFailure::Closed,
        length => ProbeFailure::Short { length },
    }
}

pub(super) fn io(operation: &'static str) -> impl Fn(Errno) -> ProbeFailure {
    move |errno| ProbeFailure::Io { operation, errno }
}
