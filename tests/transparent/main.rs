//! The transparent door against real children, with the kernel itself as the oracle.

#[path = "../harness/mod.rs"]
mod harness;

mod connects;
mod metadata;
mod programs;
mod races;
mod slow;
mod supervised;
mod tasks;

use harness::require;
use std::process::Command;

/// The name of the test below, which must not run itself.
const AS_NOBODY: &str = "all_of_it_holds_for_an_ordinary_user";

#[test]
fn all_of_it_holds_for_an_ordinary_user() {
    require!(harness::feature::root());
    let installed = harness::built::installed();
    let test = installed.directory.join("transparent");
    let own = std::env::current_exe().expect("a test knows its own file");
    std::fs::copy(own, &test).expect("a test can be copied");
    let mut command = Command::new(&test);
    command
        .args(["--skip", AS_NOBODY, "--test-threads=2"])
        .env("SUPERVISE_TEST_PROBE", &installed.probe)
        .current_dir(installed.directory.path());
    let ran = harness::run::run(harness::process::as_uid(
        &mut command,
        harness::process::NOBODY,
    ));
    assert_eq!(ran.code(), 0, "{ran}");
}
