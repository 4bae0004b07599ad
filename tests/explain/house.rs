//! A directory to run in, and what the command keeps, beside it.

use super::harness::Workspace;
use super::harness::built::supervise;
use super::harness::run::{Ran, run};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

pub struct House {
    pub workspace: Workspace,
    pub kept: Workspace,
    /// Of which no policy says anything.
    pub data: Workspace,
}

impl House {
    pub fn new() -> Self {
        Self {
            workspace: Workspace::new(),
            kept: Workspace::new(),
            data: Workspace::new(),
        }
    }

    /// `supervise` with these arguments, in the workspace, leaving nothing outside of this house.
    pub fn supervise(&self, arguments: &[&str]) -> Command {
        let mut supervise = Command::new(supervise());
        supervise
            .args(arguments)
            .current_dir(self.workspace.path())
            .env("PWD", self.workspace.path())
            .env("XDG_RUNTIME_DIR", self.kept.path())
            .env("XDG_STATE_HOME", self.kept.join("state"))
            .env_remove("SUPERVISE");
        supervise
    }

    /// A policy that says this, beside what `read-only` says.
    pub fn policy(&self, added: &str) -> String {
        let text = format!("version = 1\nextends = [\"read-only\"]\n{added}\n");
        let path = self.kept.write("policy.toml", text);
        path.to_str().expect("text").to_owned()
    }

    /// Runs a script under such a policy, in which every open is the supervisor's to decide.
    pub fn run(&self, added: &str, script: &str) -> Ran {
        let policy = self.policy(&format!("{DECIDED}\n{added}"));
        run(&mut self.supervise(&["-q", "-p", &policy, "--", "sh", "-c", script]))
    }

    /// What is explained.
    pub fn explain(&self, arguments: &[&str]) -> Ran {
        let arguments = [&["explain"], arguments].concat();
        run(&mut self.supervise(&arguments))
    }

    /// The last run, explained to programs.
    pub fn explained(&self) -> Value {
        let ran = self.explain(&["--last", "--json"]).expect_code(0);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
    }

    /// The record of all runs.
    pub fn log(&self) -> PathBuf {
        self.kept.join("state/supervise/audit.jsonl")
    }
}

/// A pattern somewhere makes opens the supervisor's.
pub const DECIDED: &str = "fs.deny = [\"$TMPDIR/**/*.none\"]";
