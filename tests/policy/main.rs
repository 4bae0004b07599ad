//! Policies against the world: what the kernel does with what it is told, which files are taken as policies, and what the
//! commands that explain a policy say.

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/locked.rs"]
mod locked;

mod answers;
mod commands;
mod files;
mod kernel;
mod schema;
