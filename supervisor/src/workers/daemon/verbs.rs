//! What can be asked of the daemon, verb by verb.

use super::member::{Member, rules};
use super::questions::{hold, holding, refusal, take_back, which};
use super::{Asked, Client, Daemon, DaemonError, Ending, Hands, failed};
use crate::audit::Answerer;
use crate::broker::{Say, Which};
use crate::workers::lifecycle::Act;
use crate::workers::logs::Source;
use crate::workers::pool::For;
use protocol::control::{ControlRequest, LifecycleState, LogChunk, LogStream, StopReason};
use protocol::{Fault, FaultCode};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Somebody who is answered when workers are as was asked.
#[derive(Debug)]
pub(super) struct Waiter {
    pub client: Client,
    id: u64,
    workers: Vec<String>,
    goal: Goal,
    /// It is answered then, however they are.
    pub until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Up,
    Down,
}

impl Goal {
    /// Whether nothing more will come of it by itself, or it is as was asked.
    fn is_settled(self, member: &Member) -> bool {
        match self {
            Self::Up => !matches!(
                member.life.state(),
                LifecycleState::Starting
                    | LifecycleState::Recovering
                    | LifecycleState::RecoveryPending
                    | LifecycleState::Stopping
            ),
            Self::Down => !member.life.has_process(),
        }
    }

    fn is_met(self, member: &Member) -> bool {
        match self {
            Self::Up => member.life.state() == LifecycleState::Running,
            Self::Down => !member.life.has_process(),
        }
    }
}

/// As many bytes of a log as fit on a line, whatever they are: one byte becomes six characters at most.
const LOG_PART: usize = 10_000;

/// How many bytes at the end begin a character whose rest comes behind them.
fn begun(bytes: &[u8]) -> usize {
    let last = bytes.utf8_chunks().last();
    let rest = last.map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(rest) {
        Err(error) if error.error_len().is_none() => rest.len(),
        _ => 0,
    }
}

impl<H: Hands> Daemon<H> {
    pub(super) fn on_asked(&mut self, asked: Asked) -> Result<(), DaemonError> {
        let Asked {
            client,
            id,
            request,
            is_operator,
            by,
        } = asked;
        let reason = match is_operator {
            true => StopReason::User,
            false => StopReason::App,
        };
        if self.ending.is_some() && changes_something(&request) {
            let fault = Fault::new(FaultCode::Unavailable, "the daemon is ending");
            self.answer(client, id, Err(fault));
            return Ok(());
        }
        let outcome = match request {
            ControlRequest::Hello { .. } => Err(Fault::new(FaultCode::BadRequest, "twice")),
            ControlRequest::Subscribe { after } => {
                return self
                    .control
                    .subscribe(&self.poller, client, id, after, &mut self.asked)
                    .map_err(failed("serve a client"));
            }
            ControlRequest::Run {
                worker,
                job,
                deadline_ms,
                queue_ms,
                sid,
            } => {
                let wanted = match worker {
                    None => For::Any,
                    Some(name) if self.file.kind(&name).is_some() => For::Kind(name),
                    Some(name) => For::Worker(name),
                };
                self.run((client, id), wanted, job, deadline_ms, queue_ms, sid);
                return Ok(());
            }
            ControlRequest::Continue {
                sid,
                input,
                deadline_ms,
            } => {
                self.go_on((client, id), &sid, input, deadline_ms);
                return Ok(());
            }
            ControlRequest::Start {
                worker,
                env,
                deadline_ms,
            } => match self.change(worker.as_deref(), |member, _| start(member, env.as_ref())) {
                Ok(workers) => {
                    let until = deadline_ms.map(Duration::from_millis);
                    return self.wait_for((client, id), workers, Goal::Up, until);
                }
                Err(fault) => Err(fault),
            },
            ControlRequest::Stop { worker, grace_ms } => {
                match self.change(worker.as_deref(), |member, now| {
                    let patience = patience(member, grace_ms);
                    member.life.stop(now, reason, patience)
                }) {
                    Ok(workers) => return self.wait_for((client, id), workers, Goal::Down, None),
                    Err(fault) => Err(fault),
                }
            }
            ControlRequest::Restart { worker, grace_ms } => {
                match self.change(worker.as_deref(), |member, now| {
                    let patience = patience(member, grace_ms);
                    member.life.restart(now, reason, patience)
                }) {
                    Ok(workers) => return self.wait_for((client, id), workers, Goal::Up, None),
                    Err(fault) => Err(fault),
                }
            }
            ControlRequest::EnableAutoRestart { worker, config } => self
                .change(worker.as_deref(), |member, now| {
                    let is_other = std::mem::replace(&mut member.restart, config) != config;
                    member.life.set_rules(rules(&member.kind, config));
                    let acts = member.life.set_auto_restart(now, true);
                    kept_if(is_other, acts)
                })
                .and_then(|_| self.kept()),
            ControlRequest::DisableAutoRestart { worker } => self
                .change(worker.as_deref(), |member, now| {
                    member.life.set_auto_restart(now, false)
                })
                .and_then(|_| self.kept()),
            ControlRequest::Reload {} => self.read_again(),
            ControlRequest::Upgrade { executable } => {
                match self.hands.prepare_upgrade(executable.as_deref()) {
                    Ok(()) => {
                        self.begin_end(Ending::Upgrade);
                        Ok(json!({}))
                    }
                    Err(why) => Err(Fault::new(FaultCode::Failed, why)),
                }
            }
            ControlRequest::Shutdown { keep_workers } => {
                self.begin_end(match keep_workers {
                    true => Ending::Left,
                    false => Ending::Shutdown,
                });
                Ok(json!({}))
            }
            request => self.tell_about(request, by),
        };
        self.answer(client, id, outcome);
        Ok(())
    }

