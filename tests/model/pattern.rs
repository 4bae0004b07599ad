//! Patterns as the policy language has them, matched in the plainest way: whatever could be meant is tried.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One name of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Literal(Vec<u8>),
    Wild(Vec<u8>),
}

pub type Pattern = Vec<Part>;

pub fn parts(path: &Path) -> Vec<&[u8]> {
    let bytes = path.as_os_str().as_bytes();
    bytes
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .collect()
}

pub fn is_wild(text: &[u8]) -> bool {
    text.iter().any(|byte| b"*?[".contains(byte))
}

/// Whether a name matches a pattern for one name.
fn name_matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            name_matches(rest, name) || (!name.is_empty() && name_matches(pattern, &name[1..]))
        }
        ([b'?', rest @ ..], [_, others @ ..]) => name_matches(rest, others),
        ([b'[', rest @ ..], [first, others @ ..]) => {
            let end = rest
                .iter()
                .position(|byte| *byte == b']')
                .expect("it is closed");
            let (negated, members) = match &rest[..end] {
                [b'!', members @ ..] => (true, members),
                members => (false, members),
            };
            members.contains(first) != negated && name_matches(&rest[end + 1..], others)
        }
        ([byte, rest @ ..], [first, others @ ..]) => byte == first && name_matches(rest, others),
        _ => false,
    }
}

/// Whether it is exactly this path that is meant. `**` at the end means everything below, and not the directory.
pub fn meets(pattern: &[Part], path: &[&[u8]]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([Part::Wild(any)], path) if any == b"**" => !path.is_empty(),
        ([Part::Wild(any), rest @ ..], path) if any == b"**" => {
            meets(rest, path) || (!path.is_empty() && meets(pattern, &path[1..]))
        }
        ([Part::Literal(name), rest @ ..], [first, others @ ..]) => {
            name == first && meets(rest, others)
        }
        ([Part::Wild(name), rest @ ..], [first, others @ ..]) => {
            name_matches(name, first) && meets(rest, others)
        }
        _ => false,
    }
}

/// The path, or a directory above it.
pub fn covers(pattern: &[Part], path: &[&[u8]]) -> bool {
    (0..=path.len()).any(|length| meets(pattern, &path[..length]))
}

/// The path is on the way to what is meant, and spelled in the pattern (or, with `matched`, met by a wildcard of it).
pub fn leads(pattern: &[Part], path: &[&[u8]], matched: bool) -> bool {
    (1..pattern.len()).any(|length| {
        let counts = match &pattern[length - 1] {
            Part::Literal(_) => true,
            Part::Wild(any) => matched && any != b"**",
        };
        counts && meets(&pattern[..length], path)
    })
}
