//! Connections: those that may be are made, on the child's own socket; the others never arrive.

use crate::harness::process::until_it_waits_in;
use crate::harness::{Workspace, feature, require, run};
use crate::supervised::{Lists, Supervised, probe, probe_outside};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;

/// Says `hello` to the first who connects.
fn greeting(listener: UnixListener) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody connects");
        stream.write_all(b"hello").expect("somebody listens");
    })
}

fn quiet(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).expect("the place is free");
    listener
        .set_nonblocking(true)
        .expect("a socket need not wait");
    listener
}

#[track_caller]
fn nobody_came(listener: &UnixListener) {
    let error = listener.accept().expect_err("nobody came");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_socket_in_a_write_tree_is_connected_and_recorded() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    let supervised = Supervised::new(Lists::writing(&inside));
    for spelled in [
        "socket",
        "./socket",
        "../inside/socket",
        "/proc/self/cwd/socket",
    ] {
        let greeter = greeting(UnixListener::bind(inside.join("socket")).unwrap());
        let said = supervised.probe(&inside, &["hear-unix", spelled]);
        assert_eq!(said, ["ok hello"], "{spelled}");
        greeter.join().unwrap();
        std::fs::remove_file(inside.join("socket")).unwrap();
        let granted = format!("Granted connect {}/socket", inside.display());
        assert_eq!(supervised.lines.all().pop(), Some(granted));
    }
}

#[test]
fn a_socket_elsewhere_is_not_reached_by_any_spelling() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    let listener = quiet(&workspace.join("host.sock"));
    symlink(workspace.join("host.sock"), inside.join("link")).unwrap();
    symlink(workspace.path(), inside.join("up")).unwrap();
    let supervised = Supervised::new(Lists::writing(&inside));
    let absolute = workspace.join("host.sock").display().to_string();
    let through_proc = format!("/proc/self/root{absolute}");
    for spelled in [
        &absolute,
        "../host.sock",
        "link",
        "up/host.sock",
        &through_proc,
    ] {
        for act in ["connect-unix", "hear-unix"] {
            assert_eq!(
                supervised.probe(&inside, &[act, spelled]),
                ["errno EACCES"],
                "{spelled}"
            );
        }
        let refused = format!("Refused connect {absolute} EACCES");
        assert_eq!(supervised.lines.all().pop(), Some(refused));
    }
    nobody_came(&listener);
}

#[test]
fn names_that_are_no_files_are_refused() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let supervised = Supervised::new(Lists::writing(&workspace.path()));
    let said = supervised.probe(&workspace.path(), &["connect-abstract", "anything"]);
    assert_eq!(said, ["errno EACCES"]);
}

#[test]
fn what_cannot_be_connected_fails_as_without_us() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    workspace.write("inside/file", "x");
    drop(UnixListener::bind(inside.join("dead")).unwrap());
    // A stream socket here, when asked for by a seqpacket one.
    let _listener = quiet(&inside.join("stream"));
    let supervised = Supervised::new(Lists::writing(&inside));
    let words = [
        "connect-unix",
        "absent",
        "--",
        "connect-unix",
        "file",
        "--",
        "connect-unix",
        "dead",
        "--",
        "connect-unix",
        ".",
        "--",
        "connect-unix",
        "file/x",
        "--",
        "connect-seqpacket",
        "stream",
    ];
    assert_eq!(
        supervised.probe(&inside, &words),
        probe_outside(&inside, &words)
    );
}

#[test]
fn a_full_backlog_delays_only_who_waits_for_it() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    let file = workspace.write("inside/file", "x");
    let listener = UnixListener::bind(inside.join("full")).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let first = UnixStream::connect(inside.join("full")).unwrap();
    let supervised = Supervised::new(Lists::writing(&inside));
    let mut waiting = probe(&inside, &["hear-unix", "full"]);
    let waiting = supervised.inside(move || run::start(&mut waiting));
    until_it_waits_in(waiting.pid(), &[libc::SYS_connect]);
    let file = file.to_str().expect("UTF-8");
    assert_eq!(
        supervised.probe(&inside, &["fchmodat", file, "640"]),
        ["ok"]
    );
    drop(first);
    drop(listener.accept().expect("the first is in the queue"));
    let (mut second, _) = listener.accept().expect("the second got its place");
    second.write_all(b"late").unwrap();
    drop(second);
    assert_eq!(waiting.wait().lines(), ["ok late"]);
}

