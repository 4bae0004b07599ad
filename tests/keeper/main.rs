//! Workers that go on when the daemon that serves them is killed, and what becomes of them when the keeper is: alone, and where a
//! service manager stores what it held.

mod chaos;
mod endings;
#[path = "../harness/mod.rs"]
mod harness;
mod manager;
mod replaced;
mod stage;
mod stored;
