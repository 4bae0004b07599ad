//! The client of Rust programs.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use child_shim::{Client, Code, Doors, Error, OpenOptions};
use nix::errno::Errno;
use protocol::{Access, Create};
use socket::Channel;

use crate::child::{content, in_role, reading};
use crate::harness::process::{NOBODY, as_uid};
use crate::harness::run::run;
use crate::server::Supervisor;

fn inherited(supervisor: &Supervisor) -> Client {
    Client::new(Doors::default().with_inherited(supervisor.end())).expect("a client")
}

fn named(supervisor: &Supervisor) -> Client {
    Client::new(Doors::default().with_named(&supervisor.name)).expect("a client")
}

fn both(supervisor: &Supervisor) -> Client {
    let doors = Doors::default()
        .with_inherited(supervisor.end())
        .with_named(&supervisor.name);
    Client::new(doors).expect("a client")
}

#[test]
fn a_file_is_granted_over_each_door() {
    let supervisor = Supervisor::start();
    let path = supervisor.file("a", "hello");
    for client in [
        inherited(&supervisor),
        named(&supervisor),
        both(&supervisor),
    ] {
        let grant = client
            .request(&path, &reading().why("test"))
            .expect("granted");
        assert_eq!(grant.expires, Some(Duration::from_secs(600)));
        let mut text = String::new();
        std::fs::File::from(grant.fd)
            .read_to_string(&mut text)
            .expect("read");
        assert_eq!(text, "hello");
    }
    let asked = supervisor.asked();
    assert_eq!(asked.len(), 3);
    for (pid, request) in asked {
        assert_eq!(pid, std::process::id());
        assert_eq!((request.access, request.create), (Access::Read, Create::No));
        assert_eq!(request.why.as_deref(), Some("test"));
    }
    assert_eq!(
        supervisor.connections(),
        1,
        "an inherited connection is used where there is one"
    );
}

#[test]
fn a_file_is_made_written_and_appended_to() {
    let supervisor = Supervisor::start();
    let path = supervisor.workspace.join("granted/new");
    let client = inherited(&supervisor);
    let new = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o640);
    let mut file = client.open(&path, &new).expect("granted");
    file.write_all(b"one").expect("written");
    file.rewind().expect("rewound");
    assert_eq!(
        client.open(&path, &new).expect_err("it is there").errno(),
        Errno::EEXIST
    );
    client
        .open(&path, &OpenOptions::new().append(true))
        .and_then(|mut file| file.write_all(b", two").map_err(|error| panic!("{error}")))
        .expect("appended");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    assert_eq!(text, "one, two");
    client
        .open(&path, &OpenOptions::new().write(true).truncate(true))
        .expect("granted");
    assert_eq!(std::fs::metadata(&path).expect("the file").len(), 0);
}

#[test]
fn a_refusal_says_which_rule_and_is_an_ordinary_error() {
    let supervisor = Supervisor::start();
    let error = inherited(&supervisor)
        .open("/etc/shadow", &reading())
        .expect_err("refused");
    let Error::Refused(refused) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        (refused.code, refused.rule.as_deref()),
        (Code::Denied, Some("test.toml:12"))
    );
    assert_eq!(error.to_string(), "refused: denied by test.toml:12");
    assert_eq!(
        std::io::Error::from(error).kind(),
        std::io::ErrorKind::PermissionDenied
    );
}

#[test]
fn what_cannot_be_said_is_not_sent() {
    let supervisor = Supervisor::start();
    let client = inherited(&supervisor);
    for (path, options) in [
        ("", reading()),
        ("/a", OpenOptions::new()),
        ("/a", reading().truncate(true)),
    ] {
        client.open(path, &options).expect_err("not a request");
    }
    assert!(supervisor.asked().is_empty());
}

#[test]
fn without_a_door_there_is_nobody_to_ask() {
    assert!(matches!(Client::new(Doors::default()), Err(Error::NoDoor)));
    let nowhere = Doors::default().with_named("/nowhere/door");
    assert!(matches!(Client::new(nowhere), Err(Error::Socket(_))));
}

#[test]
fn threads_ask_at_once_and_none_gets_what_another_asked_for() {
    let supervisor = Supervisor::start();
    let clients = [
        inherited(&supervisor),
        named(&supervisor),
        both(&supervisor),
    ];
    for (round, client) in clients.into_iter().enumerate() {
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (client, supervisor) = (client.clone(), &supervisor);
                scope.spawn(move || {
                    let name = format!("file{round}{thread}");
                    let path = supervisor.file(&name, &name);
                    for _ in 0..50 {
                        assert_eq!(content(&client, path.to_str().expect("text")), name);
                    }
                });
            }
        });
    }
}

#[test]
fn a_request_that_waits_for_a_decision_delays_no_other() {
    let supervisor = Supervisor::start();
    let (slow, quick) = (
        supervisor.file("slow", "late"),
        supervisor.file("quick", "now"),
    );
    let client = both(&supervisor);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| content(&client, slow.to_str().expect("text")));
        crate::harness::run::eventually("it was asked for", || supervisor.asked().len() == 1);
        for _ in 0..20 {
            assert_eq!(content(&client, quick.to_str().expect("text")), "now");
        }
        assert!(!waiting.is_finished());
        supervisor.decide();
        assert_eq!(waiting.join().expect("the thread"), "late");
    });
}

#[test]
fn an_answer_that_comes_too_late_is_nobodys() {
    let supervisor = Supervisor::start();
    let (slow, quick) = (
        supervisor.file("slow", "late"),
        supervisor.file("quick", "now"),
    );
    let client = inherited(&supervisor);
    let error = client
        .open(&slow, &reading().timeout(Duration::from_millis(50)))
        .expect_err("too late");
    assert_eq!(error.errno(), Errno::ETIMEDOUT);
    supervisor.decide();
    for _ in 0..3 {
        assert_eq!(content(&client, quick.to_str().expect("text")), "now");
    }
}

