//! Numbers that are another process's now: made for real, with the same program, the same socket and the same secret.

use crate::harness::require;
use crate::harness::run::{eventually, run};
use crate::recycled_pid::execute_as;
use crate::worker::{ENVIRONMENT, Outfit, Worker};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;
use supervisor::launch::Exit;
use supervisor::workers::handle::Error;
use supervisor::workers::identity::{Field, Mismatch};
use sys::pidfd::Pidfd;

/// Runs this very test in a pid namespace of its own, where numbers can be chosen. Whether this is there.
fn inside(name: &str) -> Result<bool, String> {
    if std::env::var_os("SUPERVISE_TEST_INSIDE").is_some() {
        return Ok(true);
    }
    let tried = Command::new("unshare")
        .args(["-Urpf", "--mount-proc", "true"])
        .output();
    match tried {
        Ok(output) if output.status.success() => {}
        other => return Err(format!("unshare: {other:?}")),
    }
    let own = std::env::current_exe().expect("a test knows its own file");
    let mut command = Command::new("unshare");
    command.args(["-Urpf", "--mount-proc"]).arg(own);
    command
        .args(["--exact", name])
        .env("SUPERVISE_TEST_INSIDE", "1");
    let ran = run(&mut command);
    assert!(
        ran.stdout.contains("1 passed"),
        "{}\n{}",
        ran.stdout,
        ran.stderr
    );
    Ok(false)
}

/// Another process with the number of the worker, which is dead and collected: of the same program, at the same endpoint, with the same
/// secret and instance.
fn recycle(worker: &mut Worker) -> Pidfd {
    let process = worker.process.clone();
    worker.kill();
    let endpoint = process.endpoint.unwrap();
    std::fs::remove_file(&endpoint.path).unwrap();
    // On the lowest rung a process is known by the tick in which it was started.
    let ticks = || {
        let own = Command::new("cat").arg("/proc/self/stat").output().unwrap();
        let text = String::from_utf8(own.stdout).unwrap();
        let rest = text.rsplit_once(") ").unwrap().1.to_owned();
        rest.split(' ').nth(19).unwrap().parse::<u64>().unwrap()
    };
    eventually("the clock ticked", || ticks() > process.start_ticks);
    let outfit = Outfit::alike(endpoint.clone(), process.instance, process.secret.unwrap());
    execute_as(
        process.pid,
        &crate::harness::built::kept(),
        &["serve"],
        &ENVIRONMENT,
        &outfit.fds,
    )
    .unwrap();
    let next = Pidfd::open(process.pid).unwrap();
    drop(outfit);
    eventually("the next one listened", || {
        UnixStream::connect(&endpoint.path).is_ok()
    });
    next
}

#[test]
fn the_next_owner_of_a_number_is_not_the_worker_on_any_rung() {
    let name = "recycled::the_next_owner_of_a_number_is_not_the_worker_on_any_rung";
    let is_inside = inside(name);
    require!(is_inside.clone().map(drop));
    if is_inside == Ok(false) {
        return;
    }
    let mut worker = Worker::start("serve");
    assert!(worker.probe().is_ok());
    let next = recycle(&mut worker);
    let pid = worker.process.pid;
    assert_eq!(next.has_exited(), Ok(false));
    let mut process = worker.process.clone();
    let error = worker.probe_as(&process).unwrap_err();
    assert_eq!(error, Error::Identity(Mismatch::Recycled { pid }));
    assert!(error.is_death(), "the worker is surely dead");
    process.pidfs_handle = None;
    let error = worker.probe_as(&process).unwrap_err();
    assert_eq!(error, Error::Identity(Mismatch::Recycled { pid }));
    process.pidfs_inode = None;
    let error = worker.probe_as(&process).unwrap_err();
    let Error::Identity(mismatch) = error else {
        panic!("{error:?}");
    };
    assert_eq!(mismatch.field(), Field::StartTime);
    // In all that is left it is like the worker: nothing else tells them apart.
    process.start_ticks = match mismatch {
        Mismatch::StartTime { found, .. } => found,
        other => panic!("{other:?}"),
    };
    assert!(worker.probe_as(&process).is_ok());
    next.send_signal(libc::SIGKILL).unwrap();
}

#[test]
fn nobody_is_signalled_who_has_the_number_of_a_worker_that_is_gone() {
    let name = "recycled::nobody_is_signalled_who_has_the_number_of_a_worker_that_is_gone";
    let is_inside = inside(name);
    require!(is_inside.clone().map(drop));
    if is_inside == Ok(false) {
        return;
    }
    let mut worker = Worker::start("serve");
    let handles: Vec<_> = (0..3).map(|_| worker.probe().unwrap()).collect();
    let next = recycle(&mut worker);
    let killed = Some(Exit::Signal(libc::SIGKILL));
    let mut handles = handles.into_iter();
    let mut handle = || handles.next().unwrap();
    assert_eq!(handle().force_kill().unwrap(), killed);
    assert_eq!(handle().shutdown(Duration::from_secs(5)).unwrap(), killed);
    let gone = handle();
    assert!(!gone.is_alive());
    let error = gone.connect().unwrap_err();
    assert!(
        matches!(error, Error::Identity(Mismatch::Exited { .. })),
        "{error}"
    );
    assert_eq!(next.has_exited(), Ok(false), "who has its number now lives");
    next.send_signal(libc::SIGKILL).unwrap();
}
