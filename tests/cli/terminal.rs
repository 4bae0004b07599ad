//! On a terminal: keys that signal, job control, and who has the foreground afterwards.

use super::Scene;
use super::controlling::controlled_by;
use super::harness::built::supervise;
use super::harness::process::{eventually_gone, parent, state};
use super::harness::run::eventually;
use super::harness::{feature, require};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Nothing on a terminal takes that long.
const DEADLINE: Duration = Duration::from_secs(60);

const INTERRUPT: &str = "\x03";
const STOP: &str = "\x1a";

/// A shell on a terminal, and the person in front of it.
struct Desk {
    shell: Child,
    keyboard: File,
    screen: String,
    seen: usize,
}

impl Desk {
    fn new(scene: &Scene, shell: &mut Command) -> Self {
        let terminal = nix::pty::openpty(None, None).expect("a terminal");
        let shell = scene
            .at_home(controlled_by(shell, terminal.slave))
            .env("S", supervise())
            .env("PS1", "$ ")
            .env("TERM", "dumb")
            .spawn()
            .expect("bash is there");
        let keyboard = File::from(terminal.master);
        fcntl(&keyboard, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
        Self {
            shell,
            keyboard,
            screen: String::new(),
            seen: 0,
        }
    }

    fn interactive(scene: &Scene) -> Self {
        Self::new(
            scene,
            // What the caller of the tests ignores (nohup, background jobs) bash would ignore too.
            Command::new("env")
                .args(["--default-signal", "bash"])
                .args(["--norc", "--noprofile", "--noediting", "-i"]),
        )
    }

    /// What is typed is echoed: a word that is waited for is typed with quotes in it.
    fn types(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("a key");
    }

    fn look(&mut self) {
        let mut bytes = [0; 4096];
        // Nothing there now (EAGAIN), or everybody has left the terminal (EIO).
        while let Ok(length @ 1..) = self.keyboard.read(&mut bytes) {
            self.screen
                .push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    }

    /// Waits until that is on the screen, after all that was waited for before, and returns what stands behind it on its line.
    #[track_caller]
    fn sees(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            self.look();
            let new = &self.screen[self.seen..];
            let found = new.find(text).and_then(|at| {
                let rest = &new[at + text.len()..];
                let end = rest.find('\n')?;
                Some((at + text.len() + end, rest[..end].trim().to_owned()))
            });
            if let Some((end, behind)) = found {
                self.seen += end;
                return behind;
            }
            assert!(
                Instant::now() < deadline,
                "{text:?} never was on the screen:\n{}",
                self.screen
            );
            let mut screen = [PollFd::new(self.keyboard.as_fd(), PollFlags::POLLIN)];
            // An interrupted wait is a short wait; a terminal that everybody left is looked at again now and then.
            let _events = poll(&mut screen, PollTimeout::from(2u8));
        }
    }

    /// Waits until that is on the screen, in a line that has not ended.
    #[track_caller]
    fn seems(&mut self, text: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !self.screen[self.seen..].contains(text) {
            assert!(Instant::now() < deadline, "{text:?}:\n{}", self.screen);
            self.look();
            std::thread::yield_now();
        }
    }

    /// The process group that the terminal's keys signal.
    fn foreground(&self) -> i32 {
        let group = nix::unistd::tcgetpgrp(&self.keyboard).expect("a terminal has a foreground");
        group.as_raw()
    }

    fn shell_pid(&self) -> i32 {
        self.shell.id() as i32
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Whoever is still there goes with the terminal.
        let _gone = self.shell.kill();
        let _reaped = self.shell.wait();
    }
}

/// The supervisor of the command with that pid: between them stands the guardian.
fn supervisor_of(command: i32) -> i32 {
    parent(command).and_then(parent).expect("the command lives")
}

#[test]
fn the_interrupt_key_reaches_the_command_once() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = Desk::interactive(&scene);
    scene.workspace.write(
        "loop.sh",
        "trap 'echo got=INT' INT\ntrap 'echo got=USR1; exit 5' USR1\necho pid=$$\nwhile :; do sleep 0.01; done\n",
    );
    desk.types("\"$S\" -- sh ./loop.sh; echo stat''us=$?.\n");
    let command: i32 = desk.sees("pid=").parse().expect("a pid");
    for _ in 0..5 {
        desk.types(INTERRUPT);
        desk.sees("got=INT");
    }
    // Forwarded in order: a second one of any of them would have come before it.
    kill(Pid::from_raw(supervisor_of(command)), Signal::SIGUSR1).expect("it lives");
    let before = desk.seen;
    desk.sees("got=USR1");
    assert!(
        !desk.screen[before..desk.seen].contains("got=INT"),
        "{}",
        desk.screen
    );
    assert!(desk.sees("status=").starts_with("5."), "{}", desk.screen);
}

