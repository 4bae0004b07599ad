//! Other processes: their signals, sockets, memory, settings, and what can be learned of them.

use crate::harness::built::{probe, supervise};
use crate::harness::process::{is_alive, marked};
use crate::harness::run::{Running, eventually, run, start};
use crate::harness::{feature, require};
use crate::scene::{POLICY, Scene, answered_otherwise_inside, refused, refused_in};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

pub fn victim() -> Running {
    let mut victim = start(Command::new(probe()).args(["pid", "--", "linger"]));
    victim.until_it_says("ok ");
    victim
}

/// Sockets of the outside, in a scene; they listen as long as the test runs.
fn listen(scene: &Scene) {
    for name in ["outside/sock", "w/ok.sock", "w/secret/sock"] {
        let path = scene.work().parent().expect("the base").join(name);
        std::mem::forget(UnixListener::bind(path).expect("a socket"));
    }
    let datagrams = UnixDatagram::bind(scene.outside().join("datagrams")).expect("a socket");
    std::mem::forget(datagrams);
    let (work, outside) = (scene.work(), scene.outside());
    std::os::unix::fs::symlink(outside.join("sock"), work.join("sub/link")).expect("a link");
    std::os::unix::fs::symlink(&outside, work.join("sub/dir")).expect("a link");
}

fn policy_with_socket() -> String {
    format!("{POLICY}[net]\nunix = [\"{{W}}/ok.sock\"]\n")
}

#[test]
fn sockets_of_the_outside_are_reached_by_no_spelling() {
    require!(feature::pidfd_getfd());
    let scene = Scene::under(&policy_with_socket());
    listen(&scene);
    let acts = [
        "connect-unix {O}/sock",
        "connect-unix ../outside/sock",
        "connect-unix sub/link",
        "connect-unix {W}/sub/link",
        "connect-unix {W}/sub/dir/sock",
        "connect-unix /proc/self/cwd/../outside/sock",
        "connect-unix /proc/self/root/{O}/sock",
        "connect-unix {W}/secret/sock",
        "connect-unix secret/sock",
        "chdir {O} -- connect-unix sock",
        "fchdir {O} -- connect-unix ./sock",
        "chdir {W}/sub/dir -- connect-unix sock",
    ];
    let performed = refused_in(&scene, &listen, "EACCES", &acts);
    let refusals = performed.refusals("connect");
    assert_eq!(refusals.len(), acts.len(), "one record each: {refusals:#?}");
    for (record, act) in refusals.iter().zip(acts) {
        assert_eq!(record["errno"], "EACCES", "{act}: {record}");
        let located = record["path"].as_str().expect("it was located");
        assert!(located.ends_with("/sock"), "{act}: {record}");
    }
}

#[test]
fn a_name_that_is_rewritten_while_it_is_looked_at_reaches_nobody_else() {
    require!(feature::pidfd_getfd());
    // Below what may be written, but for what is denied: names of the same length.
    let names = ["subsub/sock", "secret/sock"];
    let sockets = |scene: &Scene| {
        std::fs::create_dir(scene.work().join("subsub")).expect("a directory");
        names.map(|name| {
            let path = scene.work().join(name);
            let socket = UnixListener::bind(path).expect("a socket");
            socket.set_nonblocking(true).expect("it need not wait");
            socket
        })
    };
    // The good one takes them all, or they would wait for it.
    let accept = |socket: UnixListener| {
        std::thread::spawn(move || {
            socket.set_nonblocking(false).expect("it may wait");
            for stream in socket.incoming() {
                drop(stream);
            }
        })
    };
    let callers = |socket: &UnixListener| std::iter::from_fn(|| socket.accept().ok()).count();
    let act = "race-connect-unix {W}/subsub/sock {W}/secret/sock";
    let free = Scene::new();
    let [good, evil] = sockets(&free);
    accept(good);
    eventually("the race is won where nothing confines it", || {
        run(&mut free.unconfined(&format!("{act} 100")));
        callers(&evil) > 0
    });
    let scene = Scene::new();
    let [good, evil] = sockets(&scene);
    accept(good);
    let performed = scene.perform(&format!("{act} 1000"));
    let answer = performed.answers()[0];
    assert!(
        answer.starts_with("ok succeeded=") && answer != "ok succeeded=0",
        "{answer}"
    );
    assert_eq!(callers(&evil), 0, "nobody came");
}

