//! Workers in three languages, each with the same jobs: `ask`, `fail`, `wait PATH`, and what is answered as it is.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use protocol::{Value, json};

use crate::abi::{Link, compile};
use crate::harness::worker::{Peer, Worker};
use crate::harness::{Workspace, built, feature};

/// What a worker is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Rust,
    C,
    Python,
}

impl Language {
    /// Whether it can be had here.
    pub fn is_there(self) -> Result<(), String> {
        match self {
            Self::Rust => Ok(()),
            Self::C => feature::program("cc"),
            Self::Python => feature::program("python3"),
        }
    }

    pub fn command(self) -> Command {
        match self {
            Self::Rust => Command::new(built::worker()),
            Self::C => Command::new(compiled()),
            Self::Python => {
                let mut command = Command::new("python3");
                let package = Path::new(env!("CARGO_MANIFEST_DIR"));
                command.arg(package.join("examples/worker.py"));
                command
            }
        }
    }

    pub fn start(self) -> Worker {
        Worker::start(&mut self.command())
    }
}

/// The example in C, once for all tests.
fn compiled() -> PathBuf {
    static PROGRAM: LazyLock<(Workspace, PathBuf)> = LazyLock::new(|| {
        let workspace = Workspace::new();
        let program = workspace.join("worker");
        compile(
            &["cc", "-std=c99", "-D_DEFAULT_SOURCE"],
            "examples/worker.c",
            Link::Static,
            &program,
        );
        (workspace, program)
    });
    PROGRAM.1.clone()
}

/// The answer to a request, as JSON.
#[track_caller]
pub fn ask(peer: &mut Peer, id: u64, request: Value) -> Value {
    peer.say(&json!({"id": id, "req": request}).to_string());
    hear(peer)
}

#[track_caller]
pub fn hear(peer: &mut Peer) -> Value {
    peer.hear().parse().expect("JSON")
}

/// The code of a refusal.
#[track_caller]
pub fn code(answer: &Value) -> &str {
    assert_eq!(answer["ok"], false, "{answer}");
    answer["error"]["code"].as_str().expect("a code")
}

/// Defines a test for each language: a module of this name with three tests.
macro_rules! in_every_language {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use crate::harness::require;
            use crate::workers::Language;

            #[test]
            fn in_rust() {
                super::$name(Language::Rust);
            }

            #[test]
            fn in_c() {
                require!(Language::C.is_there());
                super::$name(Language::C);
            }

            #[test]
            fn in_python() {
                require!(Language::Python.is_there());
                super::$name(Language::Python);
            }
        }
    )+};
}
pub(crate) use in_every_language;
