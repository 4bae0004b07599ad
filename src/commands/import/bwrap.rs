//! A command line of bubblewrap: another view of the file system, made of what is listed. Here names stay what they are, and the same
//! files are granted.

use super::draft::{Draft, Table, Weight, path};
use super::words::Flags;

/// Flags that say how something is made, and how many operands they have.
const VIEWS: [(&str, usize); 16] = [
    ("--dir", 1),
    ("--symlink", 2),
    ("--file", 2),
    ("--bind-data", 2),
    ("--ro-bind-data", 2),
    ("--chmod", 2),
    ("--mqueue", 1),
    ("--overlay", 3),
    ("--tmp-overlay", 1),
    ("--ro-overlay", 1),
    ("--overlay-src", 1),
    ("--perms", 1),
    ("--size", 1),
    ("--remount-ro", 1),
    ("--hostname", 1),
    ("--bind-fd", 2),
];
/// Flags that hold here in any case, or are about how that program works.
const SAME: [(&str, usize); 23] = [
    ("--die-with-parent", 0),
    ("--as-pid-1", 0),
    ("--unshare-user-try", 0),
    ("--unshare-user", 0),
    ("--unshare-cgroup-try", 0),
    ("--unshare-cgroup", 0),
    ("--unshare-uts", 0),
    ("--disable-userns", 0),
    ("--assert-userns-disabled", 0),
    ("--argv0", 1),
    ("--lock-file", 1),
    ("--sync-fd", 1),
    ("--block-fd", 1),
    ("--userns-block-fd", 1),
    ("--info-fd", 1),
    ("--json-status-fd", 1),
    ("--uid", 1),
    ("--gid", 1),
    ("--level-prefix", 0),
    ("--userns", 1),
    ("--userns2", 1),
    ("--pidns", 1),
    ("--keep-caps", 0),
];

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
    // There, the system's programs are listed like everything else.
    draft.head("base = false");
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
            "--proc" => facts(&mut draft, &format!("{flag} {}", flags.operand(flag)?)),
            "--dev" => devices(&mut draft, &format!("{flag} {}", flags.operand(flag)?)),
            "--unshare-net" => is_cut_off = true,
            "--unshare-all" => is_cut_off = true,
            "--share-net" => is_cut_off = false,
            "--unshare-pid" | "--unshare-ipc" => {
                let why = "other processes can be neither signalled nor traced, nor their memory shared; that they are there can be seen";
                draft.note(Weight::Same, flag, why);
            }
            "--new-session" => {
                draft.note(Weight::Same, flag, "typing into the terminal is refused")
            }
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
                let said = format!("{flag} {}", flags.operand(flag)?);
                draft.note(Weight::Same, &said, "supervise run has --chdir, too");
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

/// What a process file system of its own is needed for most.
fn facts(draft: &mut Draft, said: &str) {
    for name in [
        "cpuinfo",
        "meminfo",
        "stat",
        "loadavg",
        "uptime",
        "version",
        "filesystems",
    ] {
        draft.path("read", said, &format!("/proc/{name}?"));
    }
    let why = "of processes it shows the program itself alone, where its opens are seen";
    draft.note(Weight::Narrower, said, why);
}

fn devices(draft: &mut Draft, said: &str) {
    for name in ["null", "zero", "full", "tty", "ptmx"] {
        draft.path("write", said, &format!("/dev/{name}?"));
    }
    for name in ["random", "urandom"] {
        draft.path("read", said, &format!("/dev/{name}?"));
    }
    let why = "no terminals of its own, and no /dev/shm";
    draft.note(Weight::Narrower, said, why);
}

fn other(draft: &mut Draft, flags: &mut Flags<'_>, flag: &str) -> Result<(), String> {
    let known = |table: &[(&str, usize)]| {
        let found = table.iter().find(|(name, _)| *name == flag);
        found.map(|(_, operands)| *operands)
    };
    let (operands, weight, why) = match (known(&VIEWS), known(&SAME)) {
        (Some(count), _) => (
            count,
            Weight::Narrower,
            "names stay what they are here: nothing is made or put in another place",
        ),
        (None, Some(count)) => (
            count,
            Weight::Same,
            "it holds here in any case, or is about how that program works",
        ),
        (None, None) => {
            return Err(format!(
                "{flag} is not known, and neither is what follows it"
            ));
        }
    };
    let mut said = flag.to_owned();
    for _ in 0..operands {
        said.push(' ');
        said.push_str(flags.operand(flag)?);
    }
    draft.note(weight, &said, why);
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
