//! What the door leaves in the record: every refusal, and every grant of a connection. Written before the answer.
//!
//! Who called is looked up by number, and a number is another task's once the caller is gone: what was found out counts only if
//! the caller still waits afterwards. A caller that is gone is granted nothing, and is recorded by its number alone.

use super::failure::Failure;
use super::objection::Objection;
use super::thread::Thread;
use crate::audit::{Answer, Bytes, Decision, Door, Error, Event, Log, Seen, Who};
use crate::broker::{Claim, Located, Outcome, Peer, Progress, Refusal, Ticket};
use crate::policy::{Access, Denial, Mechanism, Origin, Reason, Verdict};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use protocol::Code;
use std::ffi::CStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use sys::seccomp::Listener;

/// Who keeps the record. [`Log`] does.
pub trait Recorder {
    /// Writes one event; returns when it is written.
    ///
    /// # Errors
    /// It could not be written. What cannot be recorded is not granted.
    fn record(&mut self, event: &Event<'_>) -> Result<(), Error>;

    /// Has a claim considered whose rule asks, counts or ends some day. Where nobody can be asked the answer is no.
    fn claim(&mut self, peer: &Peer<'_>, claim: Claim, located: Located) -> Progress {
        let _nobody = (peer, claim, located);
        nobody()
    }

    /// The same for one that was decided already, as what is to become of names is.
    fn claim_decided(
        &mut self,
        peer: &Peer<'_>,
        claim: Claim,
        located: Located,
        verdict: Verdict,
    ) -> Progress {
        let _nobody = (peer, claim, located, verdict);
        nobody()
    }

    /// Nobody waits any more for the answer to a claim that is being considered.
    fn cancel(&mut self, _ticket: Ticket) {}
}

fn nobody() -> Progress {
    let refusal = Refusal::new(Code::Unavailable, Errno::EACCES);
    Progress::Done(Outcome::Refused(refusal))
}

impl Recorder for Log {
    fn record(&mut self, event: &Event<'_>) -> Result<(), Error> {
        Log::record(self, event)
    }
}

/// Who made a call, for as long as it waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller<'a> {
    /// Where it waits.
    pub listener: &'a Listener,
    /// Under which id.
    pub id: u64,
    /// The thread.
    pub thread: Thread,
}

impl Caller<'_> {
    /// The process and its program. `None`: the caller is gone, and this was found out about somebody else.
    pub fn found(&self) -> Option<(i32, Option<Vec<u8>>)> {
        let exe = std::fs::read_link(format!("/proc/{}/exe", self.thread.0))
            .map(|exe| exe.into_os_string().into_vec())
            .ok();
        let process = self.thread.process().unwrap_or(self.thread.0);
        self.listener.is_valid(self.id).then_some((process, exe))
    }
}

/// What a decision was about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    /// Who made the call.
    pub caller: Caller<'a>,
    /// The call.
    pub call: &'static str,
    /// The path as the child spelled it.
    pub asked: Option<&'a CStr>,
    /// The object that was located.
    pub located: Option<&'a Path>,
    /// The address of the internet.
    pub address: Option<SocketAddr>,
    /// The right to a file.
    pub access: Option<Access>,
    /// The flags of an open.
    pub flags: Option<OFlag>,
    /// It is Landlock's to refuse, and was only seen.
    pub only_seen: bool,
}

/// Why something is refused.
#[derive(Debug, Clone, Copy)]
struct Why<'a> {
    reason: Option<Reason>,
    rule: Option<&'a Origin>,
    detail: &'a str,
}

impl<'a> About<'a> {
    /// A call of which nothing else is known (yet).
    pub fn call(caller: Caller<'a>, call: &'static str) -> Self {
        Self {
            caller,
            call,
            asked: None,
            located: None,
            address: None,
            access: None,
            flags: None,
            only_seen: false,
        }
    }

    /// The same, of which Landlock decides.
    pub fn by_the_kernel(self) -> Self {
        Self {
            only_seen: true,
            ..self
        }
    }

    /// Records that it was seen to be done, and is allowed so. `false`: it must not be.
    pub fn saw(&self, recorder: &mut dyn Recorder, verdict: &Verdict, seen: Seen) -> bool {
        let (rule, mechanism) = match verdict {
            Verdict::Allow(allowed) => (Some(&allowed.rule), Some(allowed.mechanism)),
            Verdict::Ask(question) => (Some(&question.rule), None),
            Verdict::Deny(_) => (None, None),
        };
        let Some((process, exe)) = self.caller.found() else {
            return false;
        };
        self.write(recorder, process, exe, Answer::Granted, |decision| {
            Decision {
                rule,
                mechanism,
                detail: Some(seen.as_str()),
                ..decision
            }
        })
    }

