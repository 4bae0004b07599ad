//! The broker against real files, processes and terminals; and the record of what it does.

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/lease.rs"]
mod lease;
#[path = "../harness/terminal.rs"]
mod terminal;

mod approvers;
mod at_the_terminal;
mod board;
mod grants;
mod native;
mod races;
mod record;
mod revoking;
mod rig;
mod scopes;
mod waiting;
