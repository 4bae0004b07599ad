//! Connections of the session to itself: made only as long as it listens there, also while they are being made.
//!
//! A handshake can last for minutes, when the queue of whoever listens is full. The session could fill its own queue, give the port
//! up, and wait for a server of the host to take it: the kernel sends what was not answered again, and the server would answer. So
//! who listens is looked at before a connection is begun, when it was made, and again and again in between. What turns out to lead
//! to somebody else is ended.

use super::{Door, DoorError};
use nix::errno::Errno;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use sys::inet::{self, Handshake};

/// How many handshakes may go on for which nobody waits.
const MANY: usize = 1024;

impl Door {
    /// What a connect to the session itself comes to, after the kernel said `result`.
    pub(super) fn settled(
        &mut self,
        socket: OwnedFd,
        address: SocketAddr,
        result: Result<(), Errno>,
    ) -> Result<Result<(), Errno>, DoorError> {
        if !matches!(result, Ok(()) | Err(Errno::EINPROGRESS)) {
            return Ok(result);
        }
        let is_full = self.unsettled.len() >= MANY;
        let is_own = self.own.listens_at(address);
        match inet::handshake(socket.as_fd()) {
            Ok(Handshake::Sent) if is_own && !is_full => {
                self.unsettled.push((socket, address));
                self.start_ticking()?;
                Ok(result)
            }
            Ok(Handshake::Over) if is_own => Ok(result),
            _ => {
                end(&socket);
                Ok(Err(Errno::ECONNREFUSED))
            }
        }
    }

    /// Looks at the handshakes that go on. Whether there are any.
    pub(super) fn look_at_handshakes(&mut self) -> bool {
        let own = &self.own;
        // Most lead to the same port, and are neighbours: it is asked about once.
        let mut last: Option<(SocketAddr, bool)> = None;
        self.unsettled.retain(|(socket, address)| {
            // First where it stands: what is made after that is looked at the next time.
            let goes_on = inet::handshake(socket.as_fd()) == Ok(Handshake::Sent);
            let is_own = match last {
                Some((known, is_own)) if known == *address && goes_on => is_own,
                _ => own.listens_at(*address),
            };
            last = Some((*address, is_own));
            if !is_own {
                end(socket);
            }
            goes_on && is_own
        });
        !self.unsettled.is_empty()
    }
}

/// Ends a connection, or a handshake.
pub(super) fn end(socket: &OwnedFd) {
    // A socket that is not connected, and was not about to be, has nothing to end.
    let _ended = inet::disconnect(socket.as_fd());
}
