//! What was agreed to and still holds: listed, and taken back.

use super::client::Asked;
use super::understood;
use super::verbs::Common;
use crate::exit;
use crate::render::{print, visible};
use protocol::control::{ControlRequest, Grant, Grants};
use protocol::{FaultCode, Scope};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

/// Lists it.
pub fn list(worker: Option<&str>, common: &Common) -> Result<ExitCode, String> {
    let request = ControlRequest::Grants {
        worker: worker.map(str::to_owned),
    };
    let grants = asked(&request, common)?;
    Ok(match common.json {
        true => print(&in_json(&grants)),
        false => print(&listed(&grants)),
    })
}

/// Takes it back.
pub fn revoke(
    request: ControlRequest,
    asks_again: bool,
    common: &Common,
) -> Result<ExitCode, String> {
    let grants = asked(&request, common)?;
    let printed = match common.json {
        true => print(&in_json(&grants)),
        false => print(&taken_back(&grants, asks_again)),
    };
    Ok(match grants.grants.is_empty() {
        true => ExitCode::from(exit::NOTHING),
        false => printed,
    })
}

/// A path as the daemon knows it: the real name of what is there.
pub fn absolute(path: &Path) -> Result<String, String> {
    let found = path
        .canonicalize()
        .or_else(|_| std::path::absolute(path))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let text = found.to_str().map(str::to_owned);
    text.ok_or_else(|| "a name that is no text: name it by its number".to_owned())
}

/// What the daemon and all runs say of it together.
fn asked(request: &ControlRequest, common: &Common) -> Result<Grants, String> {
    let (mut all, mut unknown) = (None::<Grants>, None);
    for mut client in common.which.connect_all()? {
        match client.ask(request.clone()) {
            Ok(data) => {
                let some: Grants = understood(data)?;
                let all = all.get_or_insert(Grants {
                    grants: Vec::new(),
                    more: 0,
                });
                all.grants.extend(some.grants);
                all.more += some.more;
            }
            // It means somebody else.
            Err(Asked::Refused(fault))
                if matches!(
                    fault.code,
                    FaultCode::UnknownGrant | FaultCode::UnknownWorker
                ) =>
            {
                unknown = Some(Asked::Refused(fault));
            }
            // It ended meanwhile, and with it all that was agreed to.
            Err(Asked::Lost(why)) => unknown = unknown.or(Some(Asked::Lost(why))),
            Err(refused) => return Err(refused.to_string()),
        }
    }
    match (all, unknown) {
        (Some(all), _) => Ok(all),
        (None, Some(why)) => Err(why.to_string()),
        (None, None) => Err("there is nobody to ask".to_owned()),
    }
}

fn in_json(grants: &Grants) -> String {
    format!(
        "{}\n",
        json!({ "schema": 1, "grants": grants.grants, "more": grants.more })
    )
}

fn listed(grants: &Grants) -> String {
    let mut text = String::new();
    for grant in &grants.grants {
        headed(&mut text, grant);
        let whom = match grant.scope {
            Scope::Once => "this once",
            Scope::Process => "that process",
            Scope::Subtree => "that process and what it starts",
            Scope::Session => "all of the worker or run",
        };
        // A text takes everything.
        let _infallible = write!(text, "  for {whom}");
        if let Some(left) = grant.remaining_ms {
            let _infallible = write!(text, ", {} s more", left / 1000);
        }
        if let Some(uid) = grant.by_uid {
            let _infallible = write!(text, "; user {uid} agreed");
        }
        text.push('\n');
        if let Some(rule) = &grant.rule {
            let _infallible = writeln!(text, "  rule: {}", visible(rule));
        }
        if grant.handed > 0 {
            let _infallible = writeln!(text, "  handed out: {}", descriptors(grant.handed));
        }
    }
    and_more(&mut text, grants);
    text
}

fn taken_back(grants: &Grants, asks_again: bool) -> String {
    let mut text = String::new();
    for grant in &grants.grants {
        headed(&mut text, grant);
        text.push_str(match asks_again {
            true => "  taken back: whoever asks for it again is asked about\n",
            false => "  taken back: whoever asks for it again is refused\n",
        });
        if grant.handed == 0 {
            text.push_str("  nothing was handed out under it\n");
            continue;
        }
        let _infallible = writeln!(
            text,
            "  not taken back: {}, which only those can close who have them; handed to",
            descriptors(grant.handed)
        );
        for handed in grant.last.iter().rev() {
            let program = handed.program.as_deref().map(visible);
            let _infallible = writeln!(
                text,
                "    {} (pid {}), {} s ago",
                program.unwrap_or_else(|| "a program that cannot be named".into()),
                handed.pid.unwrap_or_default(),
                handed.ago_ms / 1000
            );
        }
        let earlier = grant.handed.saturating_sub(grant.last.len() as u64);
        if earlier > 0 {
            let _infallible = writeln!(
                text,
                "    and {earlier} before: the worker's record has them"
            );
        }
    }
    and_more(&mut text, grants);
    if text.is_empty() {
        text.push_str("nothing like that holds\n");
    }
    text
}

/// Whose it is, and what.
fn headed(text: &mut String, grant: &Grant) {
    let program = grant.program.as_deref().map(visible);
    let _infallible = writeln!(
        text,
        "{}  {}: {} (pid {}) may {}\n    {}",
        grant.grant,
        visible(&grant.worker),
        program.unwrap_or_else(|| "a program that cannot be named".into()),
        grant.pid.unwrap_or_default(),
        visible(&grant.access),
        visible(&grant.object)
    );
}

fn descriptors(count: u64) -> String {
    match count {
        1 => "1 open descriptor".to_owned(),
        count => format!("{count} open descriptors"),
    }
}

fn and_more(text: &mut String, grants: &Grants) {
    if grants.more > 0 {
        let _infallible = writeln!(text, "and {} more", grants.more);
    }
}