    /// Records that it was seen, of which no rule speaks alone. `false`: it must not be.
    pub fn note(&self, recorder: &mut dyn Recorder, seen: Seen) -> bool {
        let Some((process, exe)) = self.caller.found() else {
            return false;
        };
        self.write(recorder, process, exe, Answer::Granted, |decision| {
            Decision {
                detail: Some(seen.as_str()),
                ..decision
            }
        })
    }

    /// Records what stands against it. Returns the errno.
    pub fn object(&self, recorder: &mut dyn Recorder, objection: &Objection<'_>) -> Errno {
        match *objection {
            Objection::Denied(ref denial, path) => {
                let located = Some(path);
                About { located, ..*self }.deny(recorder, denial)
            }
            Objection::Asks(_, path) => {
                let located = Some(path);
                let why = "nobody is asked about this";
                About { located, ..*self }.fail(recorder, Errno::EACCES, why)
            }
            Objection::Refused(errno, why, located) => {
                About { located, ..*self }.fail(recorder, errno, why)
            }
        }
    }

    /// Records that it will be done. `false`: it must not be.
    pub fn grant(&self, recorder: &mut dyn Recorder, rule: &Origin, mechanism: Mechanism) -> bool {
        let Some((process, exe)) = self.caller.found() else {
            return false;
        };
        self.write(recorder, process, exe, Answer::Granted, |decision| {
            Decision {
                rule: Some(rule),
                mechanism: Some(mechanism),
                ..decision
            }
        })
    }

    /// Records that a rule, or the lack of one, refuses it, and returns what the child gets.
    pub fn deny(&self, recorder: &mut dyn Recorder, denial: &Denial) -> Errno {
        let detail = denial.to_string();
        let why = Why {
            reason: Some(denial.reason),
            rule: denial.rule.as_ref(),
            detail: &detail,
        };
        let errno = match denial.reason {
            // Programs know what to do: they copy.
            Reason::WouldGain => Errno::EXDEV,
            _ => Errno::EACCES,
        };
        self.refuse(recorder, errno, why)
    }

    /// Records that it is refused for another reason, and returns what the child gets.
    pub fn fail(&self, recorder: &mut dyn Recorder, errno: Errno, why: &str) -> Errno {
        let why = Why {
            reason: None,
            rule: None,
            detail: why,
        };
        self.refuse(recorder, errno, why)
    }

    /// What the child gets for a failure, which is recorded when it is ours.
    pub fn answer(&self, recorder: &mut dyn Recorder, failure: Failure) -> Errno {
        match failure {
            Failure::Native(errno) => errno,
            Failure::Refused(errno, why) => self.fail(recorder, errno, why),
            Failure::Unreadable => {
                let why = "the memory of the caller cannot be read";
                self.fail(recorder, failure.errno(), why)
            }
            Failure::TooDeep => {
                let why = "its path is longer than any path may be";
                self.fail(recorder, failure.errno(), why)
            }
            Failure::WouldWait => self.fail(recorder, failure.errno(), "too much waits already"),
        }
    }

    fn refuse(&self, recorder: &mut dyn Recorder, errno: Errno, why: Why<'_>) -> Errno {
        let found = self.caller.found();
        let (process, exe) = found.unwrap_or((self.caller.thread.0, None));
        // A refusal stands, recorded or not.
        let _recorded = self.write(recorder, process, exe, Answer::Refused, |decision| {
            Decision {
                code: Some("denied"),
                errno: Some(errno),
                reason: why.reason,
                rule: why.rule,
                mechanism: Some(self.mechanism()),
                detail: Some(why.detail),
                ..decision
            }
        });
        errno
    }

    /// Who says no here.
    fn mechanism(&self) -> Mechanism {
        match self.call {
            _ if self.only_seen => Mechanism::Landlock,
            "connect" | "bind" | "listen" => Mechanism::ConnectDoor,
            _ => Mechanism::Broker,
        }
    }

    fn write<'b>(
        &'b self,
        recorder: &mut dyn Recorder,
        process: i32,
        exe: Option<Vec<u8>>,
        answer: Answer,
        fill: impl FnOnce(Decision<'b>) -> Decision<'b>,
    ) -> bool {
        let who = Who {
            pid: process,
            uid: nix::unistd::getuid().as_raw(),
            exe: None,
        };
        let differs = |asked: &&CStr| {
            self.located
                .is_none_or(|at| super::locate::as_path(asked) != at)
        };
        let decision = Decision {
            path: self.located.map(Bytes::from),
            asked: self
                .asked
                .filter(differs)
                .map(|asked| Bytes(asked.to_bytes())),
            address: self.address,
            access: self.access,
            flags: self.flags,
            ..Decision::new(Door::Call, self.call, who, answer)
        };
        let decision = fill(decision);
        let who = Who {
            exe: exe.as_deref().map(Bytes),
            ..decision.who
        };
        recorder
            .record(&Event::Decision(Decision { who, ..decision }))
            .is_ok()
    }
}
