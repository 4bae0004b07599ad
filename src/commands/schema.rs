//! `supervise schema`: what editors check our files against, and programs what we print for them.

use crate::render::print;
use clap::ValueEnum;

/// A kind of file, or what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum File {
    /// A policy
    Policy,
    /// A pool file, for `supervise daemon`
    Pool,
    /// What `supervise status --json` prints
    Status,
}

/// Prints its JSON schema.
pub fn schema(of: File) -> std::process::ExitCode {
    let text = match of {
        File::Policy => include_str!("../../policies/schema/policy.json"),
        File::Pool => include_str!("../../policies/schema/pool.json"),
        File::Status => include_str!("../../policies/schema/status.json"),
    };
    print(text)
}
