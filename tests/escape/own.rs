//! Names and ports of the session's own: what it may take for itself is nobody else's, and leads to nobody else.

use crate::harness::run::{eventually, run};
use crate::harness::{feature, require, skip};
use crate::scene::{POLICY, Scene, refused_in};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;

fn own() -> Scene {
    Scene::under(&format!("{POLICY}[net]\nloopback = \"own\"\n"))
}

/// A server of the host, on every address.
fn server() -> (TcpListener, u16) {
    let listener = TcpListener::bind("[::]:0")
        .or_else(|_| TcpListener::bind("0.0.0.0:0"))
        .expect("a port");
    listener.set_nonblocking(true).expect("it need not wait");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

#[track_caller]
fn nobody_came(listener: &TcpListener) {
    let error = listener.accept().expect_err("nobody came");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound")
}

#[test]
fn a_session_that_reaches_itself_reaches_nobody_else() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let (listener, port) = server();
    let scene = own();
    let spelled = [
        "127.0.0.1",
        "127.0.0.2",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:0.0.0.0]",
    ];
    let acts: Vec<String> = ["connect-tcp", "connect-tcp-nonblocking"]
        .iter()
        .flat_map(|act| spelled.map(|address| format!("{act} {address}:{port}")))
        // While it has a port of its own, too.
        .chain([format!("talk 127.0.0.1:0 -- connect-tcp 127.0.0.1:{port}")])
        .collect();
    let performed = scene.perform(&acts.join(" -- "));
    let answers = performed.answers();
    assert_eq!(answers.len(), acts.len() + 1, "{}", performed.ran);
    assert_eq!(answers[acts.len() - 1], "ok", "{}", performed.ran);
    let (mine, others): (Vec<&str>, Vec<&str>) = answers.iter().partition(|it| **it == "ok");
    assert_eq!(mine.len(), 1, "{}", performed.ran);
    assert!(
        others.iter().all(|it| *it == "errno EACCES"),
        "{}",
        performed.ran
    );
    assert_eq!(performed.refusals("connect").len(), others.len());
    nobody_came(&listener);
    for address in spelled {
        let act = format!("connect-tcp {address}:{port}");
        let outside = run(&mut scene.unconfined(&act)).stdout;
        if !outside.starts_with("ok") {
            skip(
                &format!("escape: `{act}`"),
                &format!("it gives {} anyway", outside.trim_end()),
            );
        }
    }
    eventually("those came who were not confined", || {
        listener.accept().is_ok()
    });
}

#[test]
fn sessions_do_not_reach_each_other() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let at = free_port();
    let (one, other) = (own(), own());
    let mut listening = one.start(&format!("listen-on {at}"));
    listening.until_it_says("listening");
    let act = format!("connect-tcp {at}");
    assert_eq!(other.perform(&act).answers(), ["errno EACCES"]);
    // A program that is in no session does.
    assert_eq!(run(&mut other.unconfined(&act)).stdout, "ok\n");
}

#[test]
fn a_port_that_is_handed_on_by_any_trick_is_not_reached() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let scene = own();
    let performed = scene.perform("talk-closed 127.0.0.1:0 -- talk-shut 127.0.0.1:0");
    assert_eq!(
        performed.answers(),
        ["errno EACCES"; 2],
        "{}",
        performed.ran
    );
    // A handshake is begun with itself, and a server of the host takes the port before it is answered.
    let at = free_port();
    let mut running = scene.start(&format!("overtake {at}"));
    running.until_it_says("free ");
    let listener = TcpListener::bind(at).expect("the port is free");
    listener.set_nonblocking(true).expect("it need not wait");
    let ran = running.wait();
    assert!(
        ran.lines()
            .last()
            .is_some_and(|it| it.starts_with("errno ")),
        "{ran}"
    );
    nobody_came(&listener);
}

#[test]
fn a_handshake_that_is_not_watched_reaches_whoever_takes_the_port() {
    // What the test above is about, where nothing confines it.
    let scene = Scene::new();
    let at = free_port();
    let mut running = crate::harness::run::start(&mut scene.unconfined(&format!("overtake {at}")));
    running.until_it_says("free ");
    let listener = TcpListener::bind(at).expect("the port is free");
    let (_stream, _) = listener.accept().expect("it comes again after a second");
    assert_eq!(running.wait().lines().last(), Some(&"ok"));
}

#[test]
fn nothing_is_listened_on_that_others_hear_or_need() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let scene = own();
    let acts = [
        "bind-tcp 0.0.0.0:0",
        "bind-tcp [::]:0",
        "bind-tcp [::ffff:0.0.0.0]:0",
        "bind-tcp 127.0.0.1:1023",
        "bind-tcp [::1]:80",
        "listen-unbound",
        // The unspecified address without a family.
        "bind-bytes 2 00000000000000000000000000000000",
    ];
    let performed = scene.perform(&acts.join(" -- "));
    assert_eq!(
        performed.answers(),
        ["errno EACCES"; 7],
        "{}",
        performed.ran
    );
    assert_eq!(performed.refusals("bind").len(), 6);
    assert_eq!(performed.refusals("listen").len(), 1);
    for act in acts {
        let outside = run(&mut scene.unconfined(act)).stdout;
        if !outside.starts_with("ok") {
            skip(
                &format!("escape: `{act}`"),
                &format!("it gives {} anyway", outside.trim_end()),
            );
        }
    }
}

#[test]
fn names_of_the_host_are_not_taken() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let link = |scene: &Scene| {
        std::os::unix::fs::symlink(scene.outside(), scene.work().join("sub/dir")).expect("a link");
    };
    let scene = Scene::new();
    link(&scene);
    let acts = [
        "bind-abstract a-service-of-the-host",
        "autobind",
        "bind-unix {O}/new",
        "bind-unix ../outside/new",
        "bind-unix sub/dir/new",
        "bind-unix /proc/self/cwd/../outside/new",
        "bind-unix {W}/secret/new",
        "bind-unix secret/new",
        "bind-unix .git/hooks/new",
        "chdir {O} -- bind-unix new",
        "chdir {W}/sub/dir -- bind-unix ./new",
        "bound-name {W}/sub/../../outside/new",
        // A name of 108 bytes and no NUL, and what comes after it.
        "bind-bytes 1 01002e2e2f6f7574736964652f6e6577",
    ];
    let performed = refused_in(&scene, &link, "EACCES", &acts);
    let refusals = performed.refusals("bind");
    assert_eq!(refusals.len(), acts.len(), "one record each: {refusals:#?}");
    assert!(refusals.iter().all(|record| record["errno"] == "EACCES"));
}

#[test]
fn who_connects_to_a_session_sees_a_member_of_it() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let scene = own();
    let mut listening = scene.start("listen-unix own.sock");
    listening.until_it_says("listening");
    let stream = UnixStream::connect(scene.work().join("own.sock")).expect("it listens");
    let credentials = nix::sys::socket::sockopt::PeerCredentials;
    let peer = nix::sys::socket::getsockopt(&stream, credentials).expect("a peer");
    let name = std::fs::read_to_string(format!("/proc/{}/comm", peer.pid())).unwrap_or_default();
    assert!(!name.starts_with("supervise"), "{name}");
    assert_ne!(peer.pid(), listening.pid());
    assert!(
        !Path::new(&format!("/proc/{}", peer.pid())).exists(),
        "{name}"
    );
}
