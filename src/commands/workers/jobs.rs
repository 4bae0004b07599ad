//! `supervise job`: a job for a worker, and what came of it, also when the daemon is replaced meanwhile.

use super::client::{Asked, Client};
use super::verbs::{Common, JobAction};
use super::{milliseconds, understood};
use crate::exit;
use crate::render::{fail, print, visible};
use protocol::control::{ControlRequest, JobAnswer};
use protocol::pool::SessionState;
use protocol::{Fault, FaultCode};
use serde_json::{Value, json};
use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use supervisor::workers::jobs::new_sid;

/// How long a daemon that is gone may take to be replaced.
const REPLACED: Duration = Duration::from_secs(30);

/// So much is read of a job: more does not fit on a line of the protocol.
const MOST: u64 = 1 << 20;

/// Gives one, or goes on with one.
pub fn job(action: &JobAction) -> Result<ExitCode, String> {
    match action {
        JobAction::Run {
            worker,
            input,
            deadline,
            queue,
            session,
            common,
        } => {
            let sid = match session {
                Some(sid) => sid.clone(),
                None => new_sid().map_err(|error| format!("no random numbers: {error}"))?,
            };
            let request = ControlRequest::Run {
                worker: worker.clone(),
                job: json_of(input)?,
                deadline_ms: deadline.map(milliseconds),
                queue_ms: queue.map(milliseconds),
                sid: Some(sid.clone()),
            };
            come_of(common, request, sid, *deadline)
        }
        JobAction::Continue {
            sid,
            input,
            deadline,
            common,
        } => {
            let request = ControlRequest::Continue {
                sid: sid.clone(),
                input: input.as_deref().map(json_of).transpose()?,
                deadline_ms: deadline.map(milliseconds),
            };
            come_of(common, request, sid.clone(), *deadline)
        }
    }
}

/// What was given as JSON, or is to be read.
fn json_of(text: &str) -> Result<Value, String> {
    let read;
    let text = match text {
        "-" => {
            let mut text = String::new();
            let taken = std::io::stdin().take(MOST).read_to_string(&mut text);
            taken.map_err(|error| format!("standard input: {error}"))?;
            read = text;
            &read
        }
        text => text,
    };
    serde_json::from_str(text)
        .map_err(|error| format!("--input is no JSON: {error}; a text is written '\"like this\"'"))
}

/// Asks, and prints what comes of it. Where the daemon goes meanwhile, the next one is asked what came of the session: nothing is given
/// twice.
fn come_of(
    common: &Common,
    request: ControlRequest,
    sid: String,
    deadline: Option<Duration>,
) -> Result<ExitCode, String> {
    let mut client = common.which.connect()?;
    let mut answer = client.ask(request);
    let until = deadline.and_then(|time| Instant::now().checked_add(time));
    while let Err(Asked::Lost(why)) = answer {
        client = again(common).map_err(|error| format!("{why}; {error}; the session is {sid}"))?;
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        answer = client.ask(ControlRequest::Continue {
            sid: sid.clone(),
            input: None,
            deadline_ms: left.map(milliseconds),
        });
    }
    match answer {
        Ok(data) => done(common, data),
        Err(Asked::Refused(fault)) => Ok(refused(common, fault, &sid)),
        Err(lost) => Err(lost.to_string()),
    }
}

/// The daemon that takes the place of the one that is gone.
fn again(common: &Common) -> Result<Client, String> {
    let until = Instant::now() + REPLACED;
    loop {
        match common.which.connect() {
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            connected => return connected,
        }
    }
}

fn done(common: &Common, data: Value) -> Result<ExitCode, String> {
    let answer: JobAnswer = understood(data.clone())?;
    let printed = match common.json {
        true => print(&format!("{data}\n")),
        false => print(&format!("{}\n", answer.ran.output)),
    };
    Ok(match answer.ran.state {
        SessionState::Done => printed,
        SessionState::Waiting => {
            let sid = visible(&answer.ran.sid);
            say(format_args!(
                "it wants input: supervise job continue {sid} --input JSON"
            ));
            ExitCode::from(exit::WAITING)
        }
        _ => ExitCode::from(exit::NOT_SO),
    })
}

fn refused(common: &Common, mut fault: Fault, sid: &str) -> ExitCode {
    let is_ours = matches!(
        fault.code,
        FaultCode::BadRequest | FaultCode::TooLarge | FaultCode::UnknownWorker
    );
    if is_ours {
        return fail(visible(&fault.message));
    }
    // What was given goes on, and can be asked for.
    if fault.code == FaultCode::Deadline {
        fault.sid.get_or_insert_with(|| sid.to_owned());
    }
    let hint = match &fault.sid {
        Some(sid) if fault.code == FaultCode::Deadline => format!(
            "; if it ends all the same, `supervise job continue {}` has its result",
            visible(sid)
        ),
        _ => String::new(),
    };
    say(format_args!("{}{hint}", visible(&fault.to_string())));
    if common.json {
        // Nobody who stopped reading wants to know.
        let _printed = print(&format!("{}\n", json!({ "error": fault })));
    }
    ExitCode::from(exit::NOT_SO)
}

fn say(what: std::fmt::Arguments<'_>) {
    // A closed standard error leaves nobody to tell.
    let _unheard =
        std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("supervise: {what}\n"));
}
