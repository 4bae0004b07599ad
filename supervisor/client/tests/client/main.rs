//! The client against the supervisor's end of a real connection.
#![cfg(target_os = "linux")]

mod answers;
mod endings;
mod peer;
mod pool;

/// Long enough for a machine that does ten other things.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);
