//! Sockets that have a name in a directory.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use supervisor_socket::{Error, Listener, SupervisorSocket};

use crate::harness::Workspace;
use crate::messages::{open, refused};

const SOON: Option<Duration> = Some(Duration::from_secs(60));

fn errno(bound: Result<Listener, Error>) -> Errno {
    match bound {
        Err(Error::Io { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

/// A socket whose owner is gone.
fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).expect("bound"));
    assert!(path.exists());
}

#[test]
fn a_connection_by_name_serves_every_message() {
    let workspace = Workspace::new();
    let path = workspace.join("door");
    let client = std::thread::spawn({
        let path = path.clone();
        move || {
            crate::harness::run::eventually("somebody listens", || path.exists());
            let mut theirs = loop {
                // Bound, but not yet listening.
                match SupervisorSocket::connect(&path) {
                    Err(Error::Io {
                        source: Errno::ECONNREFUSED,
                        ..
                    }) => std::thread::yield_now(),
                    connected => break connected.expect("connected"),
                }
            };
            theirs.send_message(&open(1, "/a")).expect("sent");
            theirs.recv_response()
        }
    });
    let mut ours = SupervisorSocket::bind(&path).expect("bound and accepted");
    assert_eq!(ours.recv_message(), Ok(open(1, "/a")));
    ours.send_response(&refused(1)).expect("sent");
    assert_eq!(client.join().expect("the client"), Ok(refused(1)));
    assert!(path.exists());
    drop(ours);
    assert!(!path.exists(), "removed with the connection");
}

#[test]
fn the_file_is_private_from_birth() {
    let workspace = Workspace::open_to_all();
    let path = workspace.join("door");
    let listener = Listener::bind(&path).expect("bound");
    let mode = std::fs::symlink_metadata(&path)
        .expect("the socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777 & !0o600, 0, "{mode:o}");
    assert_eq!(listener.path(), path);
}

#[test]
fn a_symbolic_link_is_refused_and_left_alone() {
    let workspace = Workspace::new();
    let (target, path) = (workspace.join("target"), workspace.join("door"));
    symlink(&target, &path).expect("linked");
    assert_eq!(errno(Listener::bind(&path)), Errno::ELOOP);
    leave_stale(&target);
    assert_eq!(errno(Listener::bind(&path)), Errno::ELOOP);
    assert!(path.is_symlink());
    assert!(target.exists());
}

#[test]
fn another_file_is_refused_and_left_alone() {
    let workspace = Workspace::new();
    let path = workspace.write("door", "precious");
    assert_eq!(errno(Listener::bind(&path)), Errno::EEXIST);
    assert_eq!(
        std::fs::read_to_string(&path).expect("still there"),
        "precious"
    );
}

#[test]
fn a_stale_socket_is_replaced() {
    let workspace = Workspace::new();
    let path = workspace.join("door");
    leave_stale(&path);
    let listener = Listener::bind(&path).expect("bound");
    let _theirs = SupervisorSocket::connect(&path).expect("connected");
    listener.accept(SOON).expect("accepted");
}

#[test]
fn a_live_socket_is_never_taken_and_notices_nothing() {
    let workspace = Workspace::new();
    let path = workspace.join("door");
    let listener = Listener::bind(&path).expect("bound");
    assert_eq!(errno(Listener::bind(&path)), Errno::EADDRINUSE);
    assert_eq!(
        listener.accept(Some(Duration::from_millis(20))).map(|_| ()),
        Err(Error::Timeout)
    );
    let _theirs = SupervisorSocket::connect(&path).expect("still there");
    listener.accept(SOON).expect("accepted");
}

#[test]
fn a_live_socket_that_does_not_answer_is_not_dead() {
    let workspace = Workspace::new();
    let path = workspace.join("door");
    let listener = UnixListener::bind(&path).expect("bound");
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).expect("none"))
        .expect("listening");
    // Full: whoever connects now would wait.
    let _first = std::os::unix::net::UnixStream::connect(&path).expect("connected");
    assert_eq!(errno(Listener::bind(&path)), Errno::EADDRINUSE);
    assert!(path.exists());
}

#[test]
fn only_its_own_file_is_removed() {
    let workspace = Workspace::new();
    let path = workspace.join("door");
    let first = Listener::bind(&path).expect("bound");
    std::fs::rename(&path, workspace.join("elsewhere")).expect("renamed");
    let second = Listener::bind(&path).expect("bound");
    let inode = std::fs::symlink_metadata(&path).expect("the second").ino();
    drop(first);
    assert_eq!(
        std::fs::symlink_metadata(&path)
            .expect("still the second")
            .ino(),
        inode
    );
    drop(second);
    assert!(!path.exists());
}

#[test]
fn of_many_that_find_a_stale_socket_one_gets_it() {
    let workspace = Workspace::new();
    for round in 0..20 {
        let path = workspace.join(format!("door{round}"));
        leave_stale(&path);
        let racers: Vec<_> = (0..4)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || Listener::bind(path))
            })
            .collect();
        let bound: Vec<_> = racers
            .into_iter()
            .map(|racer| racer.join().expect("a racer"))
            .collect();
        let (winners, losers): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
        assert_eq!(winners.len(), 1);
        assert_eq!(
            losers.into_iter().map(errno).collect::<Vec<_>>(),
            [Errno::EADDRINUSE; 3]
        );
        SupervisorSocket::connect(&path).expect("the winner's socket is there");
    }
}

#[test]
fn accepting_has_a_deadline() {
    let workspace = Workspace::new();
    let listener = Listener::bind(workspace.join("door")).expect("bound");
    assert_eq!(
        listener.accept(Some(Duration::from_millis(20))).map(|_| ()),
        Err(Error::Timeout)
    );
}

#[test]
fn a_name_that_is_too_long_is_an_error_and_nothing_else() {
    let workspace = Workspace::new();
    let path = workspace.join("d".repeat(120));
    assert_eq!(errno(Listener::bind(&path)), Errno::ENAMETOOLONG);
    assert!(!path.exists());
}

#[test]
fn a_missing_directory_is_an_error() {
    let workspace = Workspace::new();
    assert_eq!(
        errno(Listener::bind(workspace.join("absent/door"))),
        Errno::ENOENT
    );
}
