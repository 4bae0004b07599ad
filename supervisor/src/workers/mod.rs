//! Workers that outlive their supervisor: what a pool file names, kept running, and found again by whoever comes next.
//!
//! In: the text of a pool file ([`config`]), what the operator wants ([`desired`]), what happens to processes. Out: which worker is
//! started, asked to end or given a job, and what those who listen on the control socket are told.
//!
//! What never happens here: a decision of policy, trust in what a worker says about itself, a wait of the daemon's loop for anybody.

pub mod config;
pub mod control;
pub mod daemon;
pub mod desired;
pub mod handle;
pub mod identity;
pub mod jobs;
pub mod keeper;
pub mod lifecycle;
pub mod logs;
pub mod lone;
pub mod manifest;
pub mod poller;
pub mod pool;
pub mod registry;
pub mod stable;
pub mod systemd;
pub mod together;