    /// What changes nothing about any worker.
    fn tell_about(&mut self, request: ControlRequest, by: Answerer) -> Result<Value, Fault> {
        match request {
            ControlRequest::Status { worker, after } => {
                let ids = self.chosen(worker.as_deref())?;
                data(&self.status(&ids, after.as_deref()))
            }
            ControlRequest::GetDesiredState { worker, after } => {
                if let Some(why) = &self.unknown {
                    return Err(Fault::new(FaultCode::Failed, why));
                }
                let ids = self.chosen(worker.as_deref())?;
                data(&self.desired_states(&ids, after.as_deref()))
            }
            ControlRequest::GetLifecycleStatus { worker } => {
                let ids = self.chosen(worker.as_deref())?;
                data(&self.lifecycle_status(&ids))
            }
            ControlRequest::ValidateSetup {} => Ok(json!({ "findings": self.hands.findings() })),
            ControlRequest::Questions {} => data(&self.questions()),
            ControlRequest::Approve {
                question,
                remember_ms,
                for_session,
                scope,
            } => {
                let say = Say::Yes(hold(remember_ms, for_session), scope);
                self.say(question, say, by)
            }
            ControlRequest::Grants { worker } => {
                let workers = self.those(worker.as_deref())?;
                data(&holding(&self.board, &Which::All(workers)))
            }
            ControlRequest::Revoke {
                grant,
                path,
                all,
                worker,
                ask_again,
            } => {
                let workers = self.those(worker.as_deref())?;
                let which = which(grant, path, all, workers)?;
                data(&take_back(&self.board, &which, by, !ask_again)?)
            }
            ControlRequest::Refuse {
                question,
                for_session,
            } => self.say(question, refusal(for_session), by),
            ControlRequest::Logs {
                worker,
                stream,
                after,
                lines,
            } => self.log(&worker, stream, after, lines),
            _ => Err(Fault::new(FaultCode::UnknownRequest, "not here")),
        }
    }

    fn log(
        &self,
        worker: &str,
        stream: LogStream,
        after: Option<u64>,
        lines: Option<u32>,
    ) -> Result<Value, Fault> {
        if !self.members.contains_key(worker) {
            return Err(unknown_worker(worker));
        }
        let source = Source {
            worker: worker.to_owned(),
            stream: stream.into(),
        };
        let chunk = self.logs.read(&source, after, lines, LOG_PART);
        let chunk = chunk.map_err(|error| Fault::new(FaultCode::Failed, error.to_string()))?;
        let begun = begun(&chunk.bytes);
        let whole = &chunk.bytes[..chunk.bytes.len() - begun];
        data(&LogChunk {
            text: String::from_utf8_lossy(whole).into_owned(),
            next: chunk.next - begun as u64,
            skipped: chunk.skipped,
            more: chunk.more,
        })
    }

    /// The workers that a request means.
    fn chosen(&self, name: Option<&str>) -> Result<Vec<String>, Fault> {
        let is_meant = |id: &str, member: &Member| {
            name.is_none_or(|name| name == id || name == member.kind.name)
        };
        let members = self.members.iter();
        let chosen: Vec<String> = members
            .filter(|(id, member)| is_meant(id, member))
            .map(|(id, _)| id.clone())
            .collect();
        match name {
            Some(name) if chosen.is_empty() => Err(unknown_worker(name)),
            _ => Ok(chosen),
        }
    }

