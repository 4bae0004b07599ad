//! What people can be told to do: about a refusal, the smallest change of a policy that allows it, and what else that opens.
//!
//! In come refusals, as they are remembered while a run goes or read back from its record, and facts about what they name. Out
//! goes text of a policy: [`Remedy`]. What the command prints after a failed run, and what `explain` prints of a record, is both
//! made here.
//!
//! The names come from inside the sandbox, and whoever chose them may want to have a policy opened. So what is suggested allows
//! the one object that was refused, by its own name, and not a pattern; and nothing in it is hidden.
//!
//! What never happens here: looking at a file, and deciding.

mod consequences;
mod group;
pub mod learn;
mod remedy;
pub mod sensitive;
mod spelling;

pub use consequences::Below;
pub use group::{Group, groups};
pub use remedy::{Change, Found, Remedy, Setting, remedy};
pub use spelling::{is_visible, quoted, spelled};
