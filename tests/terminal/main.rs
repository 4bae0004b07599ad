//! A terminal of the command's own, on real terminals: jobs, sizes, full-screen programs, what is put right after every kind of
//! death, and what never reaches the caller's.

#[path = "../harness/terminal.rs"]
mod controlling;
#[path = "../harness/desk.rs"]
mod desk;
#[path = "../harness/mod.rs"]
mod harness;

mod attacks;
mod deaths;
mod jobs;
mod multiplexer;
mod policies;
mod programs;
mod streams;

use desk::Desk;
use harness::Workspace;
use harness::process::parent;
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use std::process::Command;

/// A directory to run in, and another for what the supervisor keeps.
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

    fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .current_dir(self.workspace.path())
            .env("PWD", self.workspace.path())
            .env("XDG_RUNTIME_DIR", self.kept.path())
            .env("XDG_STATE_HOME", self.kept.join("state"))
            .env_remove("SUPERVISE")
    }

    /// A shell with job control.
    fn shell(&self) -> Desk {
        Desk::new(self.at_home(&mut Desk::shell()))
    }

    /// A shell that runs a script, and has no job control: nobody but us puts anything right.
    fn script(&self, script: &str) -> Desk {
        let mut shell = Command::new("env");
        shell.args(["--default-signal", "sh", "-c", script]);
        Desk::new(self.at_home(&mut shell))
    }
}

/// How the caller's terminal behaves.
fn modes(desk: &Desk) -> Termios {
    tcgetattr(&desk.keyboard).expect("a terminal has modes")
}

/// How a new terminal behaves. That of a desk may be raw before anybody has looked.
fn usual() -> Termios {
    let (_master, slave) = sys::terminal::pair().expect("a terminal");
    tcgetattr(slave).expect("a terminal has modes")
}

fn is_raw(desk: &Desk) -> bool {
    let all = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG;
    !modes(desk).local_flags.intersects(all)
}

/// The supervisor of the command with that pid: between them stands the guardian.
fn supervisor_of(command: i32) -> i32 {
    parent(command).and_then(parent).expect("the command lives")
}
