//! The side of a worker: a program that is kept by a supervisor, and outlives it.

mod probe;

pub use probe::{Challenge, ProbeError, answer, commission};
pub use protocol::probe::{Commission, Probe};
