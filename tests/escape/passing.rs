//! Descriptors that somebody else opened and hands over: what they are good for inside, and for what not. A policy says whom a program
//! may talk to; whoever that is may give it what he has, and README says so.

use crate::harness::run::{eventually, run, start};
use crate::harness::{feature, require};
use crate::scene::{POLICY, Scene, assert_unchanged};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::fs::File;
use std::io::IoSlice;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

/// A program outside that gives what it has to whoever connects to `{W}/ok.sock`.
fn gives(scene: &Scene, what: Vec<OwnedFd>) {
    let listener = UnixListener::bind(scene.work().join("ok.sock")).expect("a socket");
    std::thread::spawn(move || {
        for peer in listener.incoming() {
            let peer = peer.expect("somebody came");
            let numbers: Vec<i32> = what.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&numbers)];
            let byte = [IoSlice::new(b"x")];
            sendmsg::<()>(peer.as_raw_fd(), &byte, &rights, MsgFlags::empty(), None)
                .expect("descriptors can be sent");
        }
    });
}

fn opened(scene: &Scene, name: &str, flags: i32) -> OwnedFd {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.read(true).write(flags & libc::O_RDWR != 0);
    let opened = options.custom_flags(flags).open(scene.outside().join(name));
    opened.expect("it is there").into()
}

fn talking() -> String {
    format!("{POLICY}[net]\nconnect = [\"127.0.0.1:1\"]\nunix = [\"{{W}}/ok.sock\"]\n")
}

/// Each act on its own: the answer inside, the answer outside.
#[track_caller]
fn answers(scene: &Scene, acts: &[(&str, &str)]) {
    let all: Vec<&str> = acts.iter().map(|(act, _)| *act).collect();
    let receive = "receive-fds {W}/ok.sock 40";
    let performed = scene.perform(&format!("{receive} -- {}", all.join(" -- ")));
    let answers = performed.answers();
    assert_eq!(answers.len(), acts.len() + 1, "{}", performed.ran);
    for ((act, expected), answer) in acts.iter().zip(&answers[1..]) {
        assert_eq!(answer, expected, "{act}: {}", performed.ran);
    }
}

/// None of the acts that are refused fails for whoever is not confined.
#[track_caller]
fn all_work_outside(scene: &Scene, acts: &[&str]) {
    for act in acts {
        let said = run(&mut scene.unconfined(&format!("receive-fds {{W}}/ok.sock 40 -- {act}")));
        let last = said.stdout.lines().last().unwrap_or_default();
        assert!(last.starts_with("ok"), "{act}: {said}");
    }
}

#[test]
fn a_directory_that_is_handed_over_opens_nothing_below_it() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let scene = Scene::under(&talking());
    let directory = |flags| opened(&scene, ".", libc::O_DIRECTORY | flags);
    gives(&scene, vec![directory(0), directory(libc::O_PATH)]);
    let before = scene.snapshot();
    let mut acts = Vec::new();
    for number in ["40", "41"] {
        for act in [
            "openat-fd N file r",
            "openat-fd N dir/file r",
            "openat-fd N dir r",
            "openat-fd N . r",
            "openat-fd N new w,creat",
            "openat-fd N file w,trunc",
            "openat-fd N . rw,tmpfile",
            "mkdir-fd N new",
            "unlink-fd N file",
            "reopen-fd N r",
            "fchdir-fd N -- read file",
            "fchdir-fd N -- write new x",
            "fchdir-fd N -- fchmodat file 777",
            "fchdir-fd N -- list .",
        ] {
            acts.push(act.replace('N', number));
        }
    }
    let mut expected = Vec::new();
    for act in &acts {
        for part in act.split(" -- ") {
            let answer = match part.starts_with("fchdir-fd") {
                // To be somewhere is nothing yet.
                true => "ok",
                false => "errno EACCES",
            };
            expected.push((part, answer));
        }
    }
    expected.push(("fchmod-fd 40 777", "errno EACCES"));
    answers(&scene, &expected);
    // A directory that was opened to be listed is listed.
    answers(
        &scene,
        &[("list-fd 40", "ok dir file"), ("list-fd 41", "errno EBADF")],
    );
    assert_unchanged(&before, &scene.snapshot());
    all_work_outside(
        &scene,
        &[
            "openat-fd 40 file r",
            "openat-fd 41 dir/file r",
            "reopen-fd 40 r",
            "fchdir-fd 41 -- list .",
        ],
    );
}

