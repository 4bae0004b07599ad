//! What to do about a refusal.

use super::consequences::{self, Below};
use super::spelling::{quoted, spelled};
use crate::audit::{Object, Refused, Refuser, TAKEN_BACK, Takes};
use crate::policy::{Access, Kind, Origin, Reason, Source};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The policy that would have to say more.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// What it calls `$HOME`.
    pub home: Option<&'a Path>,
    /// Policies narrow each other, so that each of them must allow it.
    pub is_stacked: bool,
}

/// What is there of the name that was refused. By default nothing.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Its kind.
    pub kind: Option<Kind>,
    /// What is below it, where it is a directory and somebody counted.
    pub below: Option<Below>,
}

/// What to do about a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// Say more.
    Add(Change),
    /// A denial always wins: where it stands, and how it is changed.
    Lift(String),
    /// A rule asks, and nobody answered.
    Answer,
    /// No rule allows such a thing, and why not.
    Nothing(&'static str),
}

/// The smallest change of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The line; `None`: a policy has no way to say it.
    pub line: Option<String>,
    /// What the line has the reader know.
    pub remark: Option<&'static str>,
    /// Flags that do the same, each with its operand; none: there are no such flags.
    pub flags: Vec<(&'static str, String)>,
    /// What it opens beside what was refused, each a sentence. None: nothing else.
    pub opens: Vec<String>,
}

/// What to do about `refused`, of which `found` was found.
#[must_use]
pub fn remedy(refused: &Refused, found: &Found, setting: Setting<'_>) -> Remedy {
    if let Object::File(path) = &refused.object
        && is_of_a_process(path)
    {
        return Remedy::Nothing(
            "a process may read what /proc says of itself where opens are the supervisor's to decide: where a rule asks, or denies \
             something inside what is allowed; of others nothing is given",
        );
    }
    match (refused.reason, &refused.rule) {
        (Some(Reason::NoRule), _) | (Some(Reason::UnconfinedPeer), None) => {
            match change(refused, found, setting) {
                Some(change) => Remedy::Add(change),
                None => Remedy::Nothing("no rule can name it"),
            }
        }
        (Some(Reason::Rule), Some(rule)) => Remedy::Lift(lift(rule)),
        (None, Some(_)) if refused.detail == TAKEN_BACK => Remedy::Nothing(
            "`supervise revoke` took it back: when the worker is started anew it is a question again",
        ),
        (None, Some(_)) => Remedy::Answer,
        (Some(Reason::WouldGain), _) => Remedy::Nothing(
            "what is moved or linked may not gain by its new name: programs that copy instead succeed",
        ),
        (Some(Reason::NotOwn), _) => {
            Remedy::Nothing("it reaches what the session itself listens on, and nothing else")
        }
        (Some(Reason::NotNative), _) => Remedy::Nothing(
            "nobody can execute on its behalf: a program is executed where the kernel was told at the start",
        ),
        _ => Remedy::Nothing("no rule is about this"),
    }
}

/// Where a denial can be changed.
fn lift(rule: &Origin) -> String {
    let place = match rule.source() {
        Source::File(_) => format!("change {rule}"),
        Source::Preset(_) => match rule.name() {
            Some(name) => format!(
                "where the preset is extended, say without = [{}]",
                quoted(&name)
            ),
            None => format!("change {rule}"),
        },
        Source::BuiltIn => "write a policy of your own (supervise init)".to_owned(),
        Source::Flag(name) => format!("leave out {name}"),
        Source::Setting(text) => format!("change {text}"),
        Source::Protected(_) => "this one cannot be lifted".to_owned(),
    };
    // Its text is the operator's own; only what a file system calls it may be odd.
    place.replace(|character: char| character.is_control(), " ")
}

/// A line of a policy that allows it.
fn change(refused: &Refused, found: &Found, setting: Setting<'_>) -> Option<Change> {
    match &refused.object {
        Object::File(path) => of_file(path, refused, found, setting),
        Object::Socket(path) => {
            let text = quoted(&spelled(path, setting.home, "")?);
            let is_unconfined = refused.reason == Some(Reason::UnconfinedPeer);
            let entry = match is_unconfined {
                true => format!("{{ path = {text}, unconfined_peer = true }}"),
                false => text,
            };
            Some(Change {
                line: Some(format!("net.unix = [{entry}]")),
                remark: None,
                flags: Vec::new(),
                opens: consequences::of_service(is_unconfined),
            })
        }
        Object::Peer(address) => {
            let address = effective(*address);
            let flag = (!setting.is_stacked).then(|| ("--connect", address.to_string()));
            Some(Change {
                line: Some(format!("net.connect = [{}]", quoted(&address.to_string()))),
                remark: None,
                flags: flag.into_iter().collect(),
                opens: consequences::of_peer(address),
            })
        }
        // Port 0 is whichever the kernel chooses.
        Object::Own(address) => (address.port() != 0).then(|| {
            let port = address.port();
            let (what, remark) = match address.ip().to_canonical() {
                IpAddr::V6(ip) if ip.is_unspecified() => {
                    (format!("*:{port}"), Some("on every address"))
                }
                ip => (SocketAddr::new(ip, port).to_string(), None),
            };
            Change {
                line: Some(format!("net.bind = [{}]", quoted(&what))),
                remark,
                flags: Vec::new(),
                opens: consequences::of_own(*address),
            }
        }),
    }
}

