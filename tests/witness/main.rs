//! What the kernel refuses alone, and writes down itself where auditing is enabled. That is a switch of the whole machine: it is
//! turned on and back by these tests only where `SUPERVISE_MAY_AUDIT=1` says so.

#[path = "../harness/mod.rs"]
mod harness;

mod auditing;

use auditing::Auditing;
use harness::built::supervise;
use harness::run::{Ran, run, run_without_listener};
use harness::{Workspace, feature, require};
use serde_json::Value;
use std::process::Command;

/// What is refused natively: the kernel is told everything.
const NATIVE: &str = "version = 1\nfs.exec = [\"$PWD\"]\n";

struct House {
    workspace: Workspace,
    kept: Workspace,
    /// Of which no policy says anything.
    data: Workspace,
}

impl House {
    fn new() -> Self {
        let house = Self {
            workspace: Workspace::new(),
            kept: Workspace::new(),
            data: Workspace::new(),
        };
        for name in ["a file", "other", "directory/below"] {
            house.data.write(name, "content\n");
        }
        house.kept.write("native.toml", NATIVE);
        house
    }

    fn supervise(&self, flags: &[&str], script: &str) -> Command {
        let mut supervise = Command::new(supervise());
        supervise
            .arg("-p")
            .arg(self.kept.join("native.toml"))
            .args(flags)
            .args(["--", "sh", "-c", script, "sh"])
            .arg(self.data.path());
        self.placed(&mut supervise);
        supervise
    }

    fn placed(&self, supervise: &mut Command) {
        supervise
            .current_dir(self.workspace.path())
            .env("PWD", self.workspace.path())
            .env("XDG_RUNTIME_DIR", self.kept.path())
            .env("XDG_STATE_HOME", self.kept.join("state"))
            .env_remove("SUPERVISE");
    }

    fn said(&self, arguments: &[&str]) -> Ran {
        let mut supervise = Command::new(supervise());
        self.placed(supervise.args(arguments));
        run(&mut supervise)
    }

    /// What is explained of the last run below the data, and of what is none of a file: each with the kind of refusal and how often.
    fn refusals(&self) -> Vec<(String, String, u64)> {
        let ran = self.said(&["explain", "--last", "--json"]).expect_code(0);
        let explained: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        let refusals = explained["refusals"].as_array().expect("a list").iter();
        let data = format!("{}/", self.data.path().display());
        let shown = refusals.filter_map(|refusal| {
            assert_eq!(refusal["mechanism"], "landlock", "{refusal}");
            let object = refusal["object"].as_str().unwrap_or_default();
            let object = format!("{object}/");
            // Programs ask for this and that when they start.
            let object = match object.strip_prefix(&data) {
                Some(below) => below.trim_end_matches('/').to_owned(),
                None if object == "/" => refusal["calls"][0].as_str()?.to_owned(),
                None => return None,
            };
            let access = refusal["access"].as_array()?.iter();
            let access: Vec<_> = access.filter_map(Value::as_str).collect();
            Some((object, access.join("+"), refusal["times"].as_u64()?))
        });
        shown.collect()
    }
}

fn refusal(object: &str, access: &str, times: u64) -> (String, String, u64) {
    (object.to_owned(), access.to_owned(), times)
}

const SCRIPT: &str = r#"
    cat "$1/a file"; cat "$1/a file"
    echo more >>"$1/other"
    mkdir "$1/directory/new"
    cp /bin/true "$PWD/program"; "$PWD/program" && mv "$PWD/program" "$1/"
    "$1/other"
    kill -0 "$PPID"
    exit 7
"#;

#[test]
fn what_the_kernel_refuses_alone_is_in_the_record_once() {
    let auditing = Auditing::enabled();
    require!(auditing);
    require!(feature::listener());
    let house = House::new();
    house.data.write("other", "#!/bin/sh\n");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(house.data.join("other"), executable).expect("ours");
    for flags in [&[][..], &["--trace"]] {
        let ran = run(&mut house.supervise(flags, SCRIPT)).expect_code(7);
        let refused = house.refusals();
        for expected in [
            refusal("a file", "read", 2),
            refusal("other", "read+write+exec", 2),
            refusal("kill", "", 1),
        ] {
            // A door knows more of an open than the kernel says.
            let found = refused.iter().filter(|(object, ..)| *object == expected.0);
            let found: Vec<_> = found.collect();
            let [(_, access, times)] = found[..] else {
                panic!("{flags:?}: {expected:?} in {refused:?}\n{ran}");
            };
            assert_eq!(*times, expected.2, "{flags:?}: {refused:?}");
            let rights = expected.1.split('+').filter(|right| *right != "read");
            for right in rights {
                assert!(access.contains(right), "{flags:?}: {refused:?}");
            }
        }
        // Of a name that was to be made the kernel says the directory, and a door the name.
        let made = refused
            .iter()
            .filter(|(object, ..)| object.starts_with("directory"));
        assert_eq!(made.count(), 1, "{flags:?}: {refused:?}");
        assert!(ran.stderr.contains("refused: "), "{ran}");
        assert!(ran.stderr.contains("asked for by"), "{ran}");
    }
}

#[test]
fn a_command_that_ends_at_once_has_its_refusals_recorded() {
    let auditing = Auditing::enabled();
    require!(auditing);
    require!(feature::listener());
    for with_listener in [true, false] {
        let house = House::new();
        for _ in 0..10 {
            let mut command = house.supervise(&["-q"], ": <\"$1/other\" || exit 3");
            let ran = match with_listener {
                true => run(&mut command),
                false => run_without_listener(&mut command),
            };
            assert_ne!(ran.code(), 0, "{ran}");
            assert_eq!(house.refusals(), [refusal("other", "read", 1)], "{ran}");
        }
    }
}

#[test]
fn what_is_refused_to_others_is_theirs() {
    let auditing = Auditing::enabled();
    require!(auditing);
    require!(feature::listener());
    let houses = [House::new(), House::new()];
    std::thread::scope(|scope| {
        for (house, name) in houses.iter().zip(["other", "a file"]) {
            scope.spawn(move || {
                let script = format!("for i in 1 2 3 4 5 6 7 8; do cat \"$1/{name}\"; done");
                run(&mut house.supervise(&["-q"], &script)).expect_code(1);
                assert_eq!(house.refusals(), [refusal(name, "read", 8)]);
            });
        }
    });
}

#[test]
fn doctor_says_whether_the_records_can_be_read() {
    let auditing = Auditing::enabled();
    require!(auditing);
    let house = House::new();
    let ran = house.said(&["doctor", "--json"]).expect_code(0);
    let layers: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let layers = layers["layers"].as_array().expect("a list");
    let audit = layers.iter().find(|layer| layer["layer"] == "kernel-audit");
    assert_eq!(audit.expect("it is listed")["state"], "ok", "{ran}");
}
