//! One worker, as the daemon has it.

use super::link::Link;
use super::unix_ms;
use crate::workers::config::{Kind, OnSupervisorExit, Restart, Speaks};
use crate::workers::desired::Desired;
use crate::workers::lifecycle::{Lifecycle, Rules};
use crate::workers::pool::Treatment;
use protocol::control::{AutoRestart, Ended, LifecycleState, StopReason};
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
    /// When it is asked again whether it is still at work on what nobody waits for.
    pub look_at: Option<Instant>,
    /// How long was waited before.
    pub look_wait: Duration,
    /// Why it was not reached the last time.
    pub unreached: Option<String>,
    /// How it is started again, where somebody said another way than the pool file.
    pub restart: AutoRestart,
    /// What somebody had it started with, beside what the pool file says.
    pub env: BTreeMap<String, String>,
    pub last_exit: Option<Ended>,
    /// The state that everybody was told, and since when it is so.
    pub told: LifecycleState,
    pub since_unix_ms: u64,
    /// It is no longer in the pool file, and goes when its process has.
    pub is_leaving: bool,
}

impl Member {
    pub fn new(kind: Kind, desired: &Desired) -> Self {
        let rules = rules(&kind, desired.restart);
        let life = Lifecycle::new(rules, desired.running, desired.auto_restart);
        Self {
            told: life.state(),
            kind,
            life,
            process: None,
            link: None,
            reach_at: None,
            reach_wait: Duration::ZERO,
            look_at: None,
            look_wait: Duration::ZERO,
            unreached: None,
            restart: desired.restart,
            env: desired.env.clone(),
            last_exit: None,
            since_unix_ms: unix_ms(),
            is_leaving: false,
        }
    }

    /// When there is something to do about it.
    pub fn dues(&self) -> [Option<Instant>; 3] {
        [self.life.due(), self.reach_at, self.look_at]
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

/// How a worker of that kind is kept, where somebody said so much about its restarts.
pub(super) fn rules(kind: &Kind, said: AutoRestart) -> Rules {
    let time = |said: Option<u64>, usual| said.map_or(usual, Duration::from_millis);
    let usual = kind.restart;
    Rules {
        restart: Restart {
            when: usual.when,
            burst: said.burst.unwrap_or(usual.burst),
            window: time(said.within_ms, usual.window),
            backoff: time(said.delay_ms, usual.backoff),
            backoff_most: time(said.longest_delay_ms, usual.backoff_most),
        },
        patience: kind.stop_timeout,
        zero: match kind.speaks {
            // One that takes jobs has nothing that could be completed: it exits when it had none for long.
            Speaks::Pool => StopReason::Idle,
            Speaks::Nothing => StopReason::Completed,
        },
    }
}
