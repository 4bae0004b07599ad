//! The law: text → `Document` → `Policy` → `Ruleset`, and `decide`.
//!
//! In comes the text of policies, the facts that variables stand for, and a world that answers for the file
//! system. Out goes a [`Ruleset`]: what the kernel is told to grant, and the one function that decides everything
//! else. Nothing here reads a file, the environment or a clock.

mod access;
mod origin;
mod pattern;
mod ruleset;
mod settings;
mod subject;
mod verdict;

pub use access::Access;
pub use origin::{Origin, Source};
pub use ruleset::Ruleset;
pub use settings::{
    Approver, BestEffort, BrokerRules, Limits, NativeGrant, PortRules, ProcessRules, Tmp, Udp,
    Warning,
};
pub use subject::{FileId, Subject};
pub use verdict::{Allowed, Denial, Mechanism, Question, Reason, Verdict};
