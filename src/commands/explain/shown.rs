//! What is explained, for people and for programs.

use super::refusals::{Explained, Run};
use crate::hint::{self, shown};
use crate::render::visible;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use supervisor::advice::{Group, Remedy};
use supervisor::audit::{Object, Printable};
use supervisor::policy::{Mechanism, Reason};

/// A paragraph for each thing that was refused.
pub fn as_text(run: &Run) -> String {
    let mut text = String::new();
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let command = run.start.command.iter();
    let command: Vec<_> = command.map(|word| shown(Path::new(word))).collect();
    say(format!(
        "session {}: {}",
        run.start.session,
        command.join(" ")
    ));
    let policies = run.start.policies.iter();
    let policies: Vec<_> = policies.map(|(name, _)| shown(Path::new(name))).collect();
    say(format!("  policy: {}", policies.join(", narrowed by ")));
    for path in &run.changed {
        say(format!(
            "  {} has changed since: its lines may have moved",
            shown(path)
        ));
    }
    if run.end.is_none() {
        say("  it goes on, or was killed: more may be refused than is said here".to_owned());
    }
    if run.refusals.is_empty() {
        say("nothing was refused that the supervisor was asked for".to_owned());
        say("  what the kernel refuses alone is in the record of `supervise run --trace`, or where its audit can be read (`supervise doctor`)".to_owned());
    }
    for (number, refusal) in run.refusals.iter().enumerate() {
        say(String::new());
        say(format!(
            "{}. {}{}",
            number + 1,
            what(&refusal.group),
            times(refusal.group.times)
        ));
        for line in paragraph(refusal, run.is_stacked) {
            say(format!("   {line}"));
        }
    }
    text
}

fn times(times: u64) -> String {
    match times {
        1 => String::new(),
        times => format!("  ({times} times)"),
    }
}

/// What was wanted.
fn what(group: &Group) -> String {
    match (&group.refused, &group.object) {
        (Some(refused), _) => hint::asked(refused),
        (None, Some(Object::File(path) | Object::Socket(path))) => {
            format!("{} {}", calls(group), shown(path))
        }
        (None, Some(Object::Peer(address) | Object::Own(address))) => {
            format!("{} {address}", calls(group))
        }
        (None, None) => match group.asked.first() {
            Some(asked) => format!("{} {}", calls(group), shown(asked)),
            None => calls(group),
        },
    }
}

fn calls(group: &Group) -> String {
    list(group.calls.iter().map(|call| visible(call)))
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn paths(paths: &std::collections::BTreeSet<PathBuf>) -> String {
    const MOST: usize = 4;
    let mut text = list(paths.iter().take(MOST).map(|path| shown(path)));
    if let more @ 1.. = paths.len().saturating_sub(MOST) {
        text += &format!(" and {more} more");
    }
    text
}

fn paragraph(refusal: &Explained, is_stacked: bool) -> Vec<String> {
    let group = &refusal.group;
    let mut lines = Vec::new();
    let mut call = format!("call: {}", calls(group));
    if !group.flags.is_empty() {
        call += &format!(
            " with {}",
            list(group.flags.iter().map(|flags| visible(flags)))
        );
    }
    if !group.asked.is_empty() {
        call += &format!(", asked for as {}", paths(&group.asked));
    }
    if !group.errnos.is_empty() {
        call += &format!(
            "; answered {}",
            list(group.errnos.iter().map(|errno| visible(errno)))
        );
    }
    lines.push(call);
    if !group.programs.is_empty() {
        lines.push(format!("by: {}", paths(&group.programs)));
    }
    if let Some(mechanism) = group.mechanism {
        lines.push(format!("refused by: {}", who(mechanism)));
    }
    lines.push(format!("because: {}", because(group)));
    match &refusal.remedy {
        Some(Remedy::Add(change)) => {
            let place = match is_stacked {
                true => "to allow it, in each policy",
                false => "to allow it",
            };
            let flags = hint::flags(&change.flags);
            match (&change.line, flags) {
                (Some(line), Some(flags)) => lines.push(format!("{place}: {line}  # or: {flags}")),
                (Some(line), None) => lines.push(format!("{place}: {line}")),
                (None, Some(flags)) => lines.push(format!("{place}: {flags}")),
                (None, None) => lines.push("no rule can name it".to_owned()),
            }
            if change.opens.is_empty() {
                lines.push("which opens: nothing else".to_owned());
            }
            for (number, opens) in change.opens.iter().enumerate() {
                let lead = if number == 0 {
                    "which opens:"
                } else {
                    "            "
                };
                lines.push(format!("{lead} {opens}"));
            }
            if refusal.others > 0 {
                let others = match refusal.others {
                    1 => "another refusal".to_owned(),
                    many => format!("{many} other refusals"),
                };
                lines.push(format!("which also ends {others} of this run"));
            }
        }
        Some(Remedy::Lift(place)) => lines.push(format!("a denial always wins: {place}")),
        Some(Remedy::Answer) => lines.push(
            "to allow it: somebody who answers, named by --approver or [broker] approver"
                .to_owned(),
        ),
        Some(Remedy::Nothing(why)) => lines.push(format!("nothing to add: {why}")),
        None => {}
    }
    lines.iter().map(|line| visible(line)).collect()
}

fn who(mechanism: Mechanism) -> &'static str {
    match mechanism {
        Mechanism::Landlock => "the kernel, alone (Landlock)",
        Mechanism::ConnectDoor => "the supervisor, which connects and binds",
        Mechanism::Broker => "the supervisor",
    }
}

