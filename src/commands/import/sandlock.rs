//! A command line of sandlock: what is listed is allowed, and nothing else; addresses and limits, too.

use super::draft::{Draft, Table, Weight, path};
use super::words::Flags;
use supervisor::advice::quoted;

/// Flags that have no rule here, with how many operands they have and why.
const OTHERS: [(&str, usize, Weight, &str); 44] = [
    ("--no-supervisor", 0, Weight::Same, WORKS),
    (
        "--status-fd",
        1,
        Weight::Same,
        "supervise run has --status-fd, too",
    ),
    ("--fs-storage", 1, Weight::Same, COPIES),
    ("--on-exit", 1, Weight::Weaker, COPIES),
    ("--on-error", 1, Weight::Weaker, COPIES),
    ("--dry-run", 0, Weight::Weaker, COPIES),
    ("--max-disk", 1, Weight::Weaker, COPIES),
    ("--fs-mount", 1, Weight::Narrower, NAMES),
    ("--name", 1, Weight::Narrower, NAMES),
    ("--allow-degraded", 1, Weight::Narrower, DEGRADED),
    ("--disable", 1, Weight::Narrower, DEGRADED),
    (
        "--extra-deny-syscall",
        1,
        Weight::Weaker,
        "system calls are not listed one by one",
    ),
    (
        "--extra-allow-syscall",
        1,
        Weight::Narrower,
        "system calls are not listed one by one",
    ),
    ("--net-deny", 1, Weight::Narrower, LISTED),
    ("--net-deny-bind", 1, Weight::Narrower, LISTED),
    ("--http-allow", 1, Weight::Narrower, PROXY),
    ("--http-deny", 1, Weight::Narrower, PROXY),
    ("--http-auth", 1, Weight::Narrower, PROXY),
    ("--http-port", 1, Weight::Narrower, PROXY),
    ("--http-ca", 1, Weight::Narrower, PROXY),
    ("--http-key", 1, Weight::Narrower, PROXY),
    ("--http-inject-ca", 1, Weight::Narrower, PROXY),
    ("--http-ca-out", 1, Weight::Narrower, PROXY),
    ("--credential", 1, Weight::Narrower, PROXY),
    (
        "--port-remap",
        0,
        Weight::Narrower,
        "ports are what they are; see `loopback` under [net]",
    ),
    (
        "--gpu",
        1,
        Weight::Narrower,
        "name the devices under `write`",
    ),
    ("--cpu", 1, Weight::Weaker, LIMIT),
    ("-c", 1, Weight::Weaker, LIMIT),
    ("--cpu-cores", 1, Weight::Weaker, LIMIT),
    ("--num-cpus", 1, Weight::Weaker, LIMIT),
    ("--no-coredump", 0, Weight::Weaker, LIMIT),
    ("--user", 1, Weight::Weaker, "it runs as whoever starts it"),
    ("--random-seed", 1, Weight::Narrower, CHANCE),
    ("--time-start", 1, Weight::Narrower, CHANCE),
    ("--no-randomize-memory", 0, Weight::Narrower, CHANCE),
    ("--no-huge-pages", 0, Weight::Narrower, CHANCE),
    ("--deterministic-dirs", 0, Weight::Narrower, CHANCE),
    ("--isolate-ipc", 0, Weight::Same, HOLDS),
    ("--isolate-signals", 0, Weight::Same, HOLDS),
    ("--interactive", 0, Weight::Same, WORKS),
    ("-i", 0, Weight::Same, WORKS),
    ("--close-fds", 0, Weight::Same, HOLDS),
    ("--quiet", 0, Weight::Same, WORKS),
    ("-q", 0, Weight::Same, WORKS),
];

const WORKS: &str = "it is about how that program works";
const HOLDS: &str = "it holds here in any case";
const COPIES: &str = "there are no copies: what is written is written";
const NAMES: &str = "names stay what they are here, also the machine's";
const DEGRADED: &str =
    "what the kernel lacks stops the run here, unless `[require] best_effort` names it";
const LISTED: &str =
    "addresses are allowed, never denied: nothing is reached but what is listed under [net]";
const PROXY: &str = "there is no proxy here, and no look into what is said";
const LIMIT: &str = "there is no such limit here";
const CHANCE: &str = "time, chance and the layout of memory are what they are";

/// Variables that stay with `--clean-env`.
const CLEAN: [&str; 6] = ["PATH", "HOME", "USER", "TERM", "LANG", "SHELL"];

