//! A broker, a log and a directory to try them on.

use crate::harness::Workspace;
use crate::harness::run::{DEADLINE, run};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::{Access, Code, Create, OpenFlags, OpenRequest, RequestedPath};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::audit::Log;
use supervisor::broker::{Broker, Claim, Grant, Outcome, Peer, Progress, Refusal, Seat, Ticket};
use supervisor::policy::{Approver, BrokerRules, NoFiles, Policy, Ruleset, Transparent};
use supervisor::sources::{FileSystem, gather};

pub struct Rig {
    pub broker: Broker,
    pub log: Log,
    pub place: Workspace,
    /// Where the log lies.
    pub state: Workspace,
}

/// A policy text in which `$P` is a directory.
pub fn ruleset(text: &str, place: &Path) -> Ruleset {
    let text = text.replace("$P", place.to_str().expect("a name that is text"));
    let text = format!("version = 1\nbase = false\ntmp = \"none\"\n{text}");
    let policy =
        Policy::parse("policy.toml", &text, &mut NoFiles).unwrap_or_else(|e| panic!("{e}"));
    let facts = gather(&[], None, "/nowhere".into(), None).expect("facts");
    Ruleset::compile(&[policy], &facts, &FileSystem, &[]).unwrap_or_else(|e| panic!("{e}"))
}

/// A rule of `[[request]]` form.
pub fn rule(path: &str, access: &str, more: &str) -> String {
    format!("[[request]]\npath = \"{path}\"\naccess = [{access}]\n{more}\n")
}

/// Everything below `$P/open` may be read and written.
pub fn open_below() -> String {
    rule("$P/open", "\"read\", \"write\"", "decision = \"allow\"")
}

impl Rig {
    /// A rig whose policy is `text`, in a directory that `prepare` fills first.
    pub fn new(text: &str, approver: Approver, prepare: impl FnOnce(&Workspace)) -> Self {
        Self::with_timeout(text, approver, Duration::from_secs(30), prepare)
    }

    pub fn with_timeout(
        text: &str,
        approver: Approver,
        timeout: Duration,
        prepare: impl FnOnce(&Workspace),
    ) -> Self {
        Self::with_seat(text, approver, timeout, None, prepare)
    }

    /// A rig whose questions are put on a board.
    pub fn with_seat(
        text: &str,
        approver: Approver,
        timeout: Duration,
        seat: Option<Seat>,
        prepare: impl FnOnce(&Workspace),
    ) -> Self {
        let place = Workspace::open_to_all();
        place.make_dir("open");
        prepare(&place);
        let ruleset = Arc::new(ruleset(text, &place.path()));
        let rules = BrokerRules {
            approver,
            timeout,
            transparent: Transparent::Auto,
        };
        let state = Workspace::new();
        Self {
            broker: Broker::new(ruleset, &rules, seat).expect("a broker"),
            log: Log::create(&state.join("audit.jsonl")).expect("a log"),
            place,
            state,
        }
    }

    /// Makes a claim in the name of this very process.
    pub fn claim(&mut self, request: OpenRequest) -> Progress {
        let own = sys::pidfd::Pidfd::open(std::process::id() as i32).expect("we live");
        let peer = Peer {
            pid: std::process::id() as i32,
            uid: nix::unistd::geteuid().as_raw(),
            pidfd: Some(own.as_fd()),
        };
        self.claim_of(&peer, request)
    }

    pub fn claim_of(&mut self, peer: &Peer<'_>, request: OpenRequest) -> Progress {
        match Claim::new(request) {
            Ok(claim) => self.broker.claim(&mut self.log, peer, claim),
            Err(refusal) => Progress::Done(Outcome::Refused(refusal)),
        }
    }

    /// Makes a claim that is not answered at once.
    #[track_caller]
    pub fn pend(&mut self, request: OpenRequest) -> Ticket {
        match self.claim(request) {
            Progress::Pending(ticket) => ticket,
            Progress::Done(outcome) => panic!("answered at once: {outcome:?}"),
        }
    }

    /// Waits for the answer of a claim that pends. No other must be answered meanwhile.
    #[track_caller]
    pub fn wait(&mut self, ticket: Ticket) -> Outcome {
        let mut all = self.wait_for(1);
        let (answered, outcome) = all.pop().expect("one answer");
        assert_eq!(answered, ticket);
        outcome
    }

