//! `supervise import`: what other sandboxes were told, as policies of ours.

#[path = "../harness/mod.rs"]
mod harness;

mod command_lines;
mod profiles;

use harness::Workspace;
use harness::built::supervise;
use harness::run::{Ran, run};
use std::process::Command;

/// Nothing is lost.
const SAME: i32 = 0;
/// Something is not allowed any more.
const NARROWER: i32 = 1;
/// Something restricts less.
const WEAKER: i32 = 2;

struct Scene {
    workspace: Workspace,
}

/// A policy that was made.
struct Made {
    ran: Ran,
    text: String,
}

impl Scene {
    fn new() -> Self {
        Self {
            workspace: Workspace::new(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(supervise());
        command
            .args(arguments)
            .current_dir(self.workspace.path())
            .env("PWD", self.workspace.path())
            .env("XDG_STATE_HOME", self.workspace.join("state"))
            .env_remove("SUPERVISE");
        command
    }

    /// Imports a file with this text.
    #[track_caller]
    fn file(&self, from: &str, text: &str) -> Made {
        let file = self.workspace.write("there", text);
        let file = file.to_str().expect("a name of ours");
        self.made(&["import", "--from", from, file])
    }

    /// Imports a command line.
    #[track_caller]
    fn flags(&self, from: &str, flags: &str) -> Made {
        let mut arguments = vec!["import", "--from", from, "--"];
        arguments.extend(flags.split_whitespace());
        self.made(&arguments)
    }

    #[track_caller]
    fn made(&self, arguments: &[&str]) -> Made {
        let ran = run(&mut self.command(arguments));
        let text = ran.stdout.clone();
        Made { ran, text }
    }

    /// What the policy answers, such as `allow` or `deny`.
    #[track_caller]
    fn answer(&self, made: &Made, question: &str, object: &str) -> String {
        let policy = self.workspace.write("made.toml", &made.text);
        let policy = policy.to_str().expect("a name of ours");
        let home = format!("HOME={}", self.workspace.path().display());
        let arguments = ["explain", "-p", policy, "--env", &home, question, object];
        let ran = run(&mut self.command(&arguments));
        let first = ran.stdout.split(':').next().unwrap_or_default();
        assert!(
            ["allow", "deny", "ask"].contains(&first),
            "{}\n{ran}",
            made.text
        );
        first.to_owned()
    }
}

impl Made {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.ran.code(), code, "{}", self.ran);
        self
    }

    /// Has this line, whatever stands behind it.
    #[track_caller]
    fn has(&self, line: &str) -> &Self {
        let mut lines = self.text.lines().map(str::trim);
        assert!(
            lines.any(|own| own.starts_with(line)),
            "no {line} in\n{}",
            self.text
        );
        self
    }

    #[track_caller]
    fn lacks(&self, text: &str) -> &Self {
        assert!(!self.text.contains(text), "{text} in\n{}", self.text);
        self
    }
}

#[test]
fn nothing_is_overwritten_and_what_is_no_profile_is_an_error() {
    let scene = Scene::new();
    let file = scene.workspace.write("there", "{}");
    let file = file.to_str().expect("a name of ours");
    let into = |name| run(&mut scene.command(&["import", "--from", "srt", file, "-o", name]));
    into("policy.toml").expect_code(NARROWER);
    into("policy.toml").expect_code(125);
    for (from, text) in [
        ("srt", "[1]"),
        ("srt", "{"),
        ("nono", "\"x\""),
        ("systemd", "[Unit]\nAfter=x\n"),
        ("systemd", "[Service]\nnothing\n"),
        ("bwrap", "ls -l"),
        ("bwrap", "bwrap --bind /a"),
        ("bwrap", "bwrap 'x"),
        ("landrun", "landrun --ro"),
    ] {
        let made = scene.file(from, text).expect(125);
        assert_eq!(made.text, "", "{from} {text}");
    }
}

/// Whoever wrote the profile may want to have a policy opened.
#[test]
fn no_text_of_a_profile_becomes_a_rule() {
    let scene = Scene::new();
    let hostile = "x\"]\\nread = [\\\"/etc\\\"]\\n#\\u202e\\u001b";
    let text = format!("{{\"filesystem\": {{\"denyRead\": [\"{hostile}\"], \"{hostile}\": 1}}}}");
    let made = scene.file("srt", &text.replace("x\"]", "x\\\"]"));
    made.lacks("\nread = ").lacks("\u{202e}").lacks("\u{1b}");
    let made = scene.file(
        "systemd",
        "[Service]\nEnvironment=A=\"\u{1b}]0;x\nUser=a\u{202e}b\r\n",
    );
    made.lacks("\u{1b}").lacks("\u{202e}").lacks("\r");
}
