//! Who preloads the library, and what is said about it.

use crate::harness::built::{self, copy_program};
use crate::harness::run::{Ran, run, run_without_listener};
use crate::harness::{Workspace, feature, require, set_mode};
use crate::{GIVEN, Preloaded, REFUSED};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The `opens` layer of a run, as its record has it.
fn opens(record: &Path) -> (String, String) {
    let record = std::fs::read_to_string(record).expect("there is a record");
    // What could not be launched as it was prepared is said once more.
    let mut lines = record.lines().rev();
    let start = lines.find(|line| line.contains("\"event\":\"start\""));
    let start: Value = serde_json::from_str(start.expect("a start")).expect("JSON");
    let layers = start["layers"].as_array().expect("layers");
    let layer = layers.iter().find(|layer| layer["name"] == "opens");
    let layer = layer.expect("a layer of that name");
    let text = |field: &str| layer[field].as_str().unwrap_or_default().to_owned();
    (text("state"), text("detail"))
}

#[test]
fn the_policy_says_whether_a_library_asks() {
    require!(feature::listener());
    let sandbox = Preloaded::new();
    let file = sandbox.given("a");
    assert_eq!(sandbox.run(&["cat", &file]).lines(), [GIVEN]);
    let (state, detail) = opens(&sandbox.house.path("audit.jsonl"));
    assert_eq!(state, "enforced");
    assert!(detail.contains("preloaded"), "{detail}");
    sandbox.says("none");
    let ran = sandbox.run(&["cat", &file]).expect_code(1);
    assert!(ran.stderr.contains(REFUSED), "{ran}");
    let (_, detail) = opens(&sandbox.house.path("audit.jsonl"));
    assert!(detail.contains("socket only"), "{detail}");
    assert_eq!(sandbox.run(&["sh", "-c", "echo $LD_PRELOAD"]).lines(), [""]);
}

#[test]
fn without_a_listener_the_policy_says_what_will_do() {
    require!(feature::listener());
    let sandbox = Preloaded::new();
    let file = sandbox.given("a");
    let without_listener = || {
        let mut command = sandbox.house.supervise(&["-v"]);
        run_without_listener(command.args(["cat", &file]))
    };
    sandbox.says("notify");
    assert_eq!(sandbox.run(&["cat", &file]).lines(), [GIVEN]);
    assert_eq!(sandbox.run(&["sh", "-c", "echo $LD_PRELOAD"]).lines(), [""]);
    let ran = without_listener().expect_code(125);
    assert!(ran.stderr.contains("\"notify\""), "{ran}");
    sandbox.says("auto");
    assert_eq!(sandbox.run(&["sh", "-c", "echo $LD_PRELOAD"]).lines(), [""]);
    let ran = without_listener();
    assert_eq!(ran.lines(), [GIVEN]);
    assert!(ran.stderr.contains("a preloaded library asks"), "{ran}");
}

#[test]
fn what_the_policy_preloads_itself_comes_first() {
    require!(feature::listener());
    let sandbox = Preloaded::new();
    let options = ["--env", "LD_PRELOAD=libc.so.6"];
    let ran = run(sandbox
        .house
        .supervise(&options)
        .args(["sh", "-c", "echo $LD_PRELOAD"]));
    let [line] = ran.lines()[..] else {
        panic!("{ran}");
    };
    let (first, second) = line.split_once(':').expect("two");
    assert_eq!(first, "libc.so.6");
    assert_eq!(Path::new(second), built::preload().canonicalize().unwrap());
}

/// The command and the library where they were installed, and directories to work in.
struct Installed {
    place: Workspace,
}

impl Installed {
    fn without_library() -> Self {
        let place = Workspace::new();
        for directory in ["bin", "lib/supervise", "work", "kept"] {
            place.make_dir(directory);
        }
        set_mode(&place.join("kept"), 0o700);
        copy_program(&built::supervise(), &place.join("bin/supervise"));
        Self { place }
    }

    fn new() -> Self {
        let installed = Self::without_library();
        copy_program(&built::preload(), &installed.library());
        installed
    }

    fn library(&self) -> PathBuf {
        self.place.join("lib/supervise/libsupervise_preload.so")
    }

    /// `name` and its rules, and where it is kept.
    fn policy(&self, name: &str, rules: &str) -> PathBuf {
        let text = format!("version = 1\nextends = [\"read-only\"]\n{rules}\n");
        self.place.write(format!("kept/{name}.toml"), text)
    }

    fn supervise(&self, policy: &Path, flags: &[&str], script: &str) -> Ran {
        let mut command = Command::new(self.place.join("bin/supervise"));
        command
            .arg("-p")
            .arg(policy)
            .arg("--audit")
            .arg(self.place.join("kept/audit.jsonl"))
            .args(flags)
            .args(["--", "sh", "-c", script])
            .current_dir(self.place.join("work"))
            .env("XDG_RUNTIME_DIR", self.place.join("kept"))
            .env("XDG_STATE_HOME", self.place.join("kept/state"));
        run(&mut command)
    }
}

const PRELOAD: &str = "[broker]\ntransparent = \"preload\"";

#[test]
fn a_library_that_is_wanted_and_not_there_stops_the_start_and_says_what_to_do() {
    let installed = Installed::without_library();
    let policy = installed.policy("policy", PRELOAD);
    let ran = installed
        .supervise(&policy, &[], "echo ran")
        .expect_code(125);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("cargo build"), "{ran}");
    // So does one that the policy keeps programs from reading.
    let installed = Installed::new();
    let denial = format!(
        "fs.deny = [\"{}\"]\n{PRELOAD}",
        installed.library().display()
    );
    let policy = installed.policy("policy", &denial);
    let ran = installed
        .supervise(&policy, &[], "echo ran")
        .expect_code(125);
    assert!(ran.stderr.contains("denied by"), "{ran}");
}

