//! A profile of firejail: the whole file system, less what is said.

use super::draft::{Draft, Table, Weight, path};
use super::words::Flags;
use std::path::Path;
use supervisor::advice::quoted;

/// What its macros are called here.
const KNOWN: [(&str, &str); 4] = [
    ("${RUNUSER}", "$XDG_RUNTIME_DIR"),
    ("${CFG}", "$XDG_CONFIG_HOME"),
    ("${DOWNLOADS}", "$HOME/Downloads"),
    ("${DOCUMENTS}", "$HOME/Documents"),
];
/// Holds here in any case.
const SAME: [&str; 21] = [
    "nonewprivs",
    "noroot",
    "nogroups",
    "shell",
    "apparmor",
    "tracelog",
    "disable-mnt",
    "ipc-namespace",
    "seccomp",
    "seccomp.block-secondary",
    "restrict-namespaces",
    "quiet",
    "name",
    "deterministic-exit-code",
    "deterministic-shutdown",
    "keep-fd",
    "caps.drop",
    "private-lib",
    "allusers",
    "writable-run-user",
    "private-cache",
];
/// Devices and services: what is not listed here is not there.
const DEVICES: [&str; 14] = [
    "private-dev",
    "nosound",
    "no3d",
    "novideo",
    "nodvd",
    "notv",
    "nou2f",
    "noinput",
    "noprinters",
    "machine-id",
    "dbus-user",
    "dbus-system",
    "x11",
    "nodbus",
];

/// The policy of a profile.
pub fn draft(text: &str) -> Result<Draft, String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(of(lines.map(str::to_owned).collect()))
}

/// The policy of a command line, where `--name=value` is a profile's `name value`.
pub fn from_words(words: &[String]) -> Result<Draft, String> {
    let mut flags = Flags::new(words);
    let mut lines = Vec::new();
    let mut position = 0;
    while flags.flag().is_some() {
        let word = words[position].trim_start_matches('-');
        lines.push(word.replacen('=', " ", 1));
        position += 1;
    }
    let mut draft = of(lines);
    draft.command(flags.command());
    Ok(draft)
}

fn of(lines: Vec<String>) -> Draft {
    let mut draft = Draft::default();
    let mut home: Vec<(String, String)> = Vec::new();
    let mut has_home = true;
    let mut network = true;
    let mut replaced: Vec<&str> = Vec::new();
    for line in &lines {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "blacklist" | "deny" => listed(&mut draft, "deny", line, rest),
            "blacklist-nolog" => listed(&mut draft, "deny", line, rest),
            "read-only" => listed(&mut draft, "deny_write", line, rest),
            "read-write" => listed(&mut draft, "write", line, rest),
            "whitelist" | "allow" => match path(rest, &KNOWN, true) {
                Some(path) => home.push((path, line.clone())),
                None => draft.note(Weight::Narrower, line, "a macro that is not known here"),
            },
            "noblacklist" | "nodeny" | "nowhitelist" | "ignore" | "noexec" | "include" => {
                included(&mut draft, word, line);
            }
            "private" => has_home = false,
            "private-tmp" => draft.note(Weight::Same, line, "a private directory in $TMPDIR"),
            "private-etc" | "private-opt" | "private-srv" => {
                let place = word.trim_start_matches("private-");
                replaced.push(place);
                let names = rest.split(',').map(str::trim);
                for name in names.filter(|name| !name.is_empty()) {
                    draft.path("exec", line, &format!("/{place}/{name}?"));
                }
            }
            "private-bin" => {
                let why = "the system's programs can be executed (preset base)";
                draft.note(Weight::Weaker, line, why);
            }
            "net" if rest == "none" => network = false,
            "net" | "netfilter" | "netfilter6" | "ip" | "dns" | "hostname" | "veth-name"
            | "netns" | "iprange" => {
                draft.note(
                    Weight::Weaker,
                    line,
                    "there is no network of its own; see [net]",
                );
            }
            "protocol" => protocols(&mut draft, line, rest, &mut network),
            "caps.keep" => {
                for name in rest.split(',') {
                    let entry = quoted(&name.trim().to_uppercase());
                    draft.entry(Table::Process, "keep_caps", line, &entry, Weight::Narrower);
                }
            }
            "env" => match rest.split_once('=') {
                Some((name, value)) => draft.variable(line, name, value),
                None => draft.note(Weight::Narrower, line, "it sets nothing"),
            },
            "rmenv" => draft.note(Weight::Same, line, "only harmless variables are passed"),
            "mkdir" | "mkfile" => listed(&mut draft, "make", line, rest),
            "memory-deny-write-execute" => {
                draft.note(Weight::Weaker, line, "memory may be written and executed");
            }
            _ if limit(&mut draft, word, line, rest) => {}
            _ if SAME.contains(&word) || word.starts_with("seccomp") => {
                draft.note(
                    Weight::Same,
                    line,
                    "it holds here in any case, or is about how that program works",
                );
            }
            _ if DEVICES.iter().any(|name| word.starts_with(name)) => {
                draft.note(
                    Weight::Same,
                    line,
                    "devices and services are there only where a rule lists them",
                );
            }
            _ => draft.note(Weight::Weaker, line, "not known: it may restrict something"),
        }
    }
    grants(&mut draft, has_home, &home, &replaced);
    if network {
        draft.whole_network("no `net none`");
    }
    let why = "only harmless variables are passed; name others under [env]";
    draft.note(Weight::Narrower, "the environment is inherited", why);
    draft
}

