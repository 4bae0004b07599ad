//! What can be asked of the daemon on the command line.

use super::client::Which;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use protocol::Scope;
use protocol::control::AutoRestart;
use std::path::PathBuf;
use std::time::Duration;

/// What all of them are told.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Common {
    /// The daemon.
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What is asked of the daemon.
#[derive(Debug, clap::Subcommand)]
pub enum WorkersAction {
    /// Show the daemon and its workers
    #[command(after_help = "Examples:\n  supervise status\n  supervise status index --json")]
    Status {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// List the workers, one a line
    Ps {
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Have workers run, and wait until they do
    #[command(
        after_help = "Examples:\n  supervise start\n  supervise start index-2\n  supervise start index --env TOKEN\n\nExit status: 0 when all of them run, 1 when one does not, 125 when the daemon cannot be asked."
    )]
    Start {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// Wait no longer than this
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        timeout: Option<Duration>,
        /// A variable of their environment from their next start on, if their policy lets it through, with our value or this one. All
        /// that are named take the place of those that were named before; they are kept in a file that only you can read
        #[arg(long, value_name = "NAME[=VALUE]", value_parser = parse_variable)]
        env: Vec<(String, String)>,
        /// Start them without the variables that were named before, and forget those
        #[arg(long, conflicts_with = "env")]
        forget_env: bool,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// End workers, and wait until they are gone; they stay so until somebody starts them
    Stop {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// How long they have before they are killed
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        grace: Option<Duration>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// End workers and start them again
    Restart {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// How long they have before they are killed
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        grace: Option<Duration>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Give a job to a worker, or go on with one
    #[command(subcommand)]
    Job(JobAction),
    /// Say whether workers that end are started again, and how often
    #[command(subcommand)]
    AutoRestart(AutoRestartAction),
    /// Show what is wanted of workers, whether it is so or not
    #[command(after_help = "Examples:\n  supervise desired\n  supervise desired index-1 --json")]
    Desired {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Have the daemon say what of this machine and account is not as workers need it
    #[command(
        after_help = "Examples:\n  supervise validate\n  supervise validate --json\n\nExit status: 0, 1 when something cannot work, 125 when the daemon cannot be asked."
    )]
    Validate {
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Read the pool file again: workers whose part of it changed are replaced, those that are no longer in it end
    #[command(
        after_help = "Example:\n  supervise reload && supervise status\n\nExit status: 0 when it was read, 125 when something is wrong with it: then all stays as it is."
    )]
    Reload {
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// End the daemon, its keeper and all workers, and wait until they are gone
    #[command(
        after_help = "Examples:\n  supervise shutdown\n  supervise shutdown --keep-workers   those that survive go on, and the next daemon finds them"
    )]
    Shutdown {
        /// Leave workers that survive their supervisor
        #[arg(long)]
        keep_workers: bool,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Print what a worker wrote: its standard output to ours, its standard error to ours
    #[command(
        after_help = "With --json a line for each part of what it wrote: `stream`, `text`, `next` (the place behind it), and how many bytes before it were\n`skipped`, as they are no longer there.\n\nExamples:\n  supervise logs -f index-1\n  supervise logs -n 5000 index-1"
    )]
    Logs {
        /// The worker
        worker: String,
        /// Go on with what it writes from now on
        #[arg(short, long)]
        follow: bool,
        /// The last lines of each
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
        lines: u32,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Print what happens, as it happens
    Events {
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// List what workers and runs ask for, and wait to be told
    Questions {
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Show all that lives on a screen that stays: workers and runs, how often something is decided about them, what they ask, what
    /// happens
    #[command(
        after_help = "Shown are the daemon's workers, and runs with --approver control. Nothing is answered; `supervise approve --tui` is the same\nscreen, and answers. `?` explains the keys. Needs a terminal; without one there are `supervise status`, `questions` and `events`.\n\nExamples:\n  supervise top\n  supervise top --config workers.toml       one daemon alone"
    )]
    Top {
        /// Which daemon.
        #[command(flatten)]
        which: Which,
    },
    /// Say yes to a question of a worker or a run; `supervise questions` lists those that wait
    #[command(
        after_help = "A yes holds as long as the rule that asks says (`ttl`), or else this once. Never longer than the rule says:\n  supervise approve 123456789 --remember 10m\n  supervise approve 123456789 --for-session\n  supervise approve 123456789 --scope process      as long as that process lives\n  supervise approve --tui                          all that waits, on a screen, to be answered by keys"
    )]
    Approve {
        /// Its number
        #[arg(required_unless_present = "tui")]
        question: Option<u64>,
        /// Show what waits, what lives and what happens on a screen that stays, and answer there
        #[arg(long, conflicts_with_all = ["question", "remember", "for_session", "scope", "json"])]
        tui: bool,
        /// For this long the same needs no new question; 0s: this once
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        remember: Option<Duration>,
        /// As long as the worker's process lives, the same needs no new question
        #[arg(long, conflicts_with = "remember")]
        for_session: bool,
        /// For whom the yes speaks when the same is asked for again: `once` for nobody, `process` for the process that asked,
        /// `subtree` for that and its descendants, `session` for all of the worker
        #[arg(long, value_name = "WHOM", value_parser = scopes())]
        scope: Option<Scope>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// List what was agreed to and still holds: what, for whom, for how long, and what was handed out under it
    #[command(
        after_help = "Whatever the policy allows without a question is not listed. What was agreed to for once is over, and neither is that.\n\nExample:\n  supervise grants index-1 --json"
    )]
    Grants {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Take back what was agreed to; `supervise grants` lists it
    #[command(
        after_help = "From then on whoever asks for the same file is refused, until the run ends, or the worker is started anew or served by another daemon,\nor is asked about again with --ask-again. A file that was handed out already stays open with who has it: no call takes it back, and this says\nwho got how many. To end those as well, end the worker. Connections are allowed by rules, never by an approval, and go on.\n\nExamples:\n  supervise revoke 123456789\n  supervise revoke --path /data --worker index\n  supervise revoke --all --ask-again\n\nExit status: 0, 1 when nothing like that holds, 125 when the daemon cannot be asked."
    )]
    #[command(group(clap::ArgGroup::new("what").required(true).args(["grant", "path", "all"])))]
    Revoke {
        /// Its number
        #[arg(value_name = "NUMBER", conflicts_with = "worker")]
        grant: Option<u64>,
        /// What was agreed to about this file or directory and all below it
        #[arg(long)]
        path: Option<PathBuf>,
        /// All that was agreed to
        #[arg(long)]
        all: bool,
        /// Of this worker or kind of workers alone
        #[arg(long)]
        worker: Option<String>,
        /// Ask again rather than refuse
        #[arg(long)]
        ask_again: bool,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Say no to a question of a worker or a run
    Refuse {
        /// Its number
        question: u64,
        /// And to the same whenever it is asked again, as long as the worker's process lives
        #[arg(long)]
        for_session: bool,
        /// How.
        #[command(flatten)]
        common: Common,
    },
}

