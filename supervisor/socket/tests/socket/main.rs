//! Real sockets between real processes.
#![cfg(target_os = "linux")]

#[path = "../../../../tests/harness/mod.rs"]
mod harness;

mod channel;
mod child;
mod flood;
mod identity;
mod laws;
mod messages;
mod named;
mod specification;
mod timeouts;