#[test]
fn the_library_is_found_where_it_is_installed_and_can_be_read_and_not_changed() {
    require!(feature::listener());
    let installed = Installed::new();
    let library = installed.library();
    let policy = installed.policy("policy", PRELOAD);
    let script = format!("cat {0} | wc -c; : >>{0}", library.display());
    let ran = installed.supervise(&policy, &[], &script);
    assert_ne!(ran.code(), 0, "{ran}");
    let size = std::fs::metadata(&library).expect("there").len();
    assert_eq!(ran.stdout.trim(), size.to_string(), "{ran}");
    assert!(!ran.stderr.contains("ld.so"), "{ran}");
}

#[test]
fn a_policy_that_leaves_no_open_to_the_kernel_does_not_start_without_one_that_hands_them_over() {
    let installed = Installed::new();
    let closed = "fs.exec = [\"$PWD\"]\nfs.deny = [\"$PWD/**/*.key\"]";
    for door in ["preload", "none"] {
        let rules = format!("{closed}\n[broker]\ntransparent = \"{door}\"");
        let policy = installed.policy("policy", &rules);
        let ran = installed.supervise(&policy, &[], "true").expect_code(125);
        assert!(ran.stderr.contains(door), "{ran}");
    }
}

/// Only one listener can be above a process, and the outer one has it.
#[test]
fn inside_another_sandbox_the_library_asks_and_gains_nothing_that_the_outer_one_denies() {
    require!(feature::listener());
    let installed = Installed::new();
    let place = &installed.place;
    for name in ["data/both", "data/inner", "data/outer", "data/denied"] {
        place.write(name, format!("{name}\n"));
    }
    let data = place.join("data").display().to_string();
    let outer = installed.policy(
        "outer",
        &format!(
            "fs.read = [\"{data}/both\", \"{data}/outer\", \"{data}/denied\", \"$PWD/../kept/inner.toml\"]\n\
             fs.write = [\"$PWD\"]"
        )
        .replace("$PWD/..", &place.path().display().to_string()),
    );
    // A pattern cannot be told to the kernel: here all of them are asked for.
    let inner = installed.policy(
        "inner",
        &format!("fs.deny = [\"{data}/denied\"]\n[[request]]\npath = \"{data}/[bio]*\"\naccess = [\"read\"]\ndecision = \"allow\""),
    );
    let script = format!(
        "\"$SUPERVISE_EXE\" -v -p {} --audit inner.jsonl -- sh -c 'for name in both inner outer denied; do cat {data}/$name; done; exec 3>&-; cat {data}/both'",
        inner.display(),
    );
    let ran = installed.supervise(&outer, &[], &script);
    assert_eq!(ran.stdout, "data/both\ndata/outer\n", "{ran}");
    // The last one has closed what it could ask over.
    for name in ["inner", "denied", "both"] {
        let refused = format!("{data}/{name}: {REFUSED}");
        assert!(ran.stderr.contains(&refused), "{ran}");
    }
    let (state, detail) = opens(&place.join("work/inner.jsonl"));
    assert_eq!(state, "enforced");
    assert!(
        detail.contains("no listener") && detail.contains("preloaded"),
        "{detail}"
    );
    assert!(ran.stderr.contains("a preloaded library asks"), "{ran}");
    let record = std::fs::read_to_string(place.join("work/inner.jsonl")).expect("a record");
    assert_eq!(
        record.matches("\"answer\":\"granted\"").count(),
        2,
        "{record}"
    );
}

/// What the outer supervisor opens for its programs it does not open for those that the inner one confines further.
#[test]
fn an_inner_sandbox_is_not_reached_around_by_what_the_outer_supervisor_does() {
    require!(feature::listener());
    let installed = Installed::new();
    let place = &installed.place;
    place.write("data/file", "data/file\n");
    place.make_dir("data/directory");
    let data = place.join("data").display().to_string();
    // Below a pattern everything is the outer supervisor's to give.
    let pattern = format!("fs.write = [\"$PWD\", \"{data}\"]\nfs.deny = [\"{data}/**/*.key\"]");
    let kept = place.join("kept/inner.toml").display().to_string();
    let outer = format!("fs.read = [\"{kept}\"]\n{pattern}");
    let outer = installed.policy("outer", &outer);
    let tries = format!(
        "cat {data}/file; echo more >>{data}/file; echo new >{data}/new; mkdir {data}/made; rmdir {data}/directory; mv {data}/file {data}/moved"
    );
    let inner = |rules: &str, tries: &str| {
        installed.policy("inner", rules);
        let script = format!("\"$SUPERVISE_EXE\" -p {kept} --audit inner.jsonl -- sh -c '{tries}'");
        installed.supervise(&outer, &[], &script)
    };
    let ran = inner("", &tries);
    assert_eq!(ran.stdout, "", "{ran}");
    assert!(place.join("data/directory").exists(), "{ran}");
    let left = std::fs::read_to_string(place.join("data/file")).expect("not moved");
    assert_eq!(left, "data/file\n", "{ran}");
    for made in ["data/new", "data/made"] {
        assert!(!place.join(made).exists(), "{made}: {ran}");
    }
    // What both allow is had: the inner supervisor asks the outer one, and is asked by the library.
    let both =
        format!("[[request]]\npath = \"{data}/**\"\naccess = [\"read\"]\ndecision = \"allow\"");
    let ran = inner(&both, &format!("cat {data}/file"));
    assert_eq!(ran.lines(), ["data/file"], "{ran}");
}