#[test]
fn a_socket_that_is_listed_is_reached() {
    require!(feature::pidfd_getfd());
    let scene = Scene::under(&policy_with_socket());
    listen(&scene);
    let performed = scene.perform("connect-unix {W}/ok.sock -- connect-unix ok.sock");
    assert_eq!(performed.answers(), ["ok", "ok"]);
    let granted: Vec<_> = performed
        .records
        .iter()
        .filter(|record| record["answer"] == "granted")
        .collect();
    assert_eq!(granted.len(), 2, "{:#?}", performed.records);
}

#[test]
fn a_name_that_is_cut_short_or_too_long_reaches_nothing_else() {
    require!(feature::pidfd_getfd());
    let scene = Scene::under(&policy_with_socket());
    listen(&scene);
    // As long as an address can be, and longer.
    let long = format!("{}sock", "./".repeat(50));
    let performed = scene.perform(&format!(
        "chdir {{O}} -- connect-unix {long} -- connect-unix {long}x{long} -- connect-unix {{W}}/ok.socket"
    ));
    let answers = performed.answers();
    assert_eq!(answers[1], "errno EACCES", "{}", performed.ran);
    assert!(
        answers[2..]
            .iter()
            .all(|answer| answer.starts_with("errno ")),
        "{}",
        performed.ran
    );
}

#[test]
fn other_kinds_of_unix_sockets_reach_nobody() {
    require!(feature::pidfd_getfd());
    let scene = Scene::under(&policy_with_socket());
    let outside = scene.outside();
    listen(&scene);
    let receiver = UnixDatagram::bind(outside.join("receiver")).expect("a socket");
    receiver
        .set_nonblocking(true)
        .expect("a socket need not wait");
    let name = format!("supervise-escape-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let _listens = UnixListener::bind_addr(&address).expect("a socket");
    let acts = [
        "unix-dgram {O}/receiver".to_owned(),
        "pair-sendto dgram {O}/receiver".to_owned(),
        "pair-connect dgram {O}/receiver".to_owned(),
        format!("connect-abstract {name}"),
        "connect-seqpacket {O}/sock".to_owned(),
        "socket unix dgram".to_owned(),
        "socket unix raw".to_owned(),
        "socketpair unix dgram".to_owned(),
        "socketpair unix raw".to_owned(),
    ];
    let performed = scene.perform(&acts.join(" -- "));
    for (act, answer) in acts.iter().zip(performed.answers()) {
        assert!(answer.starts_with("errno E"), "{act}: {answer}");
        let outside = run(&mut scene.unconfined(act)).stdout;
        // A seqpacket socket cannot be connected to a stream.
        if !outside.starts_with("ok") {
            crate::harness::skip(
                &format!("escape: `{act}`"),
                &format!("it gives {outside} anyway"),
            );
        }
    }
    assert_eq!(performed.answers().len(), acts.len());
    // What the proofs outside sent, and nothing from inside: those came first.
    let mut heard = 0;
    while receiver.recv(&mut [0; 8]).is_ok() {
        heard += 1;
    }
    assert_eq!(heard, 2, "from the two acts outside that send");
}

#[test]
fn signals_reach_nobody_outside() {
    let mut acts = Vec::new();
    for signal in ["KILL", "STOP", "TERM", "none"] {
        for way in ["kill", "tkill", "tgkill", "sigqueue", "pidfd-kill"] {
            acts.push(format!("{way} VICTIM {signal}"));
        }
    }
    let victim = victim();
    let pid = victim.pid().to_string();
    let acts: Vec<String> = acts.iter().map(|act| act.replace("VICTIM", &pid)).collect();
    let performed = Scene::new().perform(&acts.join(" -- "));
    assert_eq!(performed.answers().len(), acts.len(), "{}", performed.ran);
    for (act, answer) in acts.iter().zip(performed.answers()) {
        assert_eq!(answer, "errno EPERM", "{act}");
    }
    assert_eq!(crate::harness::process::state(victim.pid()), Some('S'));
}

#[test]
fn a_signal_to_everybody_reaches_nobody_outside() {
    // One that whoever does not wait for it ignores.
    let signal = libc::SIGURG;
    let script = "trap 'echo hit' URG; echo ready; while :; do sleep 0.05; done";
    let mut listening = start(Command::new("sh").args(["-c", script]));
    listening.until_it_says("ready");
    let scene = Scene::new();
    let ran = scene
        .perform(&format!("kill -1 {signal} -- kill 1 {signal} -- pid"))
        .ran;
    assert_eq!(ran.lines()[1], "errno EPERM", "{ran}");
    // It does hear, and has not heard before.
    run(&mut scene.unconfined(&format!("kill {} {signal}", listening.pid())));
    listening.until_it_says("hit");
    listening.signal(nix::sys::signal::SIGKILL);
    assert_eq!(listening.wait().stdout, "ready\nhit\n");
}

#[test]
fn a_signal_to_the_callers_process_group_spares_the_caller() {
    let scene = Scene::new();
    let mark = format!("bystander-{}", std::process::id());
    let inside = scene.inside("kill 0 KILL");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "p=$1; m=$2; shift 2; \"$p\" linger -- args \"$m\" & \"$@\"; echo \"$?\"; kill %1 2>/dev/null || kill $!", "sh"])
        .arg(probe())
        .arg(&mark)
        .arg(inside.get_program())
        .args(inside.get_args())
        .current_dir(scene.work())
        .process_group(0);
    for (name, value) in inside.get_envs() {
        shell.env(name, value.expect("set"));
    }
    let ran = run(&mut shell);
    // The shell and the supervisor lived to tell: the command alone was killed.
    assert_eq!(ran.lines(), ["137"], "{ran}");
    eventually("the bystander is gone", || marked(&mark).is_empty());
}

