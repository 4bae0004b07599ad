//! Python's own tests of what touches files, with and without a supervisor: of each test the same comes.

use crate::harness::built::supervise;
use crate::harness::process::inherit;
use crate::harness::run::{DEADLINE, Ran, run, run_within};
use crate::harness::{self, Workspace, require};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use sys::caps::CapSet;

/// The modules that are run.
const MODULES: [&str; 5] = [
    "test.test_os",
    "test.test_pathlib",
    "test.test_shutil",
    "test.test_tarfile",
    "test.test_sqlite3",
];

/// Tests that take long and show no more than those beside them: the same with each compression, or in processes of their own.
/// `SUPERVISE_PYTHON_TESTS=all` runs them too.
const LONG: &str =
    r"tarfile\.(Bz2|Gzip|Lzma|Zstd|NoneInfoExtract|CommandLine)|AppendTest\.test_empty";

const TERMINALS: &str = "new terminals stand among those of the user, and are not given";

/// What is different under a supervisor, and why. Each is held to be: where it is not any more, it does not belong here.
const DIFFERENT: [(&str, &str); 6] = [
    ("test.test_os.FDInheritanceTests.test_openpty", TERMINALS),
    (
        "test.test_os.PseudoterminalTests.test_open_via_ptsname",
        TERMINALS,
    ),
    ("test.test_os.PseudoterminalTests.test_openpty", TERMINALS),
    (
        "test.test_os.PseudoterminalTests.test_posix_pty_functions",
        TERMINALS,
    ),
    (
        "test.test_os.MemfdCreateTests.test_memfd_create",
        "a file in memory must be one that cannot be executed, and the test asks for another",
    ),
    (
        "test.test_tarfile.TestExtractionFilters.test_modes",
        "files are never made set-user-ID",
    ),
];

/// What is different in some releases of Python only, and why.
const SOMETIMES_DIFFERENT: [(&str, &str); 1] = [(
    "test.test_os.Pep383Tests.test_listdir",
    "in older ones it lists `/`, which no policy allows without allowing everything",
)];

/// As all else is allowed there and each file is decided about.
const POLICY: &str = r#"version = 1
extends = ["build"]
[fs]
write = ["$PWD"]
read = ["SCRIPT"]
exec = ["$PWD", "PYTHON"]
deny = ["$PWD/**/*.never-there"]
"#;

/// An interpreter that has tests, and where it is installed.
struct Python {
    program: PathBuf,
    prefix: String,
}

/// `SUPERVISE_TEST_PYTHON`, or the first of those that are usually there.
fn python() -> Result<Python, String> {
    let chosen = std::env::var("SUPERVISE_TEST_PYTHON");
    let known = ["python3", "/usr/bin/python3"].map(str::to_owned);
    for name in chosen.into_iter().chain(known) {
        let mut command = Command::new(&name);
        command.args([
            "-c",
            "import sys, test.test_os, test.test_tarfile; print(sys.executable); print(sys.base_prefix)",
        ]);
        let Ok(output) = command.output() else {
            continue;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        if let (true, [program, prefix]) = (
            output.status.success(),
            text.lines().collect::<Vec<_>>().as_slice(),
        ) {
            return Ok(Python {
                program: (*program).into(),
                prefix: (*prefix).to_owned(),
            });
        }
    }
    Err("no Python here has its own tests (SUPERVISE_TEST_PYTHON names one)".to_owned())
}

/// What came of each test.
fn outcomes(
    place: &Workspace,
    python: &Python,
    policy: Option<&Path>,
) -> (BTreeMap<String, String>, Ran) {
    let work = place.make_dir("work");
    let mut command = match policy {
        None => Command::new(&python.program),
        Some(policy) => {
            let mut command = Command::new(supervise());
            command.arg("--quiet").arg("-p").arg(policy);
            command.arg("--").arg(&python.program);
            command
        }
    };
    let all = std::env::var("SUPERVISE_PYTHON_TESTS").is_ok_and(|which| which == "all");
    command
        .args(["-B", &script(), "outcomes"])
        .arg(if all { "(?!)" } else { LONG })
        .args(MODULES)
        .current_dir(&work)
        .env("XDG_STATE_HOME", place.join("state"))
        .env("XDG_RUNTIME_DIR", place.join("runtime"))
        .env("LC_ALL", "C.UTF-8")
        .env_remove("TMPDIR");
    // A supervisor closes what nobody asked for.
    inherit(&mut command, Vec::new());
    let longest = DEADLINE * if all { 15 } else { 5 };
    // Those that root drops under a supervisor make no difference then.
    let running = std::thread::spawn(move || {
        sys::caps::restrict_thread(CapSet::EMPTY).expect("capabilities can be given up");
        sys::seccomp::set_no_new_privs().expect("new privileges can be given up");
        run_within(&mut command, longest)
    });
    let ran = running.join().expect("it ran");
    let text = std::fs::read_to_string(work.join("outcomes"));
    let text = text.unwrap_or_else(|error| panic!("{error}: {ran}"));
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let found = lines.map(|(test, outcome)| (test.to_owned(), outcome.to_owned()));
    let found = found.collect();
    run(Command::new("rm").arg("-rf").arg(&work)).expect_code(0);
    (found, ran)
}

fn script() -> String {
    format!(
        "{}/tests/differential/scripts/outcomes.py",
        env!("CARGO_MANIFEST_DIR")
    )
}

#[test]
fn pythons_own_tests_find_nothing_changed() {
    require!(crate::sandbox());
    let found = python();
    require!(found.as_ref().map(drop).map_err(Clone::clone));
    let Ok(python) = found else {
        return;
    };
    let place = Workspace::new();
    place.make_dir("state");
    harness::set_mode(&place.make_dir("runtime"), 0o700);
    let policy = POLICY.replace("SCRIPT", &script());
    place.write("policy.toml", policy.replace("PYTHON", &python.prefix));
    let (alone, _) = outcomes(&place, &python, None);
    let passed = |outcome: &&String| outcome.as_str() == "ok";
    let good = alone.values().filter(passed).count();
    assert!(
        good > 500,
        "{good} tests succeed alone: this proves nothing"
    );
    let (supervised, ran) = outcomes(&place, &python, Some(&place.join("policy.toml")));
    let reason = |test: &str| {
        let known = DIFFERENT.iter().find(|(name, _)| *name == test);
        known.map(|(_, why)| *why)
    };
    for (test, outcome) in &alone {
        let inside = supervised.get(test);
        match reason(test) {
            Some(why) if outcome == "ok" => assert_ne!(inside, Some(outcome), "{test}: {why}?"),
            Some(_) => {}
            None if SOMETIMES_DIFFERENT.iter().any(|(name, _)| name == test) => {}
            None => assert_eq!(inside, Some(outcome), "{test}\n{ran}"),
        }
    }
    assert_eq!(supervised.len(), alone.len());
}
