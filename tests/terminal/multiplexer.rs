//! A terminal multiplexer around it all, whose screen can be looked at.

use super::Scene;
use super::harness::run::eventually;
use std::path::PathBuf;
use std::process::Command;

/// A server of tmux's of this test's own.
pub struct Tmux(PathBuf);

impl Tmux {
    /// One with a shell, where the scene is.
    pub fn start(scene: &Scene, columns: u16, rows: u16) -> Self {
        let tmux = Self(scene.kept.path());
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let mut start = tmux.command(&[
            "new-session",
            "-d",
            "-s",
            "run",
            "-x",
            &columns,
            "-y",
            &rows,
            "sh",
        ]);
        let started = scene
            .at_home(&mut start)
            .env("TERM", "xterm-256color")
            .output();
        let started = started.expect("tmux is there");
        assert!(started.status.success(), "{started:?}");
        tmux
    }

    /// Types a line.
    pub fn types(&self, line: &str) {
        self.says(&["send-keys", "-t", "run", line, "Enter"]);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S")
            .arg(self.0.join("tmux"))
            .args(["-f", "/dev/null"]);
        tmux.args(arguments).env_remove("TMUX");
        tmux
    }

    pub fn says(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("tmux is there");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    pub fn shows(&self, text: &str) {
        eventually(&format!("{text:?} is on the screen"), || {
            self.says(&["capture-pane", "-p", "-t", "run"])
                .contains(text)
        });
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _gone = self.command(&["kill-server"]).output();
    }
}
