//! A tree, a policy for it that compiles, and a broker.

use crate::chance::Chance;
use crate::harness::run::DEADLINE;
use crate::law::{self, Law, Rule};
use crate::tree;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::audit::Log;
use supervisor::broker::{Broker, Claim, Outcome, Peer, Progress};
use supervisor::policy::{Approver, BrokerRules, NoFiles, Policy, Ruleset, Transparent};
use supervisor::sources::{FileSystem, gather};
use sys::pidfd::Pidfd;

pub struct Stage {
    place: tempfile::TempDir,
    pub ruleset: Arc<Ruleset>,
    pub law: Law,
    texts: Vec<String>,
    seed: u64,
    broker: Broker,
    log: Log,
    own: Pidfd,
}

/// In memory where that can be had.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let mut made = tempfile::Builder::new();
    made.prefix("supervise-model-");
    let in_memory = made.tempdir_in(memory);
    let directory = in_memory.or_else(|_| made.tempdir()).expect("a directory");
    for name in ["top", "log"] {
        std::fs::create_dir(directory.path().join(name)).expect("a directory");
    }
    directory
}

fn compile(texts: &[String]) -> Option<Ruleset> {
    let parse = |text| Policy::parse("policy.toml", text, &mut NoFiles);
    let policies: Result<Vec<_>, _> = texts.iter().map(|text| parse(text)).collect();
    // What the language does not take is found by other tests; what means nothing in this tree has to be said again.
    let policies = policies.unwrap_or_else(|error| panic!("{error}\n{}", texts.join("---\n")));
    let facts = gather(&[], None, "/nowhere".into(), None).expect("facts");
    Ruleset::compile(&policies, &facts, &FileSystem, &[]).ok()
}

impl Stage {
    /// Whatever the seed makes of it. `prepare` is done to the tree before rules are made for it.
    pub fn set(seed: u64, chance: &mut Chance, prepare: impl FnOnce(&mut Chance, &Path)) -> Self {
        let place = directory();
        let top = place
            .path()
            .canonicalize()
            .expect("it is there")
            .join("top");
        tree::plant(chance, &top);
        prepare(chance, &top);
        let (layers, texts, ruleset) = loop {
            let count = if chance.one_in(5) { 2 } else { 1 };
            let layers: Vec<Vec<Rule>> =
                (0..count).map(|_| law::some_rules(chance, &top)).collect();
            let texts: Vec<String> = layers.iter().map(|rules| law::text(rules)).collect();
            if let Some(ruleset) = compile(&texts) {
                break (layers, texts, ruleset);
            }
        };
        for directory in ruleset.make_dirs() {
            std::fs::create_dir(directory).expect("it was missing");
        }
        let law = Law::read(&layers, &top);
        let ruleset = Arc::new(ruleset);
        let rules = BrokerRules {
            approver: Approver::Deny,
            timeout: Duration::from_secs(30),
            transparent: Transparent::Auto,
        };
        let pid = std::process::id() as i32;
        Self {
            broker: Broker::new(Arc::clone(&ruleset), &rules, None).expect("a broker"),
            log: Log::create(&place.path().join("log/audit.jsonl")).expect("a log"),
            own: Pidfd::open(pid).expect("we live"),
            place,
            ruleset,
            law,
            texts,
            seed,
        }
    }

    pub fn top(&self) -> PathBuf {
        self.place
            .path()
            .canonicalize()
            .expect("it is there")
            .join("top")
    }

    /// What a claim yields, however long it takes.
    pub fn answer(&mut self, claim: Claim) -> Outcome {
        let peer = Peer {
            pid: std::process::id() as i32,
            uid: nix::unistd::geteuid().as_raw(),
            pidfd: Some(self.own.as_fd()),
        };
        if let Progress::Done(outcome) = self.broker.claim(&mut self.log, &peer, claim) {
            return outcome;
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "no answer in {DEADLINE:?}");
            let mut fds = [PollFd::new(self.broker.wake_fd(), PollFlags::POLLIN)];
            // An interrupted wait is a short wait.
            let _ready = poll(&mut fds, PollTimeout::from(1000u16));
            if let Some((_, outcome)) = self.broker.completed(&mut self.log).pop() {
                return outcome;
            }
        }
    }

    /// All that it takes to see it again.
    pub fn story(&self) -> String {
        format!(
            "seed {}\n{}{}",
            self.seed,
            self.texts.join("---\n"),
            tree::show(&self.top())
        )
    }
}
