//! The face that waits.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::PollFlags;
use protocol::{MAX_FDS, SupervisorMessage, SupervisorResponse};
use sys::messages::{Lost, Wait, Welcome, send};

use crate::inbox::{Filled, Inbox, Reading};
use crate::listener::Listener;
use crate::peer::{Peer, name_senders};
use crate::wait::Deadline;
use crate::{Error, Result};

/// How long [`SupervisorSocket::bind`] waits for somebody to connect.
const ACCEPT: Duration = Duration::from_secs(30);

/// A connection between a program and its supervisor, for either end of it.
///
/// Timeouts are deadlines for a whole message, kept here and not in the socket, which other
/// processes may share. A message that was begun and not finished poisons the connection.
#[derive(Debug)]
pub struct SupervisorSocket {
    stream: UnixStream,
    inbox: Inbox,
    outgoing: Vec<u8>,
    /// The descriptors of the last frame received that nobody has taken yet.
    fds: VecDeque<OwnedFd>,
    last_sender: Option<Arc<Peer>>,
    names_senders: bool,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    poisoned: bool,
    /// Removes the socket file when the connection ends.
    listener: Option<Listener>,
}

impl SupervisorSocket {
    /// Makes a connected pair: the supervisor's end, on which every message names its sender, and
    /// the end for a child to inherit.
    ///
    /// The child's end is as plain as it can be, since programs read it that know nothing of
    /// credentials. Both ends are close-on-exec.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pair() -> Result<(Self, Self)> {
        let (ours, theirs) = UnixStream::pair().map_err(io("socketpair"))?;
        Ok((Self::from_stream(ours)?, Self::inherited(theirs)))
    }

    /// Listens at `path` for one connection of this user, and takes it.
    ///
    /// The socket file is private, and removed when the connection ends. See [`Listener`].
    ///
    /// # Errors
    /// [`Error::Timeout`] when nobody connects in 30 seconds; what [`Listener::bind`] says.
    pub fn bind(path: impl AsRef<Path>) -> Result<Self> {
        let listener = Listener::bind(path)?;
        let deadline = Deadline::after(Some(ACCEPT));
        loop {
            match listener.accept_before(deadline) {
                // It was dropped; it must not keep the right one from connecting.
                Err(Error::PeerRejected { .. }) => {}
                accepted => {
                    let mut socket = accepted?;
                    socket.listener = Some(listener);
                    return Ok(socket);
                }
            }
        }
    }

    /// Connects to a supervisor of this user.
    ///
    /// # Errors
    /// [`Error::PeerRejected`] when another user listens there; what `connect` says.
    pub fn connect(path: impl AsRef<Path>) -> Result<Self> {
        let stream = UnixStream::connect(path).map_err(io("connect"))?;
        let uid = sys::peers::credentials(stream.as_fd())
            .map_err(Error::io("getsockopt(SO_PEERCRED)"))?
            .uid;
        if uid != nix::unistd::geteuid() {
            return Err(Error::PeerRejected { uid });
        }
        Ok(Self::inherited(stream))
    }

    /// Takes a connected stream of which nothing more is known.
    ///
    /// From now on its messages name their senders, for every process that shares it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn from_stream(stream: UnixStream) -> Result<Self> {
        let names_senders = name_senders(stream.as_fd())?;
        Ok(Self {
            names_senders,
            ..Self::inherited(stream)
        })
    }

    /// Takes the end of a program, connected or inherited, and leaves the socket as it is for
    /// those who share it.
    #[must_use]
    pub fn inherited(stream: UnixStream) -> Self {
        Self {
            stream,
            inbox: Inbox::new(),
            outgoing: Vec::new(),
            fds: VecDeque::new(),
            last_sender: None,
            names_senders: false,
            read_timeout: None,
            write_timeout: None,
            poisoned: false,
            listener: None,
        }
    }

    /// How long receiving one message may take; `None` is for ever.
    pub fn set_read_timeout(&mut self, time: Option<Duration>) {
        self.read_timeout = time;
    }

    /// How long sending one message may take; `None` is for ever.
    pub fn set_write_timeout(&mut self, time: Option<Duration>) {
        self.write_timeout = time;
    }

    /// The process at the other end: the sender of the last message where messages name their
    /// senders and one has come; else whoever connected or listened.
    ///
    /// # Errors
    /// [`Error::PeerUnknown`] on the supervisor's end of a pair before the first message: there
    /// the kernel only knows who made the pair.
    pub fn peer(&self) -> Result<Arc<Peer>> {
        match &self.last_sender {
            Some(sender) => Ok(Arc::clone(sender)),
            None => Peer::connected(self.stream.as_fd()).map(Arc::new),
        }
    }

    /// The number of that process.
    ///
    /// # Errors
    /// As [`SupervisorSocket::peer`].
    pub fn peer_pid(&self) -> Result<u32> {
        Ok(self.peer()?.pid.as_raw().unsigned_abs())
    }

    /// Sends a message to the supervisor.
    ///
    /// # Errors
    /// [`Error::Malformed`] for one that speaks of descriptors: those go with [`SupervisorSocket::send_fd`].
    pub fn send_message(&mut self, message: &SupervisorMessage) -> Result<()> {
        self.send(message.fds(), &[], |out| message.encode(out))
    }

    /// Receives a message of a program. Its descriptors are taken with [`SupervisorSocket::recv_fd`].
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no message; the connection can be used all the same.
    pub fn recv_message(&mut self) -> Result<SupervisorMessage> {
        self.recv(|text| {
            let message = SupervisorMessage::decode(text)
                .map_err(|rejected| Error::malformed(rejected.detail))?;
            Ok((message.fds(), message))
        })
    }

    /// Sends an answer without descriptors.
    ///
    /// # Errors
    /// [`Error::Malformed`] for one that speaks of descriptors: see [`SupervisorSocket::send_response_with`].
    pub fn send_response(&mut self, response: &SupervisorResponse) -> Result<()> {
        self.send_response_with(response, &[])
    }

    /// Sends an answer and the descriptors that it speaks of, on one frame.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it speaks of more or fewer than are given.
    pub fn send_response_with(
        &mut self,
        response: &SupervisorResponse,
        fds: &[BorrowedFd<'_>],
    ) -> Result<()> {
        self.send(response.fds(), fds, |out| response.encode(out))
    }

    /// Receives an answer. Its descriptors are taken with [`SupervisorSocket::recv_fd`].
    ///
    /// # Errors
    /// [`Error::Malformed`] for what is no answer; the connection can be used all the same.
    pub fn recv_response(&mut self) -> Result<SupervisorResponse> {
        self.recv(|text| {
            let response = SupervisorResponse::decode(text)?;
            Ok((response.fds(), response))
        })
    }

    /// Sends a descriptor on a frame of its own.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send_fd(&mut self, fd: impl AsFd) -> Result<()> {
        self.send(1, &[fd.as_fd()], |out| SupervisorMessage::Fd(1).encode(out))
    }

    /// Takes the next descriptor of the last frame received; when it has none left, receives a
    /// frame that carries one.
    ///
    /// # Errors
    /// [`Error::Malformed`] when another kind of frame comes instead.
    pub fn recv_fd(&mut self) -> Result<OwnedFd> {
        if let Some(fd) = self.fds.pop_front() {
            return Ok(fd);
        }
        self.recv(|text| match SupervisorMessage::decode(text) {
            Ok(SupervisorMessage::Fd(count)) => Ok((count, ())),
            Ok(_) | Err(_) => Err(Error::malformed(
                "a frame without the descriptor that was waited for",
            )),
        })?;
        // The count was checked, and is never zero.
        self.fds
            .pop_front()
            .ok_or_else(|| Error::malformed("a frame without a descriptor"))
    }

    fn send(
        &mut self,
        spoken_of: usize,
        fds: &[BorrowedFd<'_>],
        encode: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), protocol::Error>,
    ) -> Result<()> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        if spoken_of != fds.len() {
            return Err(Error::malformed(format!(
                "{} descriptors for a frame that speaks of {spoken_of}",
                fds.len()
            )));
        }
        let mut outgoing = std::mem::take(&mut self.outgoing);
        outgoing.clear();
        let sent = encode(&mut outgoing)
            .map_err(Error::from)
            .and_then(|()| self.write(&outgoing, fds));
        self.outgoing = outgoing;
        sent
    }

    /// Writes a whole frame, its descriptors with its first bytes.
    fn write(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        let deadline = Deadline::after(self.write_timeout);
        let wait = if deadline.is_set() {
            Wait::No
        } else {
            Wait::Yes
        };
        let mut written = 0;
        while written < bytes.len() {
            let with = if written == 0 { fds } else { &[] };
            let step = match send(self.stream.as_fd(), &bytes[written..], with, wait) {
                Ok(sent) => {
                    written += sent;
                    Ok(())
                }
                Err(Errno::EAGAIN) => deadline.ready(self.stream.as_fd(), PollFlags::POLLOUT),
                Err(errno) => Err(Error::io("sendmsg")(errno)),
            };
            if let Err(error) = step {
                self.poisoned |= written > 0;
                return Err(error);
            }
        }
        Ok(())
    }

    fn recv<T>(&mut self, decode: impl FnOnce(&[u8]) -> Result<(usize, T)>) -> Result<T> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        self.fds.clear();
        self.read(decode)
    }

    fn read<T>(&mut self, decode: impl FnOnce(&[u8]) -> Result<(usize, T)>) -> Result<T> {
        let deadline = Deadline::after(self.read_timeout);
        loop {
            match self.inbox.take() {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    self.last_sender = frame.sender.map(Arc::clone);
                    match frame.lost {
                        None => {}
                        Some(Lost::OutOfDescriptors) => {
                            return Err(Error::io("recvmsg")(Errno::EMFILE));
                        }
                        Some(Lost::Surplus) => {
                            return Err(Error::malformed(
                                "more descriptors than a frame can carry",
                            ));
                        }
                    }
                    let (spoken_of, message) = decode(frame.text)?;
                    if spoken_of != frame.fds.len() {
                        let detail = format!(
                            "{} descriptors on a frame that speaks of {spoken_of}",
                            frame.fds.len()
                        );
                        return Err(Error::malformed(detail));
                    }
                    self.fds.extend(frame.fds);
                    return Ok(message);
                }
                Err(error) => {
                    // Nor does such a length say where the next one does.
                    self.poisoned = true;
                    return Err(error.into());
                }
            }
            match self.fill(deadline) {
                Ok(Filled::Bytes) => {}
                Ok(Filled::Interrupted(_)) => {
                    return Err(Error::malformed("two processes sent parts of one frame"));
                }
                ended => {
                    // Nobody will know where a frame begins if we stop in the middle of one.
                    self.poisoned |= self.inbox.in_frame();
                    return Err(ended.err().unwrap_or(Error::Closed));
                }
            }
        }
    }

    fn fill(&mut self, deadline: Deadline) -> Result<Filled> {
        let welcome = Welcome {
            fds: MAX_FDS,
            sender: self.names_senders,
        };
        let mut wait = Wait::Yes;
        if deadline.is_set() {
            wait = Wait::No;
            deadline.ready(self.stream.as_fd(), PollFlags::POLLIN)?;
        }
        loop {
            match self
                .inbox
                .fill(self.stream.as_fd(), welcome, Reading::Take(wait))
            {
                // Somebody who shares the socket took what was there, or made it non-blocking.
                Err(Errno::EAGAIN) => deadline.ready(self.stream.as_fd(), PollFlags::POLLIN)?,
                filled => return filled.map_err(Error::io("recvmsg")),
            }
        }
    }
}

impl AsRawFd for SupervisorSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl AsFd for SupervisorSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl From<SupervisorSocket> for OwnedFd {
    fn from(socket: SupervisorSocket) -> Self {
        socket.stream.into()
    }
}

/// The error number of an operation of the standard library, which always has one here.
pub(crate) fn io(operation: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| {
        let errno = error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw);
        Error::io(operation)(errno)
    }
}
