//! A command line of bubblewrap: another view of the file system, made of what is listed. Here names stay what they are, and the same
//! files are granted.

use super::draft::{Draft, Table, Weight, path};
use super::words::Flags;

/// Flags that have no rule here, with how many operands they have and why.
const OTHERS: [(&str, usize, Weight, &str); 43] = [
    ("--dir", 1, Weight::Narrower, NAMES),
    ("--symlink", 2, Weight::Narrower, NAMES),
    ("--file", 2, Weight::Narrower, NAMES),
    ("--bind-data", 2, Weight::Narrower, NAMES),
    ("--ro-bind-data", 2, Weight::Narrower, NAMES),
    ("--bind-fd", 2, Weight::Narrower, NAMES),
    ("--ro-bind-fd", 2, Weight::Narrower, NAMES),
    ("--chmod", 2, Weight::Narrower, NAMES),
    ("--perms", 1, Weight::Narrower, NAMES),
    ("--size", 1, Weight::Narrower, NAMES),
    ("--mqueue", 1, Weight::Narrower, NAMES),
    ("--overlay", 3, Weight::Narrower, NAMES),
    ("--tmp-overlay", 1, Weight::Narrower, NAMES),
    ("--ro-overlay", 1, Weight::Narrower, NAMES),
    ("--overlay-src", 1, Weight::Narrower, NAMES),
    ("--remount-ro", 1, Weight::Narrower, NAMES),
    ("--hostname", 1, Weight::Narrower, NAMES),
    ("--as-pid-1", 0, Weight::Narrower, NUMBERS),
    ("--uid", 1, Weight::Narrower, NUMBERS),
    ("--gid", 1, Weight::Narrower, NUMBERS),
    (
        "--argv0",
        1,
        Weight::Narrower,
        "the command is called by its own name",
    ),
    ("--die-with-parent", 0, Weight::Same, PARENT),
    ("--keep-caps", 0, Weight::Same, HOLDS),
    ("--disable-userns", 0, Weight::Same, HOLDS),
    ("--assert-userns-disabled", 0, Weight::Same, HOLDS),
    ("--unshare-user-try", 0, Weight::Same, HOLDS),
    ("--unshare-user", 0, Weight::Same, HOLDS),
    ("--unshare-cgroup-try", 0, Weight::Same, HOLDS),
    ("--unshare-cgroup", 0, Weight::Same, HOLDS),
    ("--unshare-uts", 0, Weight::Same, HOLDS),
    ("--lock-file", 1, Weight::Same, HOLDS),
    ("--sync-fd", 1, Weight::Same, HOLDS),
    ("--block-fd", 1, Weight::Same, HOLDS),
    ("--userns-block-fd", 1, Weight::Same, HOLDS),
    ("--info-fd", 1, Weight::Same, STATUS),
    ("--json-status-fd", 1, Weight::Same, STATUS),
    ("--level-prefix", 0, Weight::Same, HOLDS),
    ("--userns", 1, Weight::Same, HOLDS),
    ("--userns2", 1, Weight::Same, HOLDS),
    ("--pidns", 1, Weight::Same, HOLDS),
    ("--unshare-pid", 0, Weight::Same, PROCESSES),
    ("--unshare-ipc", 0, Weight::Same, PROCESSES),
    (
        "--new-session",
        0,
        Weight::Same,
        "typing into the terminal is refused",
    ),
];

const NAMES: &str = "names stay what they are here: nothing is made or put in another place";
const NUMBERS: &str =
    "its numbers are those of whoever starts it: there is no namespace of its own";
const PARENT: &str =
    "it ends with supervise, which does not end with whoever started it: see setpriv --pdeathsig";
const HOLDS: &str = "it holds here in any case, or is about how that program works";
const STATUS: &str = "supervise run has --status-fd";
const PROCESSES: &str = "other processes can be neither signalled nor traced, nor their memory shared; that they are there can be seen";

/// Variables that say where things are and who runs them, and make nothing load or run.
const VARIABLES: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PWD",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TERM",
    "COLORTERM",
];

