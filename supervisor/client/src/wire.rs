//! A connection that lines are said on, without a task of its own: what has come is taken out, what is to be said is put in, and both
//! wait when they have to.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::geteuid;
use protocol::lines::Lines;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::UnixStream;
use tokio::net::unix::pipe::{Receiver, Sender};

/// Why a connection is of no further use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The other side closed it.
    #[error("the connection was closed")]
    Closed,
    /// Reading failed.
    #[error("read: {0}")]
    Read(ErrorKind),
    /// Writing failed.
    #[error("write: {0}")]
    Write(ErrorKind),
    /// The other side said something that is not the protocol.
    #[error("{0}")]
    Malformed(protocol::Error),
}

/// How long a full queue of connections is left alone before the next try.
const QUEUE: Duration = Duration::from_millis(10);

/// Connects to a socket of this user, or of root.
///
/// # Errors
/// What the kernel says, and [`ErrorKind::PermissionDenied`] when somebody else listens there. A queue that is full is waited for.
pub(crate) async fn connect(path: &Path) -> Result<UnixStream, std::io::Error> {
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => {
                let uid = stream.peer_cred()?.uid();
                return match uid == geteuid().as_raw() || uid == 0 {
                    true => Ok(stream),
                    false => Err(std::io::Error::new(
                        ErrorKind::PermissionDenied,
                        format!("user {uid} listens there"),
                    )),
                };
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(QUEUE).await,
            Err(error) => return Err(error),
        }
    }
}

/// The two directions of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Given to the runtime as the end of a pipe, which it waits for only to be read. Who waits for room too, as it does for streams,
    /// is woken by each line that the other side takes in, before there is an answer.
    stream: Receiver,
    /// The same connection, as long as room is waited for.
    room: Option<Sender>,
    lines: Lines,
    out: Vec<u8>,
    /// How much of that is sent.
    sent: usize,
}

impl Wire {
    /// # Errors
    /// The runtime cannot wait for it.
    pub(crate) fn new(stream: UnixStream) -> Result<Self, std::io::Error> {
        let stream = OwnedFd::from(stream.into_std()?);
        Ok(Self {
            stream: Receiver::from_owned_fd_unchecked(stream)?,
            room: None,
            lines: Lines::new(),
            out: Vec::new(),
            sent: 0,
        })
    }

    /// Takes the next line, and makes of it what `read` makes of it.
    pub(crate) fn poll_line<T>(
        &mut self,
        context: &mut Context<'_>,
        read: impl FnOnce(&[u8]) -> Result<T, protocol::Error>,
    ) -> Poll<Result<T, Broken>> {
        loop {
            match self.lines.next_line() {
                Ok(Some(line)) => return Poll::Ready(read(line).map_err(Broken::Malformed)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(Broken::Malformed(error))),
            }
            // Unlike `try_read`, this knows that less than it asked for was all, and does not ask again.
            let mut space = ReadBuf::new(self.lines.space());
            let read = Pin::new(&mut self.stream).poll_read(context, &mut space);
            let count = space.filled().len();
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if count == 0 => return Poll::Ready(Err(Broken::Closed)),
                Poll::Ready(Ok(())) => self.lines.filled(count),
                Poll::Ready(Err(error)) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::ConnectionReset => return Poll::Ready(Err(Broken::Closed)),
                    kind => return Poll::Ready(Err(Broken::Read(kind))),
                },
            }
        }
    }

    /// Whether all that was put in is said.
    pub(crate) fn is_said(&self) -> bool {
        self.sent == self.out.len()
    }

    /// Puts lines behind what is to be said.
    pub(crate) fn say(&mut self, lines: &[u8]) {
        self.out.extend_from_slice(lines);
    }

    /// Says what there is room for; ready when that is all.
    pub(crate) fn poll_said(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.is_said() {
            let rest = &self.out[self.sent..];
            match send(self.stream.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => match self.poll_room(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(Broken::Write(error.kind())));
                    }
                    Poll::Ready(Ok(())) => {}
                },
                Err(Errno::EPIPE) => return Poll::Ready(Err(Broken::Closed)),
                Err(errno) => {
                    let kind = std::io::Error::from(errno).kind();
                    return Poll::Ready(Err(Broken::Write(kind)));
                }
            }
        }
        self.room = None;
        self.out.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Waits for room, which there was none of. Under another number: the runtime waits for each in one way. Anew each time, as what
    /// was seen before is no longer so; that there is room meanwhile is seen at once.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        let again = self.stream.as_fd().try_clone_to_owned()?;
        let room = self.room.insert(Sender::from_owned_fd_unchecked(again)?);
        room.poll_write_ready(context)
    }

    /// Says one request and takes the answer with its number, passing over whatever comes before that. For the time before there is
    /// anybody else who could ask. What the other side still said before it closed is heard.
    pub(crate) async fn ask<T>(
        &mut self,
        request: &[u8],
        answer: impl Fn(&[u8]) -> Result<Option<T>, protocol::Error>,
    ) -> Result<T, Broken> {
        self.say(request);
        let said = poll_fn(|context| self.poll_said(context)).await;
        if let Err(broken) = said
            && broken != Broken::Closed
        {
            return Err(broken);
        }
        loop {
            let line = poll_fn(|context| self.poll_line(context, &answer)).await?;
            if let Some(found) = line {
                return Ok(found);
            }
        }
    }
}
