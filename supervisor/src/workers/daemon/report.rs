//! How everything is, for those who ask.

use super::member::Member;
use super::{Daemon, Hands};
use protocol::control::{
    DaemonStatus, DesiredState, DesiredStates, LifecycleState, LifecycleStatus, SCHEMA, Status,
    WorkerStatus,
};
use serde::Serialize;
use serde_json::Value;

/// So much of a line is filled with what can be asked for in parts.
pub(super) const ROOM: usize = 56 * 1024;

impl<H: Hands> Daemon<H> {
    /// The daemon, and as many of these workers as fit on a line.
    pub(super) fn status(&self, ids: &[String], after: Option<&str>) -> Status {
        let mut workers = Vec::new();
        let mut length = 0;
        let mut more = None;
        for id in ids {
            if after.is_some_and(|after| id.as_str() <= after) {
                continue;
            }
            let Some(member) = self.members.get(id) else {
                continue;
            };
            let one = self.worker_status(id, member);
            length += written(&one);
            if length > ROOM {
                more = workers.last().map(|last: &WorkerStatus| last.id.clone());
                break;
            }
            workers.push(one);
        }
        Status {
            schema: SCHEMA,
            daemon: DaemonStatus {
                pid: std::process::id(),
                keeper_pid: u32::try_from(nix::unistd::getppid().as_raw()).ok(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                daemon: self.name.clone(),
                since_unix_ms: self.since_unix_ms,
                config: self
                    .config
                    .as_ref()
                    .map(|path| path.to_string_lossy().into_owned()),
                queued: self.pool.queued() as u64,
                questions: self.board.questions().len() as u64,
            },
            workers,
            more,
        }
    }

    fn worker_status(&self, id: &str, member: &Member) -> WorkerStatus {
        let process = member.process.as_ref();
        let life = &member.life;
        WorkerStatus {
            id: id.to_owned(),
            kind: member.kind.name.clone(),
            state: life.state(),
            desired: life.is_wanted(),
            pid: process.map(|process| process.pid),
            instance: process.map(|process| process.instance.clone()),
            endpoint: process.and_then(|process| process.endpoint.clone()),
            since_unix_ms: member.since_unix_ms,
            reattached: process.is_some_and(|process| process.is_reattached),
            verified: process.and_then(|process| process.verified.clone()),
            speaks: member.link.as_ref().is_some_and(|(_, link)| link.is_up),
            degraded: process.and_then(|process| process.degraded.clone()),
            auto_restart: life.restarts_itself(),
            restart_attempt: life.restart_attempt(),
            sid: self.pool.working_on(id).map(str::to_owned),
            jobs: self.pool.jobs(id),
            last_exit: member.last_exit,
            stop_reason: life.reason(),
            detail: self.detail(id, member),
        }
    }

    /// What a person should know about a worker.
    fn detail(&self, id: &str, member: &Member) -> Option<String> {
        let cause = member.life.cause().map(str::to_owned);
        let unreached = member
            .unreached
            .as_ref()
            .filter(|_| member.life.has_process())
            .map(|why| format!("it does not answer on its endpoint: {why}"));
        let logs = self.logs.trouble(id).map(|trouble| {
            let why = trouble.error.map(|why| format!(": {why}"));
            let why = why.unwrap_or_default();
            format!("{} bytes of its logs are missing{why}", trouble.dropped)
        });
        let all: Vec<String> = [cause, unreached, logs].into_iter().flatten().collect();
        (!all.is_empty()).then(|| brief(all.join("; ")))
    }

    /// These workers, those that are not `as_asked` first, as many as fit on a line.
    pub(super) fn workers(&self, ids: &[String], as_asked: impl Fn(&Member) -> bool) -> Value {
        let mut chosen: Vec<(&String, &Member)> = ids
            .iter()
            .filter_map(|id| Some((id, self.members.get(id)?)))
            .collect();
        chosen.sort_by_key(|(_, member)| as_asked(member));
        let mut length = 0;
        let statuses = chosen
            .into_iter()
            .map(|(id, member)| self.worker_status(id, member))
            .take_while(|one| {
                length += written(one);
                length <= ROOM
            });
        serde_json::json!({ "workers": statuses.collect::<Vec<_>>() })
    }

    /// The one of these workers that most wants attention.
    pub(super) fn lifecycle_status(&self, ids: &[String]) -> LifecycleStatus {
        let members = ids.iter().filter_map(|id| self.members.get_key_value(id));
        let worst = members.min_by_key(|(_, member)| urgency(member.life.state()));
        let Some((id, member)) = worst else {
            return LifecycleStatus {
                state: LifecycleState::Idle,
                desired: false,
                reason: None,
                restart_attempt: 0,
                detail: None,
                synthesized: false,
            };
        };
        LifecycleStatus {
            state: member.life.state(),
            desired: member.life.is_wanted(),
            reason: member.life.reason(),
            restart_attempt: member.life.restart_attempt(),
            detail: self.detail(id, member),
            synthesized: false,
        }
    }

    /// What is wanted of these workers, of as many as fit on a line.
    pub(super) fn desired_states(&self, ids: &[String], after: Option<&str>) -> DesiredStates {
        let mut states = DesiredStates {
            workers: Vec::new(),
            more: None,
        };
        let mut length = 0;
        let is_later = |id: &&String| after.is_none_or(|after| id.as_str() > after);
        for id in ids.iter().filter(is_later) {
            let Some(member) = self.members.get(id) else {
                continue;
            };
            let kept = self.desired.get(id);
            let mut one = DesiredState {
                worker: id.clone(),
                running: member.life.is_wanted(),
                auto_restart: member.life.restarts_itself(),
                restart: member.restart,
                env: member.env.keys().cloned().collect(),
                reason: kept.and_then(|kept| kept.reason),
                since_unix_ms: kept.map_or(0, |kept| kept.since_unix_ms),
            };
            if written(&one) > ROOM {
                // As many names as that are of no use to anybody.
                one.env.clear();
            }
            length += written(&one);
            if length > ROOM {
                states.more = states.workers.last().map(|last| last.worker.clone());
                break;
            }
            states.workers.push(one);
        }
        states
    }
}

/// The less, the more it wants attention.
fn urgency(state: LifecycleState) -> u8 {
    match state {
        LifecycleState::Error => 0,
        LifecycleState::Blocked => 1,
        LifecycleState::RecoveryPending => 2,
        LifecycleState::Recovering => 3,
        LifecycleState::Stopping => 4,
        LifecycleState::Starting => 5,
        LifecycleState::Stopped => 6,
        LifecycleState::Idle => 7,
        LifecycleState::Running | LifecycleState::Unknown => 8,
    }
}

/// How much of a line something takes.
pub(super) fn written(one: &impl Serialize) -> usize {
    serde_json::to_vec(one).map_or(0, |text| text.len() + 1)
}

/// A text that leaves room for others on a line.
fn brief(mut text: String) -> String {
    const MOST: usize = 2000;
    if text.len() > MOST {
        let end = (0..=MOST).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
    }
    text
}