#[test]
fn a_burst_of_connects_is_served_to_the_last() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    let listener = UnixListener::bind(inside.join("socket")).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let address = server("127.0.0.1:0");
    let supervised = Supervised::new(Lists {
        connect: vec![address],
        ..Lists::writing(&inside)
    });
    // More than may be under way at a time, and nobody accepts yet.
    let waiting: Vec<_> = (0..150)
        .map(|_| {
            let mut command = probe(&inside, &["hear-unix", "socket"]);
            supervised.inside(move || run::start(&mut command))
        })
        .collect();
    // Who need not wait does not.
    let act = ["connect-tcp-nonblocking", &address.to_string()];
    assert!(supervised.probe(&inside, &act)[0].starts_with("ok"));
    let greeter = std::thread::spawn(move || {
        for _ in 0..150 {
            let (mut stream, _) = listener.accept().expect("somebody connects");
            stream.write_all(b"hello").expect("somebody listens");
        }
    });
    for waiting in waiting {
        assert_eq!(waiting.wait().lines(), ["ok hello"]);
    }
    greeter.join().expect("all were greeted");
    let refused = supervised.lines.all();
    assert!(
        !refused.iter().any(|line| line.starts_with("Refused")),
        "{refused:?}"
    );
}

#[test]
fn the_places_of_the_dead_are_given_to_those_who_wait() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    let full = UnixListener::bind(inside.join("full")).unwrap();
    nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let supervised = Supervised::new(Lists::writing(&inside));
    let stuck: Vec<_> = (0..100)
        .map(|_| {
            let mut command = probe(&inside, &["hear-unix", "full"]);
            supervised.inside(move || run::start(&mut command))
        })
        .collect();
    for stuck in &stuck {
        // In its connect, or, the one for whom there was room, in its read.
        until_it_waits_in(stuck.pid(), &[libc::SYS_connect, libc::SYS_read]);
    }
    let greeter = greeting(UnixListener::bind(inside.join("socket")).unwrap());
    let mut command = probe(&inside, &["hear-unix", "socket"]);
    let waiting = supervised.inside(move || run::start(&mut command));
    // From now on nothing is asked of the door.
    drop(stuck);
    assert_eq!(waiting.wait().lines(), ["ok hello"]);
    greeter.join().expect("it greeted");
}

#[test]
fn a_child_that_is_killed_while_it_waits_leaves_nothing() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    let listener = UnixListener::bind(inside.join("full")).unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _first = UnixStream::connect(inside.join("full")).unwrap();
    let supervised = Supervised::new(Lists::writing(&inside));
    // More than may be under way at a time: the places of the dead are given to the living.
    for _ in 0..100 {
        let mut waiting = probe(&inside, &["hear-unix", "full"]);
        supervised.inside(move || {
            let waiting = run::start(&mut waiting);
            until_it_waits_in(waiting.pid(), &[libc::SYS_connect]);
        });
    }
    let refused = supervised
        .lines
        .all()
        .iter()
        .any(|line| line.starts_with("Refused"));
    assert!(!refused, "{:?}", supervised.lines.all());
}

#[test]
fn the_session_is_reached_where_nothing_lies() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let door = workspace.join("session/socket");
    let supervised = Supervised::new(Lists {
        session_socket: Some(door.clone()),
        ..Lists::default()
    });
    let mut hearing = probe(
        &workspace.path(),
        &["hear-unix", door.to_str().expect("UTF-8")],
    );
    let hearing = supervised.inside(move || run::start(&mut hearing));
    let channel = supervised.channels.recv().expect("a channel is handed out");
    assert_eq!(channel.pid, hearing.pid());
    assert_eq!(channel.process.has_exited(), Ok(false));
    let mut stream = UnixStream::from(channel.socket);
    stream.write_all(b"who is there").unwrap();
    drop(stream);
    assert_eq!(hearing.wait().lines(), ["ok who is there"]);
    assert!(!door.exists());
    // Only that very spelling.
    let other = workspace.join("session/./socket");
    let said = supervised.probe(
        &workspace.path(),
        &["connect-unix", other.to_str().expect("UTF-8")],
    );
    assert_eq!(said, ["errno ENOENT"]);
}

#[test]
fn the_socket_that_leads_to_the_session_is_as_the_one_that_was_given_for_it() {
    require!(feature::sockets());
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    use std::os::fd::AsRawFd;
    let workspace = Workspace::new();
    let door = workspace.join("session/socket");
    let supervised = Supervised::new(Lists {
        session_socket: Some(door.clone()),
        ..Lists::default()
    });
    for (flags, waits, closes) in [
        (SockFlag::empty(), true, false),
        (SockFlag::SOCK_NONBLOCK, false, false),
        (SockFlag::SOCK_CLOEXEC, true, true),
        (
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            false,
            true,
        ),
    ] {
        let door = door.clone();
        let ours = supervised.inside(move || {
            let ours = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
            let address = UnixAddr::new(&door).unwrap();
            connect(ours.as_raw_fd(), &address).map(|()| ours)
        });
        let ours = ours.expect("the session is there");
        let status = OFlag::from_bits_retain(fcntl(&ours, FcntlArg::F_GETFL).unwrap());
        let own = FdFlag::from_bits_retain(fcntl(&ours, FcntlArg::F_GETFD).unwrap());
        assert_eq!(!status.contains(OFlag::O_NONBLOCK), waits);
        assert_eq!(own.contains(FdFlag::FD_CLOEXEC), closes);
        let channel = supervised.channels.recv().expect("a channel is handed out");
        UnixStream::from(channel.socket).write_all(b"x").unwrap();
        let mut byte = [0];
        nix::unistd::read(&ours, &mut byte).expect("it leads there");
        assert_eq!(&byte, b"x");
    }
    assert_eq!(supervised.lines.all(), [""; 0]);
}