/// Jobs.
#[derive(Debug, clap::Subcommand)]
pub enum JobAction {
    /// Give a job to a free worker, and print what came of it
    #[command(
        after_help = "Examples:\n  supervise job run index --input '{\"path\": \"a.txt\"}'\n  supervise job run index --input - --deadline 5m <job.json\n  supervise job run --queue 30s --input '\"a text\"'\n\nThe daemon may be killed or replaced meanwhile: the job goes on, and so does this command.\n\nExit status: 0 when it is done, 1 when it failed or nobody took it, 2 when it wants input (`supervise job continue`), 125 when the\ndaemon cannot be asked."
    )]
    Run {
        /// A worker, or a kind of workers; without it any that takes jobs
        worker: Option<String>,
        /// The job, in JSON; `-`: from standard input
        #[arg(long, value_name = "JSON", default_value = "null")]
        input: String,
        /// How long it may take
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        deadline: Option<Duration>,
        /// How long it may wait until a worker is free; without it, not at all
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        queue: Option<Duration>,
        /// The name of its session, 32 hex digits, by which to ask for it later; else one is made
        #[arg(long, value_name = "SID")]
        session: Option<String>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Give a job what it wants, or without that wait for what comes of it
    #[command(
        after_help = "Examples:\n  supervise job continue 0123456789abcdef0123456789abcdef --input '\"yes\"'\n  supervise job continue 0123456789abcdef0123456789abcdef   (its result, again if need be)\n\nExit status: as with `supervise job run`."
    )]
    Continue {
        /// The session
        sid: String,
        /// What it wants, in JSON; `-`: from standard input
        #[arg(long, value_name = "JSON")]
        input: Option<String>,
        /// How long it may take
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        deadline: Option<Duration>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
}

/// Restarts.
#[derive(Debug, clap::Subcommand)]
pub enum AutoRestartAction {
    /// Start workers that end again, as the pool file says, or as is said here; it is kept until something else is said
    #[command(
        after_help = "Examples:\n  supervise auto-restart enable index\n  supervise auto-restart enable index-1 --burst 10 --within 1m --delay 500ms --longest-delay 10s"
    )]
    Enable {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// At most so many times …
        #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
        burst: Option<u32>,
        /// … in so long
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        within: Option<Duration>,
        /// The first wait; each further one is twice as long …
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        delay: Option<Duration>,
        /// … up to this
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_time)]
        longest_delay: Option<Duration>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
    /// Have workers that end stay so, until it is enabled again
    Disable {
        /// A worker, or a kind of workers; all without it
        worker: Option<String>,
        /// How.
        #[command(flatten)]
        common: Common,
    },
}

impl AutoRestartAction {
    /// Whom it concerns and how, what they are to do, if they are to do it.
    pub fn parts(&self) -> (Option<String>, &Common, Option<AutoRestart>) {
        match self {
            Self::Disable { worker, common } => (worker.clone(), common, None),
            Self::Enable {
                worker,
                burst,
                within,
                delay,
                longest_delay,
                common,
            } => {
                let config = AutoRestart {
                    burst: *burst,
                    within_ms: within.map(super::milliseconds),
                    delay_ms: delay.map(super::milliseconds),
                    longest_delay_ms: longest_delay.map(super::milliseconds),
                };
                (worker.clone(), common, Some(config))
            }
        }
    }
}

fn scopes() -> impl TypedValueParser<Value = Scope> {
    let words = PossibleValuesParser::new(Scope::ALL.map(Scope::as_str));
    words.try_map(|word| Scope::from_name(&word).ok_or("no such word"))
}

/// A variable and its value, which is ours where none is said: what is said is seen by everybody who lists processes.
fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        None if !text.is_empty() => match std::env::var(text) {
            Ok(value) => Ok((text.to_owned(), value)),
            Err(error) => Err(error.to_string()),
        },
        _ => Err("write it like NAME or NAME=VALUE".to_owned()),
    }
}
