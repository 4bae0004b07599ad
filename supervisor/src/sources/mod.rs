//! Where policies come from, and the facts they are compiled against.
//!
//! The policy room only computes. This one reads for it: policy files, each once and by descriptor; the names that rules
//! mean, each located without following a link; the user, the directories and the repository that variables stand for.
//! Nothing is decided here, and nothing is written.

mod facts;
mod files;
mod seen;
mod world;

pub use facts::{FactsError, gather};
pub use files::{PolicyFiles, Remembered};
pub use seen::{Seen, Sight};
pub use world::FileSystem;
