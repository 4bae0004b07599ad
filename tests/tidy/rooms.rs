//! Which room may import which: data flows one way.

use crate::source::{Source, squeezed, words};

/// The rooms of the core, each with those it may know.
const ROOMS: [(&str, &[&str]); 12] = [
    ("policy", &[]),
    ("sources", &["policy"]),
    ("audit", &["policy"]),
    ("advice", &["policy", "audit"]),
    ("sandbox", &["policy", "audit"]),
    ("launch", &["policy", "audit", "sandbox"]),
    ("broker", &["policy", "audit", "sandbox", "launch"]),
    (
        "transparent",
        &["policy", "audit", "sandbox", "launch", "broker"],
    ),
    ("terminal", &[]),
    ("witness", &["policy", "audit", "sandbox"]),
    (
        "session",
        &[
            "policy",
            "sources",
            "audit",
            "sandbox",
            "launch",
            "broker",
            "transparent",
            "terminal",
            "witness",
        ],
    ),
    (
        "workers",
        &[
            "policy",
            "sources",
            "audit",
            "sandbox",
            "launch",
            "broker",
            "transparent",
            "session",
        ],
    ),
];

/// Where only values are computed, and what would touch the world there.
const PURE: [(&str, &[&str]); 3] = [
    (
        "supervisor/src/policy/",
        &[
            "std::fs",
            "std::env",
            "std::process",
            "std::io",
            "SystemTime",
            "Instant",
            "TcpStream",
            "UnixStream",
            "sys::",
            "libc::",
            "nix::unistd",
            "nix::fcntl",
            "nix::sys",
        ],
    ),
    (
        "supervisor/src/advice/",
        &[
            "std::fs",
            "std::env",
            "std::process",
            "std::io",
            "SystemTime",
            "Instant",
            "sys::",
            "libc::",
            "nix::",
        ],
    ),
    (
        "supervisor/protocol/src/",
        &[
            "std::fs",
            "std::env",
            "std::process",
            "std::net",
            "std::os",
            "SystemTime",
            "Instant",
            "sys::",
            "libc::",
            "nix::",
        ],
    ),
];

/// The crates that must forbid unsafe code for good.
const FORBIDS_UNSAFE: [&str; 4] = [
    "src/main.rs",
    "supervisor/protocol/src/lib.rs",
    "supervisor/socket/src/lib.rs",
    "supervisor/client/src/lib.rs",
];

pub fn check(path: &str, text: &str) -> Vec<String> {
    let source = Source::parse(text);
    let mut found = imports(path, &source);
    found.extend(purity(path, &source));
    if FORBIDS_UNSAFE.contains(&path)
        && !source
            .code
            .iter()
            .any(|l| squeezed(l) == "#![forbid(unsafe_code)]")
    {
        found.push(format!("{path}: `#![forbid(unsafe_code)]` is missing"));
    }
    found
}

fn imports(path: &str, source: &Source) -> Vec<String> {
    let Some(inside) = path.strip_prefix("supervisor/src/") else {
        return Vec::new();
    };
    if inside == "lib.rs" {
        return Vec::new();
    }
    let room = inside.split(['/', '.']).next().unwrap_or(inside);
    let Some((_, may_know)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!(
            "{path}: `{room}` is not a room that the tidy test knows"
        )];
    };
    let mut found = Vec::new();
    for (line, code) in source.code.iter().enumerate() {
        let number = line + 1;
        for at in words(code, "crate") {
            let Some(rest) = code[at..].strip_prefix("crate::") else {
                continue;
            };
            if rest.starts_with('{') {
                found.push(format!(
                    "{path}:{number}: other rooms are named one by one, by full path"
                ));
            }
            let named = rest
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or("");
            let is_room = ROOMS.iter().any(|(name, _)| *name == named);
            if is_room && named != room && !may_know.contains(&named) {
                found.push(format!("{path}:{number}: `{room}` may not know `{named}`"));
            }
        }
        for at in words(code, "super").filter(|at| !code[..*at].ends_with("super::")) {
            let climbed = code[at..].trim_start_matches("super::");
            let named = climbed
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or("");
            if named != room && ROOMS.iter().any(|(name, _)| *name == named) {
                found.push(format!(
                    "{path}:{number}: other rooms are named by full path, not by `super`"
                ));
            }
        }
    }
    found
}

fn purity(path: &str, source: &Source) -> Vec<String> {
    let Some((_, worldly)) = PURE.iter().find(|(place, _)| path.starts_with(place)) else {
        return Vec::new();
    };
    let is_test_file = path.ends_with("/tests.rs") || path.contains("/tests/");
    if is_test_file {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, code) in source.without_tests().iter().enumerate() {
        for word in *worldly {
            let stem = word.trim_end_matches(':');
            let is_used = words(code, stem)
                .any(|at| code[at..].starts_with(word) && !code[..at].ends_with("::"));
            if is_used {
                found.push(format!(
                    "{path}:{}: `{word}` touches the world, this place only computes",
                    line + 1
                ));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn an_import_against_the_flow_is_found() {
        let found = check("supervisor/src/policy/x.rs", "use crate::audit::Log;\n");
        assert_eq!(
            found,
            ["supervisor/src/policy/x.rs:1: `policy` may not know `audit`"]
        );
        assert_eq!(
            check(
                "supervisor/src/launch/mod.rs",
                "let a = crate::session::b();"
            )
            .len(),
            1
        );
        assert_eq!(
            check("supervisor/src/broker/mod.rs", "use crate::sources::Files;").len(),
            1
        );
    }

    #[test]
    fn an_import_with_the_flow_passes() {
        assert!(
            check(
                "supervisor/src/session/mod.rs",
                "use crate::broker::Broker;\nuse crate::policy::Ruleset;"
            )
            .is_empty()
        );
        assert!(
            check(
                "supervisor/src/policy/x.rs",
                "use crate::policy::y;\nuse super::z;"
            )
            .is_empty()
        );
    }

    #[test]
    fn imports_that_hide_their_direction_are_found() {
        assert_eq!(
            check(
                "supervisor/src/session/mod.rs",
                "use crate::{broker, policy};"
            )
            .len(),
            1
        );
        assert_eq!(
            check("supervisor/src/policy/mod.rs", "use super::launch::x;").len(),
            1
        );
        assert_eq!(
            check("supervisor/src/policy/y.rs", "use super::super::launch::x;").len(),
            1
        );
    }

    #[test]
    fn a_new_room_must_be_made_known() {
        assert_eq!(check("supervisor/src/attic/mod.rs", "").len(), 1);
    }

    #[test]
    fn the_world_in_a_pure_place_is_found() {
        assert_eq!(
            check("supervisor/src/policy/x.rs", "use std::fs::File;").len(),
            1
        );
        assert_eq!(
            check("supervisor/protocol/src/x.rs", "use nix::errno::Errno;").len(),
            1
        );
        assert!(
            check(
                "supervisor/src/policy/x.rs",
                "#[cfg(test)]\nmod tests {\n use std::fs;\n}"
            )
            .is_empty()
        );
        assert!(check("supervisor/src/sources/mod.rs", "use std::fs::File;").is_empty());
    }

    #[test]
    fn a_crate_that_must_forbid_unsafe_code_and_does_not_is_found() {
        assert_eq!(
            check("supervisor/protocol/src/lib.rs", "#![deny(unsafe_code)]").len(),
            1
        );
        assert!(check("supervisor/protocol/src/lib.rs", "#![forbid(unsafe_code)]").is_empty());
    }
}
