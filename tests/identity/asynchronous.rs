//! The same handles where nothing may wait.

use crate::worker::{SERVICE, VERSION, Worker};
use client::BackendHandle;
use std::time::Duration;
use supervisor::launch::Exit;
use supervisor::workers::identity::Executables;
use tokio::runtime::Builder;

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

#[test]
fn a_worker_is_found_spoken_to_and_ended() {
    let mut worker = Worker::start("serve");
    worker.process.find(Executables::Require).unwrap();
    let (endpoint, process) = (worker.endpoint(), worker.process.clone());
    run(async {
        BackendHandle::probe(&endpoint, &process).await.unwrap();
        BackendHandle::probe_manifest(&worker.manifest())
            .await
            .unwrap();
        let found = BackendHandle::try_from_manifest(&worker.manifest()).await;
        found.unwrap().unwrap();
        let handle = BackendHandle::probe_with_service(SERVICE, VERSION, &endpoint, &process)
            .await
            .unwrap();
        assert_eq!((&*handle.service_name, handle.is_alive()), (SERVICE, true));
        for _ in 0..2 {
            let connection = handle.connect().await.unwrap().into_inner();
            connection.writable().await.unwrap();
            assert_eq!(connection.try_write(b"hello\n").unwrap(), 6);
            connection.readable().await.unwrap();
            let mut answer = [0; 6];
            assert_eq!(connection.try_read(&mut answer).unwrap(), 6);
            assert_eq!(&answer, b"hello\n");
        }
        let other = handle.clone();
        let exit = handle.shutdown(Duration::from_secs(20)).await.unwrap();
        assert_eq!(exit, Some(Exit::Code(0)));
        assert!(!other.is_alive());
        assert_eq!(other.connect().await.unwrap_err().field(), "process");
    });
    worker.child.wait().unwrap();
}

#[test]
fn what_is_not_waited_for_leaves_the_worker_as_it_was() {
    let worker = Worker::start("serve");
    worker.process.find(Executables::Require).unwrap();
    run(async {
        let manifest = worker.manifest();
        let handle = BackendHandle::try_from_manifest(&manifest)
            .await
            .unwrap()
            .unwrap();
        let mut given_up = 0;
        for _ in 0..20 {
            // Dropped at its first wait, unless the other thread was faster.
            tokio::select! {
                biased;
                _ = handle.connect() => {}
                () = std::future::ready(()) => given_up += 1,
            }
        }
        assert!(given_up > 0);
        handle.connect().await.unwrap();
        let exit = handle.force_kill().await.unwrap();
        assert_eq!(exit, Some(Exit::Signal(libc::SIGKILL)));
    });
}
