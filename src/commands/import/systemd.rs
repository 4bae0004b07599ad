//! A unit of systemd: what its `[Service]` section says of confinement.

use super::draft::{Draft, Table, Weight, path};
use std::collections::BTreeMap;
use supervisor::advice::quoted;

/// What its specifiers are called here, for a user's service.
const KNOWN: [(&str, &str); 6] = [
    ("%h", "$HOME"),
    ("%t", "$XDG_RUNTIME_DIR"),
    ("%S", "$XDG_STATE_HOME"),
    ("%C", "$XDG_CACHE_HOME"),
    ("%E", "$XDG_CONFIG_HOME"),
    ("%T", "/tmp"),
];
/// Holds here in any case.
const SAME: [&str; 24] = [
    "NoNewPrivileges",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectKernelLogs",
    "ProtectControlGroups",
    "ProtectClock",
    "ProtectHostname",
    "ProtectProc",
    "ProcSubset",
    "PrivateDevices",
    "PrivateUsers",
    "PrivateIPC",
    "PrivateMounts",
    "PrivatePIDs",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "LockPersonality",
    "RemoveIPC",
    "KeyringMode",
    "SystemCallArchitectures",
    "DevicePolicy",
    "UMask",
    "MountFlags",
];
/// Not about confinement.
const APART: [&str; 27] = [
    "Type",
    "ExecStart",
    "ExecStartPre",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
    "ExecCondition",
    "Restart",
    "RestartSec",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "TimeoutSec",
    "WatchdogSec",
    "KillMode",
    "KillSignal",
    "StandardOutput",
    "StandardError",
    "StandardInput",
    "SyslogIdentifier",
    "PIDFile",
    "BusName",
    "NotifyAccess",
    "RemainAfterExit",
    "Nice",
    "OOMScoreAdjust",
    "SuccessExitStatus",
];

/// The policy.
pub fn draft(text: &str) -> Result<Draft, String> {
    let settings = settings(text)?;
    let mut draft = Draft::default();
    for (key, values) in &settings {
        for value in values {
            setting(&mut draft, key, value);
        }
    }
    grants(&mut draft, &settings);
    network(&mut draft, &settings);
    let last = |key: &str| settings.get(key).and_then(|values| values.last());
    match last("PrivateTmp").is_some_and(|value| is_yes(value) || value == "disconnected") {
        true => draft.note(Weight::Same, "PrivateTmp", "a private directory in $TMPDIR"),
        false => draft.head("tmp = \"shared\""),
    }
    Ok(draft)
}

/// What the section says, by key. An empty value takes back what was said before.
fn settings(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut section = String::new();
    let joined = text.replace("\\\n", " ");
    for line in joined.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
        } else if section == "Service" {
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| format!("`{line}` sets nothing"))?;
            let values = settings.entry(key.trim().to_owned()).or_default();
            match value.trim() {
                "" => values.clear(),
                value => values.push(value.to_owned()),
            }
        }
    }
    match settings.is_empty() {
        true => Err("there is no [Service] section in it".to_owned()),
        false => Ok(settings),
    }
}

fn is_yes(value: &str) -> bool {
    matches!(value, "yes" | "true" | "on" | "1")
}

