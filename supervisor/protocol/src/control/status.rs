//! How workers are, what is wanted of them, and what else can be asked about them.

use serde::{Deserialize, Serialize};

use super::Ended;
use crate::Scope;

/// The version of what `status` answers, which programs read from `status --json`.
pub const SCHEMA: u32 = 1;

crate::listed! {
    /// How a worker's life goes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum LifecycleState {
        /// It was never started.
        Idle,
        /// It was started, and is not ready.
        Starting,
        /// It is ready.
        Running,
        /// It was told to end, and has not.
        Stopping,
        /// It ended, and its processes are gone.
        Stopped,
        /// It ended though it is wanted, and is being started again.
        Recovering,
        /// It is wanted and not there, and will be started when a delay is over or a daemon is there.
        RecoveryPending,
        /// It is wanted, and was given up: `detail` says why.
        Error,
        /// It cannot be started as things are: its policy, its file, a feature of the kernel.
        Blocked,
        /// A word that this version does not know.
        #[serde(other)]
        Unknown,
    }
}

crate::listed! {
    /// Why a worker stopped.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum StopReason {
        /// The user said so.
        User,
        /// A program said so, over the control socket.
        App,
        /// It did what it was there for.
        Completed,
        /// It had nothing to do for long enough. The next job starts it again.
        Idle,
        /// It failed.
        Error,
        /// Its process ended by itself, or was killed.
        ProcessExit,
        /// The machine was started again.
        OsRestart,
        /// The daemon was told to end.
        DaemonTerminated,
        /// Another version takes its place.
        Upgrade,
        /// It had done as many jobs, or used as much, as one worker shall.
        Recycled,
        /// A word that this version does not know.
        #[serde(other)]
        Unknown,
    }
}

impl StopReason {
    /// Whether the worker is no longer wanted after that.
    #[must_use]
    pub const fn clears_desired_state(self) -> bool {
        matches!(self, Self::User | Self::App | Self::Completed)
    }
}

/// The data of the answer to `status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The daemon.
    pub daemon: DaemonStatus,
    /// Its workers, by id.
    pub workers: Vec<WorkerStatus>,
    /// There are more workers: ask for those `after` this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<String>,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// Its process.
    pub pid: u32,
    /// The keeper's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper_pid: Option<u32>,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Another one for each daemon.
    #[serde(default)]
    pub daemon: String,
    /// When it began, in milliseconds of Unix time.
    #[serde(default)]
    pub since_unix_ms: u64,
    /// The pool file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Jobs that wait for a free worker.
    #[serde(default)]
    pub queued: u64,
    /// Questions that wait for the operator.
    #[serde(default)]
    pub questions: u64,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its name.
    pub id: String,
    /// What kind of worker it is.
    pub kind: String,
    /// How it is.
    pub state: LifecycleState,
    /// Whether it is wanted.
    pub desired: bool,
    /// Its process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Which start of it this is: another one each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Where it can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// When this state began, in milliseconds of Unix time.
    #[serde(default)]
    pub since_unix_ms: u64,
    /// Whether an earlier daemon started it.
    #[serde(default)]
    pub reattached: bool,
    /// How it was found to be the process it was, from the strongest means: `pidfs-handle`, `pidfs-inode`, `start-time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// Whether it answers on its endpoint; one that does not is kept by its process alone.
    #[serde(default)]
    pub speaks: bool,
    /// What it has lost, if anything, such as its listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
    /// Whether it is started again when it ends.
    #[serde(default)]
    pub auto_restart: bool,
    /// How often it was started again since it last ran well.
    #[serde(default)]
    pub restart_attempt: u32,
    /// The session whose job runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// Jobs that it did.
    #[serde(default)]
    pub jobs: u64,
    /// How its last process ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Ended>,
    /// Why it stopped last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
    /// More about its state, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The data of the answer to `get_lifecycle_status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleStatus {
    /// How it is.
    pub state: LifecycleState,
    /// Whether it is wanted.
    pub desired: bool,
    /// Why it stopped last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<StopReason>,
    /// How often it was started again since it last ran well.
    #[serde(default)]
    pub restart_attempt: u32,
    /// More, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether the client made it up, because there is no daemon to ask.
    #[serde(default)]
    pub synthesized: bool,
}

/// What is wanted of one worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredState {
    /// Its name.
    pub worker: String,
    /// Whether it shall run.
    pub running: bool,
    /// Whether it is started again when it ends.
    pub auto_restart: bool,
    /// How, where somebody said another way than the pool file's.
    #[serde(default, skip_serializing_if = "AutoRestart::is_usual")]
    pub restart: AutoRestart,
    /// The names of the variables that it was started with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// What changed that last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<StopReason>,
    /// When, in milliseconds of Unix time.
    #[serde(default)]
    pub since_unix_ms: u64,
}

/// How a worker that ends is started again. What is left out is as the pool file has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoRestart {
    /// At most so many starts …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// … in so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
    /// The first delay; each further one is twice as long …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// … up to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_delay_ms: Option<u64>,
}

impl AutoRestart {
    /// Whether all is as the pool file has it.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// Something about the machine or the account that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable word.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

crate::listed! {
    /// How bad a [`Finding`] is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Severity {
        /// Good to know.
        Info,
        /// Something works less well.
        Warning,
        /// Something cannot work.
        Error,
        /// A word that this version does not know.
        #[serde(other)]
        Unknown,
    }
}

/// What a worker asked for, and an operator has to decide. Paths and reasons are a stranger's text, to be shown escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Its number: random, so that one of an earlier daemon means nothing to a later one.
    pub question: u64,
    /// Who asks.
    pub worker: String,
    /// What it wants to do, such as `read` or `connect`.
    pub access: String,
    /// To what.
    pub object: String,
    /// Its second name, where it is to be moved or linked; what a symbolic link is to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The process that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The program that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Who started it, and who started that one, as far as they are in its sandbox.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Ancestor>,
    /// Where the rule stands that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What the worker gives as its reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// For whom a yes speaks that says no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// For how long such a yes holds, if the rule says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds_ms: Option<u64>,
    /// For whom a yes can speak at most, where one for longer than once can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<Scope>,
    /// How long it will still wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
}

/// What was agreed to and still holds. The object and the program are a stranger's text, to be shown escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its number.
    pub grant: u64,
    /// Whose.
    pub worker: String,
    /// What may be done without a question.
    pub access: String,
    /// To what.
    pub object: String,
    /// For whom it speaks.
    pub scope: Scope,
    /// The process that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The program that this ran then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Where the rule stands that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The user who agreed, if it was an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_uid: Option<u32>,
    /// How much longer it holds; left out: as long as those for whom it speaks live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining_ms: Option<u64>,
    /// How many descriptors were handed out under it. No call takes these back from who has them.
    #[serde(default)]
    pub handed: u64,
    /// Who got the last of them, the last one last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last: Vec<Handed>,
}

/// Who got a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// The process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The program that it ran then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// How long ago.
    pub ago_ms: u64,
}

/// A process that started another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// Its number.
    pub pid: u32,
    /// The program that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// What a worker writes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
}

/// The data of the answer to `logs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogChunk {
    /// What was written; bytes that are no text are replaced.
    pub text: String,
    /// The place behind it, to be given as `after`.
    pub next: u64,
    /// How many bytes between `after` and this text were thrown away meanwhile.
    #[serde(default)]
    pub skipped: u64,
    /// Whether more is there already.
    #[serde(default)]
    pub more: bool,
}
