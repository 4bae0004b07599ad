//! How a command is started, stopped and ended: exit statuses, signals, streams, descriptors, and what outlives whom.

#[path = "../harness/mod.rs"]
mod harness;

mod ending;
mod inheritance;
mod signals;
mod status;

use harness::Workspace;
use harness::built::{probe, supervise};
use std::path::PathBuf;
use std::process::Command;

/// A directory to run in, with a policy that lets the probe be executed.
struct Scene {
    workspace: Workspace,
    runtime: Workspace,
}

impl Scene {
    fn new() -> Self {
        Self {
            workspace: Workspace::new(),
            runtime: Workspace::new(),
        }
    }

    /// `supervise` with the built-in policy and the probe, in the workspace, leaving nothing outside of this scene.
    fn supervise(&self, flags: &[&str], command: &[&str]) -> Command {
        let mut supervise = Command::new(supervise());
        supervise
            .args([
                "--exec".into(),
                probe().parent().expect("built somewhere").to_owned(),
            ] as [PathBuf; 2])
            .args(flags)
            .arg("--")
            .args(command)
            .current_dir(self.workspace.path())
            .env("XDG_RUNTIME_DIR", self.runtime.path())
            .env("XDG_STATE_HOME", self.runtime.join("state"));
        supervise
    }

    /// The probe as the command.
    fn probe(&self, acts: &[&str]) -> Command {
        let probe = probe();
        let command: Vec<&str> = [probe.to_str().expect("UTF-8")]
            .into_iter()
            .chain(acts.iter().copied())
            .collect();
        self.supervise(&[], &command)
    }

    /// What sessions have on disk now.
    fn sessions(&self) -> usize {
        std::fs::read_dir(self.runtime.join("supervise")).map_or(0, |entries| entries.count())
    }
}