    /// The same, of which nobody may be named: `None`.
    fn those(&self, name: Option<&str>) -> Result<Option<Vec<String>>, Fault> {
        name.map(|name| self.chosen(Some(name))).transpose()
    }

    /// Changes what is wanted of workers, if it is known what is wanted now.
    fn change(
        &mut self,
        name: Option<&str>,
        mut change: impl FnMut(&mut Member, Instant) -> Vec<Act>,
    ) -> Result<Vec<String>, Fault> {
        let ids = self.chosen(name)?;
        if let Some(why) = &self.unknown {
            return Err(Fault::new(FaultCode::Blocked, why));
        }
        let now = self.now;
        for id in &ids {
            if let Some(member) = self.members.get_mut(id) {
                let acts = change(member, now);
                self.perform(id, acts);
            }
        }
        Ok(ids)
    }

    /// Reads the pool file again, if it is known what is wanted of those that are in it.
    fn read_again(&mut self) -> Result<Value, Fault> {
        if let Some(why) = &self.unknown {
            return Err(Fault::new(FaultCode::Blocked, why));
        }
        let read = self.hands.reread();
        let file = read.map_err(|why| Fault::new(FaultCode::Failed, why))?;
        self.reload(file);
        Ok(json!({}))
    }

    /// What is wanted is on the disk, or why it is not.
    fn kept(&mut self) -> Result<Value, Fault> {
        self.keep();
        match &self.unkept {
            Some((_, Some(why))) => Err(Fault::new(
                FaultCode::Failed,
                format!("it is done, but would be forgotten with this daemon: {why}"),
            )),
            _ => Ok(json!({})),
        }
    }

    fn wait_for(
        &mut self,
        (client, id): (Client, u64),
        workers: Vec<String>,
        goal: Goal,
        patience: Option<Duration>,
    ) -> Result<(), DaemonError> {
        self.waiters.push(Waiter {
            client,
            id,
            workers,
            goal,
            until: patience.and_then(|patience| self.now.checked_add(patience)),
        });
        Ok(())
    }

    /// Answers those for whom all is as they asked, or will not be, or whose time is over.
    pub(super) fn answer_waiters(&mut self) {
        let (members, now) = (&self.members, self.now);
        let is_settled = |waiter: &Waiter| {
            let mut all = waiter.workers.iter().filter_map(|id| members.get(id));
            waiter.until.is_some_and(|until| until <= now)
                || all.all(|member| waiter.goal.is_settled(member))
        };
        let (settled, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(is_settled);
        self.waiters = left;
        for waiter in settled {
            let goal = waiter.goal;
            let outcome = self.kept();
            let outcome =
                outcome.map(|_| self.workers(&waiter.workers, |member| goal.is_met(member)));
            self.answer(waiter.client, waiter.id, outcome);
        }
    }
}

fn start(member: &mut Member, env: Option<&BTreeMap<String, String>>) -> Vec<Act> {
    let is_other = env.is_some_and(|env| member.env != *env);
    if let Some(env) = env {
        member.env.clone_from(env);
    }
    kept_if(is_other, member.life.start())
}

/// Has what is wanted written down first, where more of it is new than the life knows of.
fn kept_if(is_new: bool, mut acts: Vec<Act>) -> Vec<Act> {
    if is_new && !acts.contains(&Act::Keep) {
        acts.insert(0, Act::Keep);
    }
    acts
}

fn patience(member: &Member, grace_ms: Option<u64>) -> Duration {
    grace_ms.map_or(member.life.rules().patience, Duration::from_millis)
}

/// Whether a request is for more than to be told something.
fn changes_something(request: &ControlRequest) -> bool {
    !matches!(
        request,
        ControlRequest::Status { .. }
            | ControlRequest::Subscribe { .. }
            | ControlRequest::GetDesiredState { .. }
            | ControlRequest::GetLifecycleStatus { .. }
            | ControlRequest::ValidateSetup {}
            | ControlRequest::Questions {}
            | ControlRequest::Grants { .. }
            | ControlRequest::Logs { .. }
    )
}

fn unknown_worker(name: &str) -> Fault {
    Fault::new(
        FaultCode::UnknownWorker,
        format!("there is no worker and no kind of workers `{name}`"),
    )
}

fn data(value: &impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(|error| Fault::new(FaultCode::Failed, error.to_string()))
}