fn setting(draft: &mut Draft, key: &str, value: &str) {
    let said = format!("{key}={value}");
    match key {
        "ReadWritePaths" | "ReadWriteDirectories" => paths(draft, "write", &said, value),
        "ReadOnlyPaths" | "ReadOnlyDirectories" => paths(draft, "deny_write", &said, value),
        "InaccessiblePaths" | "InaccessibleDirectories" => paths(draft, "deny", &said, value),
        "ExecPaths" => paths(draft, "exec", &said, value),
        "NoExecPaths" | "TemporaryFileSystem" => {
            draft.note(
                Weight::Weaker,
                &said,
                "what is granted around it stays so: list less",
            );
        }
        "BindPaths" | "BindReadOnlyPaths" | "RootDirectory" | "RootImage" | "MountImages"
        | "ExtensionImages" => {
            draft.note(
                Weight::Narrower,
                &said,
                "names stay what they are: nothing is put in another place",
            );
        }
        "StateDirectory"
        | "CacheDirectory"
        | "LogsDirectory"
        | "RuntimeDirectory"
        | "ConfigurationDirectory" => {
            directories(draft, key, &said, value);
        }
        "ProtectSystem"
        | "ProtectHome"
        | "PrivateTmp"
        | "PrivateNetwork"
        | "RestrictAddressFamilies" => {}
        "IPAddressAllow" | "IPAddressDeny" | "SocketBindAllow" | "SocketBindDeny" => {}
        "CapabilityBoundingSet" if value == "~" || value.starts_with('~') => {
            draft.note(Weight::Same, &said, "all capabilities are dropped");
        }
        "AmbientCapabilities" | "CapabilityBoundingSet" => {
            for name in value.split_whitespace() {
                let entry = quoted(name.trim_start_matches("CAP_"));
                draft.entry(Table::Process, "keep_caps", &said, &entry, Weight::Narrower);
            }
        }
        "SystemCallFilter" | "SystemCallErrorNumber" | "SystemCallLog" => {
            draft.note(
                Weight::Weaker,
                &said,
                "a filter of your own cannot be added; there is one of ours",
            );
        }
        "MemoryDenyWriteExecute" if is_yes(value) => {
            draft.note(Weight::Weaker, &said, "memory may be written and executed");
        }
        "User" | "Group" | "DynamicUser" | "SupplementaryGroups" => {
            draft.note(Weight::Weaker, &said, "it runs as whoever starts it");
        }
        "WorkingDirectory" => draft.note(Weight::Same, &said, "supervise run has --chdir"),
        "DeviceAllow" => draft.note(Weight::Narrower, &said, "name the device under `write`"),
        "Environment" => {
            for word in value.split_whitespace().map(|word| word.trim_matches('"')) {
                if let Some((name, value)) = word.split_once('=') {
                    draft.variable(&said, name, value);
                }
            }
        }
        "PassEnvironment" => {
            for name in value.split_whitespace() {
                draft.entry(Table::Env, "pass", &said, &quoted(name), Weight::Narrower);
            }
        }
        "EnvironmentFile" => draft.note(Weight::Narrower, &said, "name the variables under [env]"),
        "UnsetEnvironment" => draft.note(Weight::Same, &said, "only harmless variables are passed"),
        _ if limit(draft, key, &said, value) => {}
        _ if SAME.contains(&key) || key == "MemoryDenyWriteExecute" => {
            draft.note(
                Weight::Same,
                &said,
                "it holds here in any case, or means nothing here",
            );
        }
        _ if APART.contains(&key) => draft.note(Weight::Same, &said, "it is no confinement"),
        _ => draft.note(
            Weight::Weaker,
            &said,
            "not known: it may restrict something",
        ),
    }
}

fn paths(draft: &mut Draft, key: &'static str, said: &str, value: &str) {
    let is_denial = key.starts_with("deny");
    for text in value.split_whitespace() {
        let bare = text.trim_start_matches(['-', '+']);
        let is_optional = text.starts_with('-') && !is_denial;
        match path(bare, &KNOWN, is_optional) {
            Some(path) if !path.contains('%') => draft.path(key, said, &path),
            _ if is_denial => {
                draft.note(Weight::Weaker, said, "a specifier that is not known here")
            }
            _ => draft.note(Weight::Narrower, said, "a specifier that is not known here"),
        }
    }
}

fn directories(draft: &mut Draft, key: &str, said: &str, value: &str) {
    let base = match key {
        "StateDirectory" => "/var/lib",
        "CacheDirectory" => "/var/cache",
        "LogsDirectory" => "/var/log",
        "RuntimeDirectory" => "/run",
        _ => "/etc",
    };
    for name in value.split_whitespace() {
        let name = name.split(':').next().unwrap_or_default();
        draft.path("write", said, &format!("{base}/{name}?"));
    }
}

/// The file system as it is there before anything is listed.
fn grants(draft: &mut Draft, settings: &BTreeMap<String, Vec<String>>) {
    let last = |key: &str| settings.get(key).and_then(|values| values.last());
    let system = last("ProtectSystem").map_or("no", String::as_str);
    let said = format!("ProtectSystem={system}");
    draft.path("exec", &said, "/");
    match system {
        "strict" => {}
        "full" => draft.path("write", &said, "/var?"),
        _ if is_yes(system) => {
            draft.path("write", &said, "/var?");
            draft.path("write", &said, "/etc?");
        }
        _ => draft.path("write", &said, "/"),
    }
    let home = last("ProtectHome").map_or("no", String::as_str);
    let said = format!("ProtectHome={home}");
    match home {
        "read-only" => draft.path("deny_write", &said, "$HOME"),
        "tmpfs" => draft.path("deny", &said, "$HOME"),
        _ if is_yes(home) => draft.path("deny", &said, "$HOME"),
        _ if system == "strict" => {}
        _ => draft.path("write", &said, "$HOME"),
    }
}

