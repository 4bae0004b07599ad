//! Records that are of no process here and now: each by its own error.

use crate::harness::{Workspace, require};
use crate::worker::{Worker, other_build};
use std::process::Command;
use supervisor::workers::handle::Error;
use supervisor::workers::identity::{DaemonProcess, Executables, Field, Mismatch};

fn mismatch(worker: &Worker, change: impl FnOnce(&mut DaemonProcess)) -> Mismatch {
    let mut process = worker.process.clone();
    change(&mut process);
    match worker.probe_as(&process) {
        Err(Error::Identity(mismatch)) => mismatch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_of_another_place_or_time_is_told_apart_by_its_field() {
    let worker = Worker::start("serve");
    assert!(worker.probe().is_ok());
    let boot = mismatch(&worker, |process| process.boot_id = "another".to_owned());
    assert_eq!(boot, Mismatch::Boot);
    assert!(boot.is_death());
    let no_boot = mismatch(&worker, |process| process.boot_id.clear());
    assert_eq!(no_boot, Mismatch::Boot);
    let machine = mismatch(&worker, |process| process.machine_id = "another".to_owned());
    assert_eq!(machine, Mismatch::Machine);
    assert!(!machine.is_death());
    let no_machine = mismatch(&worker, |process| process.machine_id.clear());
    assert_eq!(no_machine, Mismatch::Machine);
    let namespace = mismatch(&worker, |process| process.pid_namespace.ino += 1);
    assert_eq!(namespace, Mismatch::PidNamespace);
    let user = mismatch(&worker, |process| process.uid += 1);
    assert_eq!(user.field(), Field::User);
    let start = mismatch(&worker, |process| process.start_ticks -= 1);
    assert_eq!(start.field(), Field::StartTime);
    let pid = mismatch(&worker, |process| process.pid = std::process::id() as i32);
    // By its handle the worker is found, with another number; by the number, somebody else.
    let field = match worker.opens_by_handle() {
        true => Field::Pid,
        false => Field::Process,
    };
    assert_eq!(pid.field(), field);
    let cgroup = mismatch(&worker, |process| {
        process.cgroup = Some("/nowhere".to_owned())
    });
    assert_eq!(cgroup.field(), Field::Cgroup);
}

#[test]
fn what_only_empty_texts_have_in_common_is_not_the_same() {
    let worker = Worker::start("serve");
    let both = mismatch(&worker, |process| {
        process.machine_id.clear();
        process.boot_id.clear();
    });
    assert_eq!(both, Mismatch::Machine);
}

#[test]
fn a_worker_that_ended_is_dead_before_and_after_it_is_collected() {
    let mut worker = Worker::start("serve");
    let handle = worker.probe().unwrap();
    assert!(handle.is_alive());
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(worker.process.pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    // Of a process with threads it says so when the last of them is gone.
    crate::harness::run::eventually("it was dead", || !handle.is_alive());
    let state = crate::harness::process::state(worker.process.pid);
    assert_eq!(state, Some('Z'), "and nobody has collected it");
    let exit = Some(supervisor::launch::Exit::Signal(libc::SIGKILL));
    let pid = worker.process.pid;
    let error = worker.probe().unwrap_err();
    assert_eq!(error, Error::Identity(Mismatch::Exited { pid, exit }));
    assert!(error.is_death());
    worker.child.wait().unwrap();
    let error = worker.probe().unwrap_err();
    assert_eq!(error, Error::Identity(Mismatch::Gone { pid }));
    assert_eq!(handle.exit(), exit, "told also when it was collected");
    // By the lower rungs too.
    let mut process = worker.process.clone();
    process.pidfs_handle = None;
    let error = worker.probe_as(&process).unwrap_err();
    assert_eq!(error, Error::Identity(Mismatch::Gone { pid }));
}

#[test]
fn a_process_that_executes_something_else_is_not_the_worker() {
    let directory = Workspace::new();
    let other = other_build(&directory, "kept");
    let worker = Worker::start("serve");
    let recorded = crate::worker::executable(&other).sha256;
    let found = mismatch(&worker, |process| process.exe_sha256 = recorded);
    assert_eq!(found.field(), Field::Executable);
    let mut process = worker.process.clone();
    process.exe_sha256 = recorded;
    let (_, found) = process.find(Executables::Skip).unwrap();
    assert_eq!(
        found.executable,
        supervisor::workers::identity::Step::Skipped
    );
}

fn own_mounts() -> Result<(), String> {
    let tried = Command::new("unshare").args(["-Urm", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(format!("unshare: {error}")),
    }
}

#[test]
fn a_program_that_has_the_recorded_path_only_where_it_lives_itself_is_not_the_worker() {
    require!(own_mounts());
    let workspace = Workspace::new();
    let right = workspace.join("right");
    crate::harness::built::copy_program(&crate::harness::built::kept(), &right);
    let wrong = other_build(&workspace, "wrong");
    let mut command = Command::new("unshare");
    command.args(["-Urm", "sh", "-c"]);
    command.arg("mount --bind \"$1\" \"$2\" && exec \"$2\" serve");
    command.arg("sh").args([&wrong, &right]);
    let worker = Worker::start_with(command, &right, workspace, |pid| pid);
    let shown = std::fs::read_link(format!("/proc/{}/exe", worker.process.pid)).unwrap();
    assert_eq!(shown, right, "as far as its path tells it is the worker");
    let error = worker.probe().unwrap_err();
    assert_eq!(error.field(), "executable");
}

#[test]
fn a_record_that_was_made_elsewhere_names_nobody_in_a_pid_namespace() {
    require!(own_mounts());
    if let Some(line) = std::env::var_os("SUPERVISE_TEST_RECORD") {
        let line = std::fs::read(line).unwrap();
        let manifest = supervisor::workers::manifest::Manifest::decode(&line).unwrap();
        let error = manifest
            .process
            .unwrap()
            .find(Executables::Skip)
            .unwrap_err();
        assert_eq!(error, Mismatch::PidNamespace);
        return;
    }
    let worker = Worker::start("serve");
    let line = worker.manifest().encode().unwrap();
    let record = worker.workspace.write("record", line);
    let own = std::env::current_exe().expect("a test knows its own file");
    let name = "others::a_record_that_was_made_elsewhere_names_nobody_in_a_pid_namespace";
    let mut command = Command::new("unshare");
    command.args(["-Urpf", "--mount-proc"]).arg(own);
    command
        .args(["--exact", name])
        .env("SUPERVISE_TEST_RECORD", record);
    let ran = crate::harness::run::run(&mut command);
    assert!(
        ran.stdout.contains("1 passed"),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
}