#[test]
fn a_closed_inherited_connection_is_replaced_by_name() {
    let supervisor = Supervisor::start();
    let path = supervisor.file("a", "hello");
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let doors = Doors::default()
        .with_inherited(theirs)
        .with_named(&supervisor.name);
    let client = Client::new(doors).expect("a client");
    drop(ours);
    assert_eq!(content(&client, path.to_str().expect("text")), "hello");
    assert_eq!(content(&client, path.to_str().expect("text")), "hello");
    assert_eq!(supervisor.connections(), 1);
}

#[test]
fn a_supervisor_that_is_gone_is_an_error_and_no_signal() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let client = Client::new(Doors::default().with_inherited(theirs)).expect("a client");
    drop(ours);
    assert!(matches!(client.open("/a", &reading()), Err(Error::NoDoor)));

    let supervisor = Supervisor::start();
    let client = named(&supervisor);
    drop(supervisor);
    assert!(matches!(
        client.open("/a", &reading()),
        Err(Error::Socket(_))
    ));
}

#[test]
fn a_file_that_must_be_new_is_not_asked_for_twice() {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let supervisor = Supervisor::start();
    let doors = Doors::default()
        .with_inherited(theirs)
        .with_named(&supervisor.name);
    let client = Client::new(doors).expect("a client");
    let mut channel = Channel::new(ours).expect("a channel");
    let asking = std::thread::spawn(move || {
        client
            .open("/a", &OpenOptions::new().write(true).create_new(true))
            .map(drop)
    });
    crate::harness::run::eventually("it was asked for", || {
        channel.feed().expect("the channel works");
        channel.next_request().is_some()
    });
    drop(channel);
    assert!(matches!(
        asking.join().expect("the thread"),
        Err(Error::Socket(_))
    ));
    assert!(supervisor.asked().is_empty());
}

#[test]
fn processes_that_share_the_inherited_connection_never_get_each_others_files() {
    let supervisor = Arc::new(Supervisor::start());
    let children: Vec<_> = (0..6)
        .map(|child| {
            let supervisor = Arc::clone(&supervisor);
            std::thread::spawn(move || {
                let content = format!("file of {child}");
                let path = supervisor.file(&child.to_string(), &content);
                let mut command = in_role("ask often", &supervisor);
                // Half of them have no other way, and must wait for each other.
                if child % 2 == 0 {
                    command.env_remove("SUPERVISE_SOCKET");
                }
                let stdin = std::os::fd::OwnedFd::from(supervisor.end());
                command
                    .env("FILE", path)
                    .env("CONTENT", &content)
                    .stdin(stdin);
                let child = command
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .expect("started");
                let output = child.wait_with_output().expect("ended");
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(said.contains(&format!("CONTENT {content}")), "{said}");
            })
        })
        .collect();
    for child in children {
        child.join().expect("a child");
    }
}

#[test]
fn a_program_that_closed_its_descriptors_connects_by_name() {
    let supervisor = Supervisor::start();
    let path = supervisor.file("a", "hello");
    let mut command = in_role("ask", &supervisor);
    let said = run(command.env("FILE", &path).env("SUPERVISE_FD", "77"));
    assert!(said.stdout.contains("CONTENT hello"), "{said}");
    assert_eq!(supervisor.connections(), 1);
    // The number is another file's now: standard output.
    let mut command = in_role("ask", &supervisor);
    let said = run(command.env("FILE", &path).env("SUPERVISE_FD", "1"));
    assert!(said.stdout.contains("CONTENT hello"), "{said}");
    assert_eq!(supervisor.connections(), 2);
}

#[test]
fn outside_a_sandbox_there_is_no_door_and_opening_is_opening() {
    let supervisor = Supervisor::start();
    let path = supervisor.workspace.write("plain", "hello");
    let outside = |role: &str| {
        let mut command = in_role(role, &supervisor);
        run(command
            .env("FILE", &path)
            .env_remove("SUPERVISE_FD")
            .env_remove("SUPERVISE_SOCKET"))
    };
    assert!(outside("ask").stdout.contains("NO DOOR"));
    assert!(outside("open").stdout.contains("CONTENT hello"));
}

#[test]
fn only_what_the_kernel_refuses_is_asked_for() {
    let supervisor = Supervisor::start();
    let plain = supervisor.workspace.write("plain", "hello");
    crate::harness::set_mode(&plain, 0o644);
    let secret = supervisor.file("secret", "granted");
    let program = supervisor.workspace.join("test");
    crate::harness::built::copy_program(
        &std::env::current_exe().expect("a test knows its own file"),
        &program,
    );
    crate::harness::set_mode(&program, 0o755);
    let as_somebody = |path: &std::path::Path| {
        let mut command = std::process::Command::new(&program);
        command
            .args(["--exact", "child::role", "--nocapture"])
            .env("ROLE", "open")
            .env("FILE", path);
        crate::child::with_doors(&mut command, &supervisor).env_remove("SUPERVISE_SOCKET");
        if nix::unistd::geteuid().is_root() {
            as_uid(&mut command, NOBODY);
        }
        command.stdout(std::process::Stdio::piped());
        let output = command
            .spawn()
            .expect("started")
            .wait_with_output()
            .expect("ended");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(as_somebody(&plain).contains("CONTENT hello"));
    assert!(as_somebody(&supervisor.workspace.join("absent")).contains("ERROR ENOENT"));
    assert!(supervisor.asked().is_empty());
    assert!(as_somebody(&secret).contains("CONTENT granted"));
    assert_eq!(supervisor.asked().len(), 1);
}
