//! One worker, as the daemon has it.

use super::link::Link;
use super::unix_ms;
use crate::workers::config::{Kind, OnSupervisorExit, Speaks};
use crate::workers::lifecycle::{Lifecycle, Rules};
use crate::workers::pool::Treatment;
use protocol::control::{Ended, LifecycleState, StopReason};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A process of a worker.
#[derive(Debug)]
pub(super) struct Process {
    pub pid: u32,
    pub instance: String,
    pub endpoint: Option<String>,
    pub is_reattached: bool,
    pub verified: Option<String>,
    pub degraded: Option<String>,
}

/// A worker.
#[derive(Debug)]
pub(super) struct Member {
    pub kind: Kind,
    pub life: Lifecycle,
    pub process: Option<Process>,
    pub link: Option<(u64, Link)>,
    /// When it is tried again to reach it.
    pub reach_at: Option<Instant>,
    /// How long was waited before.
    pub reach_wait: Duration,
    /// Why it was not reached the last time.
    pub unreached: Option<String>,
    pub env: BTreeMap<String, String>,
    pub last_exit: Option<Ended>,
    /// The state that everybody was told, and since when it is so.
    pub told: LifecycleState,
    pub since_unix_ms: u64,
    /// It is no longer in the pool file, and goes when its process has.
    pub is_leaving: bool,
}

impl Member {
    pub fn new(kind: Kind, wanted: bool, auto_restart: bool) -> Self {
        let life = Lifecycle::new(rules(&kind), wanted, auto_restart);
        Self {
            told: life.state(),
            kind,
            life,
            process: None,
            link: None,
            reach_at: None,
            reach_wait: Duration::ZERO,
            unreached: None,
            env: BTreeMap::new(),
            last_exit: None,
            since_unix_ms: unix_ms(),
            is_leaving: false,
        }
    }

    /// Whether it takes jobs.
    pub fn speaks(&self) -> bool {
        self.kind.speaks == Speaks::Pool
    }

    /// Whether it goes on when everything else ends.
    pub fn survives(&self) -> bool {
        self.kind.on_supervisor_exit == OnSupervisorExit::Survive
    }

    pub fn treatment(&self) -> Treatment {
        Treatment {
            recycle: self.kind.recycle,
            idle_timeout: self.kind.idle_timeout,
        }
    }
}

/// How a worker of that kind is kept.
pub(super) fn rules(kind: &Kind) -> Rules {
    Rules {
        restart: kind.restart,
        patience: kind.stop_timeout,
        zero: match kind.speaks {
            // One that takes jobs has nothing that could be completed: it exits when it had none for long.
            Speaks::Pool => StopReason::Idle,
            Speaks::Nothing => StopReason::Completed,
        },
    }
}
