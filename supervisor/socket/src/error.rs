//! What can go wrong with a socket.

use nix::errno::Errno;
use nix::unistd::Uid;

/// Why a socket could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The deadline passed. In mid-frame the connection is [`Error::Poisoned`] afterwards.
    #[error("the peer took too long")]
    Timeout,
    /// The peer is gone.
    #[error("the peer has closed the connection")]
    Closed,
    /// A frame is longer than the protocol allows.
    #[error("a frame of {length} bytes is too large")]
    TooLarge {
        /// Its length.
        length: usize,
    },
    /// What came is no message, or its descriptors are not those it speaks of.
    #[error("malformed: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// The peer belongs to another user.
    #[error("the peer belongs to user {uid}")]
    PeerRejected {
        /// Whose it is.
        uid: Uid,
    },
    /// The kernel has not said who the peer is.
    #[error("the peer is unknown until it has sent a message")]
    PeerUnknown,
    /// An earlier failure left the stream in the middle of a frame; it cannot be used any further.
    #[error("the connection was left in the middle of a frame")]
    Poisoned,
    /// The kernel refused.
    #[error("{operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: Errno,
    },
}

impl Error {
    /// For `map_err`: the error of an operation.
    pub(crate) fn io(operation: &'static str) -> impl Fn(Errno) -> Self {
        move |source| match source {
            Errno::EPIPE | Errno::ECONNRESET => Self::Closed,
            source => Self::Io { operation, source },
        }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::Malformed {
            detail: detail.into(),
        }
    }
}

impl From<protocol::Error> for Error {
    fn from(error: protocol::Error) -> Self {
        match error {
            protocol::Error::TooLarge { length } => Self::TooLarge { length },
            protocol::Error::Empty => Self::malformed("a frame of length zero"),
            protocol::Error::Malformed { detail } => Self::Malformed { detail },
        }
    }
}
