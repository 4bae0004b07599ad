//! `supervise report`: what is written of a record, whatever is in it and whoever chose the names.

#[path = "../harness/mod.rs"]
mod harness;

mod formats;
mod hostile;
mod page;
mod record;

use harness::Workspace;
use harness::built::supervise;
use harness::run::{Ran, run};
use nix::errno::Errno;
use std::path::{Path, PathBuf};
use std::process::Command;
use supervisor::audit::{
    Answer, Bytes, Decision, Digest, Door, Event, Layer, Log, Named, Start, State, Status, Who,
};
use supervisor::policy::{Access, Mechanism, Origin, Reason, Source};

/// A log with runs of a test's making.
struct Scene {
    kept: Workspace,
}

impl Scene {
    fn new() -> Self {
        Self {
            kept: Workspace::new(),
        }
    }

    fn log(&self) -> PathBuf {
        self.kept.join("audit.jsonl")
    }

    /// Adds a run to the log that decides this, and ends.
    fn ran(&self, session: &str, decisions: &[Decision<'_>]) {
        self.begun(session, decisions)
            .finish(Status::Exited(3))
            .expect("it can be written");
    }

    /// Adds a run that does not end.
    fn begun(&self, session: &str, decisions: &[Decision<'_>]) -> Log {
        let mut log = Log::create(&self.log()).expect("it can be made");
        let start = Start {
            session,
            version: "0",
            pid: 1,
            uid: 1000,
            argv: vec![Bytes(b"sh"), Bytes(b"-c"), Bytes(b"make <all>")],
            argv_more: 0,
            directory: Bytes(b"/home/u/project"),
            policies: vec![Named {
                name: Bytes(b"./policy.toml"),
                sha256: Digest::of(b""),
            }],
            kernel: Bytes(b"6.12"),
            landlock_abi: 6,
            landlock_errata: 0,
            layers: vec![
                layer("files", State::Enforced),
                layer("scope", State::Missing),
            ],
            budgets: Vec::new(),
        };
        log.record(&Event::Start(start)).expect("it can be written");
        for decision in decisions {
            let event = Event::Decision(*decision);
            log.record(&event).expect("it can be written");
        }
        log
    }

    /// `supervise report` with these arguments.
    fn report(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new(supervise());
        command
            .arg("report")
            .args(arguments)
            .current_dir(self.kept.path())
            .env("XDG_STATE_HOME", self.kept.join("state"))
            .env_remove("SUPERVISE");
        run(&mut command)
    }

    /// The log as `format` has it.
    fn as_format(&self, format: &str) -> Ran {
        let log = self.log();
        let log = log.to_str().expect("a name of ours");
        self.report(&[log, "--format", format])
    }
}

fn layer(name: &str, state: State) -> Layer<'_> {
    Layer {
        name,
        state,
        detail: None,
    }
}

const FORMATS: [&str; 7] = [
    "text", "json", "sarif", "junit", "markdown", "html", "github",
];

/// Reading a file, refused since nothing allows it.
fn refused(path: &[u8]) -> Decision<'_> {
    let who = Who {
        pid: 42,
        uid: 1000,
        exe: Some(Bytes(b"/usr/bin/cat")),
    };
    Decision {
        path: Some(Bytes(path)),
        access: Some(Access::READ),
        code: Some("denied"),
        errno: Some(Errno::EACCES),
        reason: Some(Reason::NoRule),
        mechanism: Some(Mechanism::Broker),
        detail: Some("no rule allows it"),
        ..Decision::new(Door::Call, "openat", who, Answer::Refused)
    }
}

/// The same, by a line of a policy.
fn denied<'a>(path: &'a str, rule: &'a Origin) -> Decision<'a> {
    Decision {
        reason: Some(Reason::Rule),
        rule: Some(rule),
        detail: Some("denied by ./policy.toml:7"),
        ..refused(path.as_bytes())
    }
}

fn granted(path: &str) -> Decision<'_> {
    Decision {
        answer: Answer::Granted,
        code: None,
        errno: None,
        reason: None,
        ..refused(path.as_bytes())
    }
}

fn line_seven() -> Origin {
    Origin::line(Source::File("./policy.toml".into()), 7)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it can be read")
}