#[test]
fn settings_of_processes_outside_are_not_changed() {
    let victim = victim();
    let pid = victim.pid().to_string();
    let acts = [
        "setpriority VICTIM 19",
        "ioprio VICTIM",
        "affinity VICTIM",
        "scheduler VICTIM",
        "prlimit VICTIM 7 0 0",
        "prlimit VICTIM 0 1 1",
        "ptrace-attach VICTIM",
        "ptrace-seize VICTIM",
        "vm-read VICTIM",
        "vm-write VICTIM",
        "madvise-other VICTIM",
        "kcmp VICTIM",
        "pidfd-getfd VICTIM 1",
    ]
    .map(|act| act.replace("VICTIM", &pid));
    let limits = || std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("it lives");
    let before = limits();
    let performed = Scene::new().perform(&acts.join(" -- "));
    for (act, answer) in acts.iter().zip(performed.answers()) {
        assert_eq!(answer, "errno EPERM", "{act}");
    }
    assert_eq!(performed.answers().len(), acts.len());
    assert_eq!(before, limits());
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    assert!(status.contains("TracerPid:\t0"), "{status}");
}

#[test]
fn shared_memory_and_queues_of_the_outside_are_not_opened() {
    let scene = Scene::new();
    let key = 0x5e5c_0000 + i64::from(std::process::id() & 0xffff);
    let name = format!("supervise-escape-{}", std::process::id());
    let file = format!("/dev/shm/{name}");
    let made = run(&mut scene.unconfined(&format!(
        "shmget {key} create -- semget {key} 950 -- msgget {key} 950 -- mq-open {name} create -- write {file} HIT"
    )));
    let acts = [
        format!("shmget {key}"),
        format!("semget {key}"),
        format!("msgget {key}"),
        format!("mq-open {name}"),
        format!("read {file}"),
        format!("overwrite {file} x"),
        format!("write {file}-new x"),
    ];
    let performed = scene.perform(&acts.join(" -- "));
    let answers: Vec<String> = performed
        .answers()
        .iter()
        .map(|answer| (*answer).to_owned())
        .collect();
    let outside: Vec<String> = acts[..6]
        .iter()
        .map(|act| run(&mut scene.unconfined(act)).stdout)
        .collect();
    // Removed before anything is asserted: these outlive processes.
    let id = |line: usize| made.lines()[line].strip_prefix("ok ").map(str::to_owned);
    for (remove, line) in [(libc::SYS_shmctl, 0), (libc::SYS_msgctl, 2)] {
        if let Some(id) = id(line) {
            run(&mut scene.unconfined(&format!("raw {remove} {id} 0 0")));
        }
    }
    if let Some(id) = run(&mut scene.unconfined(&format!("semget {key}")))
        .stdout
        .trim_end()
        .strip_prefix("ok ")
        .map(str::to_owned)
    {
        run(&mut scene.unconfined(&format!("raw {} {id} 0 0", libc::SYS_semctl)));
    }
    run(&mut scene.unconfined(&format!("mq-unlink {name} -- unlink {file}")));
    assert!(!std::path::Path::new(&format!("{file}-new")).exists());
    for ((act, inside), outside) in acts
        .iter()
        .zip(&answers)
        .zip(outside.iter().map(String::as_str).chain(["ok"]))
    {
        assert!(
            ["errno EPERM", "errno EACCES", "errno ENOSYS"].contains(&inside.as_str()),
            "{act}: {inside}"
        );
        if !outside.starts_with("ok") {
            crate::harness::skip(
                &format!("escape: `{act}`"),
                &format!("it gives {outside} anyway"),
            );
        }
    }
    assert_eq!(answers.len(), acts.len());
}