/// The policy.
pub fn draft(words: &[String]) -> Result<Draft, String> {
    let words = match words.split_first() {
        Some((first, rest)) if first == "run" => rest,
        _ => words,
    };
    let mut draft = Draft::default();
    draft.bare();
    draft.head("tmp = \"none\"");
    let mut flags = Flags::new(words);
    let mut inherits = true;
    let mut processes = "64";
    let mut script = None;
    while let Some(flag) = flags.flag() {
        match flag {
            "-r" | "--fs-read" | "-w" | "--fs-write" | "--fs-deny" => {
                let text = flags.operand(flag)?;
                files(&mut draft, flag, text);
            }
            "--net-allow" => reached(&mut draft, flags.operand(flag)?),
            "--net-allow-bind" => bound(&mut draft, flags.operand(flag)?),
            "-m" | "--max-memory" => {
                let size = flags.operand(flag)?;
                memory(&mut draft, &format!("{flag} {size}"), size);
            }
            "-P" | "--max-processes" => processes = flags.operand(flag)?,
            "--max-open-files" => {
                let count = flags.operand(flag)?;
                let said = format!("{flag} {count}");
                draft.value(Table::Limits, "open_files", &said, count, Weight::Weaker);
            }
            "-t" | "--timeout" => {
                let seconds = flags.operand(flag)?;
                let said = format!("{flag} {seconds}");
                let value = quoted(&format!("{seconds}s"));
                draft.value(Table::Limits, "wall", &said, &value, Weight::Weaker);
            }
            "--clean-env" => inherits = false,
            "--env" => {
                let variable = flags.operand(flag)?;
                let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
                draft.variable(&format!("{flag} {name}"), name, value);
            }
            "--cwd" => {
                let place = flags.operand(flag)?;
                draft.directory(&format!("{flag} {place}"), place);
            }
            "--workdir" => {
                let place = flags.operand(flag)?;
                let said = format!("{flag} {place}");
                draft.note(Weight::Weaker, &said, COPIES);
                draft.directory(&said, place);
            }
            "-e" | "--exec-shell" => script = Some(flags.operand(flag)?),
            "-p" | "--profile" | "--profile-file" | "--chroot" | "--image" => {
                return Err(format!(
                    "{flag} says what the other flags mean, in a place that is not read here"
                ));
            }
            _ => other(&mut draft, &mut flags, flag)?,
        }
    }
    match script {
        Some(script) => draft.command(&["sh", "-c", script].map(str::to_owned)),
        None => draft.command(flags.command()),
    }
    limit_processes(&mut draft, processes);
    environment(&mut draft, inherits);
    Ok(draft)
}

fn other(draft: &mut Draft, flags: &mut Flags<'_>, flag: &str) -> Result<(), String> {
    let Some((_, operands, weight, why)) = OTHERS.iter().find(|(name, ..)| *name == flag) else {
        return Err(format!(
            "{flag} is not known, and neither is what follows it"
        ));
    };
    let mut said = flag.to_owned();
    for _ in 0..*operands {
        said.push(' ');
        said.push_str(flags.operand(flag)?);
    }
    draft.note(*weight, &said, why);
    Ok(())
}

fn files(draft: &mut Draft, flag: &str, text: &str) {
    let said = format!("{flag} {text}");
    let is_denial = flag == "--fs-deny";
    let weight = match is_denial {
        true => Weight::Weaker,
        false => Weight::Narrower,
    };
    if text.contains(['*', '?', '[']) {
        return draft.note(weight, &said, "this name would be a pattern here");
    }
    let Some(path) = path(text, &[], false) else {
        return draft.note(weight, &said, "a variable that is not known here");
    };
    if is_denial {
        return draft.path("deny", &said, &path);
    }
    // There, what may be read may be executed.
    draft.path("exec", &said, &path);
    if flag == "-w" || flag == "--fs-write" {
        draft.path("write", &said, &path);
    }
}

/// `HOST:PORT[,PORT…]`, `:PORT`, or one of another protocol.
fn reached(draft: &mut Draft, text: &str) {
    let said = format!("--net-allow {text}");
    let Some(rest) = text.strip_prefix("tcp://").or(match text.contains("://") {
        true => None,
        false => Some(text),
    }) else {
        if text == "udp://*:*" {
            return draft.value(Table::Net, "udp", &said, "\"any\"", Weight::Narrower);
        }
        let why = "of addresses only those of TCP are listed; see `udp` under [net]";
        return draft.note(Weight::Narrower, &said, why);
    };
    let (host, ports) = rest.rsplit_once(':').unwrap_or((rest, "*"));
    let host = if host.is_empty() { "*" } else { host };
    for port in ports.split(',') {
        let entry = quoted(&format!("{host}:{port}"));
        draft.entry(Table::Net, "connect", &said, &entry, Weight::Narrower);
    }
}

/// Ports, and ranges of them.
fn bound(draft: &mut Draft, text: &str) {
    /// More than that are listed by nobody.
    const MOST: usize = 64;
    let said = format!("--net-allow-bind {text}");
    for part in text.split(',') {
        let ends = part.split_once('-').unwrap_or((part, part));
        let ports: Vec<String> = match (ends.0.parse::<u16>(), ends.1.parse::<u16>()) {
            (Ok(low), Ok(high)) => (low..=high).map(|port| port.to_string()).collect(),
            _ => vec![part.to_owned()],
        };
        if ports.len() > MOST {
            draft.note(Weight::Narrower, &said, "ports are listed one by one");
            continue;
        }
        for port in ports {
            let entry = quoted(&format!("*:{port}"));
            draft.entry(Table::Net, "bind", &said, &entry, Weight::Narrower);
        }
    }
}

fn memory(draft: &mut Draft, said: &str, size: &str) {
    let value = match size.strip_suffix(['K', 'M', 'G']) {
        Some(number) => format!("{number}{}iB", &size[number.len()..]),
        None => format!("{size}B"),
    };
    let why = "of all processes together there; `memory` is for each";
    draft.note(Weight::Weaker, said, why);
    draft.value(
        Table::Limits,
        "memory",
        said,
        &quoted(&value),
        Weight::Weaker,
    );
}

fn limit_processes(draft: &mut Draft, count: &str) {
    let said = format!("at most {count} processes");
    draft.value(Table::Limits, "processes", &said, count, Weight::Weaker);
    draft.note(Weight::Narrower, &said, "threads count, too");
}

fn environment(draft: &mut Draft, inherits: bool) {
    let said = if inherits {
        "no --clean-env"
    } else {
        "--clean-env"
    };
    for name in CLEAN {
        draft.entry(Table::Env, "pass", said, &quoted(name), Weight::Narrower);
    }
    if inherits {
        let why = "only harmless variables are passed; name others under [env]";
        draft.note(Weight::Narrower, said, why);
    }
}
