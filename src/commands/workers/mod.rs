//! What is asked of the daemon: `supervise status`, `start`, `job`, `approve` and the like.

mod client;
mod following;
mod grants;
mod jobs;
mod shown;
mod top;
mod upgrade;
mod verbs;

pub use upgrade::upgrade;
pub use verbs::WorkersAction;

use crate::exit;
use crate::render::{fail, print};
use client::Asked;
use protocol::FaultCode;
use protocol::control::{
    ControlRequest, DesiredStates, Findings, Questions, Severity, Status, WorkerStatus,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;
use verbs::Common;

/// Asks.
pub fn workers(action: &WorkersAction) -> ExitCode {
    match act(action) {
        Ok(status) => status,
        Err(why) => fail(why),
    }
}

fn act(action: &WorkersAction) -> Result<ExitCode, String> {
    match action {
        WorkersAction::Status { worker, common } => status(worker.as_deref(), common),
        WorkersAction::Ps { common } => list(common),
        WorkersAction::Start {
            worker,
            timeout,
            env,
            forget_env,
            common,
        } => change(
            common,
            ControlRequest::Start {
                worker: worker.clone(),
                env: (*forget_env || !env.is_empty()).then(|| env.iter().cloned().collect()),
                deadline_ms: timeout.map(milliseconds),
            },
            |worker| worker["state"] == "running",
        ),
        WorkersAction::Stop {
            worker,
            grace,
            common,
        } => change(
            common,
            ControlRequest::Stop {
                worker: worker.clone(),
                grace_ms: grace.map(milliseconds),
            },
            |worker| worker["pid"].is_null(),
        ),
        WorkersAction::Restart {
            worker,
            grace,
            common,
        } => change(
            common,
            ControlRequest::Restart {
                worker: worker.clone(),
                grace_ms: grace.map(milliseconds),
            },
            |worker| worker["state"] == "running",
        ),
        WorkersAction::Job(action) => jobs::job(action),
        WorkersAction::AutoRestart(action) => {
            let (worker, common, config) = action.parts();
            let request = match config {
                Some(config) => ControlRequest::EnableAutoRestart { worker, config },
                None => ControlRequest::DisableAutoRestart { worker },
            };
            order(common, request)
        }
        WorkersAction::Desired { worker, common } => desired(worker.as_deref(), common),
        WorkersAction::Validate { common } => validate(common),
        WorkersAction::Reload { common } => order(common, ControlRequest::Reload {}),
        WorkersAction::Shutdown {
            keep_workers,
            common,
        } => upgrade::shutdown(*keep_workers, common),
        WorkersAction::Logs {
            worker,
            follow,
            lines,
            common,
        } => following::logs(common, worker, *lines, *follow),
        WorkersAction::Events { common } => following::events(common),
        WorkersAction::Questions { common } => questions(common),
        WorkersAction::Top { which } => top::top(top::Mode::Look, which),
        WorkersAction::Approve {
            question: None,
            common,
            ..
        } => top::top(top::Mode::Answer, &common.which),
        WorkersAction::Approve {
            question: Some(question),
            remember,
            for_session,
            scope,
            common,
            ..
        } => say(
            common,
            ControlRequest::Approve {
                question: *question,
                remember_ms: remember.map(milliseconds),
                for_session: *for_session,
                scope: *scope,
            },
        ),
        WorkersAction::Grants { worker, common } => grants::list(worker.as_deref(), common),
        WorkersAction::Revoke {
            grant,
            path,
            all,
            worker,
            ask_again,
            common,
        } => {
            let path = path.as_deref().map(grants::absolute).transpose()?;
            let request = ControlRequest::Revoke {
                grant: *grant,
                path,
                all: *all,
                worker: worker.clone(),
                ask_again: *ask_again,
            };
            grants::revoke(request, *ask_again, common)
        }
        WorkersAction::Refuse {
            question,
            for_session,
            common,
        } => say(
            common,
            ControlRequest::Refuse {
                question: *question,
                for_session: *for_session,
            },
        ),
    }
}

fn questions(common: &Common) -> Result<ExitCode, String> {
    let mut all = Questions {
        questions: Vec::new(),
        more: 0,
    };
    for mut client in common.which.connect_all()? {
        match client.ask(ControlRequest::Questions {}) {
            Ok(data) => {
                let some: Questions = understood(data)?;
                all.questions.extend(some.questions);
                all.more += some.more;
            }
            // It ended meanwhile, and with it its questions.
            Err(Asked::Lost(_)) => {}
            Err(refused) => return Err(refused.to_string()),
        }
    }
    Ok(match common.json {
        true => print(&format!("{}\n", json!(all))),
        false => print(&shown::questions(&all)),
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Answers a question, of whoever asks it.
fn say(common: &Common, request: ControlRequest) -> Result<ExitCode, String> {
    let mut unknown = None;
    for mut client in common.which.connect_all()? {
        match client.ask(request.clone()) {
            Ok(answer) => return Ok(done(common, &answer)),
            Err(Asked::Refused(fault)) if fault.code != FaultCode::UnknownQuestion => {
                return Err(Asked::Refused(fault).to_string());
            }
            Err(why) => unknown = Some(why),
        }
    }
    Err(unknown.map_or_else(String::new, |why| why.to_string()))
}

fn ask(client: &mut client::Client, request: ControlRequest) -> Result<Value, String> {
    client.ask(request).map_err(|why| why.to_string())
}

/// What an answer means.
fn understood<T: DeserializeOwned>(answer: Value) -> Result<T, String> {
    let understood = serde_json::from_value(answer);
    understood.map_err(|error| format!("the daemon's answer is not understood: {error}"))
}

/// Has something done of which there is nothing to show.
fn order(common: &Common, request: ControlRequest) -> Result<ExitCode, String> {
    let answer = ask(&mut common.which.connect()?, request)?;
    Ok(done(common, &answer))
}

fn done(common: &Common, answer: &Value) -> ExitCode {
    match common.json {
        true => print(&format!("{answer}\n")),
        false => ExitCode::SUCCESS,
    }
}

fn validate(common: &Common) -> Result<ExitCode, String> {
    let data = ask(
        &mut common.which.connect()?,
        ControlRequest::ValidateSetup {},
    )?;
    let Findings { findings } = understood(data)?;
    let printed = match common.json {
        true => print(&format!(
            "{}\n",
            json!({ "schema": 1, "findings": findings })
        )),
        false => print(&crate::setup::shown(&findings)),
    };
    let is_fatal = findings
        .iter()
        .any(|found| found.severity == Severity::Error);
    Ok(match is_fatal {
        true => ExitCode::from(exit::NOT_SO),
        false => printed,
    })
}

fn desired(worker: Option<&str>, common: &Common) -> Result<ExitCode, String> {
    let mut client = common.which.connect()?;
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let worker = worker.map(str::to_owned);
        let request = ControlRequest::GetDesiredState { worker, after };
        let part: DesiredStates = understood(ask(&mut client, request)?)?;
        all.extend(part.workers);
        after = part.more;
        if after.is_none() {
            break;
        }
    }
    Ok(match common.json {
        true => print(&format!("{}\n", json!({ "schema": 1, "workers": all }))),
        false => print(&shown::desired(&all)),
    })
}

/// The daemon, and all workers that are meant.
fn statuses(common: &Common, worker: Option<&str>) -> Result<Status, String> {
    let mut client = common.which.connect()?;
    whole(worker, |request| understood(ask(&mut client, request)?))
}

/// The same, of whoever is asked for the parts.
fn whole<E>(
    worker: Option<&str>,
    mut ask: impl FnMut(ControlRequest) -> Result<Status, E>,
) -> Result<Status, E> {
    let mut request = |after| {
        ask(ControlRequest::Status {
            worker: worker.map(str::to_owned),
            after,
        })
    };
    let mut whole = request(None)?;
    while let Some(after) = whole.more.take() {
        let part = request(Some(after))?;
        whole.workers.extend(part.workers);
        whole.more = part.more;
    }
    Ok(whole)
}

fn status(worker: Option<&str>, common: &Common) -> Result<ExitCode, String> {
    let status = statuses(common, worker)?;
    Ok(match common.json {
        true => print(&format!("{}\n", json!(status))),
        false => print(&shown::status(&status)),
    })
}

fn list(common: &Common) -> Result<ExitCode, String> {
    let status = statuses(common, None)?;
    Ok(match common.json {
        true => print(&format!("{}\n", json!(status.workers))),
        false => print(&shown::workers(&status.workers)),
    })
}

fn change(
    common: &Common,
    request: ControlRequest,
    is_so: impl Fn(&Value) -> bool,
) -> Result<ExitCode, String> {
    let answer = ask(&mut common.which.connect()?, request)?;
    let workers = answer["workers"].as_array().cloned().unwrap_or_default();
    let all_so = workers.iter().all(&is_so);
    let printed = match common.json {
        true => print(&format!("{answer}\n")),
        false => {
            let wrong = workers.into_iter().filter(|worker| !is_so(worker));
            let wrong = wrong.filter_map(|worker| serde_json::from_value(worker).ok());
            let wrong: Vec<WorkerStatus> = wrong.collect();
            print(&shown::workers(&wrong))
        }
    };
    match all_so {
        true => Ok(printed),
        false => Ok(ExitCode::from(exit::NOT_SO)),
    }
}
