//! What runs inside: this same program again, told what to do by its environment.

use client::{Client, Error};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use protocol::{Access, Create, OpenFlags, OpenRequest, RequestedPath};
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

/// Without a role it is a test, and has nothing to do.
#[test]
fn role() {
    match std::env::var("ROLE").as_deref() {
        Ok("ask for many") => runtime().block_on(ask_for_many()),
        Ok("have no descriptors") => runtime().block_on(have_no_descriptors()),
        Ok(role) => panic!("no role {role}"),
        Err(_) => {}
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

fn say(what: impl std::fmt::Display) {
    // On a line of its own: the test harness begins lines without ending them.
    println!("\nSAID {what}");
}

fn told(name: &str) -> OpenRequest {
    let path = std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set"));
    OpenRequest {
        id: 0,
        path: RequestedPath::new(path.into_vec()).expect("a path"),
        access: Access::Read,
        flags: OpenFlags::NONE,
        create: Create::No,
        mode: OpenRequest::MODE,
        why: None,
    }
}

fn content(file: OwnedFd) -> String {
    let mut content = String::new();
    let mut file = std::fs::File::from(file);
    file.read_to_string(&mut content).expect("read");
    content
}

async fn ask_for_many() {
    let client = Client::connect().await.expect("a supervisor");
    for name in ["FILE", "DENIED"] {
        let asked: Vec<_> = (0..100)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.open(told(name)).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for asked in asked {
            let opened: Result<OwnedFd, Error> = asked.await.expect("a task");
            outcomes.push(opened.map(content).map_err(|error| error.to_string()));
        }
        let first = &outcomes[0];
        let alike = outcomes.iter().filter(|outcome| *outcome == first).count();
        say(format_args!("{alike} {first:?}"));
    }
}

async fn have_no_descriptors() {
    let client = Client::connect().await.expect("a supervisor");
    let next = {
        let lowest = std::io::pipe().expect("a pipe").0;
        lowest.as_raw_fd().unsigned_abs().into()
    };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, next, hard).expect("lowered");
    let none = client.open(told("FILE")).await;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("raised");
    say(none.expect_err("no room for it"));
    let opened = client.open(told("FILE")).await.expect("granted");
    say(content(opened).trim_end());
}
