//! The program that asks: this same one again, told what to do by its environment.

use std::io::Read as _;
use std::process::{Command, Stdio};

use child_shim::{Client, Error, OpenOptions, connect, open};

use crate::server::Supervisor;

/// This program in a role, with the inherited connection as its standard input.
pub fn in_role(role: &str, supervisor: &Supervisor) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own file"));
    command
        .args(["--exact", "child::role", "--nocapture"])
        .env("ROLE", role);
    with_doors(&mut command, supervisor);
    command
}

/// Gives a program both ways to the supervisor.
pub fn with_doors<'a>(command: &'a mut Command, supervisor: &Supervisor) -> &'a mut Command {
    command
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(supervisor.end())))
        .env("SUPERVISE_FD", "0")
        .env("SUPERVISE_SOCKET", &supervisor.name)
}

/// What the child does. Without a role it is no child.
#[test]
fn role() {
    let Ok(role) = std::env::var("ROLE") else {
        return;
    };
    let path = std::env::var("FILE").expect("a file to ask for");
    let reading = reading();
    let asked = match role.as_str() {
        "ask" => connect().and_then(|client| client.open(&path, &reading)),
        "open" => open(&path, &reading),
        "ask often" => {
            let client = connect().expect("a supervisor");
            for _ in 0..200 {
                assert_eq!(
                    content(&client, &path),
                    std::env::var("CONTENT").expect("what it contains")
                );
            }
            client.open(&path, &reading)
        }
        role => panic!("no role {role}"),
    };
    match asked {
        Ok(mut file) => {
            let mut content = String::new();
            file.read_to_string(&mut content).expect("read");
            println!("CONTENT {content}");
        }
        Err(Error::NoDoor) => println!("NO DOOR"),
        Err(error) => println!("ERROR {} {error}", error.errno()),
    }
}

pub fn content(client: &Client, path: &str) -> String {
    let mut content = String::new();
    let mut file = client.open(path, &reading()).expect("granted");
    file.read_to_string(&mut content).expect("read");
    content
}

/// Long enough for a machine that does ten other things; whoever waits longer has failed.
pub fn reading() -> OpenOptions {
    OpenOptions::new()
        .read(true)
        .timeout(crate::harness::run::DEADLINE)
}
