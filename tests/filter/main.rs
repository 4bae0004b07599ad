//! The system call filter, installed alone and asked by real calls: what it refuses, and that the same call does not meet the same
//! answer without it.

#[path = "../harness/filtered.rs"]
mod filtered;
#[path = "../harness/mod.rs"]
mod harness;

mod abi;
mod files;
mod machine;
mod network;
mod processes;
mod programs;
mod terminal;

use filtered::filtered;
use harness::built::probe;
use harness::run::{Ran, run};
use std::process::Command;
use supervisor::sandbox::filter::{Arch, FilterSpec, program};

/// No process has this number.
const NOBODY: &str = "999999999";

/// A filter that refuses whatever a policy would decide.
fn strictest() -> FilterSpec {
    FilterSpec::strictest(Arch::OURS)
}

/// Runs acts of the probe, `act -- act`, under a filter or under none.
fn perform(spec: Option<&FilterSpec>, acts: &str) -> Ran {
    let mut command = Command::new(probe());
    command.args(acts.split(' '));
    if let Some(spec) = spec {
        filtered(&mut command, &program(spec));
    }
    run(&mut command)
}

/// What the probe says of one act, or the signal that ended it.
fn answer(spec: Option<&FilterSpec>, act: &str) -> String {
    let ran = perform(spec, act);
    match ran.status.code() {
        Some(0) => ran.stdout.trim_end().to_owned(),
        _ => ran.status.to_string(),
    }
}

/// Each act is answered with the error under the filter, and with something else without: an error that the machine gives anyway
/// proves nothing, and that is said.
#[track_caller]
fn refused(spec: &FilterSpec, error: &str, acts: &[impl AsRef<str>]) {
    let expected = format!("errno {error}");
    let acts: Vec<&str> = acts.iter().map(AsRef::as_ref).collect();
    // What is refused leaves nothing behind, so one process can try them all.
    let answers = perform(Some(spec), &acts.join(" -- "));
    for (act, answer) in acts.iter().zip(answers.lines()) {
        assert_eq!(answer, expected, "{act}");
    }
    assert_eq!(answers.lines().len(), acts.len());
    for act in acts {
        if answer(None, act) == expected {
            harness::skip(
                &format!("filter: the proof that `{act}` is refused by the filter"),
                &format!("the kernel answers {error} anyway"),
            );
        }
    }
}

/// Each act is answered under the filter as it is without.
#[track_caller]
fn let_through(spec: &FilterSpec, acts: &[impl AsRef<str>]) {
    for act in acts.iter().map(AsRef::as_ref) {
        assert_eq!(answer(Some(spec), act), answer(None, act), "{act}");
    }
}

/// The act that makes a system call with these arguments.
fn raw(number: libc::c_long, arguments: &str) -> String {
    format!("raw {number} {arguments}")
}
