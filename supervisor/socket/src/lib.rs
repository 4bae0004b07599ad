//! `SupervisorSocket`: framed messages with descriptors, and who sent them by the word of the kernel.
//!
//! What comes in are a socket and a stranger's bytes; what goes out are messages of the
//! [`protocol`], each with its sender ([`Peer`]) and exactly the descriptors that it speaks of.
//! Nothing here decides anything, and no identity is ever taken from a message.
//!
//! There are three faces: [`SupervisorSocket`] waits, and is for programs; [`Asker`] never waits, and is
//! for programs that have a loop; [`Channel`] never waits, and is for the one loop of a supervisor,
//! which must not be held up by any of its peers.
#![forbid(unsafe_code)]

mod asker;
mod blocking;
mod channel;
#[cfg(target_os = "linux")]
mod durable;
mod error;
mod inbox;
mod listener;
mod peer;
mod replay;
mod wait;

pub use asker::{Answer, Asker};
pub use blocking::SupervisorSocket;
pub use channel::{Channel, Fed, Incoming, MAX_CONSIDERED};
pub use error::Error;
pub use listener::Listener;
pub use peer::Peer;
pub use replay::REMEMBERED;

/// The result of an operation on a socket.
pub type Result<T> = std::result::Result<T, Error>;
