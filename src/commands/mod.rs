//! One file for each subcommand.

pub mod audit;
pub mod check;
pub mod completions;
pub mod daemon;
pub mod doctor;
pub mod explain;
pub mod import;
pub mod init;
pub mod learn;
pub mod man;
pub mod presets;
pub mod report;
pub mod request;
pub mod run;
pub mod schema;
pub mod workers;

use crate::args::PolicyArgs;
use crate::law::{Law, LawError};
use std::path::PathBuf;

/// The law for somebody who only wants to know it, and the name that stands for the private directory of a run.
fn law_for_reading(args: &PolicyArgs) -> Result<(Law, PathBuf), LawError> {
    let tmpdir = crate::places::temporary().join("supervise-of-this-run");
    Ok((Law::read(args, tmpdir.clone())?, tmpdir))
}
