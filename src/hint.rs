//! What may be said to somebody whose command failed: what it was refused, and what would have allowed it.
//!
//! The names come from inside the sandbox, and whoever chose them may want to be taken for us, or have a policy
//! opened. So nothing is printed that is not plainly visible, what is no plain word stands in quotes, and what is
//! suggested allows the one object that was refused, by its own name, and not a pattern.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use supervisor::audit::{Object, Printable, Refused};
use supervisor::policy::{Access, Origin, Reason, Source};

/// So many refusals are spoken of.
const MOST: usize = 3;

/// What the policy is that would have to say more.
#[derive(Debug, Clone, Copy)]
pub struct Law<'a> {
    /// What it calls `$HOME`.
    pub home: Option<&'a Path>,
    /// Policies narrow each other, so that each of them must allow it.
    pub is_stacked: bool,
}

/// The lines: of each refusal what it was, and what to do about it where something can be done.
pub fn lines(refused: &[Refused], law: Law<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for refused in refused.iter().take(MOST) {
        lines.push(what(refused));
        lines.extend(remedy(refused, law));
    }
    lines
}

/// Such as `refused: read /etc/shadow, asked for by cat (no rule allows it)`.
fn what(refused: &Refused) -> String {
    let object = match &refused.object {
        Object::File(path) => format!("{} {}", refused.access, shown(path)),
        Object::Socket(path) => format!("connect {}", shown(path)),
        Object::Peer(address) => format!("connect {address}"),
        Object::Own(address) => format!("bind {address}"),
    };
    let program = refused.program.as_deref().and_then(Path::file_name);
    let by = program.map(|name| format!(", asked for by {}", shown(Path::new(name))));
    let why = match (&refused.reason, &refused.rule) {
        // The denial names its rule itself.
        (Some(_), _) | (None, None) => refused.detail.clone(),
        (None, Some(rule)) if refused.detail.is_empty() => format!("{rule} asks"),
        (None, Some(rule)) => format!("{rule}: {}", refused.detail),
    };
    format!(
        "refused: {object}{} ({})",
        by.unwrap_or_default(),
        Printable::from(why.as_str())
    )
}

/// What would allow it.
fn remedy(refused: &Refused, law: Law<'_>) -> Option<String> {
    match (refused.reason, &refused.rule) {
        (Some(Reason::NoRule), _) | (Some(Reason::UnconfinedPeer), None) => {
            let (toml, comment) = rule(refused, law)?;
            let place = if law.is_stacked {
                "to allow it, in each policy"
            } else {
                "to allow it"
            };
            let mut text = format!("{place}: {toml}");
            if !comment.is_empty() {
                let _infallible = write!(text, "  # {comment}");
            }
            Some(text)
        }
        (Some(Reason::Rule), Some(rule)) => Some(denial(rule)),
        (None, Some(_)) => Some("who answers is said by --approver".to_owned()),
        _ => None,
    }
}

/// Where a denial can be changed.
fn denial(rule: &Origin) -> String {
    let place = match rule.source() {
        Source::File(_) => format!("change {rule}"),
        Source::Preset(_) => match rule.name() {
            Some(name) => format!(
                "where the preset is extended, say without = [{}]",
                toml(&name)
            ),
            None => format!("change {rule}"),
        },
        Source::BuiltIn => "write a policy of your own (supervise init)".to_owned(),
        Source::Flag(name) => format!("leave out {name}"),
        Source::Setting(text) => format!("change {text}"),
        Source::Protected(_) => "this one cannot be lifted".to_owned(),
    };
    // Its text is the operator's own; only what a file system calls it may be odd.
    let place = place.replace(|character: char| character.is_control(), " ");
    format!("a denial always wins: {place}")
}

