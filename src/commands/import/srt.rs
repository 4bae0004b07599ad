//! Settings of sandbox-runtime: all may be read but what is denied, nothing written but what is allowed, hosts by name.

use super::draft::{Draft, Table, Weight, path};
use serde_json::Value;
use supervisor::advice::quoted;

/// What programs outside of the sandbox would run or go by.
const ALWAYS_DENIED: [&str; 15] = [
    ".gitconfig",
    ".gitmodules",
    ".bashrc",
    ".bash_profile",
    ".zshrc",
    ".zprofile",
    ".profile",
    ".ripgreprc",
    ".mcp.json",
    ".vscode",
    ".idea",
    ".claude/commands",
    ".claude/agents",
    ".git/hooks",
    ".git/config",
];

/// The policy.
pub fn draft(text: &str) -> Result<Draft, String> {
    let settings: Value =
        serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?;
    let Some(settings) = settings.as_object() else {
        return Err("these are no settings: an object is expected".to_owned());
    };
    let mut draft = Draft::default();
    draft.path("exec", "everything is read unless denied", "/");
    for (key, value) in settings {
        match key.as_str() {
            "network" => network(&mut draft, value),
            "filesystem" => files(&mut draft, value),
            "ignoreViolations"
            | "ripgrep"
            | "mandatoryDenySearchDepth"
            | "allowPty"
            | "bwrapPath"
            | "socatPath" => {
                draft.note(Weight::Same, key, "it is about how that program works");
            }
            "enableWeakerNestedSandbox" | "enableWeakerNetworkIsolation" => {
                let why = "nothing is weakened here for that";
                draft.note(Weight::Same, key, why);
            }
            _ => draft.note(Weight::Weaker, key, "not known: it may restrict something"),
        }
    }
    for name in ALWAYS_DENIED {
        let said = "never written, whatever is allowed";
        draft.path("deny_write", said, &format!("$PWD/**/{name}"));
        draft.path("deny_write", said, &format!("$HOME/{name}"));
    }
    Ok(draft)
}

fn files(draft: &mut Draft, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let ours = match key.as_str() {
            "denyRead" => "deny",
            "denyWrite" => "deny_write",
            "allowWrite" => "write",
            "allowRead" => {
                // A denial always wins here, so what is denied around it stays denied.
                for said in texts(value) {
                    let said = format!("{key} {said}");
                    draft.note(
                        Weight::Narrower,
                        &said,
                        "a denial always wins here; deny less instead",
                    );
                }
                continue;
            }
            "allowGitConfig" => {
                draft.note(
                    Weight::Narrower,
                    key,
                    "nothing is denied here that it would give back",
                );
                continue;
            }
            _ => {
                draft.note(Weight::Weaker, key, "not known: it may restrict something");
                continue;
            }
        };
        let weight = if ours == "write" {
            Weight::Narrower
        } else {
            Weight::Weaker
        };
        for text in texts(value) {
            let said = format!("{key} {text}");
            // A denial holds also for what is not there, and takes no mark for it.
            match path(text, &[], ours == "write") {
                Some(path) => draft.path(ours, &said, &path),
                None => draft.note(weight, &said, "a variable that is not known here"),
            }
        }
    }
}

fn network(draft: &mut Draft, value: &Value) {
    for (key, value) in value.as_object().into_iter().flatten() {
        match key.as_str() {
            "allowedDomains" => {
                for host in texts(value) {
                    let said = format!("allowedDomains {host}");
                    let why = "rules are about addresses, not names; `connect = [\"*:443\"]` would reach every host";
                    draft.note(Weight::Narrower, &said, why);
                }
            }
            "deniedDomains" => {
                let why = "no host is reached here in any case";
                draft.note(Weight::Same, key, why);
            }
            "allowUnixSockets" => {
                for text in texts(value) {
                    let said = format!("{key} {text}");
                    match path(text, &[], true) {
                        Some(path) => {
                            draft.entry(
                                Table::Net,
                                "unix",
                                &said,
                                &quoted(&path),
                                Weight::Narrower,
                            );
                        }
                        None => {
                            draft.note(Weight::Narrower, &said, "a variable that is not known here")
                        }
                    }
                }
            }
            "allowAllUnixSockets" if *value == true => {
                draft.note(
                    Weight::Narrower,
                    key,
                    "sockets are listed one by one under `unix`",
                );
            }
            "allowLocalBinding" if *value == true => {
                draft.value(Table::Net, "loopback", key, "\"own\"", Weight::Narrower);
            }
            "allowAllUnixSockets" | "allowLocalBinding" => {
                draft.note(Weight::Same, key, "it is so here");
            }
            "httpProxyPort" | "socksProxyPort" | "mitmProxy" => {
                draft.note(Weight::Narrower, key, "there is no proxy here");
            }
            _ => draft.note(Weight::Weaker, key, "not known: it may restrict something"),
        }
    }
}

fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let list = value.as_array().into_iter().flatten();
    list.filter_map(Value::as_str)
}
