//! `supervise learn`: what a program did becomes a policy under which it does it again, and which grants nothing beside.

#[path = "../harness/mod.rs"]
mod harness;

mod house;
mod lessons;
mod merging;
mod programs;
