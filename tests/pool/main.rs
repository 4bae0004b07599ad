//! The client of a worker, against real workers, and against others that do what no worker should.

#[path = "../harness/mod.rs"]
mod harness;

mod failing;
mod giving_up;
mod sessions;
mod sharing;

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread::JoinHandle;

use harness::worker::{Peer, Worker};
use harness::{Workspace, built};
use protocol::Value;
use protocol::pool::{PoolRequest, PoolResponse, Ran};

/// A real worker.
fn worker() -> Worker {
    Worker::start(&mut Command::new(built::worker()))
}

/// One that is written in Python.
fn python_worker() -> Worker {
    let program = built::tree().join("child-shim/examples/worker.py");
    Worker::start(Command::new("python3").arg(program))
}

fn run(job: impl Into<Value>) -> PoolRequest {
    PoolRequest::Run {
        job: job.into(),
        deadline_ms: None,
        queue_ms: None,
        sid: None,
    }
}

fn status() -> PoolRequest {
    PoolRequest::Status {
        include_history: false,
    }
}

#[track_caller]
fn ran(answer: PoolResponse) -> Ran {
    let data = answer.outcome.expect("it was done");
    protocol::from_value(data).expect("the data of a job")
}

/// Somebody who listens at a path, and does with the first connection what it is told to.
struct Impostor {
    workspace: Workspace,
    thread: Option<JoinHandle<()>>,
}

impl Impostor {
    fn start(act: impl FnOnce(Peer) + Send + 'static) -> Self {
        let workspace = Workspace::new();
        let listener = UnixListener::bind(workspace.join("endpoint")).expect("bound");
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            act(Peer::of(stream));
        });
        let thread = Some(thread);
        Self { workspace, thread }
    }

    /// One that shakes hands first.
    fn greeting(act: impl FnOnce(Peer) + Send + 'static) -> Self {
        Self::start(|mut peer| {
            assert!(peer.hear().contains(r#""handshake":{"version":1}"#));
            peer.say(r#"{"id":1,"ok":true,"data":{"version":1,"service":"impostor"}}"#);
            act(peer);
        })
    }

    fn path(&self) -> std::path::PathBuf {
        self.workspace.join("endpoint")
    }

    /// Waits until it did all that it was told to, while the client's task goes on.
    async fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            let joined = tokio::task::spawn_blocking(|| thread.join());
            let joined = joined.await.expect("no panic");
            joined.expect("it did what it was told to");
        }
    }
}

/// The number of a request.
fn id(line: &str) -> u64 {
    let line: Value = line.parse().expect("JSON");
    line["id"].as_u64().expect("a number")
}
