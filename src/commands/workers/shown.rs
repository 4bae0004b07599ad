//! Workers and what happens to them, for people. What a worker said itself cannot move the terminal's cursor.

use crate::render::{table, visible};
use protocol::Scope;
use protocol::control::{
    AutoRestart, DesiredState, Ended, Event, Question, Questions, Status, WorkerStatus,
};
use serde::Serialize;
use std::fmt::Write;

/// The daemon and its workers.
pub fn status(status: &Status) -> String {
    let daemon = &status.daemon;
    let mut text = format!("daemon {} (pid {}", visible(&daemon.version), daemon.pid);
    if let Some(keeper) = daemon.keeper_pid {
        // A text takes everything.
        let _infallible = write!(text, ", keeper {keeper}");
    }
    text.push_str(")\n");
    if let Some(config) = &daemon.config {
        let _infallible = writeln!(text, "pool file {}", visible(config));
    }
    if daemon.queued > 0 || daemon.questions > 0 {
        let _infallible = writeln!(
            text,
            "jobs that wait: {}; questions that wait: {}",
            daemon.queued, daemon.questions
        );
    }
    text.push('\n');
    text + &workers(&status.workers)
}

/// What waits to be answered.
pub fn questions(questions: &Questions) -> String {
    let mut text = String::new();
    for question in &questions.questions {
        let program = question.program.as_deref().map(visible);
        let program = program.unwrap_or_else(|| "a program that cannot be named".to_owned());
        let pid = question.pid.map(|pid| format!(" (pid {pid})"));
        let (worker, access) = (visible(&question.worker), visible(&question.access));
        // A text takes everything.
        let _infallible = writeln!(
            text,
            "{}  {worker}: {program}{} asks to {access}\n    {}",
            question.question,
            pid.unwrap_or_default(),
            visible(&question.object)
        );
        if let Some(to) = &question.to {
            let _infallible = writeln!(text, "    to {}", visible(to));
        }
        if !question.ancestors.is_empty() {
            let ancestors = question.ancestors.iter().map(|ancestor| {
                let program = ancestor.program.as_deref().map(visible);
                format!("{} ({})", program.unwrap_or_default(), ancestor.pid)
            });
            let ancestors: Vec<_> = ancestors.collect();
            let _infallible = writeln!(text, "  started by: {}", ancestors.join(", by "));
        }
        if let Some(why) = &question.why {
            // It says so itself; that makes it no truer.
            let _infallible = writeln!(text, "  it says: \"{}\"", visible(why));
        }
        if let Some(rule) = &question.rule {
            let _infallible = writeln!(text, "  rule: {}", visible(rule));
        }
        let whom = question.scope.map(for_whom).unwrap_or_default();
        match question.holds_ms {
            Some(holds) => {
                let _infallible = writeln!(text, "  a yes holds for {} s{whom}", holds / 1000);
            }
            None if !whom.is_empty() => {
                let _infallible = writeln!(text, "  a yes holds{whom}");
            }
            None => {}
        }
        if let Some(left) = question.remaining_ms {
            let _infallible = writeln!(text, "  refused in {} s", left / 1000);
        }
    }
    if questions.more > 0 {
        let _infallible = writeln!(text, "and {} more", questions.more);
    }
    text
}

/// For whom a yes speaks beyond this once.
pub fn for_whom(scope: Scope) -> &'static str {
    match scope {
        Scope::Once => "",
        Scope::Process => ", for the process that asks",
        Scope::Subtree => ", for the process that asks and what it starts",
        Scope::Session => ", for all of the worker",
    }
}

/// Workers, one a line, with what there is to say about each below.
pub fn workers(workers: &[WorkerStatus]) -> String {
    if workers.is_empty() {
        return String::new();
    }
    let heading = ["WORKER", "STATE", "PID", "JOBS", "HOW"].map(str::to_owned);
    let rows = workers.iter().map(|worker| {
        [
            visible(&worker.id),
            word(&worker.state),
            worker
                .pid
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
            worker.jobs.to_string(),
            how(worker),
        ]
    });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    table(&rows)
}

/// What is wanted of workers, one a line.
pub fn desired(states: &[DesiredState]) -> String {
    if states.is_empty() {
        return String::new();
    }
    let heading = ["WORKER", "WANTED", "RESTARTED", "SAID"].map(str::to_owned);
    let rows = states.iter().map(|state| {
        let is_wanted = if state.running { "yes" } else { "no" };
        let is_restarted = if state.auto_restart { "yes" } else { "no" };
        [
            visible(&state.worker),
            is_wanted.to_owned(),
            is_restarted.to_owned(),
            said(state),
        ]
    });
    let rows: Vec<_> = std::iter::once(heading).chain(rows).collect();
    table(&rows)
}

