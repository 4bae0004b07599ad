//! `supervise status`, `ps`, `start`, `stop`, `restart`, `logs`, `events`, `questions`, `approve`, `refuse`: what is asked of the daemon.

mod client;
mod shown;

use crate::exit;
use crate::render::{fail, print};
use client::{Asked, Which};
use protocol::control::{ControlRequest, LogChunk, LogStream, Status, WorkerStatus};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// What all of them are told.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Common {
    /// The daemon.
    #[command(flatten)]
    which: Which,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is asked of the daemon.
#[derive(Debug, clap::Subcommand)]
pub enum WorkersAction {
    /// Show the daemon and its workers
    #[command(after_help = "Examples:\n  supervise status\n  supervise status index --json")]
    Status {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// List the workers, one a line
    Ps {
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Have workers run, and wait until they do
    #[command(
        after_help = "Examples:\n  supervise start\n  supervise start index-2\n\nExit status: 0 when all of them run, 1 when one does not, 125 when the daemon cannot be asked."
    )]
    Start {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// Wait no longer than this
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        timeout: Option<Duration>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// End workers, and wait until they are gone; they stay so until somebody starts them
    Stop {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// How long they have before they are killed
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        grace: Option<Duration>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// End workers and start them again
    Restart {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// How long they have before they are killed
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        grace: Option<Duration>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Print what a worker wrote: its standard output to ours, its standard error to ours
    #[command(after_help = "Example:\n  supervise logs -f index-1")]
    Logs {
        /// The worker
        worker: String,
        /// Go on with what it writes from now on
        #[arg(short, long)]
        follow: bool,
        /// The last lines of each
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
        lines: u32,
        /// Which daemon.
        #[command(flatten)]
        which: Which,
    },
    /// Print what happens, as it happens
    Events {
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// List what workers ask for, and wait to be told
    Questions {
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Say yes to a question of a worker; `supervise questions` lists those that wait
    #[command(
        after_help = "A yes holds as long as the rule that asks says (`ttl`), or else this once. Never longer than the rule says:\n  supervise approve 123456789 --remember 10m\n  supervise approve 123456789 --for-session"
    )]
    Approve {
        /// Its number
        question: u64,
        /// For this long the same needs no new question; 0s: this once
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        remember: Option<Duration>,
        /// As long as the worker's process lives, the same needs no new question
        #[arg(long, conflicts_with = "remember")]
        for_session: bool,
        /// Which daemon.
        #[command(flatten)]
        which: Which,
    },
    /// Say no to a question of a worker
    Refuse {
        /// Its number
        question: u64,
        /// Which daemon.
        #[command(flatten)]
        which: Which,
    },
}

/// A worker is not as was asked.
const NOT_SO: u8 = 1;

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
            common,
        } => change(
            common,
            ControlRequest::Start {
                worker: worker.clone(),
                env: None,
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
        WorkersAction::Logs {
            worker,
            follow,
            lines,
            which,
        } => logs(which, worker, *lines, *follow),
        WorkersAction::Events { common } => events(common),
        WorkersAction::Questions { common } => questions(common),
        WorkersAction::Approve {
            question,
            remember,
            for_session,
            which,
        } => say(
            which,
            ControlRequest::Approve {
                question: *question,
                remember_ms: remember.map(milliseconds),
                for_session: *for_session,
            },
        ),
        WorkersAction::Refuse { question, which } => {
            let question = *question;
            say(which, ControlRequest::Refuse { question })
        }
    }
}

fn questions(common: &Common) -> Result<ExitCode, String> {
    let data = ask(&mut common.which.connect()?, ControlRequest::Questions {})?;
    if common.json {
        return Ok(print(&format!("{data}\n")));
    }
    let questions = serde_json::from_value(data).map_err(|error| error.to_string())?;
    Ok(print(&shown::questions(&questions)))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn say(which: &Which, request: ControlRequest) -> Result<ExitCode, String> {
    ask(&mut which.connect()?, request)?;
    Ok(ExitCode::SUCCESS)
}

fn ask(client: &mut client::Client, request: ControlRequest) -> Result<Value, String> {
    client.ask(request).map_err(|why| why.to_string())
}

/// The daemon, and all workers that are meant.
fn statuses(common: &Common, worker: Option<&str>) -> Result<Status, String> {
    let mut client = common.which.connect()?;
    let mut whole: Option<Status> = None;
    let mut after = None;
    loop {
        let request = ControlRequest::Status {
            worker: worker.map(str::to_owned),
            after: after.take(),
        };
        let answer = ask(&mut client, request)?;
        let part: Status = serde_json::from_value(answer)
            .map_err(|error| format!("the daemon's answer is not understood: {error}"))?;
        after.clone_from(&part.more);
        match &mut whole {
            Some(whole) => whole.workers.extend(part.workers),
            None => whole = Some(part),
        }
        if after.is_none() {
            break;
        }
    }
    let mut whole = whole.ok_or("the daemon said nothing")?;
    whole.more = None;
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
        false => Ok(ExitCode::from(NOT_SO)),
    }
}

/// How long nothing may come before it is asked again.
const FOLLOW: Duration = Duration::from_millis(200);

fn logs(which: &Which, worker: &str, lines: u32, follow: bool) -> Result<ExitCode, String> {
    let mut client = which.connect()?;
    let mut places = [None, None];
    loop {
        let mut came = false;
        for (stream, place) in [LogStream::Stdout, LogStream::Stderr]
            .into_iter()
            .zip(&mut places)
        {
            loop {
                let request = ControlRequest::Logs {
                    worker: worker.to_owned(),
                    stream,
                    after: *place,
                    lines: place.is_none().then_some(lines),
                };
                let answer = ask(&mut client, request)?;
                let chunk: LogChunk = serde_json::from_value(answer)
                    .map_err(|error| format!("the daemon's answer is not understood: {error}"))?;
                *place = Some(chunk.next);
                came |= !chunk.text.is_empty();
                if chunk.skipped > 0 {
                    crate::render::warn(format!("{} bytes are no longer there", chunk.skipped));
                }
                let text = shown::log(&chunk.text);
                let written = match stream {
                    LogStream::Stdout => std::io::stdout().write_all(text.as_bytes()),
                    LogStream::Stderr => std::io::stderr().write_all(text.as_bytes()),
                };
                if written.and_then(|()| std::io::stdout().flush()).is_err() {
                    // Whoever stopped reading has what was wanted.
                    return Ok(ExitCode::SUCCESS);
                }
                if !chunk.more {
                    break;
                }
            }
        }
        if !follow {
            return Ok(ExitCode::SUCCESS);
        }
        if !came {
            std::thread::sleep(FOLLOW);
        }
    }
}

fn events(common: &Common) -> Result<ExitCode, String> {
    let mut client = common.which.connect()?;
    ask(&mut client, ControlRequest::Subscribe { after: None })?;
    loop {
        let event = match client.event() {
            Ok(event) => event,
            Err(why) => return Err(format!("the daemon is gone: {why}")),
        };
        let line = match common.json {
            true => json!(event).to_string(),
            false => shown::event(&event.event),
        };
        let mut out = std::io::stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Has the daemon replaced by the program that is on disk now, and waits until that one serves.
pub fn upgrade(config: &Path) -> Result<u8, String> {
    let which = Which {
        socket: None,
        config: config.exists().then(|| config.to_owned()),
    };
    let mut client = which.connect()?;
    let before = daemon(&mut client)?;
    match client.ask(ControlRequest::Upgrade { executable: None }) {
        Ok(_) => {}
        Err(Asked::Refused(fault)) => return Err(fault.to_string()),
        // It was quicker than its answer.
        Err(Asked::Lost(_)) => {}
    }
    let patience = Duration::from_secs(30);
    let mut until = std::time::Instant::now() + patience;
    while std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        match which.connect().and_then(|mut client| daemon(&mut client)) {
            Ok(next) if next != before => return Ok(0),
            // Workers that end with it are given their time.
            Ok(_) => until = std::time::Instant::now() + patience,
            Err(_) => {}
        }
    }
    Err(format!(
        "the next daemon did not come up within 30 s; exit status {}",
        exit::OURS
    ))
}

/// The name of the daemon that answers.
fn daemon(client: &mut client::Client) -> Result<Value, String> {
    let request = ControlRequest::Status {
        worker: None,
        after: None,
    };
    Ok(ask(client, request)?["daemon"]["daemon"].clone())
}
