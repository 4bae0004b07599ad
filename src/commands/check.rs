//! `supervise check [POLICY]`: what a policy gives, rule by rule, and who makes it so.

use crate::args::PolicyArgs;
use crate::commands::law_for_reading;
use crate::exit;
use crate::law::{Law, LawError};
use crate::render::{fail, print, table, visible};
use serde_json::json;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use supervisor::policy::{
    Approver, Brokered, ConnectLine, FileLine, Ruleset, Says, Tmp, Transparent, Udp,
};

/// The version of the JSON that is printed.
const SCHEMA: u32 = 1;

/// Prints what the policy gives.
pub fn check(args: &PolicyArgs, json: bool) -> ExitCode {
    match compile(args) {
        Ok((_, ruleset, tmpdir)) if json => print(&format!("{}\n", as_json(&ruleset, &tmpdir))),
        Ok((law, ruleset, tmpdir)) => print(&as_text(&law, &ruleset, &tmpdir)),
        Err(error) if json => {
            let text = json!({ "schema": SCHEMA, "ok": false, "error": error.to_string() });
            let printed = print(&format!("{text}\n"));
            if printed == ExitCode::SUCCESS {
                ExitCode::from(exit::OURS)
            } else {
                printed
            }
        }
        Err(error) => fail(error),
    }
}

fn compile(args: &PolicyArgs) -> Result<(Law, Ruleset, String), LawError> {
    let (law, tmpdir) = law_for_reading(args)?;
    let ruleset = law.compile(None)?;
    Ok((law, ruleset, tmpdir.display().to_string()))
}

fn as_json(ruleset: &Ruleset, tmpdir: &str) -> serde_json::Value {
    let mut files = ruleset.files();
    for line in &mut files {
        line.path = named(&line.path, tmpdir);
    }
    let environment: Vec<String> = passed(ruleset);
    let best_effort: Vec<&str> = ruleset.best_effort().iter().collect();
    json!({
        "schema": SCHEMA,
        "ok": true,
        "files": files,
        "connections": ruleset.connections(),
        "tcp_connect": ruleset.tcp_connect(),
        "tcp_bind": ruleset.tcp_bind(),
        "binds": ruleset.binds(),
        "udp": ruleset.udp(),
        "opens": ruleset.brokered(),
        "needs_connect_door": ruleset.needs_connect_door(),
        "tmp": ruleset.tmp(),
        "make": ruleset.make_dirs().iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "limits": ruleset.limits(),
        "process": ruleset.process(),
        "environment": environment,
        "broker": ruleset.broker(),
        "best_effort": best_effort,
        "warnings": ruleset.warnings(),
    })
}

fn as_text(law: &Law, ruleset: &Ruleset, tmpdir: &str) -> String {
    let mut text = String::new();
    let files = ruleset.files();
    let layers = files.iter().map(|line| line.layer).max().unwrap_or(0);
    for layer in 0..=layers {
        if layer > 0 {
            text.push_str(&format!("\nOnly what policy {} allows too:\n", layer + 1));
        } else {
            text.push_str("Files\n");
        }
        let of_layer = files
            .iter()
            .filter(|line| line.layer == layer && !line.absent);
        let rows: Vec<_> = of_layer.map(|line| row(line, tmpdir)).collect();
        text.push_str(&table(&rows));
    }
    let absent: Vec<String> = files
        .iter()
        .filter(|line| line.absent)
        .map(|line| visible(&line.path))
        .collect();
    if !absent.is_empty() {
        let brokered = ruleset.brokered();
        let how = match brokered.read && brokered.write {
            true => "is the supervisor's to give, at each open",
            false => "can be had over the socket",
        };
        text.push_str(&format!(
            "\nAbsent now; what appears there {how}, and not executed\n  {}\n",
            absent.join("\n  ")
        ));
    }
    text.push_str(&network(ruleset));
    text.push_str(&rest(law, ruleset, tmpdir));
    if !ruleset.warnings().is_empty() {
        text.push_str("\nWarnings\n");
        for warning in ruleset.warnings() {
            text.push_str(&format!(
                "  {}\n",
                visible(&named(&warning.to_string(), tmpdir))
            ));
        }
    }
    text
}

fn row(line: &FileLine, tmpdir: &str) -> [String; 4] {
    let (rights, by) = match line.says {
        Says::Allow => (line.access.to_string(), line.by.to_string()),
        Says::Ask => (format!("ask {}", line.access), "approver".to_owned()),
        Says::Deny if line.access.names().count() == 3 => ("deny".to_owned(), String::new()),
        Says::Deny => (format!("deny {}", line.access), String::new()),
    };
    [rights, named(&line.path, tmpdir), by, line.rule.to_string()]
}

/// The private directory has another name in every run.
fn named(text: &str, tmpdir: &str) -> String {
    text.replace(tmpdir, "$TMPDIR")
}

