//! `supervise schema`: what editors check our files against.

use crate::render::print;
use clap::ValueEnum;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum File {
    /// A policy
    Policy,
    /// A pool file, for `supervise daemon`
    Pool,
}

/// Prints the JSON schema of such a file.
pub fn schema(of: File) -> std::process::ExitCode {
    let text = match of {
        File::Policy => include_str!("../../policies/schema/policy.json"),
        File::Pool => include_str!("../../policies/schema/pool.json"),
    };
    print(text)
}
