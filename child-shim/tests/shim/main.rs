//! Programs that ask, and a supervisor's end that answers.
#![cfg(target_os = "linux")]

#[path = "../../../tests/harness/mod.rs"]
mod harness;

mod abi;
mod beside;
mod child;
mod client;
mod ending;
mod examples;
mod probing;
mod server;
mod serving;
mod workers;
