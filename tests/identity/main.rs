//! Workers that are found again by what was recorded of them, and everybody else who is not taken for one.
#![cfg(target_os = "linux")]

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/recycled.rs"]
mod recycled_pid;

mod accepted;
mod answers;
mod asynchronous;
mod builds;
mod endings;
mod others;
mod recycled;
mod registry;
mod traces;
mod worker;