#[test]
fn the_interrupt_key_ends_a_command_that_does_not_mind() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = Desk::interactive(&scene);
    desk.types("\"$S\" -- sh -c 'echo p\"\"id=$$; exec sleep 1000'; echo stat''us=$?.\n");
    let command: i32 = desk.sees("pid=").parse().expect("a pid");
    desk.types(INTERRUPT);
    // The list ends with the interrupted command, as it does without a supervisor.
    eventually_gone(&[command]);
    desk.types("echo stat''us=$?.\n");
    assert!(desk.sees("status=").starts_with("130."), "{}", desk.screen);
}

#[test]
fn the_stop_key_stops_the_job_and_the_shell_continues_it() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = Desk::interactive(&scene);
    // Not a shell that starts programs in a loop: one that waits in vfork(2) cannot be stopped.
    desk.types("\"$S\" -- sh -c 'echo p\"\"id=$$; exec sleep 1000'\n");
    let command: i32 = desk.sees("pid=").parse().expect("a pid");
    let supervisor = supervisor_of(command);
    let are = |wanted: &[char]| {
        [command, supervisor]
            .iter()
            .all(|pid| state(*pid).is_some_and(|state| wanted.contains(&state)))
    };
    for _ in 0..3 {
        assert_eq!(desk.foreground(), supervisor, "the job's group");
        desk.types(STOP);
        desk.sees("Stopped");
        eventually("both were stopped", || are(&['T']));
        assert_eq!(desk.foreground(), desk.shell_pid());
        desk.types("echo sh''ell=here\n");
        desk.sees("shell=here");
        desk.types("fg\n");
        eventually("both went on", || are(&['R', 'S', 'D']));
        eventually("the job had the foreground", || {
            desk.foreground() == supervisor
        });
    }
    desk.types(INTERRUPT);
    eventually_gone(&[command, supervisor]);
    desk.types("echo stat''us=$?.\n");
    assert!(desk.sees("status=").starts_with("130."), "{}", desk.screen);
    assert_eq!(desk.foreground(), desk.shell_pid());
}

#[test]
fn a_command_that_took_the_foreground_and_was_killed_gives_it_back() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut shell = Command::new("env");
    shell.args(["--default-signal", "bash"]);
    // No job control here: nobody but the supervisor puts the foreground right.
    shell.args([
        "-c",
        "\"$S\" -- bash --norc --noprofile --noediting -i; echo stat''us=$?.; read line; echo re''ad=$line.",
    ]);
    let mut desk = Desk::new(&scene, &mut shell);
    desk.types("echo p''id=$$\n");
    let inner: i32 = desk.sees("pid=").parse().expect("a pid");
    assert_eq!(desk.foreground(), inner, "the inner shell took it");
    desk.types("kill -9 $$\n");
    assert!(desk.sees("status=").starts_with("137."), "{}", desk.screen);
    assert_eq!(desk.foreground(), desk.shell_pid());
    desk.types("word\n");
    assert!(desk.sees("read=").starts_with("word."), "{}", desk.screen);
}

#[test]
fn what_is_agreed_to_at_the_terminal_can_stand_in_the_policy_for_the_next_run() {
    require!(feature::program("bash"));
    require!(feature::listener());
    let scene = Scene::new();
    let data = scene.kept.write("data/a", "content\n");
    let policy = scene.kept.write(
        "policy.toml",
        format!(
            "# Mine.\nversion = 1\nextends = [\"read-only\"]\n[fs]\nask_read = [\"{}\"]\n[broker]\ntimeout = \"5m\"\n",
            data.parent().expect("a directory").display()
        ),
    );
    let mut shell = Command::new("env");
    shell.args(["--default-signal", "bash"]).args([
        "-c",
        "\"$S\" -p \"$P\" --approver terminal -- sh -c 'cat \"$0\"; echo st''atus=$?.' \"$D\"; \
         \"$S\" -p \"$P\" --approver deny -- cat \"$D\"; echo se''cond=$?.; read line",
    ]);
    shell.env("P", &policy).env("D", &data);
    let mut desk = Desk::new(&scene, &mut shell);
    desk.sees("asks to read");
    let shown = scene
        .kept
        .join("data/a")
        .canonicalize()
        .expect("it is there");
    desk.sees(shown.to_str().expect("a plain name"));
    let started_by = desk.sees("started by: ");
    assert!(started_by.contains("sh ("), "{started_by}");
    assert!(!started_by.contains("supervise"), "{started_by}");
    desk.seems("p: also in the policy; d: never in this run");
    desk.types("p\n");
    desk.sees("would change ");
    desk.seems("Write it, and allow? y;");
    desk.types("y\n");
    desk.sees("allowed, also in the policy: read ");
    desk.sees("content");
    assert!(desk.sees("status=").starts_with("0."), "{}", desk.screen);
    assert!(desk.sees("second=").starts_with("0."), "{}", desk.screen);
    let text = std::fs::read_to_string(&policy).expect("a policy");
    assert!(text.starts_with("# Mine.\n"), "{text}");
    let entry = format!("\"{}\",\n", shown.display());
    assert!(text.contains(&entry), "{text}");
}
