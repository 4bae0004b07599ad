//! Whether something may be done, by which rule, and who makes it so. It asks what everybody asks.

use crate::args::{PolicyArgs, Question};
use crate::commands::law_for_reading;
use crate::render::{fail, print, visible};
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use supervisor::policy::{Access, FileId, Mechanism, Peer, Reason, Ruleset, Subject, Verdict};

/// Prints the verdict first, then the reason.
pub fn answer_one(args: &PolicyArgs, question: Question, object: &OsStr, json: bool) -> ExitCode {
    let ruleset = match law_for_reading(args).and_then(|(law, _)| law.compile(None)) {
        Ok(ruleset) => ruleset,
        Err(error) => return fail(error),
    };
    let answer = match answer(&ruleset, question, object) {
        Ok(answer) => answer,
        Err(error) => return fail(error),
    };
    if json {
        print(&format!("{}\n", answer.as_json(question, object)))
    } else {
        print(&answer.as_text(question, object))
    }
}

/// A verdict about something that was found.
struct Answer {
    verdict: Verdict,
    /// Who makes a yes so.
    by: &'static str,
    /// Denied, and the kernel would execute it all the same.
    runs: bool,
    /// What it was decided on, where that has another name than was given.
    meant: Option<PathBuf>,
}

fn answer(ruleset: &Ruleset, question: Question, object: &OsStr) -> Result<Answer, String> {
    let access = match question {
        Question::Read => Access::READ,
        Question::Write => Access::WRITE,
        Question::Exec => Access::EXEC,
        Question::Unix => Access::NONE,
        Question::Connect | Question::Bind => {
            let text = object.to_string_lossy();
            let address: SocketAddr = text.parse().map_err(|_| {
                format!(
                    "`{}` is not an address and a port, such as 127.0.0.1:443 or [::1]:443",
                    visible(&text)
                )
            })?;
            let verdict = match question {
                Question::Bind => ruleset.decide_bind(address),
                _ => ruleset.decide_connect(address, Peer::Anybody),
            };
            return Ok(Answer {
                by: by(ruleset, &verdict, Access::NONE),
                verdict,
                runs: false,
                meant: None,
            });
        }
    };
    let (path, object_id) = locate(Path::new(object))?;
    let subject = Subject {
        path: &path,
        object: object_id,
    };
    let verdict = match question {
        Question::Unix => ruleset.decide_unix(&subject),
        _ if path.is_dir() => ruleset.decide(&subject, access),
        _ => ruleset.decide_open(&subject, access),
    };
    Ok(Answer {
        by: by(ruleset, &verdict, access),
        runs: access == Access::EXEC
            && !verdict.is_allowed()
            && ruleset.executes_regardless(&subject),
        verdict,
        meant: (path != Path::new(object)).then_some(path),
    })
}

/// Where a path leads, and what is there: links followed as far as there is something.
fn locate(path: &Path) -> Result<(PathBuf, Option<FileId>), String> {
    let cannot = |error: std::io::Error| format!("{}: {error}", path.display());
    let absolute = std::path::absolute(path).map_err(cannot)?;
    let mut missing = Vec::new();
    for above in absolute.ancestors() {
        match fs::canonicalize(above) {
            Ok(found) => {
                let known = fs::symlink_metadata(&found).map_err(cannot)?;
                let object = missing
                    .is_empty()
                    .then(|| FileId::new(known.dev(), known.ino()));
                let path = missing
                    .iter()
                    .rev()
                    .fold(found, |path, name| path.join(name));
                return Ok((path, object));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                missing.extend(above.file_name());
            }
            Err(error) => return Err(cannot(error)),
        }
    }
    Ok((absolute, None))
}

impl Answer {
    fn as_text(&self, question: Question, object: &OsStr) -> String {
        let asked = format!("{} {}", question.name(), visible(&object.to_string_lossy()));
        let mut lines = Vec::new();
        let verdict = match &self.verdict {
            Verdict::Allow(allowed) => {
                lines.push(rule(&allowed.rule));
                lines.push(format!("by: {}", self.by));
                if let Some(ttl) = allowed.ttl {
                    lines.push(format!("for: {} s", ttl.as_secs_f64()));
                }
                if let Some(budget) = allowed.budget {
                    lines.push(format!("at most: {budget} grants in a run"));
                }
                "allow"
            }
            Verdict::Ask(question) => {
                lines.push(rule(&question.rule));
                lines.push(format!("by: {}", self.by));
                "ask"
            }
            Verdict::Deny(denial) => {
                lines.extend(denial.rule.as_ref().map(rule));
                if denial.reason != Reason::Rule {
                    lines.push(format!("why: {denial}"));
                }
                if self.runs {
                    lines.push("but: the kernel knows no patterns, and would run a program of that name; nothing reads it".to_owned());
                }
                "deny"
            }
        };
        let mut text = format!("{verdict}: {asked}\n");
        if let Some(meant) = &self.meant {
            text.push_str(&format!("  is: {}\n", visible(&meant.to_string_lossy())));
        }
        for line in lines {
            text.push_str(&format!("  {}\n", visible(&line)));
        }
        text
    }

    fn as_json(&self, question: Question, object: &OsStr) -> serde_json::Value {
        let (verdict, rule, by, reason) = match &self.verdict {
            Verdict::Allow(allowed) => {
                ("allow", Some(&allowed.rule), Some(allowed.mechanism), None)
            }
            Verdict::Ask(question) => ("ask", Some(&question.rule), Some(Mechanism::Broker), None),
            Verdict::Deny(denial) => ("deny", denial.rule.as_ref(), None, Some(denial.reason)),
        };
        json!({
            "schema": 1,
            "verdict": verdict,
            "question": question.name(),
            "object": object.to_string_lossy(),
            "is": self.meant.as_ref().map(|path| path.to_string_lossy()),
            "rule": rule,
            "text": rule.and_then(|rule| rule.rule()),
            "by": by,
            "reason": reason,
        })
    }
}

fn rule(origin: &supervisor::policy::Origin) -> String {
    match origin.rule() {
        Some(text) => format!("rule: {origin}: {text}"),
        None => format!("rule: {origin}"),
    }
}

/// Who makes a yes so, where the supervisor can be asked about opens.
fn by(ruleset: &Ruleset, verdict: &Verdict, access: Access) -> &'static str {
    let brokered = ruleset.brokered();
    let is_asked = brokered.rights().intersects(access);
    match verdict {
        Verdict::Allow(allowed) => match allowed.mechanism {
            Mechanism::Landlock if !is_asked => "the kernel, at no cost",
            Mechanism::Landlock if !brokered.closed => "the kernel, once the supervisor was asked",
            Mechanism::Landlock | Mechanism::Broker if is_asked => "the supervisor, at each open",
            Mechanism::Landlock | Mechanism::Broker => {
                "the supervisor, which hands over a descriptor when asked over its socket; a plain open is refused"
            }
            Mechanism::ConnectDoor => "the supervisor, which connects or binds the socket itself",
        },
        Verdict::Ask(_) => "the approver, who is asked when it is opened",
        Verdict::Deny(_) => "nobody",
    }
}
