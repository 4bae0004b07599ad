//! The examples, each run as its reader would.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::abi::{Link, compile};
use crate::child::with_doors;
use crate::harness::{Workspace, feature, require};
use crate::server::Supervisor;

/// Granted over each door, and refused, with the system's words for it.
fn asks(program: &dyn Fn() -> Command) {
    let supervisor = Supervisor::start();
    let content = "a line\n".repeat(3000);
    let path = supervisor.file("notes é", &content);
    for without in [None, Some("SUPERVISE_FD"), Some("SUPERVISE_SOCKET")] {
        let ask = |path: &Path| {
            let mut command = program();
            with_doors(command.arg(path), &supervisor);
            if let Some(door) = without {
                command.env_remove(door);
            }
            command.output().expect("started")
        };
        let granted = ask(&path);
        let said = String::from_utf8_lossy(&granted.stderr).into_owned();
        assert!(granted.status.success(), "{said}");
        assert_eq!(String::from_utf8_lossy(&granted.stdout), content);
        let refused = ask(Path::new("/etc/shadow"));
        assert_eq!(refused.status.code(), Some(1));
        assert!(refused.stdout.is_empty());
        assert!(!refused.stderr.is_empty());
    }
    assert!(supervisor.connections() >= 2);
    assert_eq!(supervisor.asked().len(), 6);
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where cargo puts examples, which it builds before it runs tests.
fn rust_example() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("the directory of the profile");
    profile.join("examples/ask")
}

#[test]
fn the_rust_example_asks() {
    require!(match rust_example().exists() {
        true => Ok(()),
        false => Err("`cargo test` without a target builds the example".to_owned()),
    });
    asks(&|| Command::new(rust_example()));
}

#[test]
fn the_c_example_asks() {
    require!(feature::program("cc"));
    let workspace = Workspace::new();
    let program = workspace.join("ask");
    compile(
        &["cc", "-std=c99", "-D_DEFAULT_SOURCE"],
        "examples/ask.c",
        Link::Static,
        &program,
    );
    asks(&|| Command::new(&program));
}

#[test]
fn the_python_example_asks() {
    require!(feature::program("python3"));
    asks(&|| {
        let mut command = Command::new("python3");
        command.arg(package().join("examples/ask.py"));
        command
    });
}

#[test]
fn the_program_in_the_specification_asks() {
    require!(feature::program("python3"));
    let specification =
        std::fs::read_to_string(package().join("../supervisor/protocol/README.md")).expect("read");
    let program = specification
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let program = program.expect("a program in the specification");
    let supervisor = Supervisor::start();
    let path = supervisor.file("a", "hello");
    let program = program.replace("/data/a", path.to_str().expect("text"));
    let run = |program: &str| {
        let mut command = Command::new("python3");
        with_doors(command.args(["-c", program]), &supervisor);
        let output = command.output().expect("started");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(run(&program), "hello");
    let refused = program.replace(path.to_str().expect("text"), "/etc/shadow");
    assert_eq!(run(&refused), "denied Permission denied\n");
}
