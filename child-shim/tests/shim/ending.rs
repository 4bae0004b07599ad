//! How a worker ends, and what does not end it.

use std::process::Command;

use nix::sys::signal::Signal;
use protocol::json;

use crate::harness::worker::Worker;
use crate::workers::{Language, ask, code, hear, in_every_language};

in_every_language!(
    sigterm_ends_it_whoever_is_connected,
    sigterm_stops_a_job_and_answers_whoever_waits,
    shutdown_is_answered_and_ends_it,
    it_ends_when_it_had_no_job_for_long_enough,
    only_its_own_file_is_removed,
);

fn sigterm_ends_it_whoever_is_connected(language: Language) {
    let mut worker = language.start();
    let mut idle = worker.client();
    let mut silent = worker.connect();
    worker.signal(Signal::SIGTERM);
    assert!(worker.ended().success());
    assert!(!worker.endpoint.exists());
    assert_eq!(idle.heard(), None);
    assert_eq!(silent.heard(), None);
}

fn sigterm_stops_a_job_and_answers_whoever_waits(language: Language) {
    let mut worker = language.start();
    let mut client = worker.client();
    let never = json!(format!("wait {}", worker.file("never").display()));
    client.say(&json!({"id": 2, "req": {"run": {"job": never}}}).to_string());
    let status = ask(&mut client, 3, json!({"status": {}}));
    assert_eq!(status["data"]["state"], "running");
    worker.signal(Signal::SIGTERM);
    let stopped = hear(&mut client);
    assert_eq!((&stopped["id"], code(&stopped)), (&json!(2), "failed"));
    assert!(worker.ended().success());
    assert!(!worker.endpoint.exists());
}

fn shutdown_is_answered_and_ends_it(language: Language) {
    let mut worker = language.start();
    let (mut client, mut other) = (worker.client(), worker.client());
    let answer = ask(&mut client, 2, json!({"shutdown": {}}));
    assert_eq!((&answer["id"], &answer["ok"]), (&json!(2), &json!(true)));
    assert!(worker.ended().success());
    assert_eq!(other.heard(), None);
    assert!(!worker.endpoint.exists());
}

fn with_idle_timeout(language: Language, milliseconds: u32) -> Command {
    let mut command = language.command();
    command.env("SUPERVISE_WORKER_IDLE_MS", milliseconds.to_string());
    command
}

fn it_ends_when_it_had_no_job_for_long_enough(language: Language) {
    let mut worker = Worker::start(&mut with_idle_timeout(language, 1000));
    let mut client = worker.client();
    let flag = worker.file("flag");
    let job = json!(format!("wait {}", flag.display()));
    client.say(&json!({"id": 2, "req": {"run": {"job": job}}}).to_string());
    // A job that runs is not idle, however long it takes; being asked is no job.
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_millis(1500) {
        let status = ask(&mut client, 3, json!({"status": {}}));
        assert_eq!(status["data"]["state"], "running");
        assert_eq!(status["data"]["idle_ms"], 0);
        assert_eq!(status["data"]["idle_timeout_ms"], 1000);
    }
    std::fs::write(&flag, "").expect("written");
    assert_eq!(hear(&mut client)["data"]["output"], "it is there");
    let done = std::time::Instant::now();
    // Whoever asks how it does keeps nothing from ending.
    let mut number = 4;
    while {
        client.say(&json!({"id": number, "req": {"status": {}}}).to_string());
        client.heard().is_some()
    } {
        number += 1;
        assert!(done.elapsed() < crate::harness::run::DEADLINE);
        if !worker.endpoint.exists() {
            break;
        }
    }
    assert!(worker.ended().success());
    assert!(!worker.endpoint.exists());
    assert!(done.elapsed() >= std::time::Duration::from_millis(900));
}

fn only_its_own_file_is_removed(language: Language) {
    let mut worker = language.start();
    std::fs::remove_file(&worker.endpoint).expect("there");
    let other = crate::harness::worker::bound(&worker.endpoint);
    worker.signal(Signal::SIGTERM);
    assert!(worker.ended().success());
    assert!(worker.endpoint.exists(), "it is somebody else's");
    drop(other);
}

#[test]
fn a_job_that_does_not_stop_does_not_keep_the_worker_from_ending() {
    // Told to be deaf: the file that it waits for never comes, and it is stopped before it can look whether it shall stop.
    let mut worker = Language::Rust.start();
    let mut client = worker.client();
    let fifo = worker.file("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let deaf = json!(format!("read {}", fifo.display()));
    client.say(&json!({"id": 2, "req": {"run": {"job": deaf}}}).to_string());
    let status = ask(&mut client, 3, json!({"status": {}}));
    assert_eq!(status["data"]["state"], "running");
    worker.signal(Signal::SIGTERM);
    let answer = hear(&mut client);
    assert_eq!((&answer["id"], code(&answer)), (&json!(2), "unavailable"));
    assert!(worker.ended().success());
}

#[test]
fn a_job_that_panics_fails_alone() {
    let worker = Language::Rust.start();
    let mut client = worker.client();
    let failed = ask(&mut client, 2, json!({"run": {"job": "panic"}}));
    assert_eq!(code(&failed), "failed");
    let next = ask(&mut client, 3, json!({"run": {"job": "x"}}));
    assert_eq!(next["data"]["output"], "x");
}

#[test]
fn a_program_that_is_no_worker_says_so() {
    for command in [Language::Rust.command(), Language::Python.command()] {
        let mut command = command;
        command
            .env_remove("SUPERVISE_WORKER_FD")
            .env_remove("SUPERVISE_WORKER_SECRET_FD");
        let ran = crate::harness::run::run(&mut command);
        assert!(!ran.status.success(), "{ran}");
    }
}
