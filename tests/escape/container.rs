//! The same attacks in other circumstances: as an ordinary user, and in a container without extra privileges, as its root over
//! somebody else's files too. What the start record says is in force is what is found in force.

use crate::harness::built::{contained, installed};
use crate::harness::process::{NOBODY, as_uid};
use crate::harness::run::{Ran, run};
use crate::harness::{feature, require, set_mode};
use crate::scene::{POLICY, Scene, assert_unchanged};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::Command;

/// Refused wherever it is tried: one errno of these.
const REFUSED: [(&str, &str); 40] = [
    ("read {W}/secret/key", "EACCES"),
    ("openat2 {W}/secret/key r", "EACCES"),
    ("read {O}/file", "EACCES"),
    ("read /proc/self/root/{O}/file", "EACCES"),
    ("overwrite {O}/file x", "EACCES"),
    ("write {O}/new x", "EACCES"),
    ("write {W}/.git/hooks/post-commit x", "EACCES"),
    ("truncate {W}/secret/key 0", "EACCES"),
    ("unlink {W}/secret/key", "EACCES"),
    ("rename {W}/secret {W}/public", "EACCES"),
    (
        "rename {W}/sub/mine {W}/.git/hooks/pre-commit",
        "EACCES EXDEV",
    ),
    ("link {W}/secret/key {W}/sub/alias", "EACCES EXDEV EPERM"),
    ("rename {W}/sub/mine {W}/sub/white whiteout", "EPERM"),
    ("mknod {W}/sub/device character 0x103", "EACCES EPERM"),
    ("fchmodat {W}/secret/key 777", "EACCES EPERM"),
    ("fchmodat {O}/file 777", "EACCES EPERM"),
    ("fchmod {W}/.git/hooks/pre-commit 777", "EACCES EPERM"),
    ("fchownat {O}/file 0 0", "EACCES EPERM"),
    ("utimensat {O}/file", "EACCES EPERM"),
    ("setxattr {O}/file user.a b", "EACCES EPERM"),
    ("fchmodat {W}/sub/mine 4755", "EPERM"),
    ("exec {W}/sub/mine", "EACCES"),
    ("connect-unix {O}/sock", "EACCES EAFNOSUPPORT"),
    ("connect-abstract supervise-nobody", "EACCES EAFNOSUPPORT"),
    (
        "unix-dgram {O}/sock",
        "EACCES EAFNOSUPPORT EPROTONOSUPPORT ESOCKTNOSUPPORT EPERM",
    ),
    (
        "pair-sendto dgram {O}/sock",
        "EACCES EAFNOSUPPORT EPROTONOSUPPORT ESOCKTNOSUPPORT EPERM",
    ),
    ("connect-tcp 127.0.0.1:DENIED", "EACCES"),
    ("connect-tcp [::ffff:127.0.0.1]:DENIED", "EACCES"),
    ("fastopen 127.0.0.1:DENIED", "EPERM"),
    (
        "udp 127.0.0.1:DENIED",
        "EACCES EAFNOSUPPORT EPROTONOSUPPORT ESOCKTNOSUPPORT EPERM",
    ),
    ("socket netlink raw", "EAFNOSUPPORT EPERM EACCES"),
    ("io-uring", "ENOSYS"),
    ("clone3 none", "ENOSYS"),
    ("unshare newuser", "EPERM"),
    ("x32 39", "ENOSYS"),
    ("personality 0x40000", "EPERM"),
    ("ptrace-seize 1", "EPERM"),
    ("kill 1 none", "EPERM"),
    ("read /proc/1/environ", "EACCES"),
    ("lease {W}/sub/mine write", "EPERM"),
];

/// Done wherever it is tried.
const DONE: [&str; 5] = [
    "write {W}/sub/new x",
    "read {W}/sub/mine",
    "mkdir {W}/sub/made",
    "rename {W}/sub/new {W}/sub/newer",
    "connect-tcp 127.0.0.1:ALLOWED",
];

/// What depends on which layers are there.
const DEPENDS: [&str; 4] = [
    "fchmodat {W}/sub/mine 600",
    "utimensat {W}/sub/mine",
    "connect-unix {W}/ok.sock",
    "caps",
];

struct Circumstances {
    user: Option<u32>,
    contained: bool,
    owner: u32,
    keep: &'static str,
}

