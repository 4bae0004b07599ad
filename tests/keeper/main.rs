//! Workers that go on when the daemon that serves them is killed, and what becomes of them when the keeper is.

mod chaos;
mod endings;
#[path = "../harness/mod.rs"]
mod harness;
mod replaced;
mod stage;