fn of_file(path: &Path, refused: &Refused, found: &Found, setting: Setting<'_>) -> Option<Change> {
    let access = refused.access;
    let takes_name = refused.takes == Takes::Name;
    // A rule that names what is there says nothing about its name.
    let is_only_named = match refused.by {
        Refuser::Kernel => takes_name || found.kind.is_none(),
        _ => takes_name && found.kind.is_some(),
    };
    match (refused.takes, path.parent()) {
        _ if !access.contains(Access::WRITE) => {}
        (Takes::Directory, Some(directory)) => {
            let found = Found {
                kind: Some(Kind::Directory),
                below: None,
            };
            return of_object(directory, access, &found, setting);
        }
        _ if is_only_named => {
            return of_name(path, access, found, setting);
        }
        _ => {}
    }
    of_object(path, access, found, setting)
}

fn of_object(path: &Path, access: Access, found: &Found, setting: Setting<'_>) -> Option<Change> {
    // To write is to read, and so is to execute.
    let keys: Vec<&'static str> = match (
        access.contains(Access::WRITE),
        access.contains(Access::EXEC),
    ) {
        (true, true) => vec!["write", "exec"],
        (true, false) => vec!["write"],
        (false, true) => vec!["exec"],
        (false, false) => vec!["read"],
    };
    let is_directory = found.kind == Some(Kind::Directory);
    // A flag adds to the first policy only, and to what is there.
    let is_flagged = !setting.is_stacked && found.kind.is_some();
    let operand = path.to_str().filter(|_| is_flagged);
    let flag = |key: &&str| match *key {
        "write" => "--write",
        "exec" => "--exec",
        _ => "--read",
    };
    let flags: Vec<_> = operand
        .iter()
        .flat_map(|path| keys.iter().map(|key| (flag(key), (*path).to_owned())))
        .collect();
    // What is not there may be absent.
    let optional = if found.kind.is_some() { "" } else { "?" };
    let line = spelled(path, setting.home, optional).map(|text| {
        let text = quoted(&text);
        let entries: Vec<_> = keys.iter().map(|key| format!("{key} = [{text}]")).collect();
        match entries.as_slice() {
            [entry] => format!("fs.{entry}"),
            entries => format!("fs = {{ {} }}", entries.join(", ")),
        }
    });
    // A policy may have no way to say it where the command line has.
    if line.is_none() && flags.is_empty() {
        return None;
    }
    Some(Change {
        line,
        remark: is_directory.then_some("with all below it"),
        flags,
        opens: consequences::of_file(path, access, found, setting.home),
    })
}

/// The kernel lets names be made and taken away in whole directories. One name alone is the supervisor's to give, when it is asked.
fn of_name(path: &Path, access: Access, found: &Found, setting: Setting<'_>) -> Option<Change> {
    let text = quoted(&spelled(path, setting.home, "?")?);
    let line =
        format!("request = [{{ path = {text}, access = [\"write\"], decision = \"allow\" }}]");
    Some(Change {
        line: Some(line),
        remark: Some("changes are then the supervisor's to decide"),
        flags: Vec::new(),
        opens: consequences::of_file(path, access, found, setting.home),
    })
}