fn network(ruleset: &Ruleset) -> String {
    let (connections, binds) = (ruleset.connections(), ruleset.binds());
    let row = |what: &str, line: &ConnectLine| {
        let says = match line.says {
            Says::Deny => "refuse",
            Says::Allow | Says::Ask => what,
        };
        [
            says.to_owned(),
            line.to.clone(),
            line.by.to_string(),
            line.rule.to_string(),
        ]
    };
    let mut rows: Vec<[String; 4]> = connections.iter().map(|it| row("connect", it)).collect();
    rows.extend(binds.iter().map(|it| row("bind", it)));
    let mut text = "\nNetwork\n".to_owned();
    text.push_str(&table(&rows));
    if connections.is_empty() {
        text.push_str("  no connection to any address or listed socket\n");
    }
    if ruleset.udp() == Udp::Any {
        text.push_str("  UDP to anybody\n");
    }
    text
}

fn rest(law: &Law, ruleset: &Ruleset, tmpdir: &str) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut say = |what: &str, value: String| rows.push([what.to_owned(), value]);
    say(
        "$TMPDIR",
        match ruleset.tmp() {
            Tmp::Private => "a private directory, removed at the end".to_owned(),
            Tmp::Shared => "/tmp, shared with everybody".to_owned(),
            Tmp::None => "none".to_owned(),
        },
    );
    for path in ruleset.make_dirs() {
        say("made", named(&path.display().to_string(), tmpdir));
    }
    say("opens", opens(law, ruleset));
    let limits = ruleset.limits();
    let time = |time: Duration| format!("{} s", time.as_secs_f64());
    let limits = [
        ("wall time", limits.wall.map(time)),
        ("processor time", limits.cpu.map(time)),
        (
            "memory",
            limits.memory.map(|bytes| format!("{bytes} bytes")),
        ),
        ("processes", limits.processes.map(|count| count.to_string())),
        (
            "open files",
            limits.open_files.map(|count| count.to_string()),
        ),
        (
            "file size",
            limits.file_size.map(|bytes| format!("{bytes} bytes")),
        ),
    ];
    for (what, value) in limits {
        if let Some(value) = value {
            say(what, value);
        }
    }
    let process = ruleset.process();
    if !process.keep_caps.is_empty() {
        let names: Vec<&str> = process.keep_caps.iter().map(String::as_str).collect();
        say("capabilities kept", names.join(" "));
    }
    if process.orphans_awaited {
        say(
            "orphans",
            "awaited, not killed when the command ends".to_owned(),
        );
    }
    if process.own_terminal {
        say(
            "terminal",
            "of its own, shown on the caller's through a filter".to_owned(),
        );
    }
    if process.ptrace_own {
        say("ptrace", "among its own processes".to_owned());
    }
    say("environment", passed(ruleset).join(" "));
    let approver = match &ruleset.broker().approver {
        Approver::Deny => "nobody: every question is answered with no".to_owned(),
        Approver::Allow => "everything is allowed".to_owned(),
        Approver::Terminal => "the person at the terminal".to_owned(),
        Approver::Control => {
            "whoever answers at another terminal: supervise questions, approve, refuse".to_owned()
        }
        Approver::Command(command) => command.join(" "),
    };
    say("approver", approver);
    let best_effort: Vec<&str> = ruleset.best_effort().iter().collect();
    if !best_effort.is_empty() {
        say("may be missing", best_effort.join(" "));
    }
    format!("\nRun\n{}", table(&rows))
}

/// Who decides about opens and changes, where the supervisor can be asked.
fn opens(law: &Law, ruleset: &Ruleset) -> String {
    let asked = asked(ruleset.brokered());
    match ruleset.broker().transparent {
        Transparent::Auto => asked.to_owned(),
        Transparent::Notify => format!("{asked}; where it cannot be, no start"),
        Transparent::Preload => match law.library() {
            Ok(library) => format!(
                "the kernel decides, and {} asks for what it refuses",
                library.display()
            ),
            Err(why) => format!("no start: {why}"),
        },
        Transparent::None => "the kernel alone decides; the rest over the socket".to_owned(),
    }
}

fn asked(brokered: Brokered) -> &'static str {
    match brokered {
        Brokered { closed: true, .. } => {
            "decided and done by the supervisor: the kernel has to let more be read, to execute it"
        }
        Brokered { read: true, .. } => "the supervisor is asked at each",
        Brokered { write: true, .. } => {
            "the supervisor is asked at each that writes, and at each change of names"
        }
        _ => "the kernel alone decides",
    }
}

/// The names of the variables that would reach the child now.
fn passed(ruleset: &Ruleset) -> Vec<String> {
    let caller: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let environment = ruleset.environment(&caller);
    let names = environment
        .iter()
        .map(|(name, _)| name.to_string_lossy().into_owned());
    names.collect()
}

/// A policy named by itself is one more `--policy`, and the first.
pub fn with_positional(mut args: PolicyArgs, policy: Option<&Path>) -> PolicyArgs {
    if let Some(policy) = policy {
        args.policy.insert(0, policy.as_os_str().to_owned());
    }
    args
}
