//! `supervise daemon --upgrade`, and the end of a daemon.

use super::ask;
use super::client::{Asked, Client, Which};
use super::verbs::Common;
use crate::exit;
use crate::render::print;
use crate::waiting::Waiting;
use protocol::control::ControlRequest;
use serde_json::Value;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

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
    let _waiting = Waiting::until("the next daemon serves");
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
fn daemon(client: &mut Client) -> Result<Value, String> {
    let request = ControlRequest::Status {
        worker: None,
        after: None,
    };
    Ok(ask(client, request)?["daemon"]["daemon"].clone())
}

/// Ends the daemon, and waits until it has let go of everybody.
pub fn shutdown(keep_workers: bool, common: &Common) -> Result<ExitCode, String> {
    let mut client = common.which.connect()?;
    let answer = ask(&mut client, ControlRequest::Shutdown { keep_workers })?;
    let _waiting = Waiting::until("all have ended");
    // The end of the connection is the end of the daemon.
    while client.event().is_ok() {}
    Ok(match common.json {
        true => print(&format!("{answer}\n")),
        false => ExitCode::SUCCESS,
    })
}