#[track_caller]
fn try_everything(circumstances: &Circumstances) -> Scene {
    let installed = installed();
    let container = installed.directory.join("contained");
    crate::harness::built::copy_program(&contained(), &container);
    set_mode(&container, 0o755);
    let scene = Scene::new();
    let [allowed, denied] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    let ports = |text: &str| {
        text.replace("ALLOWED", &port(&allowed).to_string())
            .replace("DENIED", &port(&denied).to_string())
    };
    let _sockets = [
        UnixListener::bind(scene.work().join("ok.sock")).expect("a socket"),
        UnixListener::bind(scene.outside().join("sock")).expect("a socket"),
    ];
    let policy = POLICY.replace("{P}", installed.probe.to_str().expect("UTF-8"));
    scene.policy(&ports(&format!(
        "{policy}[net]\nconnect = [\"*:ALLOWED\"]\nunix = [\"{{W}}/ok.sock\"]\n[process]\nkeep_caps = [{}]\n[require]\nbest_effort = [{}]\n",
        circumstances.keep,
        // The policy speaks of Unix sockets.
        if circumstances.contained { "\"unix\"" } else { "" },
    )));
    // The way to it is open to all; what is in it is the owner's.
    let base = scene.work().parent().expect("the base").to_owned();
    scene.give_to(circumstances.owner);
    set_mode(&base, 0o755);
    let acts: Vec<&str> = REFUSED
        .iter()
        .map(|(act, _)| *act)
        .chain(DONE)
        .chain(DEPENDS)
        .collect();
    let mut words = vec![installed.probe.clone().into_os_string()];
    words.extend(
        scene
            .words(&ports(&acts.join(" -- ")))
            .into_iter()
            .map(Into::into),
    );
    let flags = ["--policy".into(), scene.policy_file()];
    let plain = scene.supervise_by(&installed.supervise, &flags, &words);
    let mut command = match circumstances.contained {
        false => plain,
        true => {
            let mut inside = Command::new(&container);
            inside.arg(plain.get_program()).args(plain.get_args());
            for (name, value) in plain.get_envs() {
                inside.env(name, value.expect("set"));
            }
            inside.current_dir(scene.work());
            inside
        }
    };
    command.env("HOME", scene.runtime.path());
    if let Some(user) = circumstances.user {
        as_uid(&mut command, user);
    }
    let before = scene.snapshot();
    let ran = run(&mut command);
    check(&scene, &ran);
    let mut after = scene.snapshot();
    let mut expected = before;
    // What it was allowed to do.
    for seen in [&mut expected, &mut after] {
        seen.retain(|path, _| !path.starts_with(scene.work().join("sub")));
    }
    assert_unchanged(&expected, &after);
    scene
}

#[track_caller]
fn check(scene: &Scene, ran: &Ran) {
    let answers = ran.lines();
    assert_eq!(
        answers.len(),
        REFUSED.len() + DONE.len() + DEPENDS.len(),
        "{ran}"
    );
    let (refused, rest) = answers.split_at(REFUSED.len());
    for ((act, errnos), answer) in REFUSED.iter().zip(refused) {
        let errno = answer.strip_prefix("errno ").unwrap_or(answer);
        assert!(
            errnos.split(' ').any(|allowed| allowed == errno),
            "{act}: {answer}"
        );
    }
    let (done, depends) = rest.split_at(DONE.len());
    for (act, answer) in DONE.iter().zip(done) {
        assert!(answer.starts_with("ok"), "{act}: {answer}");
    }
    let (state, detail) = scene.layer("metadata");
    assert_eq!(state, "enforced");
    let expected = match detail.as_str() {
        "decided by the supervisor" => "ok",
        "all changes refused" => "errno EPERM",
        other => panic!("{other}"),
    };
    assert_eq!(depends[..2], [expected; 2], "{detail}: {ran}");
    let (state, detail) = scene.layer("connect");
    assert_eq!(state, "enforced");
    let expected = match detail.as_str() {
        "decided by the supervisor" => "ok",
        "no Unix sockets; TCP by port" => "errno EAFNOSUPPORT",
        other => panic!("{other}"),
    };
    assert_eq!(depends[2], expected, "{detail}: {ran}");
    assert!(depends[3].ends_with("no_new_privs=1"), "{ran}");
    for layer in ["files", "net", "seccomp", "scope"] {
        assert_eq!(scene.layer(layer).0, "enforced", "{layer}");
    }
}

fn needs() -> Result<(), String> {
    feature::root()?;
    feature::landlock(6)?;
    feature::listener()
}

#[test]
fn everything_holds_for_an_ordinary_user() {
    require!(feature::pidfd_getfd());
    require!(needs());
    try_everything(&Circumstances {
        user: Some(NOBODY),
        contained: false,
        owner: NOBODY,
        keep: "",
    });
}

#[test]
fn everything_holds_for_root_over_its_own_files() {
    require!(feature::pidfd_getfd());
    require!(needs());
    try_everything(&Circumstances {
        user: None,
        contained: false,
        owner: 0,
        keep: "",
    });
}

#[test]
fn everything_holds_for_an_ordinary_user_in_a_container() {
    require!(needs());
    let scene = try_everything(&Circumstances {
        user: Some(NOBODY),
        contained: true,
        owner: NOBODY,
        keep: "",
    });
    // A container's filter refuses what sockets are duplicated by.
    assert_eq!(scene.layer("connect").1, "no Unix sockets; TCP by port");
}

#[test]
fn everything_holds_for_root_in_a_container_over_anothers_files() {
    require!(needs());
    try_everything(&Circumstances {
        user: None,
        contained: true,
        owner: NOBODY,
        keep: "\"DAC_OVERRIDE\", \"CHOWN\", \"FOWNER\", \"FSETID\"",
    });
}

#[test]
fn what_a_container_makes_impossible_stops_the_start() {
    require!(needs());
    let scene = Scene::under(&format!("{POLICY}[net]\nunix = [\"{{W}}/ok.sock\"]\n"));
    let inside = scene.supervise(&["touch", "sub/ran"]);
    let mut command = Command::new(contained());
    command
        .arg(inside.get_program())
        .args(inside.get_args())
        .current_dir(scene.work());
    for (name, value) in inside.get_envs() {
        command.env(name, value.expect("set"));
    }
    let ran = run(&mut command).expect_code(125);
    assert!(ran.stderr.contains("Unix sockets"), "{ran}");
    assert!(!scene.work().join("sub/ran").exists());
}

#[test]
fn everything_holds_for_root_over_anothers_files() {
    require!(feature::pidfd_getfd());
    require!(needs());
    try_everything(&Circumstances {
        user: None,
        contained: false,
        owner: NOBODY,
        keep: "\"DAC_OVERRIDE\", \"CHOWN\", \"FOWNER\", \"FSETID\"",
    });
}
