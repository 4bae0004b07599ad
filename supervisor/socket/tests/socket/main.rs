//! Real sockets between real processes.
#![cfg(target_os = "linux")]

#[path = "../../../../tests/harness/mod.rs"]
mod harness;

mod channel;
mod child;
#[cfg(target_os = "linux")]
mod durable;
mod flood;
mod identity;
mod laws;
mod messages;
mod named;
mod specification;
mod timeouts;
