//! What a session listens on itself, it may connect to; what anybody else listens on, it may not.

use crate::harness::{Workspace, feature, require, run};
use crate::supervised::{Lists, Supervised, probe};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};

fn own() -> Supervised {
    Supervised::new(Lists {
        reaches_itself: true,
        bind: ["127.0.0.1:0", "[::1]:0"]
            .map(|address| address.parse().expect("an address"))
            .into(),
        ..Lists::default()
    })
}

#[test]
fn a_program_talks_to_itself() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let supervised = own();
    for act in ["talk", "talk-nonblocking"] {
        for address in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            if std::net::TcpListener::bind(address).is_err() {
                // No IPv6 here.
                continue;
            }
            let said = supervised.probe(&workspace.path(), &[act, address]);
            assert_eq!(said, ["ok"], "{act} {address}");
        }
    }
}

#[test]
fn one_member_listens_and_another_connects() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let supervised = own();
    let (listener, at) = supervised.inside(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("it may listen");
        let at = listener.local_addr().expect("it is bound");
        (listener, at)
    });
    let spelled = [
        at,
        SocketAddr::new("0.0.0.0".parse().unwrap(), at.port()),
        SocketAddr::new("::ffff:127.0.0.1".parse().unwrap(), at.port()),
    ];
    for at in spelled {
        let said = supervised.probe(&workspace.path(), &["connect-tcp", &at.to_string()]);
        assert_eq!(said, ["ok"], "{at}");
    }
    let elsewhere = format!("127.0.0.2:{}", at.port());
    let said = supervised.probe(&workspace.path(), &["connect-tcp", &elsewhere]);
    assert_eq!(said, ["errno EACCES"]);
    // Given up, and taken by somebody who is no member.
    drop(listener);
    let next = TcpListener::bind(at).expect("the port is free at once");
    next.set_nonblocking(true).unwrap();
    for at in spelled {
        let said = supervised.probe(&workspace.path(), &["connect-tcp", &at.to_string()]);
        assert_eq!(said, ["errno EACCES"], "{at}");
    }
    let nobody = next.accept().expect_err("nobody came");
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_port_that_was_given_up_is_reached_by_nobody() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let supervised = own();
    for act in ["talk-closed", "talk-shut"] {
        let said = supervised.probe(&workspace.path(), &[act, "127.0.0.1:0"]);
        assert_eq!(said, ["errno EACCES"], "{act}");
    }
}

#[test]
fn a_handshake_that_lasts_reaches_nobody_who_took_the_port_meanwhile() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let workspace = Workspace::new();
    let supervised = own();
    let at = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("it is bound")
    };
    let mut command = probe(&workspace.path(), &["overtake", &at.to_string()]);
    let mut running = supervised.inside(move || run::start(&mut command));
    running.until_it_says("free ");
    // What the kernel sends again, it sends after a second at the earliest.
    let listener = TcpListener::bind(at).expect("the port is free");
    listener.set_nonblocking(true).unwrap();
    let ran = running.wait();
    let last = ran.lines().pop().map(str::to_owned).unwrap_or_default();
    assert!(
        ["errno ECONNRESET", "errno EPIPE", "errno ENOTCONN"].contains(&last.as_str()),
        "{ran}"
    );
    let nobody = listener.accept().expect_err("nobody came");
    assert_eq!(nobody.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_port_that_others_share_is_not_listened_on() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};
    use std::os::fd::AsFd;
    let workspace = Workspace::new();
    let flags = SockFlag::SOCK_CLOEXEC;
    let host = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    setsockopt(&host, sockopt::ReusePort, &true).unwrap();
    sys::inet::bind(host.as_fd(), "127.0.0.1:0".parse().unwrap()).unwrap();
    sys::inet::listen(host.as_fd(), 8).unwrap();
    let host = TcpListener::from(host);
    let at = host.local_addr().unwrap().to_string();
    let act = ["share-port", &at];
    // The same user may, who is not in a session.
    assert_eq!(
        crate::supervised::probe_outside(&workspace.path(), &act),
        ["ok"]
    );
    assert_eq!(own().probe(&workspace.path(), &act), ["errno EADDRINUSE"]);
}
