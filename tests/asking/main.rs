//! Asking the supervisor of a running sandbox for files, over each way that leads to it.

#[path = "../harness/mod.rs"]
mod harness;

mod decisions;
mod doors;
mod hostile;
mod house;
mod inside;
mod names;
mod unmodified;
