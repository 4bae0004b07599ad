//! What the daemon's loop needs done in the world: processes and their descriptors.

use crate::workers::config::{Kind, PoolFile};
use crate::workers::lifecycle::{End, Failure};
use crate::workers::logs::Stream;
use nix::errno::Errno;
use protocol::control::{Event, Finding, StopReason};
use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// A worker that is to be started.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Its name.
    pub id: &'a str,
    /// What it is.
    pub kind: &'a Kind,
    /// Further variables of its environment.
    pub env: &'a BTreeMap<String, String>,
}

/// A worker that runs.
#[derive(Debug)]
pub struct Born {
    /// Its process, for people to read.
    pub pid: u32,
    /// Which start of it this is.
    pub instance: String,
    /// Where it can be reached.
    pub endpoint: Option<String>,
    /// Our ends of what it writes to.
    pub output: Vec<(Stream, OwnedFd)>,
    /// An earlier daemon started it.
    pub is_reattached: bool,
    /// How it was found to be the process it was.
    pub verified: Option<String>,
    /// What it has lost.
    pub degraded: Option<String>,
}

/// A worker that does not run.
#[derive(Debug)]
pub struct Unborn {
    /// Whether it may work the next time.
    pub how: Failure,
    /// Why.
    pub cause: String,
}

/// What happened in the world.
#[derive(Debug)]
pub enum Happened {
    /// The process of a worker is gone, and all that descended from it.
    Gone {
        /// Which.
        worker: String,
        /// How it ended.
        end: End,
    },
    /// A worker was reached, and proved who it is.
    Reached {
        /// Which.
        worker: String,
        /// Which start of it.
        instance: String,
        /// The connection.
        stream: UnixStream,
        /// How it was verified.
        verified: String,
    },
    /// It was not.
    Unreached {
        /// Which.
        worker: String,
        /// Which start of it.
        instance: String,
        /// Why.
        why: String,
    },
    /// Something that everybody is told as it is.
    Event(Event),
    /// Everything is to end in order.
    Stop,
}

/// How the processes of workers are started, reached and ended. Nothing of this waits for a worker.
pub trait Hands {
    /// Starts a worker. Takes as long as a launch does.
    ///
    /// # Errors
    /// [`Unborn`]; then no process of it is left.
    fn start(&mut self, order: &Order<'_>) -> Result<Born, Unborn>;

    /// Asks a worker to end.
    ///
    /// # Errors
    /// The errno of sending a signal.
    fn ask(&mut self, worker: &str) -> Result<(), Errno>;

    /// Kills a worker and all that descends from it.
    fn kill(&mut self, worker: &str);

    /// Begins to reach a worker at its endpoint: [`Happened::Reached`] or [`Happened::Unreached`] comes of it.
    fn reach(&mut self, worker: &str);

    /// Readable when [`Hands::next`] has something.
    fn sources(&self) -> Vec<BorrowedFd<'_>>;

    /// The next thing that happened.
    ///
    /// # Errors
    /// Why nothing can be done any more.
    fn next(&mut self) -> Result<Option<Happened>, String>;

    /// What is not as it should be with this machine and account.
    fn findings(&self) -> Vec<Finding>;

    /// Reads the pool file again.
    ///
    /// # Errors
    /// What is wrong with it.
    fn reread(&mut self) -> Result<PoolFile, String>;

    /// Readies the next daemon's start from this file. Without it: from the one that this was started from.
    ///
    /// # Errors
    /// Why that cannot be.
    fn prepare_upgrade(&mut self, executable: Option<&str>) -> Result<(), String>;
}

/// What became of a worker that an earlier daemon had.
#[derive(Debug)]
pub enum Former {
    /// It runs.
    Here(Born),
    /// It was not found.
    Missing(StopReason),
}
