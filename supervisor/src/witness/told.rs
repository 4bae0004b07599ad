//! What was told, as our own record says it: what the rules say of it, and nothing that they allow.

use super::text::{About, Call};
use super::{Known, Refusal, Told};
use crate::audit::{Answer, Bytes, Decision, Door, Error, Event, Log, UNTOLD, Who};
use crate::policy::{Access, Denial, Mechanism, Origin, Peer, Reason, Ruleset, Subject, Verdict};
use crate::sandbox::filter;
use nix::errno::Errno;
use std::net::SocketAddr;
use std::path::Path;

/// Which rights were missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    /// As rules have them.
    access: Access,
    /// A name was to be made, taken away or moved, of which the kernel says the directory.
    is_name: bool,
    /// It was an open, and nothing else.
    is_open: bool,
    /// It was to make a device.
    is_device: bool,
}

impl Wanted {
    /// `None`: something that is no right to a file.
    fn of(blockers: &[String]) -> Option<Self> {
        let mut wanted = Self {
            access: Access::NONE,
            is_name: false,
            is_open: true,
            is_device: false,
        };
        for blocker in blockers {
            let blocker = blocker.strip_prefix("fs.")?;
            wanted.access |= match blocker {
                "execute" => Access::EXEC,
                "read_file" | "read_dir" => Access::READ,
                "write_file" | "truncate" | "refer" => Access::WRITE,
                name if name.starts_with("make_") || name.starts_with("remove_") => Access::WRITE,
                _ => return None,
            };
            wanted.is_device |= matches!(blocker, "make_char" | "make_block");
            wanted.is_name |= blocker == "refer"
                || blocker.starts_with("make_")
                || blocker.starts_with("remove_");
            wanted.is_open &= matches!(
                blocker,
                "read_file" | "read_dir" | "write_file" | "truncate" | "make_reg"
            );
        }
        Some(wanted)
    }
}

/// What the rules say.
struct Judged<'a> {
    path: Option<&'a Path>,
    asked: Option<&'a Path>,
    address: Option<SocketAddr>,
    access: Option<Access>,
    reason: Option<Reason>,
    rule: Option<Origin>,
    detail: String,
}

impl Judged<'_> {
    fn nothing(detail: impl Into<String>) -> Self {
        Self {
            path: None,
            asked: None,
            address: None,
            access: None,
            reason: None,
            rule: None,
            detail: detail.into(),
        }
    }

    /// `None`: they allow it, and whoever refused it had other rules.
    fn by(verdict: Verdict) -> Option<Self> {
        match verdict {
            Verdict::Allow(allowed) if allowed.mechanism == Mechanism::Landlock => None,
            Verdict::Allow(_) | Verdict::Ask(_) => Some(Self::nothing(UNTOLD)),
            Verdict::Deny(denial) => Some(Self::denied(denial)),
        }
    }

    fn denied(denial: Denial) -> Self {
        Self {
            reason: Some(denial.reason),
            detail: denial.to_string(),
            rule: denial.rule,
            ..Self::nothing("")
        }
    }
}

impl Told {
    /// Writes it down, unless that was done already.
    ///
    /// # Errors
    /// It could not be written. Nothing else comes of that: it was refused.
    pub fn record(&self, ruleset: &Ruleset, known: &mut Known, log: &mut Log) -> Result<(), Error> {
        match self {
            Self::Lost => {
                let detail = "the kernel refused things faster than could be read: there may be more than is recorded";
                write(log, None, "audit", Errno::ENOBUFS, &Judged::nothing(detail))
            }
            Self::Refused(refusal) => {
                let Some(judged) = judge(refusal, ruleset, known) else {
                    return Ok(());
                };
                let call = refusal.call.as_ref();
                let errno = call.map_or(Errno::EACCES, errno);
                write(log, call, &name(refusal), errno, &judged)
            }
        }
    }
}

fn judge<'r>(refusal: &'r Refusal, ruleset: &Ruleset, known: &mut Known) -> Option<Judged<'r>> {
    let is = |name: &str| refusal.blockers.iter().any(|blocker| blocker == name);
    match &refusal.about {
        About::Path(path) if is("fs.resolve_unix") => {
            let judged = Judged::by(ruleset.decide_unix(&Subject::named(path)))?;
            Some(Judged {
                path: Some(path),
                ..judged
            })
        }
        About::Path(path) => match Wanted::of(&refusal.blockers) {
            Some(wanted) => of_file(refusal.number, path, wanted, ruleset, known),
            None => Some(Judged {
                asked: Some(path),
                ..Judged::nothing(unnamed(refusal))
            }),
        },
        About::Address(address) => {
            let verdict = match is("net.bind_tcp") {
                true => ruleset.decide_bind(*address),
                false => ruleset.decide_connect(*address, Peer::Anybody),
            };
            Some(Judged {
                address: Some(*address),
                ..Judged::by(verdict)?
            })
        }
        About::Process(pid, name) => Some(Judged::nothing(format!(
            "process {pid} ({}) is not of this sandbox",
            name.display()
        ))),
        About::Unknown => Some(Judged::nothing(unnamed(refusal))),
    }
}

