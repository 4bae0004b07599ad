//! Sockets that have a name in a directory.

use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use supervisor_socket::{Error, Listener, SupervisorSocket};

use crate::harness::Workspace;
use crate::messages::goes_round;

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
fn every_message_goes_round_on_a_connection_by_name() {
    let workspace = Workspace::new();
    let path = workspace.join("door");
    let client = std::thread::spawn({
        let path = path.clone();
        move || {
            crate::harness::run::eventually("somebody listens", || path.exists());
            loop {
                // Bound, but not yet listening.
                match SupervisorSocket::connect(&path) {
                    Err(Error::Io {
                        source: Errno::ECONNREFUSED,
                        ..
                    }) => std::thread::yield_now(),
                    connected => return connected.expect("connected"),
                }
            }
        }
    });
    let ours = SupervisorSocket::bind(&path).expect("bound and accepted");
    assert!(path.exists());
    goes_round(ours, client.join().expect("the client"));
    assert!(!path.exists(), "removed with the connection");
}

#[test]
fn the_file_is_private_from_birth_whatever_the_umask() {
    if !crate::child::alone("named::the_file_is_private_from_birth_whatever_the_umask") {
        return;
    }
    umask(Mode::empty());
    let workspace = Workspace::open_to_all();
    let path = workspace.join("door");
    let mode = |path: &Path| {
        let found = std::fs::symlink_metadata(path);
        found.map(|found| found.permissions().mode() & 0o777)
    };
    // Somebody who looks all the time never sees it open to others, however short.
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !over.load(Ordering::Relaxed) {
                seen.extend(mode(&path));
            }
            seen
        });
        for _ in 0..1000 {
            let listener = Listener::bind(&path).expect("bound");
            assert_eq!(mode(listener.path()).expect("it is there"), 0o600);
        }
        over.store(true, Ordering::Relaxed);
        let seen = seen.join().expect("no panic");
        let open = seen.iter().find(|mode| **mode != 0o600);
        assert_eq!(open, None, "{seen:?}");
    });
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
