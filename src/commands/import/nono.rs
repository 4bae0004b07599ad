//! A profile of nono, in JSON.

use super::draft::{Draft, Table, Weight, path};
use super::words::Flags;
use serde_json::{Value, json};
use supervisor::advice::quoted;

/// What its variables are called here.
const KNOWN: [(&str, &str); 3] = [
    ("$WORKDIR", "$PWD"),
    ("$XDG_CONFIG_HOME", "$XDG_CONFIG_HOME"),
    ("$TMPDIR", "$TMPDIR"),
];

/// The policy.
pub fn draft(text: &str) -> Result<Draft, String> {
    let profile: Value =
        serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?;
    of(&profile)
}

/// Lists of a profile's `filesystem`, with the flags that add to them.
const LISTS: [(&str, &str, &str); 6] = [
    ("--allow", "-a", "allow"),
    ("--read", "-r", "read"),
    ("--write", "-w", "write"),
    ("--allow-file", "", "allow_file"),
    ("--read-file", "", "read_file"),
    ("--write-file", "", "write_file"),
];

/// The policy of a command line, of which each flag is a line of a profile.
pub fn from_words(words: &[String]) -> Result<Draft, String> {
    let words = match words.split_first() {
        Some((first, rest)) if first == "run" || first == "wrap" => rest,
        _ => words,
    };
    let mut flags = Flags::new(words);
    let mut files = json!({});
    let mut profile = json!({"network": {"block": false}});
    while let Some(flag) = flags.flag() {
        let list = LISTS
            .iter()
            .find(|(long, short, _)| [*long, *short].contains(&flag));
        match (flag, list) {
            (_, Some((.., list))) => {
                let path = flags.operand(flag)?;
                match files[*list].as_array_mut() {
                    Some(paths) => paths.push(json!(path)),
                    None => files[*list] = json!([path]),
                }
            }
            ("--block-net" | "--net-block", _) => profile["network"]["block"] = json!(true),
            ("--allow-cwd", _) => profile["workdir"] = json!({"access": "readwrite"}),
            ("--silent" | "-s" | "--verbose" | "-v" | "--no-rollback" | "--no-diagnostics", _) => {}
            _ => {
                return Err(format!(
                    "{flag} is not known, and neither is what follows it"
                ));
            }
        }
    }
    profile["filesystem"] = files;
    let mut draft = of(&profile)?;
    draft.command(flags.command());
    Ok(draft)
}

fn of(profile: &Value) -> Result<Draft, String> {
    let Some(profile) = profile.as_object() else {
        return Err("this is no profile: an object is expected".to_owned());
    };
    let mut draft = Draft::default();
    let said = profile.get("network").unwrap_or(&Value::Null);
    // Where hosts are listed by name, none of them can be told from any other here.
    let by_name = [
        "allow_domain",
        "network_profile",
        "allow_proxy",
        "proxy_allow",
    ];
    if said["block"] != true && by_name.iter().all(|key| said[*key].is_null()) {
        draft.whole_network("network is not blocked");
    }
    if profile.get("environment").is_none_or(Value::is_null) {
        let why = "only harmless variables are passed; name others under [env]";
        draft.note(Weight::Narrower, "environment is inherited", why);
    }
    for (key, value) in profile {
        match key.as_str() {
            "$schema" | "meta" | "interactive" | "diagnostics" | "command_args" => {
                draft.note(Weight::Same, key, "it restricts nothing");
            }
            "filesystem" => files(&mut draft, value),
            "network" => network(&mut draft, value),
            "workdir" => workdir(&mut draft, &value["access"]),
            "environment" => environment(&mut draft, value),
            "extends" => {
                let said = format!("extends {value}");
                let why = "what it grants and denies is in another file: import that one, too, and name both with -p or extends";
                draft.note(Weight::Weaker, &said, why);
            }
            "security" | "groups" => groups(&mut draft, key, value),
            "commands" | "command_policies" => {
                let why = "what is executed is said by path, under `exec`";
                draft.note(Weight::Weaker, key, why);
            }
            "linux" => draft.note(Weight::Same, key, "Unix sockets are decided by path"),
            "rollback"
            | "undo"
            | "hooks"
            | "session_hooks"
            | "packs"
            | "open_urls"
            | "secrets"
            | "env_credentials"
            | "credential_capture"
            | "allow_gpu"
            | "allow_launch_services" => {
                draft.note(Weight::Narrower, key, "there is no such thing here");
            }
            _ => draft.note(Weight::Weaker, key, "not known: it may restrict something"),
        }
    }
    Ok(draft)
}