/// A server that says `hello` to everybody.
fn server(address: &str) -> SocketAddr {
    let listener = TcpListener::bind(address).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that hung up wants no greeting.
            let _greeted = stream.map(|mut stream| stream.write_all(b"hello"));
        }
    });
    address
}

#[test]
fn tcp_goes_where_it_may() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let (allowed, other) = (server("127.0.0.1:0"), server("127.0.0.1:0"));
    let supervised = Supervised::new(Lists {
        connect: vec![allowed],
        ..Lists::default()
    });
    let probe = |words: &[&str]| supervised.probe(&workspace.path(), words).join("\n");
    let [here, there] = [allowed, other].map(|address| address.to_string());
    let mapped = |address: SocketAddr| format!("[::ffff:{}]:{}", address.ip(), address.port());
    assert_eq!(probe(&["hear-tcp", &here]), "ok hello");
    assert_eq!(probe(&["hear-tcp", &mapped(allowed)]), "ok hello");
    assert_eq!(supervised.lines.all()[0], format!("Granted connect {here}"));
    assert!(probe(&["connect-tcp-nonblocking", &here]).starts_with("ok "));
    for act in ["connect-tcp", "hear-tcp", "connect-tcp-nonblocking"] {
        assert_eq!(probe(&[act, &there]), "errno EACCES");
        assert_eq!(probe(&[act, &mapped(other)]), "errno EACCES");
        assert_eq!(
            probe(&[act, &format!("0.0.0.0:{}", other.port())]),
            "errno EACCES"
        );
    }
    assert_eq!(probe(&["connect-twice", &here, &there]), "errno EACCES");
    assert_eq!(probe(&["connect-unspec"]), "errno EACCES");
    for length in ["0", "1", "2", "8", "15"] {
        assert_eq!(
            probe(&["connect-short", &here, length]),
            "errno EINVAL",
            "{length}"
        );
    }
}

#[test]
fn nobody_listening_is_said_as_without_us() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("it is bound")
    };
    let supervised = Supervised::new(Lists {
        connect: vec![closed],
        ..Lists::default()
    });
    let said = supervised.probe(&workspace.path(), &["connect-tcp", &closed.to_string()]);
    assert_eq!(said, ["errno ECONNREFUSED"]);
}

#[test]
fn other_protocols_are_refused() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let address = server("127.0.0.1:0");
    let supervised = Supervised::new(Lists {
        connect: vec![address],
        ..Lists::default()
    });
    let words = ["connect-mptcp".to_owned(), address.to_string()];
    // A kernel without MPTCP refuses the socket, and so nothing is connected either.
    let answers = ["errno EACCES", "errno EPROTONOSUPPORT", "errno ENOPROTOOPT"];
    let said = supervised.probe(&workspace.path(), &words).join("\n");
    assert!(answers.contains(&said.as_str()), "{said}");
}

#[test]
fn names_are_looked_up_over_udp_where_that_is_allowed() {
    require!(feature::sockets());
    let udp = |allowed| {
        let supervised = Supervised::new(Lists {
            udp: allowed,
            ..Lists::default()
        });
        supervised.inside(|| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
            socket.connect("127.0.0.1:9")
        })
    };
    assert!(udp(true).is_ok());
    let error = udp(false).expect_err("datagrams are refused");
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
}

#[test]
fn what_was_connected_is_the_childs_own_socket() {
    require!(feature::sockets());
    let workspace = Workspace::new();
    let inside = workspace.make_dir("inside");
    let listener = UnixListener::bind(inside.join("socket")).unwrap();
    let supervised = Supervised::new(Lists::writing(&inside));
    let path = inside.join("socket");
    let mut stream = supervised
        .inside(move || UnixStream::connect(path))
        .expect("it may be connected");
    let (mut accepted, _) = listener.accept().expect("it was connected");
    let peer = nix::sys::socket::getsockopt(&accepted, nix::sys::socket::sockopt::PeerCredentials);
    assert_ne!(
        peer.expect("a socket knows its peer").pid(),
        std::process::id() as i32
    );
    stream.write_all(b"x").unwrap();
    let mut byte = [0];
    accepted.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
}
