//! Who is found by name, version and program, and who starts one where there is none.

use crate::harness::Workspace;
use crate::harness::built::{copy_program, kept};
use crate::worker::{SERVICE, VERSION, Worker, executable, manifest, other_build};
use std::sync::Barrier;
use supervisor::workers::handle::{BackendHandle, Error};
use supervisor::workers::identity::Executables;
use supervisor::workers::registry::Registry;

#[test]
fn two_builds_of_one_version_are_never_taken_for_each_other() {
    let directory = Workspace::new();
    let (one, other) = (directory.join("one"), other_build(&directory, "other"));
    copy_program(&kept(), &one);
    let first = Worker::start_of(&one, "serve", Workspace::new(), |_| {});
    let second = Worker::start_of(&other, "serve", Workspace::new(), |_| {});
    let registry = Registry::open(&directory.join("registry")).unwrap();
    registry
        .write(&manifest("first", Some(first.process.clone())))
        .unwrap();
    registry
        .write(&manifest("second", Some(second.process.clone())))
        .unwrap();
    for (program, worker) in [(&one, &first), (&other, &second)] {
        let sha256 = executable(program).sha256;
        let found = registry
            .lock()
            .unwrap()
            .find(SERVICE, VERSION, &sha256)
            .unwrap();
        assert_eq!(found.len(), 1);
        let handle = crate::worker::patient().try_from_manifest(&found[0]);
        let handle = handle.unwrap().unwrap();
        assert_eq!(handle.daemon_process.pid, worker.process.pid);
    }
    // Nor where one's record leads to the other's socket, or to its process.
    let mut mixed = first.process.clone();
    mixed.endpoint = second.process.endpoint.clone();
    let probed = crate::worker::patient().try_from_manifest(&manifest("first", Some(mixed)));
    assert!(matches!(probed.unwrap_err(), Error::VerifyPid(_)));
    let mut mixed = second.process.clone();
    mixed.exe_sha256 = first.process.exe_sha256;
    let probed = BackendHandle::try_from_manifest(&manifest("first", Some(mixed)));
    assert_eq!(probed.unwrap_err().field(), "executable");
    assert!(
        registry
            .lock()
            .unwrap()
            .find(SERVICE, "1.1", &first.process.exe_sha256)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn starters_that_race_give_one_worker() {
    let directory = Workspace::new();
    let path = directory.join("registry");
    let sha256 = executable(&kept()).sha256;
    let racers = 20;
    let barrier = Barrier::new(racers);
    let ensure = || {
        let registry = Registry::open(&path).unwrap();
        barrier.wait();
        let locked = registry.lock().unwrap();
        let found = locked.find(SERVICE, VERSION, &sha256).unwrap();
        let living = found.into_iter().find_map(|manifest| {
            let process = manifest.process?;
            process
                .find(Executables::Require)
                .is_ok()
                .then_some(process.pid)
        });
        if let Some(pid) = living {
            return (pid, None);
        }
        let worker = Worker::start("serve");
        locked
            .write(&manifest("w", Some(worker.process.clone())))
            .unwrap();
        (worker.process.pid, Some(worker))
    };
    let ended: Vec<(i32, Option<Worker>)> = std::thread::scope(|scope| {
        let racing: Vec<_> = (0..racers).map(|_| scope.spawn(ensure)).collect();
        racing
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect()
    });
    assert_eq!(
        ended
            .iter()
            .filter(|(_, started)| started.is_some())
            .count(),
        1
    );
    assert!(
        ended.iter().all(|(pid, _)| *pid == ended[0].0),
        "all have the same one"
    );
}