fn because(group: &Group) -> String {
    let detail = Printable::from(group.detail.as_str());
    match group
        .refused
        .as_ref()
        .map(|refused| (refused.reason, &refused.rule))
    {
        Some((Some(Reason::NoRule), _)) => "nothing allows it".to_owned(),
        Some((None, Some(rule))) if group.detail.is_empty() => {
            format!(
                "{} asks, and nobody said yes",
                Printable::from(rule.to_string().as_str())
            )
        }
        Some((None, Some(rule))) => {
            format!("{}: {detail}", Printable::from(rule.to_string().as_str()))
        }
        // The policy had nothing against it: it could not be done.
        _ if group.detail.is_empty() => {
            let errnos = list(group.errnos.iter().map(|errno| visible(errno)));
            format!("the kernel answers {errnos}")
        }
        _ => detail.to_string(),
    }
}

/// The same for programs. Fields may be added; those that are there keep their meaning.
pub fn as_json(run: &Run) -> Value {
    json!({
        "schema": 1,
        "audit": lossy(&run.log),
        "session": run.start.session,
        "command": run.start.command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>(),
        "directory": lossy(&run.start.directory),
        "policies": run.start.policies.iter().map(|(name, _)| name.to_string_lossy()).collect::<Vec<_>>(),
        "changed": run.changed.iter().map(|path| lossy(path)).collect::<Vec<_>>(),
        "ended": run.end.is_some(),
        "refused": run.refusals.iter().map(|refusal| refusal.group.times).sum::<u64>(),
        "refusals": run.refusals.iter().map(refusal).collect::<Vec<_>>(),
    })
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn refusal(refusal: &Explained) -> Value {
    let group = &refusal.group;
    let refused = group.refused.as_ref();
    let rule = refused.and_then(|refused| refused.rule.as_ref());
    let (kind, object) = match &group.object {
        Some(Object::File(path)) => ("file", Some(lossy(path))),
        Some(Object::Socket(path)) => ("unix", Some(lossy(path))),
        Some(Object::Peer(address)) => ("connect", Some(address.to_string())),
        Some(Object::Own(address)) => ("bind", Some(address.to_string())),
        None => ("none", None),
    };
    json!({
        "kind": kind,
        "object": object,
        "access": group.access.names().collect::<Vec<_>>(),
        "asked": group.asked.iter().map(|path| lossy(path)).collect::<Vec<_>>(),
        "calls": group.calls,
        "flags": group.flags,
        "errnos": group.errnos,
        "programs": group.programs.iter().map(|path| lossy(path)).collect::<Vec<_>>(),
        "mechanism": group.mechanism,
        "reason": refused.and_then(|refused| refused.reason),
        "rule": rule,
        "says": rule.and_then(|rule| rule.name()),
        "detail": group.detail,
        "times": group.times,
        "first": group.at.0,
        "last": group.at.1,
        "remedy": refusal.remedy.as_ref().map(|advised| remedy(advised, refusal.others)),
    })
}

fn remedy(remedy: &Remedy, others: usize) -> Value {
    match remedy {
        Remedy::Add(change) => json!({
            "do": "add",
            "toml": change.line,
            "flags": change.flags.iter().flat_map(|(flag, operand)| [*flag, operand]).collect::<Vec<_>>(),
            "opens": change.opens,
            "ends_others": others,
        }),
        Remedy::Lift(place) => json!({ "do": "lift", "place": place }),
        Remedy::Answer => json!({ "do": "answer" }),
        Remedy::Nothing(why) => json!({ "do": "nothing", "why": why }),
    }
}
