//! On a terminal: keys that signal, job control, and who has the foreground afterwards.

use super::Scene;
use super::desk::{Desk, INTERRUPT, STOP};
use super::harness::process::{eventually_gone, parent, state};
use super::harness::run::eventually;
use super::harness::{feature, require};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Command;

fn interactive(scene: &Scene) -> Desk {
    Desk::new(scene.at_home(&mut Desk::shell()))
}

/// The supervisor of the command with that pid: between them stands the guardian.
fn supervisor_of(command: i32) -> i32 {
    parent(command).and_then(parent).expect("the command lives")
}

#[test]
fn the_interrupt_key_reaches_the_command_once() {
    require!(feature::program("bash"));
    let scene = Scene::new();
    let mut desk = interactive(&scene);
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
    let mut desk = interactive(&scene);
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
    let mut desk = interactive(&scene);
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
    let mut desk = Desk::new(scene.at_home(&mut shell));
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
    let mut desk = Desk::new(scene.at_home(&mut shell));
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
