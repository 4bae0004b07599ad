//! Nothing outlives a session, whoever dies.

use super::Scene;
use super::harness::process::{eventually_gone, is_alive, marked, parent};
use super::harness::run::{eventually, eventually_reads, run, start};
use super::harness::{feature, require};

use nix::sys::signal::Signal;
use std::time::Duration;

/// A session whose command left a daemon that nobody's death signal reaches and that ignores SIGTERM, and waits itself.
struct Daemon {
    running: super::harness::run::Running,
    command: i32,
    daemon: i32,
}

impl Daemon {
    fn start(scene: &Scene) -> Self {
        let pids = [
            scene.workspace.join("daemon"),
            scene.workspace.join("command"),
        ];
        let script = format!(
            "trap '' TERM HUP; (setsid sh -c 'echo $$ >{}; while :; do read -r line </dev/null; sleep 1; done' &) ; echo $$ >{}; while :; do sleep 1; done",
            pids[0].display(),
            pids[1].display()
        );
        let running = start(&mut scene.supervise(&[], &["sh", "-c", &script]));
        let [daemon, command] =
            pids.map(|path| eventually_reads(&path).trim().parse().expect("a pid"));
        Self {
            running,
            command,
            daemon,
        }
    }

    fn guardian(&self) -> i32 {
        parent(self.command).expect("the command lives")
    }
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).expect("it lives");
}

#[test]
fn descendants_end_with_the_command() {
    let scene = Scene::new();
    let pid = scene.workspace.join("pid");
    let script = format!(
        "(setsid sh -c 'echo $$ >{}; sleep 1000' &); while [ ! -s {0} ]; do sleep 0.01; done; exit 4",
        pid.display()
    );
    run(&mut scene.supervise(&[], &["sh", "-c", &script])).expect_code(4);
    let daemon: i32 = eventually_reads(&pid).trim().parse().expect("a pid");
    assert!(!is_alive(daemon), "gone when the supervisor is");
    assert_eq!(scene.sessions(), 0);
}

