//! Workers that look strange, and are the right ones.

use crate::harness::built::{copy_program, kept};
use crate::harness::feature;
use crate::harness::process::{NOBODY, as_uid};
use crate::harness::{Workspace, require, set_mode};
use crate::worker::{SERVICE, VERSION, Worker, other_build, patient};
use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use supervisor::workers::handle::{Attested, BackendHandle};
use supervisor::workers::identity::{Mismatch, Rung, Step};

#[test]
fn a_worker_is_found_on_every_rung_and_the_handle_says_on_which() {
    let worker = Worker::start("serve");
    let mut process = worker.process.clone();
    let handle = worker.probe_as(&process).unwrap();
    let verification = handle.verification();
    let rung = match worker.opens_by_handle() {
        true => Rung::Handle,
        false => Rung::Inode,
    };
    assert_eq!(verification.found.rung, rung);
    assert_eq!(verification.found.start_time, Step::Verified);
    assert_eq!(verification.found.executable, Step::Verified);
    assert_eq!(verification.found.cgroup, Step::NotRecorded);
    let spoken = verification.spoken.clone().unwrap();
    assert!(spoken.is_listener && spoken.knows_inode);
    assert_eq!(spoken.sender, Attested::Pidfd);
    assert_eq!(&*handle.service_name, SERVICE);
    assert_eq!(&*handle.service_version, VERSION);
    assert_eq!(handle.daemon_process.pid, worker.child.id() as i32);

    process.pidfs_handle = None;
    let handle = worker.probe_as(&process).unwrap();
    assert_eq!(handle.verification().found.rung, Rung::Inode);
    process.pidfs_inode = None;
    let handle = worker.probe_as(&process).unwrap();
    assert_eq!(handle.verification().found.rung, Rung::StartTicks);
}

#[test]
fn every_constructor_gives_the_worker() {
    let worker = Worker::start("serve");
    let patient = patient();
    patient.probe(&worker.endpoint(), &worker.process).unwrap();
    patient
        .try_from_manifest(&worker.manifest())
        .unwrap()
        .unwrap();
    // As by default, once the program was hashed.
    let handle = BackendHandle::probe(&worker.endpoint(), &worker.process).unwrap();
    assert!(handle.is_alive());
    BackendHandle::probe_with_service(SERVICE, VERSION, &worker.endpoint(), &worker.process)
        .unwrap();
    BackendHandle::probe_manifest(&worker.manifest()).unwrap();
    let handle = BackendHandle::try_from_manifest(&worker.manifest())
        .unwrap()
        .unwrap();
    drop(handle);
    assert!(
        worker.probe().unwrap().is_alive(),
        "dropping a handle ends nothing"
    );
}

#[test]
fn every_connection_of_a_handle_is_a_verified_one_that_nothing_was_said_on() {
    let worker = Worker::start("serve");
    let handle = worker.probe().unwrap();
    for _ in 0..3 {
        let connection = handle.connect().unwrap().into_inner();
        (&connection).write_all(b"hello\n").unwrap();
        let mut line = String::new();
        BufReader::new(&connection).read_line(&mut line).unwrap();
        assert_eq!(line, "hello\n");
    }
}

#[test]
fn a_worker_whose_program_was_replaced_is_still_the_worker() {
    let workspace = Workspace::new();
    let program = workspace.join("program");
    copy_program(&kept(), &program);
    let newer = other_build(&workspace, "newer");
    let worker = Worker::start_of(&program, "serve", workspace, |_| {});
    std::fs::rename(&newer, &program).unwrap();
    let shown = std::fs::read_link(format!("/proc/{}/exe", worker.process.pid)).unwrap();
    assert!(shown.to_string_lossy().ends_with(" (deleted)"));
    assert_eq!(
        worker.probe().unwrap().verification().found.executable,
        Step::Verified
    );
    std::fs::remove_file(&program).unwrap();
    assert!(worker.probe().is_ok());
}

#[test]
fn a_worker_in_namespaces_of_its_own_is_still_the_worker() {
    let tried = Command::new("unshare").args(["-Urmnipf", "true"]).output();
    require!(match tried {
        Ok(output) if output.status.success() => Ok(()),
        other => Err(format!("unshare: {other:?}")),
    });
    let mut command = Command::new("unshare");
    command
        .args(["-Urmnipf", "--kill-child"])
        .arg(kept())
        .arg("serve")
        // It complains when the worker is killed.
        .stderr(std::process::Stdio::null());
    let worker = Worker::start_with(command, &kept(), Workspace::new(), |unshare| {
        let path = format!("/proc/{unshare}/task/{unshare}/children");
        let children = std::fs::read_to_string(path).unwrap();
        children.trim().parse().unwrap()
    });
    let handle = worker.probe().unwrap();
    let spoken = handle.verification().spoken.clone().unwrap();
    assert_eq!(spoken.sender, Attested::Pidfd);
    assert!(
        spoken.knows_inode,
        "an inode is the same in every pid namespace"
    );
}

#[test]
fn a_worker_that_hides_its_memory_is_taken_where_that_is_allowed_and_said_to_be_so() {
    if nix::unistd::geteuid().is_root() {
        // To root nothing is hidden.
        let shared = Workspace::open_to_all();
        let own = std::env::current_exe().expect("a test knows its own file");
        let copy = |from: &std::path::Path, name: &str| {
            let to = shared.join(name);
            copy_program(from, &to);
            set_mode(&to, 0o755);
            to
        };
        let (test, program) = (copy(&own, "test"), copy(&kept(), "kept"));
        let name = "accepted::a_worker_that_hides_its_memory_is_taken_where_that_is_allowed_and_said_to_be_so";
        let mut command = Command::new(test);
        command
            .args(["--exact", name])
            .env("SUPERVISE_TEST_KEPT", program);
        command.env("TMPDIR", "/tmp").current_dir("/");
        let ran = crate::harness::run::run(as_uid(&mut command, NOBODY));
        assert!(
            ran.stdout.contains("1 passed"),
            "{}\n{}",
            ran.stdout,
            ran.stderr
        );
        return;
    }
    require!(feature::ordinary_user());
    let worker = Worker::start("hide");
    let error = worker.probe().unwrap_err();
    let supervisor::workers::handle::Error::Identity(mismatch) = error else {
        panic!("{error:?}");
    };
    assert!(
        matches!(mismatch, Mismatch::ExecutableUnreadable { .. }),
        "{mismatch}"
    );
    let handle = worker.probe_preferring().unwrap();
    assert_eq!(handle.verification().found.executable, Step::Unreadable);
    assert!(
        handle
            .verification()
            .to_string()
            .contains("executable unreadable")
    );
}
