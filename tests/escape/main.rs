//! What must not be possible: a hostile program under the real command, and what the outside sees of it.
//!
//! Every attack is first seen to work where nothing confines it; where it does not, it is skipped aloud, for its failure
//! in the sandbox would prove nothing. Then it is tried inside: it is refused with the errno that is due, nothing outside has
//! changed, and where the supervisor refused it there is one record that says so.

#[path = "../harness/filtered.rs"]
mod filtered;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/successor.rs"]
mod successor;
#[path = "../harness/traced.rs"]
mod traced;

mod container;
mod exec;
mod faults;
mod host;
mod ipc;
mod kernel;
mod metadata;
mod network;
mod own;
mod passing;
mod paths;
mod policy;
mod proc;
mod programs;
mod races;
mod random;
mod resources;
mod scene;
mod sharing;
mod supervisor;
mod terminal;
mod windows;
