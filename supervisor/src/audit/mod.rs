//! What was decided, in a file that shows when it was changed.
//!
//! In come events: the start of a run, each decision, its end. Out goes one line of JSON for each, written before
//! anybody hears of the decision, and chained: each line holds its own SHA-256 hash and that of the line before.
//! [`verify()`] finds any changed bit, any line that is gone and any two that changed places.
//!
//! The chain has no key. It shows damage, a torn write and a careless edit; whoever may write the file may also
//! compute every hash anew. The file is the operator's, the child can never open it. Who needs more keeps the last
//! hash ([`Log::last`]) elsewhere.
//!
//! What never happens here: deciding, and forgiving. A record that cannot be written is an error, and what cannot be
//! recorded is not granted.

mod chain;
mod clock;
mod event;
mod granted;
mod json;
mod log;
mod printable;
mod reading;
mod refusals;
mod verify;

#[cfg(test)]
mod tests;

pub use chain::Digest;
pub use event::{
    Answer, Answerer, Bytes, Counts, Decision, Door, Event, Layer, Named, Seen, Start, State,
    Status, TAKEN_BACK, UNTOLD, Who,
};
pub use log::{Error, Herald, Log};
pub use printable::Printable;
pub use reading::{Ended, Entry, Recorded, Started, entries};
pub use refusals::{Object, Refused, Refuser, Takes};
pub use verify::{Break, Ending, Fault, Report, verify};