#[test]
fn descendants_are_awaited_and_still_served_where_the_policy_says_so() {
    require!(feature::listener());
    let scene = Scene::new();
    let policy = "version = 1\n[fs]\nwrite = [\"$PWD\"]\n[process]\norphans = \"wait\"\n";
    let policy = scene.runtime.write("p.toml", policy);
    let flags = ["--policy", policy.to_str().expect("UTF-8")];
    let script = "(setsid sh -c 'read line <fifo; echo x >file; chmod 600 file; echo late' &); echo early; exit 6";
    let fifo = scene.workspace.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a new name");
    let mut running = start(&mut scene.supervise(&flags, &["sh", "-c", script]));
    running.until_it_says("early");
    // The command is gone by the time that its descendant goes on, or soon.
    std::fs::write(&fifo, "go\n").expect("somebody reads");
    let ran = running.wait().expect_code(6);
    assert_eq!(ran.stdout, "early\nlate\n", "{ran}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(scene.workspace.join("file"))
            .expect("made")
            .permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn nothing_survives_the_death_of_the_supervisor() {
    let scene = Scene::new();
    let session = Daemon::start(&scene);
    let guardian = session.guardian();
    session.running.signal(Signal::SIGKILL);
    eventually_gone(&[session.command, session.daemon, guardian]);
}

#[test]
fn nothing_survives_the_death_of_the_guardian() {
    let scene = Scene::new();
    let session = Daemon::start(&scene);
    let guardian = session.guardian();
    assert_ne!(guardian, session.running.pid());
    kill(guardian);
    let (command, daemon) = (session.command, session.daemon);
    let ran = session.running.wait().expect_code(125);
    assert!(ran.stderr.contains("guardian"), "{ran}");
    assert!(!is_alive(command) && !is_alive(daemon));
}

#[test]
fn the_next_start_ends_what_is_left_when_supervisor_and_guardian_are_killed_at_once() {
    let scene = Scene::new();
    let session = Daemon::start(&scene);
    let guardian = session.guardian();
    // Stopped first, so that neither has time to act on the other's death.
    for pid in [session.running.pid(), guardian] {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGSTOP).expect("it lives");
    }
    session.running.signal(Signal::SIGKILL);
    kill(guardian);
    eventually_gone(&[session.command]);
    let tmp = eventually_reads(
        &std::fs::read_dir(scene.runtime.join("supervise"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
            .join("session"),
    );
    let tmp = tmp
        .lines()
        .nth(1)
        .expect("the private directory is recorded")
        .to_owned();
    assert!(std::path::Path::new(&tmp).exists());
    run(&mut scene.supervise(&[], &["true"])).expect_code(0);
    assert!(!is_alive(session.daemon));
    assert!(!std::path::Path::new(&tmp).exists());
    assert_eq!(scene.sessions(), 0);
}

#[test]
fn a_session_that_lives_is_not_touched_by_the_next_start() {
    let scene = Scene::new();
    let session = Daemon::start(&scene);
    run(&mut scene.supervise(&[], &["true"])).expect_code(0);
    assert!(is_alive(session.daemon) && is_alive(session.command));
}

#[test]
fn a_time_limit_ends_what_ignores_the_polite_signal() {
    let scene = Scene::new();
    let script = "trap '' TERM; echo started; while :; do sleep 0.1; done";
    let ran =
        run(&mut scene.supervise(&["--timeout", "300ms"], &["sh", "-c", script])).expect_code(124);
    assert_eq!(ran.stdout, "started\n");
    assert!(ran.took >= Duration::from_millis(300), "{:?}", ran.took);
}

#[test]
fn a_stopped_command_meets_its_time_limit() {
    let scene = Scene::new();
    run(&mut scene.supervise(
        &["--timeout", "300ms"],
        &["sh", "-c", "kill -STOP $$; sleep 1000"],
    ))
    .expect_code(124);
}

#[test]
fn a_command_within_its_time_limit_is_left_alone() {
    let scene = Scene::new();
    run(&mut scene.supervise(&["--timeout", "1h"], &["sh", "-c", "exit 5"])).expect_code(5);
}

#[test]
fn a_fork_bomb_ends_with_its_session() {
    let scene = Scene::new();
    let mark = format!("bomb-{}", std::process::id());
    // Each of the processes makes others until they are 200, in sessions of their own.
    let script = format!(
        "i=0; while [ $i -lt 200 ]; do setsid sh -c 'sleep 1000; : {mark}' & i=$((i+1)); done; kill -9 $$"
    );
    run(&mut scene.supervise(&[], &["sh", "-c", &script])).expect_code(137);
    eventually("all of them were gone", || marked(&mark).is_empty());
}

#[test]
fn the_private_temporary_directory_is_gone_afterwards() {
    // The modes of files in it are changed.
    require!(feature::listener());
    let scene = Scene::new();
    let script =
        "mkdir -p $TMPDIR/a/b && echo x >$TMPDIR/a/b/c && chmod 000 $TMPDIR/a/b && echo $TMPDIR";
    let ran = run(&mut scene.supervise(&[], &["sh", "-c", script]));
    let tmp = ran.lines()[0].to_owned();
    assert!(tmp.starts_with('/'), "{ran}");
    assert!(!std::path::Path::new(&tmp).exists());
}

#[test]
fn the_end_of_a_command_hangs_up_on_nobody_where_somebody_is_stopped() {
    let scene = Scene::new();
    // Nobody outside could continue this group: when it becomes so, the kernel ends all in it if one of them is stopped.
    let supervised = scene.supervise(&[], &["true"]);
    let script = "sleep 1000 & kill -STOP $!; while ! grep -q 'T (stopped)' /proc/$!/status; do :; done; \"$@\"; kill -9 $!; echo survived";
    let mut command = std::process::Command::new("setsid");
    command.args(["--wait", "sh", "-c", script, "sh"]);
    command
        .arg(supervised.get_program())
        .args(supervised.get_args());
    if let Some(directory) = supervised.get_current_dir() {
        command.current_dir(directory);
    }
    for (name, value) in supervised.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let ran = run(&mut command).expect_code(0);
    assert_eq!(ran.lines(), ["survived"]);
}
