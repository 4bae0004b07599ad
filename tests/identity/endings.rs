//! Ending workers: who is told, who is not, and what is known afterwards.

use crate::harness::Workspace;
use crate::harness::built::kept;
use crate::harness::run::eventually;
use crate::worker::{Worker, manifest};
use std::process::Command;
use std::time::{Duration, Instant};
use supervisor::launch::Exit;
use supervisor::workers::handle::{BackendHandle, Error, Prober};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_worker_is_asked_to_end_before_it_is_told_to() {
    let workspace = Workspace::new();
    let worker = Worker::start_of(&kept(), "serve", workspace, |command| {
        command.env("KEPT_STATUS", "42");
    });
    let exit = worker.probe().unwrap().shutdown(LONG).unwrap();
    assert_eq!(exit, Some(Exit::Code(42)), "asked, it ends as it likes");
}

#[test]
fn a_worker_that_does_not_speak_is_told_to_end() {
    let mut worker = Worker::start("serve");
    worker.process.endpoint = None;
    let handle = BackendHandle::probe_manifest(&worker.manifest()).unwrap();
    assert_eq!(
        handle.shutdown(LONG).unwrap(),
        Some(Exit::Signal(libc::SIGTERM))
    );
}

#[test]
fn a_worker_that_will_not_end_is_said_to_live_and_can_be_killed() {
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' TERM; exec \"$0\" silent"])
        .arg(kept());
    let mut worker = Worker::start_with(command, &kept(), Workspace::new(), |pid| pid);
    worker.process.endpoint = None;
    let handle = BackendHandle::probe_manifest(&worker.manifest()).unwrap();
    let begin = Instant::now();
    let error = handle.shutdown(Duration::from_millis(200)).unwrap_err();
    let pid = worker.process.pid;
    assert_eq!(error, Error::ShutdownTimeout { pid });
    assert!(begin.elapsed() >= Duration::from_millis(200));
    let handle = BackendHandle::probe_manifest(&worker.manifest()).unwrap();
    assert!(handle.is_alive());
    let exit = handle.force_kill().unwrap();
    assert_eq!(exit, Some(Exit::Signal(libc::SIGKILL)));
}

#[test]
fn how_a_worker_ended_is_told_also_to_those_who_are_not_its_parent() {
    let mut command = Command::new("sh");
    // Its parent is this shell, which collects it; the descriptors are the worker's alone.
    command
        .args(["-c", "\"$0\" serve & exec 4<&- 5<&-; wait"])
        .arg(kept());
    command.env("KEPT_STATUS", "42");
    let worker = Worker::start_with(command, &kept(), Workspace::new(), |shell| {
        let path = format!("/proc/{shell}/task/{shell}/children");
        std::fs::read_to_string(path)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    });
    assert_ne!(worker.process.pid, worker.child.id() as i32);
    let (handle, witness) = (worker.probe().unwrap(), worker.probe().unwrap());
    let known = sys::pidfs::info(std::os::fd::AsFd::as_fd(&witness))
        .unwrap()
        .is_some();
    crate::harness::require!(match known {
        true => Ok(()),
        false => Err("this kernel does not tell how others' children ended".to_owned()),
    });
    let exit = handle.shutdown(LONG).unwrap();
    assert_eq!(exit, Some(Exit::Code(42)));
    eventually("everybody was told", || {
        witness.exit() == Some(Exit::Code(42))
    });
    assert!(!witness.is_alive());
}

#[test]
fn those_that_do_not_answer_are_waited_for_together() {
    let (deaf, good) = (Worker::start("serve"), Worker::start("serve"));
    deaf.probe().unwrap();
    good.probe().unwrap();
    let pid = nix::unistd::Pid::from_raw(deaf.process.pid);
    crate::harness::process::stop(deaf.process.pid);
    let mut manifests = vec![deaf.manifest(); 40];
    manifests.push(good.manifest());
    manifests.push(manifest("w", None));
    let prober = Prober {
        deadline: Duration::from_secs(1),
        ..Prober::default()
    };
    let start = Instant::now();
    let found = prober.try_from_manifests(&manifests);
    // One after the other would take forty.
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(found.len(), manifests.len());
    for deaf in &found[..40] {
        assert_eq!(deaf.as_ref().unwrap_err().field(), "deadline");
    }
    let found = found[40].as_ref().unwrap().as_ref().unwrap();
    assert_eq!(found.daemon_process.pid, good.process.pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
}

#[test]
fn a_worker_that_is_stopped_is_alive_and_does_not_answer() {
    let worker = Worker::start("serve");
    let handle = worker.probe().unwrap();
    let pid = nix::unistd::Pid::from_raw(worker.process.pid);
    crate::harness::process::stop(worker.process.pid);
    assert!(handle.is_alive(), "deaf is not dead");
    let error = BackendHandle::try_from_manifest(&worker.manifest()).unwrap_err();
    assert_eq!(error.field(), "deadline");
    assert!(!error.is_death());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    assert!(worker.probe().is_ok());
    assert!(
        BackendHandle::try_from_manifest(&manifest("w", None))
            .unwrap()
            .is_none()
    );
}
