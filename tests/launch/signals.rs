//! Signals reach the command once.

use super::Scene;
use super::harness::require;
use super::harness::run::{run, start};
use nix::sys::signal::Signal;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The same with every signal at its default: a shell cannot trap what its caller ignores, as background jobs and nohup do.
fn with_default_signals(command: &Command) -> Command {
    let mut env = Command::new("env");
    env.arg("--default-signal")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        env.env(name, value.unwrap_or_default());
    }
    if let Some(directory) = command.get_current_dir() {
        env.current_dir(directory);
    }
    env
}

fn signals_can_be_reset() -> Result<(), String> {
    match run(Command::new("env").args(["--default-signal", "true"])).code() {
        0 => Ok(()),
        _ => Err("this env knows no --default-signal".to_owned()),
    }
}

#[test]
fn signals_sent_to_the_supervisor_reach_the_command() {
    require!(signals_can_be_reset());
    let scene = Scene::new();
    for (signal, name) in [
        (Signal::SIGINT, "INT"),
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGWINCH, "WINCH"),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.01; done"
        );
        let mut running = start(&mut with_default_signals(
            &scene.supervise(&[], &["sh", "-c", &script]),
        ));
        running.until_it_says("ready");
        running.signal(signal);
        let ran = running.wait().expect_code(9);
        assert_eq!(ran.stdout, format!("ready\ngot {name}\n"));
    }
}

#[test]
fn a_signal_to_the_whole_group_reaches_the_command_at_least_once() {
    require!(signals_can_be_reset());
    let scene = Scene::new();
    let script =
        "trap 'echo got' USR1; trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done";
    let mut command = with_default_signals(&scene.supervise(&[], &["sh", "-c", script]));
    let mut running = start(command.process_group(0));
    running.until_it_says("ready");
    let group = nix::unistd::Pid::from_raw(running.pid());
    nix::sys::signal::killpg(group, Signal::SIGUSR1).expect("the group is there");
    running.until_it_says("got");
    running.signal(Signal::SIGTERM);
    let ran = running.wait().expect_code(9);
    // It had it, and we cannot know that: once more from us, unless both came at the same time.
    assert!(
        ["ready\ngot\n", "ready\ngot\ngot\n"].contains(&ran.stdout.as_str()),
        "{ran}"
    );
}

#[test]
fn a_command_that_dies_of_a_forwarded_signal_gives_128_and_the_signal() {
    let scene = Scene::new();
    let mut running =
        start(&mut scene.supervise(&[], &["sh", "-c", "echo ready; exec sleep 1000"]));
    running.until_it_says("ready");
    running.signal(Signal::SIGTERM);
    running.wait().expect_code(143);
}

#[test]
fn a_writer_whose_reader_is_gone_dies_of_sigpipe_as_without_a_supervisor() {
    let scene = Scene::new();
    let script = "sh -c 'yes; echo $? >&2' | head -n 1";
    let ran = run(&mut scene.supervise(&[], &["sh", "-c", script]));
    assert_eq!(ran.stderr.trim(), "141");
}
