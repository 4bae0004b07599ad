//! The client of the daemon, against a server that speaks the whole protocol and keeps no workers.

#[path = "../harness/mod.rs"]
mod harness;

mod connecting;
mod events;
mod methods;
mod requests;
mod server;

use std::path::PathBuf;
use std::time::Duration;

use client::{Backoff, Events, Notice, Options, PersistentIpcClientHandle};
use harness::Workspace;
use harness::run::DEADLINE;
use server::{Manner, Server, USUAL};

/// So long that nothing that waits for it is ever seen.
const NEVER: Duration = Duration::from_secs(3600);

/// Every wait of the client is one that a test would not live to see: what happens all the same needed none.
fn patient() -> Options {
    Options {
        backoff: Backoff {
            first: NEVER,
            longest: NEVER,
            attempts: None,
        },
        response: NEVER,
        handshake: NEVER,
        ..Options::default()
    }
}

/// Tries again at once.
fn eager() -> Options {
    Options {
        backoff: Backoff {
            first: Duration::from_millis(1),
            longest: Duration::from_millis(10),
            attempts: None,
        },
        ..Options::default()
    }
}

/// A place for a server, and one that is there.
struct House {
    workspace: Workspace,
}

impl House {
    fn new() -> Self {
        let workspace = Workspace::new();
        Self { workspace }
    }

    fn socket(&self) -> PathBuf {
        self.workspace.join("control")
    }

    fn serve(&self, manner: Manner) -> Server {
        Server::start(&self.socket(), manner)
    }

    /// A server, and a client that is connected.
    async fn with_client(options: Options) -> (Self, Server, PersistentIpcClientHandle) {
        let house = Self::new();
        let server = house.serve(USUAL);
        let client = PersistentIpcClientHandle::spawn(house.socket(), options);
        assert!(client.wait_for_connected(DEADLINE).await);
        (house, server, client)
    }
}

/// The next notice.
async fn next(events: &mut Events) -> Notice {
    let notice = tokio::time::timeout(DEADLINE, events.next());
    let notice = notice.await.expect("something is told");
    notice.expect("there is a handle")
}
