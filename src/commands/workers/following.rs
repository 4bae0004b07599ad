//! What goes on while it is looked at: what workers write, and what happens to them.

use super::client::Which;
use super::verbs::Common;
use super::{ask, shown, understood};
use protocol::control::{ControlRequest, LogChunk, LogStream};
use serde_json::json;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// How long nothing may come before it is asked again.
const FOLLOW: Duration = Duration::from_millis(200);

pub fn logs(which: &Which, worker: &str, lines: u32, follow: bool) -> Result<ExitCode, String> {
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
                let chunk: LogChunk = understood(answer)?;
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

pub fn events(common: &Common) -> Result<ExitCode, String> {
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