/// The policy.
pub fn draft(words: &[String]) -> Result<Draft, String> {
    let mut draft = Draft::default();
    draft.bare();
    let mut flags = Flags::new(words);
    let mut is_cut_off = false;
    let mut has_tmp = false;
    let mut clears = false;
    let mut hidden: Vec<&str> = Vec::new();
    let mut granted: Vec<&str> = Vec::new();
    while let Some(flag) = flags.flag() {
        match flag {
            "--bind" | "--bind-try" | "--dev-bind" | "--dev-bind-try" | "--ro-bind"
            | "--ro-bind-try" => {
                let (from, to) = (flags.operand(flag)?, flags.operand(flag)?);
                bound(&mut draft, flag, from, to);
                granted.push(to);
                has_tmp |= to == "/tmp";
            }
            "--tmpfs" => {
                let at = flags.operand(flag)?;
                has_tmp |= at == "/tmp";
                match at {
                    "/tmp" => {
                        let why = "a private directory in $TMPDIR; /tmp itself is not there";
                        draft.note(Weight::Same, "--tmpfs /tmp", why);
                    }
                    _ => hidden.push(at),
                }
            }
            "--proc" => draft.facts(&format!("{flag} {}", flags.operand(flag)?)),
            "--dev" => draft.devices(&format!("{flag} {}", flags.operand(flag)?)),
            "--unshare-net" => is_cut_off = true,
            "--unshare-all" => is_cut_off = true,
            "--share-net" => is_cut_off = false,
            "--clearenv" => clears = true,
            "--setenv" => {
                let (name, value) = (flags.operand(flag)?, flags.operand(flag)?);
                draft.variable(&format!("{flag} {name}"), name, value);
            }
            "--unsetenv" => {
                let name = flags.operand(flag)?;
                let why = "pass only the variables that are needed, under [env]";
                draft.note(Weight::Weaker, &format!("{flag} {name}"), why);
            }
            "--chdir" => {
                let path = flags.operand(flag)?;
                draft.directory(&format!("{flag} {path}"), path);
            }
            "--cap-drop" => {
                flags.operand(flag)?;
                draft.note(Weight::Same, flag, "all are dropped");
            }
            "--cap-add" => {
                let name = flags.operand(flag)?;
                let said = format!("{flag} {name}");
                let short = name.trim_start_matches("CAP_");
                let entry = supervisor::advice::quoted(short);
                draft.entry(Table::Process, "keep_caps", &said, &entry, Weight::Narrower);
            }
            "--seccomp" | "--add-seccomp-fd" => {
                flags.operand(flag)?;
                draft.note(
                    Weight::Weaker,
                    flag,
                    "a filter of your own cannot be added; there is one of ours",
                );
            }
            "--exec-label" | "--file-label" => {
                flags.operand(flag)?;
                draft.note(Weight::Weaker, flag, "labels of SELinux are not set");
            }
            "--args" => {
                return Err("--args reads flags from a descriptor: name them here".to_owned());
            }
            _ => other(&mut draft, &mut flags, flag)?,
        }
    }
    draft.command(flags.command());
    for at in hidden {
        hide(&mut draft, at, &granted);
    }
    if !is_cut_off {
        draft.whole_network("no --unshare-net");
    }
    if !has_tmp {
        draft.head("tmp = \"none\"");
    }
    if !clears {
        for name in VARIABLES {
            let entry = supervisor::advice::quoted(name);
            draft.entry(
                Table::Env,
                "pass",
                "no --clearenv",
                &entry,
                Weight::Narrower,
            );
        }
        let why = "only harmless variables are passed; name others under [env]";
        draft.note(Weight::Narrower, "no --clearenv", why);
    }
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

/// An empty directory in the place of another.
fn hide(draft: &mut Draft, at: &str, granted: &[&str]) {
    let said = format!("--tmpfs {at}");
    let is_below = |path: &str, tree: &str| std::path::Path::new(path).starts_with(tree);
    let is_granted = granted.iter().any(|tree| is_below(at, tree));
    let holds_granted = granted.iter().any(|path| is_below(path, at));
    match (is_granted, holds_granted, path(at, &[], false)) {
        (false, ..) => draft.note(Weight::Same, &said, "what it hides is not granted"),
        (true, false, Some(path)) => draft.path("deny", &said, &path),
        _ => {
            let why = "a denial always wins, also over what is granted inside: list what is needed of the directory around it";
            draft.note(Weight::Weaker, &said, why);
        }
    }
}

fn bound(draft: &mut Draft, flag: &str, from: &str, to: &str) {
    let said = format!("{flag} {from} {to}");
    let Some(path) = path(from, &[], flag.ends_with("-try")) else {
        return draft.note(Weight::Narrower, &said, "a variable that is not known here");
    };
    if from.contains(['*', '?', '[']) {
        return draft.note(Weight::Narrower, &said, "this name would be a pattern here");
    }
    if from != to {
        draft.note(
            Weight::Narrower,
            &said,
            "it stays where it is: what is found there is not found at the other name",
        );
    }
    // What is bound can be executed.
    draft.path("exec", &said, &path);
    if !flag.starts_with("--ro") {
        draft.path("write", &said, &path);
    }
    if flag.starts_with("--dev") {
        draft.note(
            Weight::Narrower,
            &said,
            "devices are opened only where a rule names them",
        );
    }
}
