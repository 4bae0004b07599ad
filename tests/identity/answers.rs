//! What answers at an endpoint and proves nothing: each by its own error, none after the deadline.

use crate::worker::{Companion, SERVICE, VERSION, Worker, manifest};
use nix::errno::Errno;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use supervisor::workers::handle::{Attested, BackendHandle, Error, Impostor, ProbeFailure, Prober};
use supervisor::workers::identity::{Executables, Mismatch};

/// How the probe of a worker fails that behaves like this, within the time that a probe has.
fn failure(how: &str) -> ProbeFailure {
    let worker = Worker::start(how);
    match worker.probe() {
        Err(Error::Probe(failure)) => failure,
        other => panic!("{how}: {other:?}"),
    }
}

#[test]
fn an_answer_that_is_no_proof_is_told_apart_by_what_is_wrong_with_it() {
    assert_eq!(failure("close"), ProbeFailure::Closed);
    assert!(matches!(failure("short"), ProbeFailure::Short { length } if length > 100));
    assert_eq!(failure("oversized"), ProbeFailure::Oversized);
    assert!(matches!(failure("garbage"), ProbeFailure::Malformed { .. }));
    assert_eq!(failure("later"), ProbeFailure::Version { theirs: 2 });
    assert!(matches!(
        failure("surplus"),
        ProbeFailure::Surplus { length: 13 }
    ));
}

#[test]
fn a_proof_of_something_else_is_told_apart_by_what_it_proves() {
    assert_eq!(failure("reflect"), ProbeFailure::Nonce);
    assert_eq!(failure("secretless"), ProbeFailure::Code);
    assert_eq!(failure("elsewhere"), ProbeFailure::Code);
    assert_eq!(failure("other-life"), ProbeFailure::Instance);
    assert!(matches!(
        failure("other-inode"),
        ProbeFailure::PidfsInode { .. }
    ));
}

#[test]
fn an_answer_that_was_right_once_is_not_right_again() {
    let worker = Worker::start("replay");
    let handle = worker.probe().unwrap();
    assert_eq!(
        worker.probe().unwrap_err(),
        Error::Probe(ProbeFailure::Replayed)
    );
    // Of the handle too: the first connection is that of the probe.
    drop(handle.connect().unwrap());
    assert_eq!(
        handle.connect().unwrap_err(),
        Error::Probe(ProbeFailure::Replayed)
    );
}

#[test]
fn silence_ends_with_the_deadline_however_it_is_broken() {
    for how in ["silent", "drip", "never-ready"] {
        let worker = Worker::start(how);
        // What takes its time is hashed before.
        worker.process.find(Executables::Require).unwrap();
        let begin = Instant::now();
        let (endpoint, process) = (worker.endpoint(), worker.process.clone());
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let probed = BackendHandle::probe_with_service(SERVICE, VERSION, &endpoint, &process);
            tell.send(probed).unwrap();
        });
        // One that begins anew with each byte never ends.
        let error = told.recv_timeout(Duration::from_secs(20)).unwrap();
        let passed = begin.elapsed();
        assert_eq!(
            error.unwrap_err(),
            Error::Probe(ProbeFailure::Silent),
            "{how}"
        );
        assert!(passed >= Duration::from_millis(500), "{how}: {passed:?}");
        assert!(BackendHandle::probe(&worker.endpoint(), &worker.process).is_none());
    }
}

#[test]
fn a_worker_that_cannot_tell_its_inode_is_known_by_who_sent_the_answer() {
    let worker = Worker::start("no-inode");
    let handle = worker.probe().unwrap();
    let spoken = handle.verification().spoken.clone().unwrap();
    assert!(!spoken.knows_inode);
    assert_eq!(spoken.sender, Attested::Pidfd);
}

#[test]
fn a_squatter_that_stole_everything_is_not_the_worker() {
    let worker = Worker::start("serve");
    drop(worker.probe().unwrap());
    let line = worker.manifest().encode().unwrap();
    let stolen = worker.workspace.write("manifest", line);
    let squatter = Command::new(crate::harness::built::kept())
        .args([
            "squat".as_ref(),
            worker.endpoint().path.as_os_str(),
            stolen.as_os_str(),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut squatter = Companion(squatter);
    let mut said = String::new();
    BufReader::new(squatter.0.stdout.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    let impostor = Impostor::Other {
        expected: worker.process.pid,
        found: squatter.0.id() as i32,
    };
    assert_eq!(worker.probe().unwrap_err(), Error::VerifyPid(impostor));
    // Everything but who sent it is right: of the squatter's own process it would be the proof.
    let mut own = worker.process.clone();
    let squatting = sys::pidfd::Pidfd::open(squatter.0.id() as i32).unwrap();
    own.pid = squatter.0.id() as i32;
    own.pidfs_handle = sys::pidfs::Handle::of(std::os::fd::AsFd::as_fd(&squatting)).unwrap();
    own.pidfs_inode = None;
    let (held, _) = supervisor::workers::identity::Held::reopen(&own).unwrap();
    own.start_ticks = start_ticks(held.pid());
    let error = worker.probe_as(&own).unwrap_err();
    assert!(
        matches!(error, Error::Probe(ProbeFailure::PidfsInode { .. })),
        "{error}"
    );
    drop(squatter);
    let error = worker.probe().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Connect {
                errno: Errno::ECONNREFUSED,
                ..
            }
        ),
        "{error}"
    );
}

fn start_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit_once(") ").unwrap().1;
    rest.split(' ').nth(19).unwrap().parse().unwrap()
}

#[test]
fn another_service_or_version_or_endpoint_is_not_the_one_that_was_meant() {
    let worker = Worker::start("serve");
    let probe = |name, version| {
        let (endpoint, prober) = (worker.endpoint(), crate::worker::patient());
        prober.probe_with_service(name, version, &endpoint, &worker.process)
    };
    let error = probe("other", VERSION).unwrap_err();
    assert_eq!(error.field(), "service name");
    let error = probe(SERVICE, "1.1").unwrap_err();
    assert_eq!(error.field(), "service version");
    let mut endpoint = worker.endpoint();
    endpoint.namespace_id = "another".to_owned();
    let error = Prober::default()
        .probe(&endpoint, &worker.process)
        .unwrap_err();
    assert!(
        matches!(error, Error::Identity(Mismatch::Endpoint { .. })),
        "{error}"
    );
    assert_eq!(error.field(), "endpoint");
    let mut process = worker.process.clone();
    process.secret = None;
    let error = worker.probe_as(&process).unwrap_err();
    assert_eq!(error, Error::Probe(ProbeFailure::NoSecret));
}

#[test]
fn a_worker_that_does_not_speak_is_held_by_its_process_alone_and_says_so() {
    let mut worker = Worker::start("silent");
    worker.process.endpoint = None;
    worker.process.secret = None;
    let handle = BackendHandle::try_from_manifest(&worker.manifest())
        .unwrap()
        .unwrap();
    assert!(handle.is_alive() && handle.verification().spoken.is_none());
    assert!(
        handle
            .verification()
            .to_string()
            .contains("does not speak with us")
    );
    let error = handle.connect().unwrap_err();
    assert_eq!(error.field(), "endpoint");
    let nobody = manifest("w", None);
    assert!(BackendHandle::try_from_manifest(&nobody).unwrap().is_none());
}