/// Whether it is what the kernel tells of a process.
fn is_of_a_process(path: &Path) -> bool {
    let inside = path.strip_prefix("/proc").ok();
    let first = inside.and_then(|inside| inside.iter().next()?.to_str());
    first.is_some_and(|name| name == "self" || name.bytes().all(|byte| byte.is_ascii_digit()))
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

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: Setting<'_> = Setting {
        home: None,
        is_stacked: false,
    };

    fn refused(object: Object, access: Access, reason: Reason) -> Refused {
        Refused {
            object,
            access,
            reason: Some(reason),
            rule: None,
            detail: String::new(),
            program: None,
            by: Refuser::Supervisor,
            takes: Takes::Nothing,
            times: 1,
        }
    }

    fn file(path: &str, access: Access, kind: Option<Kind>) -> Change {
        let found = Found { kind, below: None };
        let refused = refused(Object::File(path.into()), access, Reason::NoRule);
        match remedy(&refused, &found, SETTING) {
            Remedy::Add(change) => change,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_object_is_named_with_the_least_key_that_will_do() {
        let there = Some(Kind::File);
        let line = |access| file("/x", access, there).line.unwrap();
        assert_eq!(line(Access::READ), r#"fs.read = ["/x"]"#);
        assert_eq!(line(Access::READ | Access::WRITE), r#"fs.write = ["/x"]"#);
        assert_eq!(line(Access::READ | Access::EXEC), r#"fs.exec = ["/x"]"#);
        assert_eq!(
            line(Access::ALL),
            r#"fs = { write = ["/x"], exec = ["/x"] }"#
        );
        assert_eq!(file("/x", Access::READ, there).opens, [""; 0]);
        assert_eq!(
            file("/x", Access::READ, None).line.unwrap(),
            r#"fs.read = ["/x?"]"#
        );
    }

    #[test]
    fn what_no_policy_can_spell_a_flag_can_and_where_neither_can_nothing_is_advised() {
        let change = file("/a*", Access::READ, Some(Kind::File));
        assert_eq!(
            (change.line, change.flags),
            (None, vec![("--read", "/a*".to_owned())])
        );
        let absent = refused(Object::File("/a*".into()), Access::READ, Reason::NoRule);
        let advised = remedy(&absent, &Found::default(), SETTING);
        assert_eq!(advised, Remedy::Nothing("no rule can name it"));
    }

    #[test]
    fn a_name_that_only_the_kernel_was_asked_for_is_requested() {
        let by = |by, takes, kind| {
            let refused = Refused {
                by,
                takes,
                ..refused(Object::File("/d/x".into()), Access::WRITE, Reason::NoRule)
            };
            let found = Found { kind, below: None };
            match remedy(&refused, &found, SETTING) {
                Remedy::Add(change) => change.line.unwrap(),
                other => panic!("{other:?}"),
            }
        };
        let request = r#"request = [{ path = "/d/x?", access = ["write"], decision = "allow" }]"#;
        let there = Some(Kind::File);
        let (alone, asked) = (Refuser::Kernel, Refuser::Supervisor);
        assert_eq!(by(alone, Takes::Name, there), request);
        assert_eq!(by(alone, Takes::Nothing, None), request);
        assert_eq!(by(asked, Takes::Name, there), request);
        assert_eq!(by(alone, Takes::Nothing, there), r#"fs.write = ["/d/x"]"#);
        assert_eq!(by(asked, Takes::Name, None), r#"fs.write = ["/d/x?"]"#);
        // A link may lead anywhere.
        for by_whom in [alone, asked] {
            assert_eq!(by(by_whom, Takes::Directory, None), r#"fs.write = ["/d"]"#);
        }
    }

    #[test]
    fn of_what_proc_says_of_processes_no_rule_is_advised() {
        for path in ["/proc/self/maps", "/proc/17/status"] {
            let object = Object::File(path.into());
            let refused = refused(object, Access::READ, Reason::NoRule);
            let advised = remedy(&refused, &Found::default(), SETTING);
            assert!(matches!(advised, Remedy::Nothing(_)), "{advised:?}");
        }
        assert!(!is_of_a_process(Path::new("/proc/uptime")));
        assert!(!is_of_a_process(Path::new("/proc")));
    }

    #[test]
    fn policies_that_narrow_each_other_take_no_flag() {
        let stacked = Setting {
            is_stacked: true,
            ..SETTING
        };
        let found = Found {
            kind: Some(Kind::File),
            below: None,
        };
        let object = Object::File("/x".into());
        let refused = refused(object, Access::READ, Reason::NoRule);
        let Remedy::Add(change) = remedy(&refused, &found, stacked) else {
            panic!("a change");
        };
        assert_eq!(change.flags, []);
    }

    #[test]
    fn what_no_rule_would_change_is_said_to_be_so() {
        let object = || Object::File("/x".into());
        for reason in [Reason::WouldGain, Reason::NotOwn, Reason::NotNative] {
            let refused = refused(object(), Access::WRITE, reason);
            let advised = remedy(&refused, &Found::default(), SETTING);
            assert!(matches!(advised, Remedy::Nothing(_)), "{advised:?}");
        }
        let own = Object::Own("127.0.0.1:0".parse().unwrap());
        let refused = refused(own, Access::NONE, Reason::NoRule);
        let advised = remedy(&refused, &Found::default(), SETTING);
        assert_eq!(advised, Remedy::Nothing("no rule can name it"));
    }
}
