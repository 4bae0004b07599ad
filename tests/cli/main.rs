//! The command as its users meet it: flags, messages, status lines, terminals, itself inside itself.

#[path = "../harness/terminal.rs"]
mod controlling;
#[path = "../harness/desk.rs"]
mod desk;
#[path = "../harness/mod.rs"]
mod harness;
#[path = "../harness/screen.rs"]
mod tty;

mod answering;
mod flags;
mod generated;
mod hint;
mod messages;
mod nested;
mod record;
mod screen;
mod status_lines;
mod terminal;
mod waiting;

use harness::Workspace;
use harness::built::supervise;
use std::path::PathBuf;
use std::process::Command;

/// A directory to run in, and others for what the command keeps.
struct Scene {
    workspace: Workspace,
    kept: Workspace,
}

impl Scene {
    fn new() -> Self {
        Self {
            workspace: Workspace::new(),
            kept: Workspace::new(),
        }
    }

    /// `supervise` with these arguments, in the workspace, leaving nothing outside of this scene.
    fn supervise(&self, arguments: &[&str]) -> Command {
        let mut supervise = Command::new(supervise());
        self.at_home(supervise.args(arguments));
        supervise
    }

    /// `supervise` with a shell script as its command.
    fn script(&self, flags: &[&str], script: &str) -> Command {
        let mut arguments = flags.to_vec();
        arguments.extend(["--", "sh", "-c", script]);
        self.supervise(&arguments)
    }

    fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .current_dir(self.workspace.path())
            .env("PWD", self.workspace.path())
            .env("XDG_RUNTIME_DIR", self.kept.path())
            .env("XDG_STATE_HOME", self.kept.join("state"))
            .env_remove("SUPERVISE")
    }

    /// The record of its runs.
    fn log(&self) -> PathBuf {
        self.kept.join("state/supervise/audit.jsonl")
    }
}
