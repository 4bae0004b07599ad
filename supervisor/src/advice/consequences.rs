//! What a rule opens beside what it was added for.

use super::remedy::Found;
use super::sensitive::{self, Place};
use crate::policy::{Access, Kind};
use std::net::SocketAddr;
use std::path::Path;

/// How much is below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Below {
    /// So many entries.
    pub entries: usize,
    /// And there are more: nobody counted to the end.
    pub is_more: bool,
    /// The sensitive places that are there.
    pub secrets: Vec<Place>,
}

/// So many sensitive places are named.
const NAMED: usize = 3;

/// Of a rule about a path.
pub(super) fn of_file(
    path: &Path,
    access: Access,
    found: &Found,
    home: Option<&Path>,
) -> Vec<String> {
    let mut opens = Vec::new();
    let writes = access.contains(Access::WRITE);
    match found.kind {
        Some(Kind::Directory) => {
            let count = found
                .below
                .as_ref()
                .map(|below| match (below.entries, below.is_more) {
                    (1, false) => " (1 entry today)".to_owned(),
                    (entries, false) => format!(" ({entries} entries today)"),
                    (entries, true) => format!(" (more than {entries} entries today)"),
                });
            let count = count.unwrap_or_default();
            opens.push(match (writes, access.contains(Access::EXEC)) {
                (true, _) => format!(
                    "reading, changing, making, removing and renaming everything below it{count}"
                ),
                (false, true) => format!("reading and executing everything below it{count}"),
                (false, false) => format!("reading everything below it{count}"),
            });
            let secrets = found.below.iter().flat_map(|below| &below.secrets);
            let secrets: Vec<_> = secrets.collect();
            let named = secrets.iter().take(NAMED);
            opens.extend(named.map(|place| format!("among that {place}")));
            if let more @ 1.. = secrets.len().saturating_sub(NAMED) {
                opens.push(format!("and {more} more such places"));
            }
        }
        Some(_) if writes && !access.contains(Access::READ) => {
            opens.push("reading it".to_owned());
        }
        Some(_) => {}
        None => opens
            .push("whatever has that name by then; were it a directory, all below it".to_owned()),
    }
    if let Some(place) = sensitive::of(path, home) {
        opens.push(format!("a place of {place}"));
    }
    opens
}

/// Of a rule that lists a socket file.
pub(super) fn of_service(is_unconfined: bool) -> Vec<String> {
    let mut opens = vec!["everything that whoever listens there does for those who ask".to_owned()];
    if is_unconfined {
        opens.push(
            "what that service does happens outside of every sandbox, and may be anything that you can do"
                .to_owned(),
        );
    }
    opens
}

/// Of a rule that lists an address to connect to.
pub(super) fn of_peer(address: SocketAddr) -> Vec<String> {
    vec![match address.ip().is_loopback() {
        true => "whatever program of this machine listens on that port, now or later".to_owned(),
        false => "sending whatever can be read to that address".to_owned(),
    }]
}

/// Of a rule that lists an address to bind.
pub(super) fn of_own(address: SocketAddr) -> Vec<String> {
    vec![match address.ip().to_canonical().is_loopback() {
        true => "every program of this machine can connect to it there".to_owned(),
        false => "everybody who reaches this machine can connect to it there".to_owned(),
    }]
}