#[test]
fn nothing_is_watched_that_cannot_be_read() {
    require!(feature::pidfd_getfd());
    let acts = [
        "inotify {W}/secret/key",
        "inotify {W}/secret",
        "inotify secret/../secret/key",
        "inotify {O}",
        "inotify {O}/file",
        "inotify /proc/self/cwd/secret",
        "inotify /etc/shadow",
    ];
    let performed = refused("EACCES", &acts);
    let refusals = performed.refusals("inotify_add_watch");
    assert_eq!(refusals.len(), acts.len(), "one record each: {refusals:#?}");
    let scene = Scene::new();
    let performed = scene.perform("inotify {W}/sub -- inotify-hear {W}/sub/mine -- inotify none");
    let expected = ["ok", "ok wd=1 mask=2", "errno ENOENT"];
    assert_eq!(performed.answers(), expected, "{}", performed.ran);
    assert_eq!(
        performed.records.len(),
        0,
        "what is allowed is not recorded"
    );
}

#[test]
fn nobody_waits_for_a_lease() {
    let acts = [
        "lease {W}/sub/mine write",
        "lease {W}/sub/mine read",
        "lease /etc/passwd read",
        "dnotify {W}/sub/deep",
    ];
    answered_otherwise_inside("EPERM", &acts);
}

#[test]
fn no_session_starts_where_the_policy_does_not_reach() {
    let scene = Scene::new();
    for directory in [
        scene.outside(),
        scene.work().join("secret"),
        "/".into(),
        "/root".into(),
    ] {
        // Where nobody can begin there is nothing to refuse.
        if std::fs::metadata(directory.join(".")).is_err() {
            continue;
        }
        let ran = run(scene.inside("cwd").current_dir(&directory)).expect_code(125);
        assert!(ran.stderr.contains("working directory"), "{ran}");
        assert_eq!(ran.stdout, "");
    }
    let ran = run(&mut scene.supervise_by(
        &supervise(),
        &[
            "--policy".into(),
            scene.policy_file(),
            "--chdir".into(),
            scene.outside(),
        ],
        &["true"],
    ));
    assert_eq!(ran.code(), 125, "{ran}");
}

#[test]
fn a_datagram_socket_as_standard_stream_is_refused() {
    let scene = Scene::new();
    let (datagrams, _other) = UnixDatagram::pair().expect("a pair");
    let stdin = Stdio::from(std::os::fd::OwnedFd::from(datagrams));
    let ran = start(scene.inside("pid").stdin(stdin))
        .wait()
        .expect_code(125);
    assert!(ran.stderr.contains("datagram"), "{ran}");
}

#[test]
fn a_daemon_of_the_session_is_gone_when_the_session_is() {
    let scene = Scene::new();
    let performed =
        scene.perform("daemonize {W}/sub/pid -- touch-and-wait {W}/sub/own {W}/sub/pid");
    assert_eq!(performed.answers(), ["ok", "ok"]);
    let pid: i32 = std::fs::read_to_string(scene.work().join("sub/pid"))
        .expect("it was there")
        .parse()
        .expect("a pid");
    assert!(!is_alive(pid));
}
