//! A sandbox with something in it to ask for.

use crate::harness::Workspace;
use crate::harness::built::supervise;
use crate::harness::run::Ran;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Below `given` everything is granted, below `asked` somebody is asked, `given/denied` is denied, and nothing speaks of `secret`.
/// Before anything below `changed` is written somebody is asked, below `counted` there is one grant.
/// The command runs in `work`.
pub struct House {
    pub workspace: Workspace,
}

impl House {
    pub fn new() -> Self {
        let workspace = Workspace::new();
        for directory in [
            "given/directory",
            "asked",
            "changed",
            "counted",
            "work",
            "state",
        ] {
            workspace.make_dir(directory);
        }
        crate::harness::set_mode(&workspace.make_dir("runtime"), 0o700);
        workspace.write("given/a", "a file that is given\n");
        workspace.write("given/denied", "denied\n");
        workspace.write("asked/a", "a file that is asked for\n");
        workspace.write("secret", "secret\n");
        for name in ["changed/a", "changed/b", "counted/a"] {
            crate::harness::set_mode(&workspace.write(name, name), 0o640);
        }
        let at = |name: &str| workspace.join(name).display().to_string();
        let policy = format!(
            r#"
version = 1
[fs]
read = ["/etc", "/usr", "/bin", "/lib", "/lib64?", "{programs}"]
exec = ["/usr", "/bin", "/lib", "/lib64?", "{programs}"]
write = ["{work}"]
deny = ["{given}/denied"]
[[request]]
path = "{given}/**"
access = ["read", "write"]
decision = "allow"
[[request]]
path = "{asked}/**"
access = ["read"]
decision = "ask"
[[request]]
path = "{changed}"
access = ["read", "write"]
decision = "ask"
[[request]]
path = "{counted}"
access = ["read", "write"]
decision = "allow"
budget = 1
[broker]
timeout = "30s"
"#,
            programs = programs().display(),
            work = at("work"),
            given = at("given"),
            asked = at("asked"),
            changed = at("changed"),
            counted = at("counted"),
        );
        workspace.write("policy.toml", policy);
        Self { workspace }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.workspace.join(name)
    }

    /// The command, with these options, and the record kept here. What is to be run is still to be added.
    pub fn supervise(&self, options: &[&str]) -> Command {
        let mut command = Command::new(supervise());
        command.arg("--policy").arg(self.path("policy.toml"));
        command.arg("--audit").arg(self.path("audit.jsonl"));
        // Whoever runs the tests may have no home.
        command
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("runtime"));
        command
            .args(options)
            .arg("--")
            .current_dir(self.path("work"));
        command
    }

    /// This program in a role, inside.
    pub fn inside(&self, role: &str, told: &[(&str, &Path)], options: &[&str]) -> Command {
        let mut every: Vec<String> = vec!["--env".to_owned(), format!("ROLE={role}")];
        for (name, value) in told {
            every.extend(["--env".to_owned(), format!("{name}={}", value.display())]);
        }
        every.extend(options.iter().map(|option| (*option).to_owned()));
        let every: Vec<&str> = every.iter().map(String::as_str).collect();
        let mut command = self.supervise(&every);
        command
            .arg(own())
            .args(["--exact", "inside::role", "--nocapture"]);
        command
    }

    /// What was decided of what was asked for over the socket, from the record. (The opens of a program's start are decided too.)
    pub fn decisions(&self) -> Vec<Value> {
        self.decided("socket")
    }

    /// What was decided of trapped calls.
    pub fn calls(&self) -> Vec<Value> {
        self.decided("call")
    }

    fn decided(&self, door: &str) -> Vec<Value> {
        let record = std::fs::read_to_string(self.path("audit.jsonl")).expect("there is a record");
        let lines = record
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"));
        lines
            .filter(|line: &Value| line["event"] == "decision" && line["door"] == door)
            .collect()
    }

    /// A program that answers questions.
    pub fn approver(&self, script: &str) -> PathBuf {
        let path = self
            .workspace
            .write("approver", format!("#!/bin/sh\nset -eu\n{script}\n"));
        crate::harness::set_mode(&path, 0o755);
        path
    }
}

/// This program.
pub fn own() -> PathBuf {
    std::env::current_exe().expect("a test knows its own file")
}

/// Where it and the others lie.
fn programs() -> PathBuf {
    let own = own();
    let profile = own
        .parent()
        .and_then(Path::parent)
        .expect("the directory of the profile");
    profile.to_owned()
}

/// What a role said, line by line.
pub fn said(ran: &Ran) -> Vec<&str> {
    assert_eq!(ran.code(), 0, "{ran}");
    ran.stdout
        .lines()
        .filter_map(|line| Some(line.split_once("SAID ")?.1))
        .collect()
}
