//! The law: text → `Document` → `Policy` → `Ruleset`, and `decide`.
//!
//! In comes the text of policies, the facts that variables stand for, and a world that answers for the file
//! system. Out goes a [`Ruleset`]: what the kernel is told to grant, and the one function that decides everything
//! else. Nothing here reads a file, the environment or a clock.
//!
//! To be read in this order: `document` (one text, walked with `reader`; `ahead` and `written`: two that were read before), `load` (what it extends),
//! `policy` (rules as they were written, merged), `facts` and `world` (what variables and names stand for), `compile` (a stack of
//! policies), `layer` (one of them), `native` and `aliases` (what the kernel is told), `rules` and `ruleset` (what comes out),
//! `decide`, `moves`. The laws are in `laws`, and with the kernel as their judge in the root package's `policy` tests.

mod access;
mod ahead;
mod aliases;
mod compile;
mod decide;
mod document;
mod error;
mod facts;
#[cfg(test)]
mod laws;
mod layer;
mod listing;
mod load;
mod moves;
mod native;
mod origin;
mod pattern;
#[allow(clippy::module_inception, reason = "the room is named after its noun")]
mod policy;
mod presets;
mod quantity;
mod reader;
mod rules;
mod ruleset;
mod settings;
mod subject;
#[cfg(test)]
mod tests;
mod verdict;
mod world;
mod written;

pub use access::Access;
pub use compile::Protected;
pub use decide::Peer;
pub use error::PolicyError;
pub(crate) use error::{Site, SourceText};
pub use facts::{Facts, Repository};
pub use listing::{By, ConnectLine, FileLine, Says};
pub use load::{Library, NoFiles, PolicyText};
pub use origin::{Origin, Source};
pub(crate) use pattern::is_canonical;
pub use policy::{Flag, Policy};
pub use presets::Preset;
pub use protocol::Scope;
pub(crate) use reader::{Node, Reader};
pub use ruleset::{Brokered, Ruleset};
pub use settings::{
    Approver, BestEffort, BrokerRules, Limits, NativeGrant, PortRules, ProcessRules, Tmp,
    Transparent, Udp, Warning,
};
pub use subject::{FileId, Subject};
pub use verdict::{Allowed, Denial, Mechanism, Question, Reason, Verdict};
pub use world::{Entry, Kind, World};
