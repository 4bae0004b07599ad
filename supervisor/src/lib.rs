//! The trusted core of `supervise`.
//!
//! Data flows one way: `policy`, `audit` → `sandbox` → `launch` → `socket` → `broker` →
//! `transparent`, `terminal`, `witness` → `session` → `workers`. A room never imports one to its right.
#![deny(unsafe_code)]

pub mod advice;
pub mod audit;
pub mod broker;
pub mod launch;
pub mod policy;
pub mod sandbox;
pub mod session;
pub mod sources;
pub mod terminal;
pub mod transparent;
pub mod witness;
pub mod workers;
