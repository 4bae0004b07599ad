//! The transparent door against real children, with the kernel itself as the oracle.

#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/locked.rs"]
mod locked;

mod binds;
mod connects;
mod entries;
mod interrupted;
mod metadata;
mod opens;
mod own;
mod programs;
mod races;
mod ruled;
mod slow;
mod supervised;
mod tasks;

use harness::require;
use std::path::Path;
use std::process::Command;

/// The name of the test below, which must not run itself.
const AS_NOBODY: &str = "all_of_it_holds_for_an_ordinary_user";

#[test]
fn all_of_it_holds_for_an_ordinary_user() {
    require!(harness::feature::root());
    require!(harness::feature::program("cp"));
    let place = harness::Workspace::open_to_all();
    let own = std::env::current_exe().expect("a test knows its own file");
    // By a process of its own: a file that was open for writing here could not be executed while any other test's child, forked
    // meanwhile, still held it.
    let copy = |from: &Path, name: &str| {
        let to = place.join(name);
        harness::run::run(Command::new("cp").arg(from).arg(&to)).expect_code(0);
        harness::set_mode(&to, 0o755);
        to
    };
    let test = copy(&own, "transparent");
    let probe = copy(&harness::built::probe(), "probe");
    let mut command = Command::new(&test);
    command
        .args(["--skip", AS_NOBODY, "--test-threads=2"])
        .env("SUPERVISE_TEST_PROBE", &probe)
        .current_dir(place.path());
    let ran = harness::run::run_within(
        harness::process::as_uid(&mut command, harness::process::NOBODY),
        5 * harness::run::DEADLINE,
    );
    assert_eq!(ran.code(), 0, "{ran}");
}
