//! What may be said to somebody whose command failed: what it was refused, and what would have allowed it.
//!
//! The names come from inside the sandbox, and whoever chose them may want to be taken for us, or have a policy
//! opened. So nothing is printed that is not plainly visible, what is no plain word stands in quotes, and what is
//! suggested allows the one object that was refused, by its own name, and not a pattern.

use std::path::Path;
use supervisor::advice::{self, Found, Remedy, Setting, is_visible, quoted};
use supervisor::audit::{Object, Printable, Refused};
use supervisor::policy::Kind;

/// So many refusals are spoken of.
const MOST: usize = 3;

/// The lines: of each refusal what it was, and what to do about it where something can be done.
pub fn lines(refused: &[Refused], setting: Setting<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for refused in refused.iter().take(MOST) {
        lines.push(what(refused));
        lines.extend(remedy(refused, setting));
    }
    lines
}

/// Such as `refused: read /etc/shadow, asked for by cat (no rule allows it)`.
fn what(refused: &Refused) -> String {
    let object = asked(refused);
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

/// What was wanted, such as `read /etc/shadow`.
pub fn asked(refused: &Refused) -> String {
    match &refused.object {
        Object::File(path) => format!("{} {}", refused.access, shown(path)),
        Object::Socket(path) => format!("connect {}", shown(path)),
        Object::Peer(address) => format!("connect {address}"),
        Object::Own(address) => format!("bind {address}"),
    }
}

/// What would allow it.
fn remedy(refused: &Refused, setting: Setting<'_>) -> Option<String> {
    match advice::remedy(refused, &found(refused), setting) {
        Remedy::Add(change) => {
            let flags = flags(&change.flags);
            let remark = change.remark.map(str::to_owned);
            let place = match setting.is_stacked {
                true => "to allow it, in each policy",
                false => "to allow it",
            };
            let Some(line) = change.line else {
                return flags.map(|flags| format!("{place}: {flags}"));
            };
            let flags = flags.map(|flags| format!("or: {flags}"));
            let comment: Vec<String> = remark.into_iter().chain(flags).collect();
            Some(match comment.as_slice() {
                [] => format!("{place}: {line}"),
                comment => format!("{place}: {line}  # {}", comment.join("; ")),
            })
        }
        Remedy::Lift(place) => Some(format!("a denial always wins: {place}")),
        Remedy::Answer => Some("who answers is said by --approver".to_owned()),
        Remedy::Nothing(_) => None,
    }
}

/// What is there now of what was refused.
fn found(refused: &Refused) -> Found {
    let Object::File(path) = &refused.object else {
        return Found::default();
    };
    let kind = std::fs::symlink_metadata(path).ok().map(|found| {
        let kind = found.file_type();
        match kind {
            _ if kind.is_dir() => Kind::Directory,
            _ if kind.is_symlink() => Kind::Link,
            _ if kind.is_file() => Kind::File,
            _ => Kind::Other,
        }
    });
    Found { kind, below: None }
}

/// Flags as a shell takes them; `None`: there are none, or not all of them could be seen.
pub fn flags(flags: &[(&'static str, String)]) -> Option<String> {
    let words = flags.iter().map(|(flag, operand)| {
        let all_seen = operand.chars().all(|c| c == '\\' || is_visible(c));
        all_seen.then(|| format!("{flag} {}", crate::render::quoted(operand)))
    });
    let words: Vec<String> = words.collect::<Option<_>>()?;
    (!words.is_empty()).then(|| words.join(" "))
}

/// A path for people: as it is where it is a plain word, else in quotes and with escapes.
pub fn shown(path: &Path) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%=:,~$".contains(c);
    match path.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Some(text) => quoted(text),
        None => format!("\"{}\"", Printable::from(path)),
    }
}
