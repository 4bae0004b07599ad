//! A task that is gone, or is another program, by the time the supervisor acts for it. Numbers of tasks are used again: at every
//! point between receiving a call and answering it the number is given to somebody else, who has everything that the call means
//! in the same place.

use crate::harness::built::probe;
use crate::harness::process::is_alive;
use crate::harness::run::{eventually, eventually_reads, start};
use crate::harness::{feature, require};
use crate::scene::{POLICY, Scene};
use crate::successor::{Successor, numbers_can_be_given};
use crate::traced::{Stop, Traced};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A policy under which opening files takes nobody's help: while the supervisor is stopped others go on.
const PLAIN: &str = "version = 1\n[fs]\nwrite = [\"{W}\"]\nread = [\"/etc\"]\nexec = [\"{P}\"]\n";

/// `SECCOMP_IOCTL_NOTIF_RECV` and `SECCOMP_IOCTL_NOTIF_SEND` (linux/seccomp.h).
const RECEIVE: Stop = Stop::Before(libc::SYS_ioctl, 0xc050_2100);
const SEND: Stop = Stop::Before(libc::SYS_ioctl, 0xc018_2101);

/// Runs the supervisor until it has received a call, and to the `window`th of its own calls after that. `false`: it answered
/// before.
fn run_to(traced: &Traced, window: usize) -> bool {
    let step = || traced.step().expect("it goes on");
    while step() != RECEIVE {}
    assert_eq!(step(), Stop::After);
    let mut calls = 0;
    while calls < window {
        match step() {
            Stop::After => {}
            // The last chance: afterwards it is over.
            SEND => return calls + 1 == window,
            Stop::Before(..) => calls += 1,
        }
    }
    true
}

/// Whether a child can be traced: some containers and settings of Yama say no.
fn children_can_be_traced() -> Result<(), String> {
    let child = start(Command::new(probe()).arg("linger"));
    let traced = Traced::seize(child.pid());
    traced
        .map(drop)
        .map_err(|errno| format!("children cannot be traced here: {errno}"))
}

fn needs() -> Result<(), String> {
    feature::listener()?;
    children_can_be_traced()?;
    numbers_can_be_given()
}

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::metadata(path).expect("it is there");
    metadata.permissions().mode() & 0o7777
}

/// Starts `acts`, whose child announces itself in `sub/ready`; its number, and hold of its supervisor.
fn begin(scene: &Scene, acts: &str) -> (crate::harness::run::Running, i32, Traced) {
    let running = scene.start(acts);
    let number = eventually_reads(&scene.work().join("sub/ready"));
    let traced = Traced::seize(running.pid()).expect("our own child can be traced");
    std::fs::write(scene.work().join("sub/go"), "").expect("a file");
    (running, number.parse().expect("a pid"), traced)
}

fn end(number: i32) {
    let pid = nix::unistd::Pid::from_raw(number);
    nix::sys::signal::kill(pid, nix::sys::signal::SIGKILL).expect("it waits in its call");
    // Waited for by its parent, too: only then the number is free.
    eventually("the number was free", || {
        !Path::new(&format!("/proc/{number}")).exists()
    });
}

/// Both directories may be written: only whose call it is says which of the files is meant.
fn two_directories(scene: &Scene) -> [std::path::PathBuf; 2] {
    ["sub/one", "sub/two"].map(|name| {
        let directory = scene.work().join(name);
        std::fs::create_dir(&directory).expect("a directory");
        let file = directory.join("file");
        std::fs::write(&file, "x").expect("a file");
        crate::harness::set_mode(&file, 0o600);
        file
    })
}

/// What somebody else is given who gets the number of a task in a call.
struct Inheritance<'a> {
    words: &'a [u8],
    directory: &'a Path,
    socket: i32,
}