/// What was said about a worker beside whether it is wanted.
fn said(state: &DesiredState) -> String {
    let mut parts = Vec::new();
    if let Some(reason) = &state.reason {
        parts.push(word(reason));
    }
    let AutoRestart {
        burst,
        within_ms,
        delay_ms,
        longest_delay_ms,
    } = state.restart;
    if let Some(burst) = burst {
        parts.push(format!("at most {burst} restarts"));
    }
    for (what, time) in [
        ("in", within_ms),
        ("after", delay_ms),
        ("after at most", longest_delay_ms),
    ] {
        if let Some(milliseconds) = time {
            let time = std::time::Duration::from_millis(milliseconds);
            parts.push(format!("restarts {what} {time:?}"));
        }
    }
    if !state.env.is_empty() {
        parts.push(format!("started with {}", visible(&state.env.join(", "))));
    }
    parts.join("; ")
}

/// What there is to say about a worker.
pub fn how(worker: &WorkerStatus) -> String {
    let mut parts = Vec::new();
    if worker.reattached {
        parts.push("re-attached".to_owned());
    }
    if let Some(verified) = worker.verified.as_ref().filter(|_| worker.pid.is_some()) {
        parts.push(visible(verified));
    }
    if worker.pid.is_some() && !worker.speaks {
        parts.push("does not speak the pool protocol".to_owned());
    }
    if worker.sid.is_some() {
        parts.push("at work".to_owned());
    }
    if worker.restart_attempt > 0 {
        parts.push(format!("restart {}", worker.restart_attempt));
    }
    if let (None, Some(reason)) = (worker.pid, &worker.stop_reason) {
        parts.push(word(reason));
    }
    if let (None, Some(ended)) = (worker.pid, worker.last_exit) {
        parts.push(end(ended));
    }
    parts.extend(worker.degraded.as_deref().map(visible));
    parts.extend(worker.detail.as_deref().map(visible));
    parts.join("; ")
}

fn end(ended: Ended) -> String {
    if ended.timed_out {
        return "its time was over".to_owned();
    }
    match (ended.code, ended.signal) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// A word of the protocol.
pub fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).unwrap_or_default();
    value.as_str().unwrap_or("unknown").replace('_', "-")
}

/// An event.
pub fn event(event: &Event) -> String {
    match event {
        Event::Started {
            worker,
            pid,
            reattached,
        } => {
            let how = if *reattached {
                "re-attached"
            } else {
                "started"
            };
            format!("{} {how} (pid {pid})", visible(worker))
        }
        Event::Stopped { worker, reason } => {
            format!("{} stopped: {}", visible(worker), word(reason))
        }
        Event::Error { worker, message } => {
            let worker = worker.as_deref().map_or("daemon".to_owned(), visible);
            format!("{worker} error: {}", visible(message))
        }
        Event::State {
            worker,
            state,
            restart_attempt,
        } => match restart_attempt {
            0 => format!("{} is {}", visible(worker), word(state)),
            attempt => format!("{} is {} (restart {attempt})", visible(worker), word(state)),
        },
        Event::WorkerExited { worker, pid, ended } => {
            format!("{} {} (pid {pid})", visible(worker), end(*ended))
        }
        Event::Granted(decision) => format!(
            "{} was granted {} {}",
            visible(&decision.worker),
            visible(&decision.access),
            visible(&decision.object)
        ),
        Event::Revoked(decision) => format!(
            "{}: {} of {} was taken back",
            visible(&decision.worker),
            visible(&decision.access),
            visible(&decision.object)
        ),
        Event::Refused(decision) => format!(
            "{} was refused {} {}",
            visible(&decision.worker),
            visible(&decision.access),
            visible(&decision.object)
        ),
        Event::DecisionsUntold { worker } => {
            let worker = visible(worker);
            format!("{worker}: more is decided than is shown; its record has it")
        }
        Event::WaitingForApproval(question) => format!(
            "{}: supervise approve {} (or refuse)",
            asked(question),
            question.question
        ),
        Event::Settled { question, granted } => {
            let answer = if *granted { "yes" } else { "no" };
            format!("question {question} was answered: {answer}")
        }
        Event::Reloaded {} => "the pool file was read again".to_owned(),
        Event::Lagged { missed } => format!("{missed} events were missed"),
        Event::Unknown(value) => visible(&value.to_string()),
    }
}

/// That something is asked for.
pub fn asked(question: &Question) -> String {
    let to = question.to.as_deref();
    format!(
        "{} asks for {} {}{}",
        visible(&question.worker),
        visible(&question.access),
        visible(&question.object),
        to.map(|to| format!(" to {}", visible(to)))
            .unwrap_or_default()
    )
}

/// What a worker wrote: its lines stay lines.
pub fn log(text: &str) -> String {
    let lines = text
        .split_inclusive('\n')
        .map(|line| match line.strip_suffix('\n') {
            Some(line) => visible(&line.replace('\t', "    ")) + "\n",
            None => visible(&line.replace('\t', "    ")),
        });
    lines.collect()
}
