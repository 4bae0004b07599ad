//! A terminal of the command's own, shown on the terminal of whoever started it.
//!
//! The command gets a new pseudo-terminal that controls its session and stands where its standard streams were terminals. What is
//! typed at the caller's terminal, which is raw meanwhile, goes in as it is; what the command writes comes out through a filter. So
//! what a program can do to its terminal (type into it, take its foreground, leave it without echo) it does to one that is gone with
//! it, and what it can do to the person behind by writing is left to a list of what is harmless.
//!
//! In: who decides, nobody; the descriptors of the caller. Out: a [`Relay`], which is polled by the session's loop and never waits.
//! What never happens here: a wait, a decision of policy, an interpretation of what is typed.

mod allowed;
mod filter;
mod relay;

pub use relay::{Keyboard, Output, Relay, TerminalError};