/// Lets a task be gone at each point of the supervisor's work for its call, in a scene of its own, and its number be another's.
/// `acts` begin with the call, and another trapped call that is allowed and one that is not come after it. `check` looks at what
/// must not have happened.
fn at_each_point(
    scene: impl Fn() -> Scene,
    acts: &str,
    inherited: impl Fn(&Scene, &dyn Fn(Inheritance<'_>) -> Successor) -> Successor,
    check: impl Fn(&Scene, usize),
) {
    let mut windows = 0;
    loop {
        let scene = scene();
        let acts = format!("{acts} -- fchmodat {{W}}/sub/mine 640 -- fchmodat {{O}}/file 666");
        let (running, number, traced) = begin(&scene, &acts);
        let successor = run_to(&traced, windows).then(|| {
            end(number);
            inherited(&scene, &|what| {
                Successor::take(number, what.words, what.directory, what.socket)
                    .expect("the number is free")
            })
        });
        drop(traced);
        let ran = running.wait();
        let answers = ran.lines();
        assert_eq!(answers[1..], ["ok", "errno EACCES"], "{windows}: {ran}");
        check(&scene, windows);
        for record in scene.records() {
            let program = record["exe"].as_str().unwrap_or("/probe");
            assert!(program.ends_with("/probe"), "{windows}: {record}");
        }
        let Some(successor) = successor else {
            assert_ne!(answers[0], "ok 9", "the call was answered: {ran}");
            break;
        };
        assert_eq!(answers[0], "ok 9", "{windows}: it was killed in its call");
        assert!(is_alive(successor.0), "{windows}");
        windows += 1;
    }
    assert!(windows > 5, "{windows}");
}

#[test]
fn nothing_is_changed_for_whoever_got_the_number_of_a_task_that_is_gone() {
    require!(needs());
    // One of them is allowed, the other refused and recorded.
    for (name, mode_asked) in [
        ("file", "666"),
        ("../../../outside/file", "666"),
        ("file", "4755"),
    ] {
        at_each_point(
            || {
                let scene = Scene::under(PLAIN);
                two_directories(&scene);
                scene
            },
            &format!("doomed {{W}}/sub/ready {{W}}/sub/go chmod {{W}}/sub/one {name} {mode_asked}"),
            |scene, take| {
                take(Inheritance {
                    words: b"file\0",
                    directory: &scene.work().join("sub/two"),
                    socket: 0,
                })
            },
            |scene, window| {
                let other = scene.work().join("sub/two/file");
                assert_eq!(mode(&other), 0o600, "{window}: done for the wrong task");
                for record in scene.records() {
                    let path = record["path"].as_str().unwrap_or_default();
                    assert!(!path.ends_with("/two/file"), "{window}: {record}");
                }
            },
        );
    }
}

#[test]
fn nothing_is_opened_for_whoever_got_the_number_of_a_task_that_is_gone() {
    require!(needs());
    // A pattern in the tree that may be written leaves opens in it to the supervisor.
    let policy = POLICY.replace("{W}/secret", "{W}/**/.env");
    at_each_point(
        || {
            let scene = Scene::under(&policy);
            two_directories(&scene);
            scene
        },
        "doomed {W}/sub/ready {W}/sub/go truncate {W}/sub/one file",
        |scene, take| {
            take(Inheritance {
                words: b"file\0",
                directory: &scene.work().join("sub/two"),
                socket: 0,
            })
        },
        |scene, window| {
            let other = std::fs::metadata(scene.work().join("sub/two/file")).expect("a file");
            assert_eq!(other.len(), 1, "{window}: opened for the wrong task");
        },
    );
}

#[test]
fn no_socket_is_connected_of_whoever_got_the_number_of_a_task_that_is_gone() {
    require!(needs());
    require!(feature::pidfd_getfd());
    for rule in ["127.0.0.1:PORT", "127.0.0.1:1"] {
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = server.local_addr().expect("an address").port();
        let rule = rule.replace("PORT", &port.to_string());
        let socket = nix::sys::socket::socket(
            nix::sys::socket::AddressFamily::Inet,
            nix::sys::socket::SockType::Stream,
            nix::sys::socket::SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map(TcpStream::from)
        .expect("a socket");
        let mut address = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        address.extend(port.to_be_bytes());
        address.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        at_each_point(
            || Scene::under(&format!("{PLAIN}[net]\nconnect = [\"{rule}\"]\n")),
            &format!("doomed {{W}}/sub/ready {{W}}/sub/go connect {port}"),
            |scene, take| {
                take(Inheritance {
                    words: &address,
                    directory: &scene.work(),
                    socket: socket.as_raw_fd(),
                })
            },
            |_, window| {
                let peer = socket.peer_addr();
                assert!(peer.is_err(), "{window}: connected for the wrong task");
            },
        );
    }
}

#[test]
fn a_thread_that_became_another_program_is_not_taken_for_what_it_was() {
    require!(feature::own_directories());
    require!(feature::listener());
    require!(children_can_be_traced());
    // The first thread waits in its call, in a directory of its own. The second becomes another program, and with that the first.
    let acts = "chdir {W}/sub/two -- becomes {W}/sub/ready {W}/sub/go {W}/sub/now {W}/sub/one file 666 {P} heir {W}/sub/new {W}/sub/on file 640 -- fchmodat {O}/file 666";
    let mut windows = 0;
    loop {
        let scene = Scene::under(PLAIN);
        let [first, second] = two_directories(&scene);
        let touch = |name: &str| {
            std::fs::write(scene.work().join("sub").join(name), "").expect("a file");
        };
        let (running, number, traced) = begin(&scene, acts);
        let is_within = run_to(&traced, windows);
        if is_within {
            touch("now");
            let new = eventually_reads(&scene.work().join("sub/new"));
            assert_eq!(new, number.to_string(), "the new program has the number");
        }
        drop(traced);
        if !is_within {
            eventually("the call was made", || mode(&first) == 0o666);
            touch("now");
            eventually_reads(&scene.work().join("sub/new"));
        }
        // It was served, or will never be: this comes after it.
        assert_eq!(
            mode(&second),
            0o600,
            "{windows}: done for the wrong program"
        );
        touch("on");
        let ran = running.wait();
        assert_eq!(
            ran.lines(),
            ["ok", "ok", "ok 0", "errno EACCES"],
            "{windows}: {ran}"
        );
        assert_eq!(mode(&second), 0o640, "{windows}: its own call is its own");
        if !is_within {
            break;
        }
        windows += 1;
    }
    assert!(windows > 5, "{windows}");
}
