//! A command line of landrun: what is listed is allowed, and nothing else.

use super::draft::{Draft, Table, Weight, path};
use super::words::Flags;
use supervisor::advice::quoted;

/// The policy.
pub fn draft(words: &[String]) -> Result<Draft, String> {
    let mut draft = Draft::default();
    // There, variables are listed like everything else, too.
    draft.bare();
    draft.head("tmp = \"none\"");
    // Wherever it stands, it is about all of them.
    let is_optional = words.iter().any(|word| word == "--ignore-missing");
    let mut flags = Flags::new(words);
    while let Some(flag) = flags.flag() {
        match flag {
            "--ro" | "--rox" | "--rw" | "--rwx" => {
                for text in flags.operand(flag)?.split(',') {
                    let said = format!("{flag} {text}");
                    files(&mut draft, flag, &said, text, is_optional);
                }
            }
            "--bind-tcp" | "--connect-tcp" => {
                let key = if flag == "--bind-tcp" {
                    "bind"
                } else {
                    "connect"
                };
                for port in flags.operand(flag)?.split(',') {
                    let said = format!("{flag} {port}");
                    let entry = quoted(&format!("*:{port}"));
                    draft.entry(Table::Net, key, &said, &entry, Weight::Narrower);
                }
            }
            "--env" => {
                let variable = flags.operand(flag)?;
                let said = format!("{flag} {variable}");
                match variable.split_once('=') {
                    Some((name, value)) => draft.variable(&said, name, value),
                    None => draft.entry(
                        Table::Env,
                        "pass",
                        &said,
                        &quoted(variable),
                        Weight::Narrower,
                    ),
                }
            }
            "--unix" => {
                for text in flags.operand(flag)?.split(',') {
                    let said = format!("{flag} {text}");
                    match path(text, &[], true) {
                        Some(path) => {
                            draft.entry(Table::Net, "unix", &said, &quoted(&path), Weight::Narrower)
                        }
                        None => unknown(&mut draft, &said),
                    }
                }
            }
            "--unrestricted-network" => draft.whole_network(flag),
            "--unrestricted-filesystem" => {
                draft.path("exec", flag, "/");
                draft.path("write", flag, "/");
            }
            "--ignore-missing" => draft.note(Weight::Same, flag, "said by the `?` at the end"),
            "--best-effort" => {
                let why = "what the kernel lacks stops the run here, unless `[require] best_effort` names it";
                draft.note(Weight::Narrower, flag, why);
            }
            "--ldd" | "--add-exec" => {
                let why = "it looks at the command: name its directory, and those of its libraries, under `exec`";
                draft.note(Weight::Narrower, flag, why);
            }
            "--unrestricted-scoped" => {
                let why = "other processes are neither signalled nor reached by abstract sockets";
                draft.note(Weight::Narrower, flag, why);
            }
            "--log-level" => {
                flags.operand(flag)?;
                draft.note(Weight::Same, flag, "see -v and -q");
            }
            "--log-disable-originating"
            | "--log-enable-subprocesses"
            | "--log-disable-subdomains" => {
                draft.note(
                    Weight::Same,
                    flag,
                    "what is refused is in the record of the run",
                );
            }
            _ => draft.note(Weight::Weaker, flag, "not known: it may restrict something"),
        }
    }
    draft.command(flags.command());
    let why = "system calls, metadata, signals to the outside and Unix sockets are restricted here, and were not there";
    draft.note(Weight::Narrower, "what Landlock leaves open", why);
    Ok(draft)
}

fn unknown(draft: &mut Draft, said: &str) {
    draft.note(Weight::Narrower, said, "a variable that is not known here");
}

fn files(draft: &mut Draft, flag: &str, said: &str, text: &str, is_optional: bool) {
    let Some(path) = path(text, &[], is_optional) else {
        return unknown(draft, said);
    };
    let bare = path.trim_end_matches('?');
    if bare.contains(['*', '?', '[']) {
        return draft.note(Weight::Narrower, said, "this name would be a pattern here");
    }
    if matches!(flag, "--rw" | "--rwx") {
        draft.path("write", said, &path);
    }
    if matches!(flag, "--rox" | "--rwx") {
        draft.path("exec", said, &path);
    }
    if flag == "--ro" {
        draft.path("read", said, &path);
    }
}