/// What of the system can be read, beside what every program needs.
const READ_ONLY: [&str; 4] = ["etc", "opt", "srv", "var"];

fn is_below(path: &str, place: &str) -> bool {
    Path::new(path).starts_with(format!("/{place}"))
}

/// The file system as it is there before anything is said: the system for reading, the home directory for writing, or what of it is
/// listed.
fn grants(draft: &mut Draft, has_home: bool, listed: &[(String, String)], replaced: &[&str]) {
    for place in READ_ONLY {
        // Of a place of which something is listed nothing else is there.
        let is_listed = listed.iter().any(|(path, _)| is_below(path, place));
        if !replaced.contains(&place) && !is_listed {
            let said = "all but the home directory is read-only";
            draft.path("exec", said, &format!("/{place}?"));
        }
    }
    for (place, said) in listed {
        draft.path("exec", said, place);
        if !READ_ONLY.iter().any(|name| is_below(place, name)) {
            draft.path("write", said, place);
        }
    }
    let in_home = listed.iter().any(|(place, _)| place.starts_with("$HOME"));
    if !has_home {
        draft.note(
            Weight::Same,
            "private",
            "nothing of the home directory is granted",
        );
    } else if !in_home {
        draft.path("exec", "the home directory is there", "$HOME?");
        draft.path("write", "the home directory is there", "$HOME?");
    }
}

fn listed(draft: &mut Draft, key: &'static str, line: &str, rest: &str) {
    let is_denial = matches!(key, "deny" | "deny_write");
    let weight = if is_denial {
        Weight::Weaker
    } else {
        Weight::Narrower
    };
    match path(rest, &KNOWN, !is_denial) {
        // In ${PATH} every directory is meant in which programs are looked for.
        Some(path) => draft.path(key, line, &path),
        None => draft.note(weight, line, "a macro that is not known here"),
    }
}

fn included(draft: &mut Draft, word: &str, line: &str) {
    match word {
        "include" => {
            let why =
                "what it says is in another file: import that one, too, and name both with -p";
            draft.note(Weight::Weaker, line, why);
        }
        "noexec" => {
            draft.note(
                Weight::Weaker,
                line,
                "what is granted with `exec` around it can be executed: list less there",
            );
        }
        _ => draft.note(
            Weight::Narrower,
            line,
            "a denial always wins here: leave out the one that it is about",
        ),
    }
}

fn protocols(draft: &mut Draft, line: &str, rest: &str, network: &mut bool) {
    let names: Vec<&str> = rest.split(',').map(str::trim).collect();
    if !names.iter().any(|name| name.starts_with("inet")) {
        *network = false;
    }
    match names
        .iter()
        .any(|name| matches!(*name, "netlink" | "packet" | "bluetooth"))
    {
        true => draft.note(
            Weight::Narrower,
            line,
            "of sockets there are TCP, UDP and Unix ones",
        ),
        false => draft.note(Weight::Same, line, "said under [net]"),
    }
}

fn limit(draft: &mut Draft, word: &str, line: &str, rest: &str) -> bool {
    let (key, toml) = match word {
        "rlimit-nproc" => ("processes", rest.to_owned()),
        "rlimit-nofile" => ("open_files", rest.to_owned()),
        "rlimit-fsize" => ("file_size", quoted(&format!("{rest}B"))),
        "rlimit-as" => ("memory", quoted(&format!("{rest}B"))),
        "rlimit-cpu" => ("cpu", quoted(&format!("{rest}s"))),
        "timeout" => {
            let parts: Vec<&str> = rest.split(':').collect();
            let [hours, minutes, seconds] = parts[..] else {
                draft.note(Weight::Weaker, line, "not a time as that program has it");
                return true;
            };
            ("wall", quoted(&format!("{hours}h{minutes}m{seconds}s")))
        }
        "rlimit-sigpending" | "nice" | "cpu" => {
            draft.note(Weight::Weaker, line, "there is no such limit here");
            return true;
        }
        _ => return false,
    };
    draft.value(Table::Limits, key, line, &toml, Weight::Weaker);
    true
}