fn network(draft: &mut Draft, settings: &BTreeMap<String, Vec<String>>) {
    let said = |key: &str| settings.get(key).map(|values| values.join(" "));
    let families = said("RestrictAddressFamilies");
    let has_none = families.as_deref().is_some_and(|families| {
        families == "none" || (!families.starts_with('~') && !families.contains("AF_INET"))
    });
    if said("PrivateNetwork").is_some_and(|value| is_yes(&value)) || has_none {
        draft.note(
            Weight::Same,
            "PrivateNetwork, RestrictAddressFamilies",
            "there is no network unless [net] allows it",
        );
        return;
    }
    if let Some(families) = &families {
        let said = format!("RestrictAddressFamilies={families}");
        draft.note(
            Weight::Same,
            &said,
            "there are TCP, UDP and Unix sockets, of what [net] allows",
        );
    }
    let denies = said("IPAddressDeny").is_some_and(|value| value.contains("any"));
    match (denies, said("IPAddressAllow")) {
        (true, allowed) => {
            for network in allowed.unwrap_or_default().split_whitespace() {
                let said = format!("IPAddressAllow={network}");
                for address in addresses(network) {
                    draft.entry(
                        Table::Net,
                        "connect",
                        &said,
                        &quoted(&address),
                        Weight::Narrower,
                    );
                }
            }
            let why = "addresses are restricted for connecting over TCP; UDP is not there, and what is listened on needs a bind rule";
            draft.note(Weight::Narrower, "IPAddressDeny=any", why);
        }
        (false, _) => {
            if let Some(denied) = said("IPAddressDeny") {
                let said = format!("IPAddressDeny={denied}");
                draft.note(
                    Weight::Weaker,
                    &said,
                    "addresses are allowed, never denied: list those that are needed",
                );
            }
            draft.whole_network("no PrivateNetwork");
        }
    }
    for key in ["SocketBindAllow", "SocketBindDeny"] {
        if let Some(value) = said(key) {
            let weight = if key.ends_with("Deny") {
                Weight::Weaker
            } else {
                Weight::Narrower
            };
            draft.note(
                weight,
                &format!("{key}={value}"),
                "say it with `bind` under [net]",
            );
        }
    }
}

/// The addresses of a name that it has for them.
fn addresses(network: &str) -> Vec<String> {
    match network {
        "localhost" => vec!["127.0.0.0/8:*".to_owned(), "[::1]:*".to_owned()],
        "any" => vec!["*:*".to_owned()],
        address if address.contains(':') => match address.split_once('/') {
            Some((address, length)) => vec![format!("[{address}]/{length}:*")],
            None => vec![format!("[{address}]:*")],
        },
        address => vec![format!("{address}:*")],
    }
}

fn limit(draft: &mut Draft, key: &str, said: &str, value: &str) -> bool {
    // `soft:hard`: what it can raise itself is no limit.
    let hard = value.rsplit(':').next().unwrap_or_default();
    let size = |value: &str| match value.strip_suffix(['K', 'M', 'G', 'T']) {
        Some(number) => quoted(&format!("{number}{}iB", &value[number.len()..])),
        None => quoted(&format!("{value}B")),
    };
    let seconds = |value: &str| match value.parse::<u64>() {
        Ok(number) => quoted(&format!("{number}s")),
        Err(_) => quoted(
            &value
                .replace("min", "m")
                .replace("sec", "s")
                .replace(' ', ""),
        ),
    };
    let (key, toml) = match key {
        _ if hard == "infinity" && (key.starts_with("Limit") || key.ends_with("Max")) => {
            draft.note(Weight::Same, said, "no limit");
            return true;
        }
        "LimitNOFILE" => ("open_files", hard.to_owned()),
        "LimitNPROC" | "TasksMax" => ("processes", hard.to_owned()),
        "LimitFSIZE" => ("file_size", size(hard)),
        "LimitAS" | "LimitDATA" => ("memory", size(hard)),
        "LimitCPU" => ("cpu", seconds(hard)),
        "RuntimeMaxSec" => ("wall", seconds(value)),
        "MemoryMax" | "MemoryHigh" | "MemoryLimit" => {
            let why = "of all processes together there; `memory` is for each";
            draft.note(Weight::Weaker, said, why);
            draft.value(Table::Limits, "memory", said, &size(value), Weight::Weaker);
            return true;
        }
        "CPUQuota" | "CPUWeight" | "IOWeight" | "LimitCORE" | "LimitMEMLOCK" | "LimitSTACK"
        | "LimitRTPRIO" => {
            draft.note(Weight::Weaker, said, "there is no such limit here");
            return true;
        }
        _ => return false,
    };
    draft.value(Table::Limits, key, said, &toml, Weight::Weaker);
    true
}