fn of_file<'r>(
    call: u64,
    path: &'r Path,
    wanted: Wanted,
    ruleset: &Ruleset,
    known: &mut Known,
) -> Option<Judged<'r>> {
    if known.is_asked(wanted.is_open) || known.has(call, path, wanted.access, wanted.is_name) {
        return None;
    }
    let verdict = ruleset.decide(&Subject::named(path), wanted.access);
    let judged = match (Judged::by(verdict), wanted.is_device) {
        (None, true) => Judged::nothing("devices are not made in a sandbox"),
        (judged, _) => judged?,
    };
    Some(Judged {
        path: Some(path),
        access: Some(wanted.access),
        ..judged
    })
}

/// What no rule is about.
fn unnamed(refusal: &Refusal) -> String {
    match refusal.blockers.as_slice() {
        [one] if one == "fs.ioctl_dev" => "an ioctl on a device of which no rule speaks".to_owned(),
        [one] if one == "scope.abstract_unix_socket" => {
            "an abstract socket of somebody outside of this sandbox".to_owned()
        }
        all => format!("the kernel calls it {}", all.join(", ")),
    }
}

/// The call, or what is known of it.
fn name(refusal: &Refusal) -> String {
    match refusal.blockers.as_slice() {
        [one] if one == "net.bind_tcp" => "bind".to_owned(),
        [one] if one == "net.connect_tcp" => "connect".to_owned(),
        all => {
            let call = refusal.call.as_ref();
            let known = call.and_then(|call| filter::call_name(call.arch, call.number));
            known.unwrap_or_else(|| all.join(","))
        }
    }
}

fn errno(call: &Call) -> Errno {
    match i32::try_from(call.exit) {
        Ok(exit @ ..0) => Errno::from_raw(exit.wrapping_neg()),
        // It went on with what it could have.
        _ => Errno::EACCES,
    }
}

fn write(
    log: &mut Log,
    call: Option<&Call>,
    name: &str,
    errno: Errno,
    judged: &Judged<'_>,
) -> Result<(), Error> {
    let who = match call {
        Some(call) => Who {
            pid: call.pid,
            uid: call.uid,
            exe: call.program.as_deref().map(Bytes::from),
        },
        // Nobody says who.
        None => Who {
            pid: 0,
            uid: nix::unistd::getuid().as_raw(),
            exe: None,
        },
    };
    log.record(&Event::Decision(Decision {
        path: judged.path.map(Bytes::from),
        asked: judged.asked.map(Bytes::from),
        address: judged.address,
        access: judged.access,
        code: Some("denied"),
        errno: Some(errno),
        reason: judged.reason,
        rule: judged.rule.as_ref(),
        mechanism: Some(Mechanism::Landlock),
        detail: Some(&judged.detail),
        ..Decision::new(Door::Kernel, name, who, Answer::Refused)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(blockers: &[&str]) -> Option<Wanted> {
        let blockers: Vec<_> = blockers.iter().map(|&blocker| blocker.to_owned()).collect();
        Wanted::of(&blockers)
    }

    #[test]
    fn each_right_of_the_kernel_is_one_of_ours_or_none() {
        let open = Wanted {
            access: Access::READ,
            is_name: false,
            is_open: true,
            is_device: false,
        };
        assert_eq!(wanted(&["fs.read_file"]), Some(open));
        assert_eq!(wanted(&["fs.read_dir"]), Some(open));
        let write = Wanted {
            access: Access::WRITE,
            ..open
        };
        assert_eq!(wanted(&["fs.write_file", "fs.truncate"]), Some(write));
        let exec = Wanted {
            access: Access::READ | Access::EXEC,
            is_open: false,
            ..open
        };
        assert_eq!(wanted(&["fs.execute", "fs.read_file"]), Some(exec));
        let name = Wanted {
            is_name: true,
            is_open: false,
            ..write
        };
        for blocker in ["fs.make_dir", "fs.remove_file", "fs.refer", "fs.make_sym"] {
            assert_eq!(wanted(&[blocker]), Some(name), "{blocker}");
        }
        assert_eq!(
            wanted(&["fs.make_reg"]),
            Some(Wanted {
                is_open: true,
                ..name
            })
        );
        assert!(wanted(&["fs.make_char"]).is_some_and(|wanted| wanted.is_device));
        for other in ["fs.ioctl_dev", "scope.signal", "net.bind_tcp", "ptrace", ""] {
            assert_eq!(wanted(&[other]), None, "{other}");
        }
    }
}