    /// Waits for answers, as a session does: asleep until the broker wakes it.
    #[track_caller]
    pub fn wait_for(&mut self, count: usize) -> Vec<(Ticket, Outcome)> {
        let deadline = Instant::now() + DEADLINE;
        let mut answered = Vec::new();
        while answered.len() < count {
            assert!(Instant::now() < deadline, "no answer in {DEADLINE:?}");
            let mut fds = [PollFd::new(self.broker.wake_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(1000u16)).expect("the broker can be polled");
            let is_awake = fds[0].any() == Some(true);
            let more = self.broker.completed(&mut self.log);
            assert!(
                is_awake || more.is_empty(),
                "the broker had an answer and said nothing"
            );
            answered.extend(more);
        }
        answered
    }

    /// Makes a claim that the approver is asked about, and waits until it is.
    #[track_caller]
    pub fn pend_asked(&mut self, request: OpenRequest) -> Ticket {
        let before = self.log.counts().asked;
        let ticket = self.pend(request);
        let deadline = Instant::now() + DEADLINE;
        while self.log.counts().asked == before {
            assert!(
                Instant::now() < deadline,
                "nobody was asked in {DEADLINE:?}"
            );
            let mut fds = [PollFd::new(self.broker.wake_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(1000u16)).expect("the broker can be polled");
            assert!(self.broker.completed(&mut self.log).is_empty());
        }
        ticket
    }

    /// Makes a claim and waits for its answer.
    #[track_caller]
    pub fn ask(&mut self, request: OpenRequest) -> Outcome {
        match self.claim(request) {
            Progress::Done(outcome) => outcome,
            Progress::Pending(ticket) => self.wait(ticket),
        }
    }

    /// Makes a claim that must be granted.
    #[track_caller]
    pub fn granted(&mut self, request: OpenRequest) -> Grant {
        granted(self.ask(request))
    }

    /// Makes a claim that must be refused.
    #[track_caller]
    pub fn refused(&mut self, request: OpenRequest) -> Refusal {
        refused(self.ask(request))
    }

    /// The records so far.
    pub fn records(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.log.path()).expect("a log");
        let report = supervisor::audit::verify(text.as_bytes()).expect("it can be read");
        assert_eq!(report.fault, None);
        let parse = |line| serde_json::from_str(line).expect("a record");
        text.lines().map(parse).collect()
    }
}

#[track_caller]
pub fn granted(outcome: Outcome) -> Grant {
    match outcome {
        Outcome::Granted(grant) => grant,
        Outcome::Refused(refusal) => panic!("refused: {refusal:?}"),
    }
}

#[track_caller]
pub fn refused(outcome: Outcome) -> Refusal {
    match outcome {
        Outcome::Granted(grant) => panic!("granted: {grant:?}"),
        Outcome::Refused(refusal) => refusal,
    }
}

#[track_caller]
pub fn denied(refusal: &Refusal) {
    assert_eq!(refusal.code, Code::Denied, "{refusal:?}");
}

/// A request to read.
pub fn read(path: impl AsRef<Path>) -> OpenRequest {
    OpenRequest {
        id: 1,
        path: RequestedPath::new(path.as_ref().as_os_str().as_bytes()).expect("a path"),
        access: Access::Read,
        flags: OpenFlags::NONE,
        create: Create::No,
        mode: 0o666,
        why: None,
    }
}

/// A request to write.
pub fn write(path: impl AsRef<Path>) -> OpenRequest {
    OpenRequest {
        access: Access::Write,
        ..read(path)
    }
}

/// A request to make and write.
pub fn create(path: impl AsRef<Path>, create: Create) -> OpenRequest {
    OpenRequest {
        create,
        ..write(path)
    }
}

pub fn content(grant: Grant) -> String {
    let mut text = String::new();
    let mut file = File::from(grant.fd);
    file.read_to_string(&mut text).expect("it can be read");
    text
}

const INNER: &str = "SUPERVISE_TEST_INNER";

/// Whether this is the process that [`inner`] starts.
pub fn is_inner() -> bool {
    std::env::var_os(INNER).is_some()
}

/// Sees one test pass in a process of its own.
#[track_caller]
pub fn passes(inner: &mut Command) {
    let ran = run(inner);
    assert!(ran.status.success(), "{ran:?}");
    assert!(ran.stdout.contains("1 passed"), "{ran:?}");
}

/// This test again, in a process of its own.
pub fn inner(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its own file"));
    command
        .args([test, "--exact", "--nocapture"])
        .env(INNER, "1");
    command
}
