//! The wall: frames and messages between a sandboxed program and its supervisor, and lines and messages between
//! workers, their daemon, and whoever commands them.
//!
//! What comes in are bytes that a stranger sent; what goes out are domain types whose existence
//! proves that they obey the specification, or a typed reason that can be sent back. Nothing here
//! does I/O, reads a clock, or knows who the sender is: identity is never in a message, it comes
//! from the kernel.
//!
//! There are two vocabularies, one per direction: a program sends [`SupervisorMessage`], the
//! supervisor [`SupervisorResponse`]. On lines, each of [`pool`] and [`control`] has requests and answers of its own.
//! The specification is `supervisor/protocol/README.md`.
#![forbid(unsafe_code)]

/// An enum that can be listed: `ALL` has every variant, because both are written once. With words, `as_str` gives them.
#[macro_export]
macro_rules! listed {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $crate::listed! { $(#[$meta])* $vis enum $name { $($(#[$doc])* $variant,)+ } }

        impl $name {
            /// Its word.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$doc:meta])* $variant:ident,)+ }) => {
        $(#[$meta])*
        $vis enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// Every one, in this order.
            #[allow(dead_code, reason = "some are listed in tests only")]
            $vis const ALL: [Self; [$(stringify!($variant)),+].len()] = [$(Self::$variant,)+];
        }
    };
}

mod answer;
pub mod control;
pub mod frame;
pub mod lines;
mod path;
pub mod pool;
pub mod probe;
mod request;
mod response;
mod scope;

pub use answer::{Answer, Fault, FaultCode, Numbered, Unanswerable};
pub use path::{PathError, RequestedPath};
pub use request::{
    Access, Create, Hello, MAX_CLIENT, MAX_WHY, OpenFlags, OpenRequest, Rejected, SupervisorMessage,
};
pub use response::{Code, Granted, Refused, SupervisorResponse, Welcome};
pub use scope::Scope;

/// What can be the data of an answer.
pub use serde::Serialize;
/// Any JSON, where the protocol does not say more: jobs, input, output.
pub use serde_json::{Value, from_value, json, to_value};

/// The version of the protocol of frames that this crate speaks.
pub const VERSION: u32 = 1;

/// The most descriptors that travel on one frame.
pub const MAX_FDS: usize = 8;

/// Why bytes are not a frame, or a frame not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The length is zero.
    #[error("a frame of length zero")]
    Empty,
    /// The length is above [`frame::MAX`], which is [`lines::MAX`] too; nothing was read or allocated for it.
    #[error("a message of {length} bytes, where {} are allowed", frame::MAX)]
    TooLarge {
        /// What the sender announced, what was seen of it, or what a message to be sent came to.
        length: usize,
    },
    /// The text is not a message of this protocol.
    #[error("not a message: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
}

impl Error {
    fn malformed(detail: impl std::fmt::Display) -> Self {
        Self::Malformed {
            detail: brief(&detail.to_string()),
        }
    }
}

/// The longest explanation that is sent, in bytes: it may quote the stranger.
const MAX_DETAIL: usize = 240;

/// Cuts a text to [`MAX_DETAIL`] bytes, between characters.
fn brief(text: &str) -> String {
    let mut end = text.len().min(MAX_DETAIL);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
