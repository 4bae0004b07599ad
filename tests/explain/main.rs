//! `supervise explain` of a record: what it says of each refusal is true, and what it advises helps, and helps with nothing else.

#[path = "../harness/mod.rs"]
mod harness;

mod house;
mod refusals;
mod traced;
