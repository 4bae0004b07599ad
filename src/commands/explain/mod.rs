//! `supervise explain WHAT OBJECT`: whether it may be done. `supervise explain --last`: why a run was refused what it was.

mod question;
mod refusals;
mod shown;

use crate::args::{PolicyArgs, Question};
use crate::render::fail;
use clap::{ArgGroup, Args};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is to be explained.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("record").args(["last", "audit", "session"]).multiple(true).conflicts_with_all(["question", "object"]),
    after_help = EXAMPLES
)]
pub struct ExplainArgs {
    /// The policy
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// What would be done
    #[arg(required_unless_present = "record")]
    pub question: Option<Question>,
    /// A path, or an address and a port
    #[arg(required_unless_present = "record")]
    pub object: Option<OsString>,
    /// Explain what the last run was refused
    #[arg(long, conflicts_with = "session")]
    pub last: bool,
    /// Explain what the last run in this audit log was refused
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// Explain what the run of this name was refused
    #[arg(long, value_name = "NAME")]
    pub session: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  supervise explain -p build read ~/.ssh/id_rsa           whether this may be read, by which rule
  supervise explain -p policy.toml connect 127.0.0.1:5432
  supervise explain --last                                what the last run was refused, and the smallest change that allows it
  supervise explain --audit run.jsonl --json              the same of another record, for programs

What the kernel refuses alone is in the record of `supervise run --trace`, and of any run where the kernel's audit can be read (`supervise doctor`).";

/// Answers the question, or explains the record.
pub fn explain(args: &ExplainArgs) -> ExitCode {
    match (args.question, &args.object) {
        (Some(question), Some(object)) => {
            question::answer_one(&args.policy, question, object, args.json)
        }
        (None, None) => refusals::explain(args),
        _ => fail("say what would be done, and to what"),
    }
}