/// A line of a policy that allows it, and a remark.
fn rule(refused: &Refused, law: Law<'_>) -> Option<(String, String)> {
    match &refused.object {
        Object::File(path) => file_rule(path, refused.access, law),
        Object::Socket(path) => {
            let text = toml(&spelled(path, law.home, "")?);
            let entry = match refused.reason {
                Some(Reason::UnconfinedPeer) => {
                    format!("{{ path = {text}, unconfined_peer = true }}")
                }
                _ => text,
            };
            Some((format!("net.unix = [{entry}]"), String::new()))
        }
        Object::Peer(address) => {
            let address = effective(*address);
            let flag = (!law.is_stacked).then(|| format!("or: --connect {address}"));
            let line = format!("net.connect = [{}]", toml(&address.to_string()));
            Some((line, flag.unwrap_or_default()))
        }
        // Port 0 is whichever the kernel chooses.
        Object::Own(address) => (address.port() != 0).then(|| {
            let port = address.port();
            let (what, remark) = match address.ip().to_canonical() {
                IpAddr::V6(ip) if ip.is_unspecified() => (format!("*:{port}"), "on every address"),
                ip => (SocketAddr::new(ip, port).to_string(), ""),
            };
            (format!("net.bind = [{}]", toml(&what)), remark.to_owned())
        }),
    }
}

fn file_rule(path: &Path, access: Access, law: Law<'_>) -> Option<(String, String)> {
    let found = std::fs::symlink_metadata(path).ok();
    // To write is to read, and so is to execute.
    let keys: Vec<&str> = match (
        access.contains(Access::WRITE),
        access.contains(Access::EXEC),
    ) {
        (true, true) => vec!["write", "exec"],
        (true, false) => vec!["write"],
        (false, true) => vec!["exec"],
        (false, false) => vec!["read"],
    };
    let mut remarks = Vec::new();
    if found.as_ref().is_some_and(std::fs::Metadata::is_dir) {
        remarks.push("with all below it".to_owned());
    }
    // A flag adds to the first policy only, and to what is there.
    let flag = (!law.is_stacked && found.is_some())
        .then(|| word(path))
        .flatten()
        .map(|word| {
            let flags: Vec<_> = keys.iter().map(|key| format!("--{key} {word}")).collect();
            flags.join(" ")
        });
    // What is not there may be absent.
    let optional = if found.is_some() { "" } else { "?" };
    match spelled(path, law.home, optional) {
        Some(text) => {
            remarks.extend(flag.map(|flag| format!("or: {flag}")));
            let text = toml(&text);
            let entries: Vec<_> = keys.iter().map(|key| format!("{key} = [{text}]")).collect();
            let line = match entries.as_slice() {
                [entry] => format!("fs.{entry}"),
                entries => format!("fs = {{ {} }}", entries.join(", ")),
            };
            Some((line, remarks.join("; ")))
        }
        // A policy has no way to say it, the command line has.
        None => flag.map(|flag| (flag, String::new())),
    }
}

/// The path as a policy spells it: `None` where it would mean something else there.
fn spelled(path: &Path, home: Option<&Path>, end: &str) -> Option<String> {
    let text = path.to_str()?;
    if text.contains(['$', '*', '?', '[']) {
        return None;
    }
    let home = home.filter(|home| home.parent().is_some());
    let below = home.and_then(|home| path.strip_prefix(home).ok());
    Some(match below.and_then(Path::to_str) {
        Some(rest) if !rest.is_empty() => format!("$HOME/{rest}{end}"),
        _ => format!("{text}{end}"),
    })
}

/// The address that a rule must name: see `policy::decide`.
fn effective(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A string of TOML in which nothing is hidden.
fn toml(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            _ if is_visible(character) => quoted.push(character),
            _ => {
                let _infallible = match u32::from(character) {
                    code @ ..=0xffff => write!(quoted, "\\u{code:04X}"),
                    code => write!(quoted, "\\U{code:08X}"),
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

fn is_visible(character: char) -> bool {
    let text = character.to_string();
    Printable::from(text.as_str()).to_string() == text
}

/// A path for people: as it is where it is a plain word, else in quotes and with escapes.
fn shown(path: &Path) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%=:,~$".contains(c);
    match path.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Some(text) => toml(text),
        None => format!("\"{}\"", Printable::from(path)),
    }
}

/// A path as a shell takes it; `None` where it could not be seen.
fn word(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    text.chars()
        .all(|character| character == '\\' || is_visible(character))
        .then(|| crate::render::quoted(text))
}
