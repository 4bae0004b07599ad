//! The `sandbox` room.

pub mod filter;
