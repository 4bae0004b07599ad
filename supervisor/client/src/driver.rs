//! The task that owns the connection.

use std::future::Future;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nix::errno::Errno;
use protocol::SupervisorMessage;
use socket::{Asker, Error};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::connection::Connection;

/// Starts the task, which ends with the connection or with the last who can ask.
pub(crate) fn start(socket: OwnedFd) -> Result<Arc<Connection>, Error> {
    let socket = std::os::unix::net::UnixStream::from(socket);
    socket.set_nonblocking(true).map_err(io("fcntl"))?;
    let socket = UnixStream::from_std(socket).map_err(io("epoll_ctl"))?;
    let connection = Arc::new(Connection::new());
    tokio::spawn(Driver {
        socket,
        asker: Asker::new(),
        connection: Arc::clone(&connection),
    });
    Ok(connection)
}

struct Driver {
    socket: UnixStream,
    asker: Asker,
    connection: Arc<Connection>,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.connection.attend(context.waker());
        let done = self.listen(context).and_then(|()| self.send(context));
        if let Err(reason) = done {
            self.connection.end(reason);
        }
        match self.connection.is_over() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Driver {
    /// Gives out every answer that has come.
    fn listen(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        while let Poll::Ready(ready) = self.socket.poll_read_ready(context) {
            ready.map_err(io("epoll_wait"))?;
            let heard = self.socket.try_io(Interest::READABLE, || {
                match self.asker.answer(&self.socket) {
                    Ok(None) => Err(ErrorKind::WouldBlock.into()),
                    heard => Ok(heard),
                }
            });
            // An error is that nothing more has come, and it is waited for.
            if let Some(answer) = heard.unwrap_or(Ok(None))? {
                self.connection.answered(answer);
            }
        }
        Ok(())
    }

    /// Sends requests as long as the socket has room, one after the other: what it has no room for can
    /// still be given up.
    fn send(&mut self, context: &mut Context<'_>) -> Result<(), Error> {
        loop {
            if !self.asker.wants_write() {
                let Some(request) = self.connection.next_unsent() else {
                    return Ok(());
                };
                let id = request.id;
                if let Err(error) = self.asker.ask(&SupervisorMessage::Open(request)) {
                    self.connection.settle(id, Err(error.into()));
                    continue;
                }
            }
            let Poll::Ready(ready) = self.socket.poll_write_ready(context) else {
                return Ok(());
            };
            ready.map_err(io("epoll_wait"))?;
            let sent = self.socket.try_io(Interest::WRITABLE, || {
                match self.asker.flush(&self.socket) {
                    Ok(false) => Err(ErrorKind::WouldBlock.into()),
                    sent => Ok(sent),
                }
            });
            sent.unwrap_or(Ok(false))?;
        }
    }
}

/// Also when the runtime ends before its callers do.
impl Drop for Driver {
    fn drop(&mut self) {
        self.connection.end(Error::Closed);
    }
}

/// The error number of an operation of the runtime's.
fn io(operation: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::Io {
        operation,
        source: error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw),
    }
}