#[test]
fn a_file_that_is_handed_over_is_what_it_was_opened_as_and_nothing_more() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let scene = Scene::under(&talking());
    gives(
        &scene,
        vec![
            opened(&scene, "file", 0),
            opened(&scene, "dir/file", libc::O_RDWR),
            opened(&scene, "file", libc::O_PATH),
        ],
    );
    answers(
        &scene,
        &[
            ("read-fd 40", "ok HIT outside"),
            ("write-fd 40 x", "errno EBADF"),
            ("reopen-fd 40 rw", "errno EACCES"),
            ("reopen-fd 40 r", "errno EACCES"),
            ("reopen-fd 42 r", "errno EACCES"),
            ("link-from-fd 40 {W}/sub/alias", "errno EXDEV"),
            ("link-from-fd 42 {W}/sub/alias", "errno EXDEV"),
            ("link-magic /proc/self/fd/40 {W}/sub/alias", "errno EXDEV"),
            ("exec-fd-number 40 x", "errno EACCES"),
            // Its metadata is its own: that it was opened to be written says nothing of it.
            ("fchmod-fd 40 777", "errno EACCES"),
            ("fchmod-fd 41 777", "errno EACCES"),
            ("write-fd 41 HIT", "ok 3"),
        ],
    );
    let written = std::fs::read_to_string(scene.outside().join("dir/file")).expect("a file");
    assert_eq!(written, "HIT outside", "over itself");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(scene.outside().join("dir/file"))
            .expect("a file")
            .permissions(),
    );
    assert_ne!(mode & 0o777, 0o777);
    all_work_outside(&scene, &["reopen-fd 40 rw", "fchmod-fd 41 700"]);
}

#[test]
fn a_socket_that_is_handed_over_is_connected_where_the_policy_says() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    let scene = Scene::under(&talking());
    let [connected, denied] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = |server: &TcpListener| server.local_addr().expect("an address").port();
    let fresh = || {
        nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("a socket")
    };
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let to = receiver.local_addr().expect("an address").port();
    gives(
        &scene,
        vec![
            TcpStream::connect(connected.local_addr().expect("an address"))
                .expect("it listens")
                .into(),
            fresh(),
            datagrams.into(),
        ],
    );
    let denied_port = port(&denied);
    answers(
        &scene,
        &[
            // Whoever connected it wanted that.
            ("write-fd 40 x", "ok 1"),
            (&format!("connect-fd 41 {denied_port}"), "errno EACCES"),
            // What is sent without a connection is looked at by nobody.
            (&format!("send-fd 42 {to}"), "ok"),
            (&format!("connect-fd 42 {to}"), "errno EACCES"),
        ],
    );
    denied.set_nonblocking(true).expect("it need not wait");
    assert!(denied.accept().is_err(), "nobody came");
    receiver.set_nonblocking(true).expect("it need not wait");
    eventually("it was sent", || receiver.recv(&mut [0; 8]).is_ok());
    all_work_outside(&scene, &[&format!("connect-fd 41 {denied_port}")]);
}

#[test]
fn what_was_granted_to_one_session_is_good_in_another_as_it_is_and_no_further() {
    require!(feature::listener());
    require!(feature::pidfd_getfd());
    // One that may have the file and the directory, and one that may talk to it and have neither.
    let wide = Scene::new();
    wide.policy(&format!(
        "{POLICY}[[request]]\npath = \"{{O}}\"\naccess = [\"read\"]\ndecision = \"allow\"\n"
    ));
    let meeting = wide.work().join("sub/meet.sock");
    let narrow = Scene::under(&format!(
        "{POLICY}[net]\nunix = [\"{}?\"]\n",
        meeting.display()
    ));
    let giver = start(&mut wide.inside(
        "ask-hold 40 {O}/file read -- ask-hold 41 {O}/dir read -- openat-fd 41 file r -- send-fds {W}/sub/meet.sock 40 41",
    ));
    eventually("it listens", || meeting.exists());
    let performed = narrow.perform(&format!(
        "receive-fds {} 50 -- read-fd 50 -- reopen-fd 50 r -- openat-fd 51 file r -- ask 1 {}/file read",
        meeting.display(),
        wide.outside().display()
    ));
    let given = giver.wait();
    assert_eq!(
        performed.answers(),
        [
            "ok 2",
            "ok HIT outside",
            "errno EACCES",
            "errno EACCES",
            "ok refused:denied"
        ],
        "{given}"
    );
    // Whoever may ask may also just open.
    assert_eq!(given.lines(), ["ok", "ok", "ok", "ok"]);
}
