//! The pool file: which workers there are, and how each is kept.

mod read;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// A pool file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolFile {
    /// What it says about the daemon itself.
    pub daemon: DaemonSettings,
    /// The kinds of workers, as they stand in the file.
    pub kinds: Vec<Kind>,
}

/// `[daemon]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonSettings {
    /// The group whose members may control the daemon too; without it: its own user alone.
    pub control_group: Option<String>,
    /// Where sockets, locks and the ledger of jobs are, instead of the usual place.
    pub runtime: Option<PathBuf>,
    /// Where desired state, manifests and logs are kept, instead of the usual place.
    pub state: Option<PathBuf>,
    /// Where each worker has its directory (`$WORKER_DIR`), instead of the usual place.
    pub workers: Option<PathBuf>,
}

/// `[[worker]]`: one kind of worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name. A worker of it is called by the name and a number: `index-1`.
    pub name: String,
    /// The program and its arguments; see [`Variables::expand`].
    pub command: Vec<String>,
    /// The policies: names of presets, and paths.
    pub policy: Vec<String>,
    /// How many there are.
    pub count: u32,
    /// Where it starts, by default in its own directory.
    pub directory: Option<String>,
    /// What its environment has beside what the policy passes.
    pub env: Vec<(String, String)>,
    /// How long one that takes jobs may have none; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// How long one that was asked to end may take before it is killed.
    pub stop_timeout: Duration,
    /// When it is started again.
    pub restart: Restart,
    /// What becomes of it when nobody supervises any more.
    pub on_supervisor_exit: OnSupervisorExit,
    /// It is replaced by a new one after so much.
    pub recycle: Recycle,
    /// Whether it takes jobs.
    pub speaks: Speaks,
    /// Its logs.
    pub log: LogRules,
    /// How the executable of one that lives is compared to what was started.
    pub exe_check: ExeCheck,
}

/// When a worker that ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// After which ends.
    pub when: RestartWhen,
    /// It is given up when it was started again so many times ...
    pub burst: u32,
    /// ... in so much time.
    pub window: Duration,
    /// The wait before the first start; each further one is twice as long.
    pub backoff: Duration,
    /// No wait is longer.
    pub backoff_most: Duration,
}

/// After which ends a worker is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartWhen {
    /// Every one that nobody asked for.
    Always,
    /// Every one but an exit status of 0, which means that its task is completed.
    OnFailure,
    /// None.
    Never,
}

/// What becomes of a worker when its keeper is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSupervisorExit {
    /// It ends.
    Kill,
    /// It goes on, and what needs a supervisor's decision is refused.
    Survive,
}

/// After how much a worker is replaced by a new one. It finishes its job first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recycle {
    /// Jobs that it was given.
    pub jobs: Option<u64>,
    /// Bytes of requests and responses.
    pub bytes: Option<u64>,
}

/// What a worker speaks on its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// The pool protocol: it takes jobs.
    Pool,
    /// Nothing. It is kept, and known by its process alone.
    Nothing,
}

/// How much of a worker's output is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRules {
    /// A file that has grown so large is put aside.
    pub size: u64,
    /// So many files there are, the one that is being written included.
    pub count: u32,
}

/// How the executable of a living worker is compared to what was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExeCheck {
    /// It must be readable, and the same.
    Require,
    /// It must be the same where it is readable.
    Prefer,
    /// It is not looked at.
    Skip,
}

impl PoolFile {
    /// The kind of that name.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }
}

impl Kind {
    /// Whether a worker of this kind is started as one of the other is. What else differs is how it is kept while it runs.
    #[must_use]
    pub fn starts_like(&self, other: &Self) -> bool {
        let born = |kind: &Self| (kind.speaks, kind.on_supervisor_exit);
        let given = |kind: &Self| (kind.directory.clone(), kind.env.clone());
        self.command == other.command
            && self.policy == other.policy
            && born(self) == born(other)
            && given(self) == given(other)
    }

    /// The names of its workers.
    pub fn ids(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.count).map(|number| format!("{}-{number}", self.name))
    }
}

/// What differs from worker to worker.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// `$WORKER_ID`
    pub id: &'a str,
    /// `$WORKER_DIR`
    pub directory: &'a Path,
}

impl Variables<'_> {
    /// Replaces `$WORKER_ID` and `$WORKER_DIR`, with braces or without. Everything else stays as it is: a command may be a shell's
    /// script, with dollars of its own.
    #[must_use]
    pub fn expand(&self, text: &str) -> String {
        let directory = self.directory.to_string_lossy();
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at..];
            let known = [("WORKER_ID", self.id), ("WORKER_DIR", &*directory)];
            let found = known
                .into_iter()
                .find_map(|(name, value)| named(rest, name).map(|length| (length, value)));
            let (length, value) = found.unwrap_or((1, "$"));
            expanded.push_str(value);
            rest = &rest[length..];
        }
        expanded.push_str(rest);
        expanded
    }
}

/// The length of the variable `name` at the beginning of a text, if it is that one.
fn named(text: &str, name: &str) -> Option<usize> {
    let braced = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_prefix(name))
        .is_some_and(|rest| rest.starts_with('}'));
    if braced {
        return Some(name.len() + 3);
    }
    let rest = text.strip_prefix('$')?.strip_prefix(name)?;
    let goes_on = rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    (!goes_on).then_some(name.len() + 1)
}

impl Kind {
    /// A kind that no pool file names any more.
    pub(super) fn unnamed(name: String) -> Self {
        Self {
            name,
            ..Self::bare()
        }
    }

    /// What a kind is of which nothing is said.
    fn bare() -> Self {
        Self {
            name: String::new(),
            command: Vec::new(),
            policy: Vec::new(),
            count: 1,
            directory: None,
            env: Vec::new(),
            idle_timeout: Some(Duration::from_secs(1800)),
            stop_timeout: Duration::from_secs(10),
            restart: Restart::USUAL,
            on_supervisor_exit: OnSupervisorExit::Kill,
            recycle: Recycle::default(),
            speaks: Speaks::Pool,
            log: LogRules {
                size: 10 << 20,
                count: 5,
            },
            exe_check: ExeCheck::Require,
        }
    }
}

impl Restart {
    /// As it is where nothing is said.
    pub const USUAL: Self = Self {
        when: RestartWhen::OnFailure,
        burst: 3,
        window: Duration::from_secs(30),
        backoff: Duration::from_secs(1),
        backoff_most: Duration::from_secs(30),
    };

    /// How long is waited before the `attempt`th start in a row, counted from 1.
    #[must_use]
    pub fn wait(&self, attempt: u32) -> Duration {
        let doubled = 1u32
            .checked_shl(attempt.saturating_sub(1))
            .and_then(|factor| self.backoff.checked_mul(factor));
        doubled.map_or(self.backoff_most, |wait| wait.min(self.backoff_most))
    }
}
