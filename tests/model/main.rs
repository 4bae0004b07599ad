//! The broker against a model of it: random trees, random policies, random requests, and an oracle that finds out by itself what a
//! name means and what the rules say of it. Nothing of the oracle is the broker's.
//!
//! `SUPERVISE_MODEL_STEPS=1000000 cargo test --test model` tries for long, `SUPERVISE_MODEL_SEED` begins elsewhere.

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/mounts.rs"]
mod mounts;

mod chance;
mod law;
mod mounted;
mod pattern;
mod quiet;
mod request;
mod restless;
mod stage;
mod tree;
