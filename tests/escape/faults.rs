//! Each system call of the supervisor's made to fail: what cannot be had stops the start, and nothing runs half confined.

use crate::filtered::filtered;
use crate::harness::run::{Running, start};
use crate::harness::{feature, require};
use crate::scene::{POLICY, Scene};
use std::time::{Duration, Instant};

/// A filter that lets all pass but one call, which fails.
fn without(number: u32, errno: i32) -> [libc::sock_filter; 4] {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        step(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

/// Acts that succeed for whoever is not confined, whichever one call is missing.
const ACTS: &str = "read {W}/secret/key -- openat2 {W}/secret/key r -- overwrite {O}/file x -- truncate {O}/file 0 -- \
    fchmodat {O}/file 777 -- fchmodat2 {O}/file 777 -- rename {O}/file {O}/moved -- mkdir {O}/made -- unlink {O}/dir/file -- \
    connect-tcp 127.0.0.1:DENIED -- udp 127.0.0.1:DENIED -- unshare newuser -- kill 1 none -- ptrace-seize 1";

/// How it ended, if it did in that time. A program without the calls it is made of may hang, confined as it is.
fn ended(running: &mut Running, time: Duration) -> bool {
    let deadline = Instant::now() + time;
    while running
        .child
        .try_wait()
        .expect("a child can be asked")
        .is_none()
    {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

fn nothing_runs_half_confined_without(numbers: impl Iterator<Item = u32>, errno: i32) {
    let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    let policy = format!("{POLICY}[net]\nconnect = [\"127.0.0.1:1\"]\n[limits]\nprocesses = 50\n");
    let acts = ACTS.replace("DENIED", &port.to_string());
    let scene = Scene::under(&policy);
    let before = scene.snapshot();
    let (mut refused, mut ran) = (0, 0);
    for number in numbers {
        let mut command = scene.inside(&acts);
        filtered(&mut command, &without(number, errno));
        let mut running = start(&mut command);
        if !ended(&mut running, Duration::from_secs(5)) {
            continue;
        }
        let outcome = running.wait();
        match outcome.code() {
            0 => {
                ran += 1;
                let succeeded = outcome.stdout.lines().find(|line| line.starts_with("ok"));
                assert_eq!(succeeded, None, "without call {number}: {outcome}");
            }
            _ => refused += 1,
        }
        crate::scene::assert_unchanged(&before, &scene.snapshot());
    }
    // Most calls are not needed at all; some must be.
    assert!(ran > 50 && refused > 10, "{ran} ran, {refused} did not");
}

/// All calls there are, without those that the test itself needs after it installed its filter.
fn numbers() -> impl Iterator<Item = u32> {
    (0..470).filter(|number| {
        i64::from(*number) != libc::SYS_execve && i64::from(*number) != libc::SYS_exit_group
    })
}

#[test]
fn nothing_runs_half_confined_when_a_call_is_refused() {
    require!(feature::pidfd_getfd());
    require!(feature::landlock(4));
    nothing_runs_half_confined_without(numbers(), libc::EPERM);
}

#[test]
fn what_the_kernel_lacks_stops_the_start() {
    require!(feature::listener());
    for (name, number) in [
        ("landlock_create_ruleset", libc::SYS_landlock_create_ruleset),
        ("landlock_add_rule", libc::SYS_landlock_add_rule),
        ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
        ("seccomp", libc::SYS_seccomp),
        ("prctl", libc::SYS_prctl),
        ("capset", libc::SYS_capset),
        ("close_range", libc::SYS_close_range),
        ("fchdir", libc::SYS_fchdir),
    ] {
        for errno in [libc::ENOSYS, libc::EPERM, libc::EINVAL, libc::ENOMEM] {
            let scene = Scene::new();
            let mut command = scene.supervise(&["touch", "sub/ran"]);
            filtered(&mut command, &without(number as u32, errno));
            let ran = start(&mut command).wait().expect_code(125);
            assert!(!scene.work().join("sub/ran").exists(), "{name}: {ran}");
            assert!(ran.stderr.starts_with("supervise: "), "{name}: {ran}");
            // Nobody is left, and nothing.
            let sessions = std::fs::read_dir(scene.runtime.join("supervise"));
            assert_eq!(sessions.map_or(0, Iterator::count), 0, "{name}: {ran}");
        }
    }
}