fn files(draft: &mut Draft, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let ours: &[&'static str] = match key.as_str() {
            // There, what may be read may be executed.
            "allow" | "allow_file" => &["exec", "write"],
            "read" | "read_file" => &["exec"],
            "write" | "write_file" => {
                draft.note(Weight::Weaker, key, "what may be written may be read here");
                &["write"]
            }
            "deny" => &["deny"],
            "unix_socket" | "unix_socket_dir" | "unix_socket_dir_bind" | "unix_socket_bind" => {
                for text in texts(value) {
                    sockets(draft, key, text);
                }
                continue;
            }
            "bypass_protection" | "ignore" => {
                let why = "nothing is denied here that it would give back";
                draft.note(Weight::Narrower, key, why);
                continue;
            }
            _ => {
                draft.note(Weight::Weaker, key, "not known: it may restrict something");
                continue;
            }
        };
        for text in texts(value) {
            let said = format!("{key} {text}");
            for ours in ours {
                match path(text, &KNOWN, *ours != "deny") {
                    Some(path) => draft.path(ours, &said, &path),
                    None => unknown(draft, ours, &said),
                }
            }
        }
    }
}

fn unknown(draft: &mut Draft, key: &str, said: &str) {
    let weight = match key {
        "deny" => Weight::Weaker,
        _ => Weight::Narrower,
    };
    draft.note(weight, said, "a variable that is not known here");
}

fn sockets(draft: &mut Draft, key: &str, text: &str) {
    let said = format!("{key} {text}");
    match path(text, &KNOWN, true) {
        Some(path) if key == "unix_socket" => {
            draft.entry(Table::Net, "unix", &said, &quoted(&path), Weight::Narrower);
        }
        _ => draft.note(
            Weight::Narrower,
            &said,
            "sockets are listed one by one under `unix`",
        ),
    }
}

fn network(draft: &mut Draft, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match key.as_str() {
            "block" => draft.note(Weight::Same, "network.block", "said under [net]"),
            "allow_domain" | "network_profile" | "allow_proxy" | "proxy_allow" => {
                let said = format!("{key} {value}");
                let why = "rules are about addresses, not names; `connect = [\"*:443\"]` would reach every host";
                draft.note(Weight::Narrower, &said, why);
            }
            "open_port" | "listen_port" | "connect_port" => {
                let key = if key == "listen_port" {
                    "bind"
                } else {
                    "connect"
                };
                for port in value.as_array().into_iter().flatten() {
                    let entry = quoted(&format!("127.0.0.1:{port}"));
                    let said = format!("{key} port {port}");
                    draft.entry(Table::Net, key, &said, &entry, Weight::Narrower);
                }
            }
            _ => draft.note(
                Weight::Narrower,
                key,
                "there is no proxy here that it would be about",
            ),
        }
    }
}

fn workdir(draft: &mut Draft, access: &Value) {
    let said = format!("workdir {access}");
    match access.as_str() {
        Some("readwrite") => {
            draft.path("exec", &said, "$PWD");
            draft.path("write", &said, "$PWD");
        }
        Some("read") => draft.path("exec", &said, "$PWD"),
        Some("write") => draft.path("write", &said, "$PWD"),
        _ => draft.note(
            Weight::Same,
            &said,
            "nothing is granted unless it is listed",
        ),
    }
}

fn environment(draft: &mut Draft, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match key.as_str() {
            "allow_vars" => {
                for name in texts(value) {
                    let said = format!("allow_vars {name}");
                    draft.entry(Table::Env, "pass", &said, &quoted(name), Weight::Narrower);
                }
                let why = "harmless variables such as PATH, HOME and LANG are passed in any case (preset base)";
                draft.note(Weight::Weaker, key, why);
            }
            "set_vars" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    let text = value.as_str().unwrap_or_default();
                    draft.variable(&format!("set_vars {name}"), name, text);
                }
            }
            "deny_vars" => {
                let why = "only harmless variables are passed, and those under [env]";
                draft.note(Weight::Same, key, why);
            }
            _ => draft.note(Weight::Weaker, key, "not known: it may restrict something"),
        }
    }
}

fn groups(draft: &mut Draft, key: &str, value: &Value) {
    for (name, value) in value.as_object().into_iter().flatten() {
        let said = format!("{key}.{name} {value}");
        match name.as_str() {
            "groups" | "include" | "exclude" => {
                let why = "what its groups grant and deny is not in the profile: the presets `build` and `agent` are the nearest";
                draft.note(Weight::Weaker, &said, why);
            }
            "signal_mode" | "process_info_mode" | "ipc_mode" => {
                draft.note(
                    Weight::Same,
                    &said,
                    "other processes can be neither signalled nor traced",
                );
            }
            "capability_elevation" => {
                let why =
                    "what may be asked for while it runs is said by `ask_read` and [[request]]";
                draft.note(Weight::Narrower, &said, why);
            }
            _ => draft.note(
                Weight::Weaker,
                &said,
                "not known: it may restrict something",
            ),
        }
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str)
}
