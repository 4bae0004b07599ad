//! What can be said on the command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

/// Run a command in a sandbox, without root, namespaces or a container.
#[derive(Debug, Parser)]
#[command(
    name = "supervise",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    override_usage = "supervise [run] [OPTIONS] -- COMMAND [ARGS]...\n       supervise <SUBCOMMAND>",
    after_help = EXAMPLES
)]
pub struct Cli {
    /// What to do; without a subcommand: run.
    #[command(subcommand)]
    pub action: Option<Action>,
    /// Run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What a line without a subcommand can hold, which is what nearly every start is given.
#[derive(Debug, Parser)]
#[command(name = "supervise", disable_help_flag = true)]
struct Plain {
    #[command(flatten)]
    run: RunArgs,
}

impl Cli {
    /// Reads a command line. To set up all subcommands takes most of the time that it takes to read one, so this is done only
    /// for what cannot be read without; that is also who says what is wrong.
    ///
    /// # Errors
    /// What clap has to say: help, the version, bad usage.
    pub fn read(words: &[OsString]) -> Result<Self, clap::Error> {
        // With no flag at all there is nothing to read.
        if let [_, dashes, command @ ..] = words
            && dashes == "--"
            && !command.is_empty()
        {
            let command = command.to_vec();
            let run = RunArgs {
                command,
                ..RunArgs::default()
            };
            return Ok(Self { action: None, run });
        }
        match Plain::try_parse_from(words) {
            Ok(Plain { run }) => Ok(Self { action: None, run }),
            Err(_) => Self::try_parse_from(words),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  supervise -- make test                            the built-in policy: read the system, write here, no network
  supervise -p build -- cargo build --offline       a shipped preset; `supervise presets` lists them
  supervise -p policy.toml -- ./untrusted           a policy of your own; `supervise init` writes one
  supervise --read in.pdf --write out -- pdftotext in.pdf out/x
  supervise check policy.toml                       what a policy gives, and by which mechanism
  supervise explain -p policy.toml read ~/.ssh/id_rsa
  supervise --pty -p agent -- bash                  in a terminal of its own, which cannot reach yours
  supervise learn -o policy.toml -- make test       the policy that a command needs, from a run of it
  supervise explain --last                          why the last run was refused what it was, and what to do about it

Exit status: the command's own; 128 and the signal when one killed it; 124 when its time was over; 125 when supervise itself
failed; 126 when the command cannot be executed; 127 when it is not found.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run a command in a sandbox (the default)
    Run(Box<RunArgs>),
    /// Ask the supervisor for a file, from inside a sandbox
    Request(crate::commands::request::RequestArgs),
    /// List the policies that are compiled in
    Presets,
    /// Print a preset, with its comments
    Show {
        /// The preset's name
        name: String,
    },
    /// Write a policy of your own to begin with; nothing is overwritten
    #[command(
        after_help = "Example:\n  supervise init --preset agent && supervise check policy.toml"
    )]
    Init {
        /// The preset that it extends
        #[arg(long, default_value = "build")]
        preset: String,
        /// The file to make
        #[arg(default_value = "policy.toml")]
        file: PathBuf,
    },
    /// Say what a policy gives, rule by rule, and who makes it so
    #[command(
        after_help = "Examples:\n  supervise check policy.toml\n  supervise check build --json\n  supervise check -p user.toml -p project.toml"
    )]
    Check {
        /// A policy file or a preset; the same as a first `--policy`
        #[arg(value_name = "POLICY")]
        file: Option<PathBuf>,
        /// The policy
        #[command(flatten)]
        policy: Box<PolicyArgs>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether something may be done, and by which rule; or why a run was refused what it was, and what to do about it
    Explain(Box<crate::commands::explain::ExplainArgs>),
    /// Run a command with everything seen and written down, and write the policy that it needs
    Learn(Box<crate::commands::learn::LearnArgs>),
    /// Look at the record of what was decided
    #[command(subcommand)]
    Audit(crate::commands::audit::AuditAction),
    /// Write what the record says of runs, for people, for programs or for continuous integration
    Report(Box<crate::commands::report::ReportArgs>),
    /// Make a policy of what another sandbox was told
    Import(crate::commands::import::ImportArgs),
    /// Keep workers in sandboxes that outlive the daemon that serves them
    Daemon(crate::commands::daemon::DaemonArgs),
    /// What is asked of the daemon.
    #[command(flatten)]
    Workers(crate::commands::workers::WorkersAction),
    /// Print the JSON schema of our files, for editors, or of what we print, for programs
    #[command(
        after_help = "Example:\n  supervise schema policy > policy.schema.json\nand as the first line of a policy, for editors that use taplo:\n  #:schema ./policy.schema.json"
    )]
    Schema {
        /// Of what
        #[arg(default_value = "policy")]
        of: crate::commands::schema::File,
    },
    /// Print what a shell completes this command by
    #[command(
        after_help = "Examples:\n  supervise completions bash > ~/.local/share/bash-completion/completions/supervise\n  supervise completions zsh > \"${fpath[1]}/_supervise\"\n  supervise completions fish > ~/.config/fish/completions/supervise.fish"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each subcommand
    #[command(
        after_help = "Examples:\n  supervise man | man -l -\n  supervise man --to ~/.local/share/man/man1"
    )]
    Man {
        /// Write the pages into this directory, which is made where there is none
        #[arg(long = "to", value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
    /// Say which layers of the sandbox this machine can give
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What `explain` is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Question {
    /// Reading a file, listing a directory
    Read,
    /// Changing a file, or what is in a directory
    Write,
    /// Executing a file
    Exec,
    /// Connecting to an address over TCP
    Connect,
    /// Binding a TCP socket to an address
    Bind,
    /// Connecting to a socket file
    Unix,
}

impl Question {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Exec => "exec",
            Self::Connect => "connect",
            Self::Bind => "bind",
            Self::Unix => "unix",
        }
    }
}

/// Which policy applies, for all that need one.
#[derive(Clone, Debug, Default, Args)]
pub struct PolicyArgs {
    /// A policy file (a path with `/` or ending in `.toml`) or a preset by name; each further one can only narrow
    #[arg(short, long, value_name = "POLICY")]
    pub policy: Vec<OsString>,
    /// Let the command read this file, or directory and all below it
    #[arg(long, value_name = "PATH")]
    pub read: Vec<OsString>,
    /// Let the command read and write it
    #[arg(long, value_name = "PATH")]
    pub write: Vec<OsString>,
    /// Let the command read and execute it
    #[arg(long, value_name = "PATH")]
    pub exec: Vec<OsString>,
    /// Refuse it, whatever else allows it
    #[arg(long, value_name = "PATH")]
    pub deny: Vec<OsString>,
    /// Let the command connect to this TCP port: `IP:PORT`, `CIDR:PORT` or `*:PORT`
    #[arg(long, value_name = "ADDRESS")]
    pub connect: Vec<String>,
    /// Ask the approver when the command asks the supervisor for it
    #[arg(long, value_name = "PATH")]
    pub ask: Vec<OsString>,
    /// Keep a capability, where the caller has it
    #[arg(long, value_name = "NAME")]
    pub keep_cap: Vec<String>,
    /// Run also where these layers cannot be enforced, as `best_effort` in a policy says: net, unix, scope, metadata, limits,
    /// truncate, ioctl
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    pub best_effort: Vec<String>,
    /// Give a variable of the policy a value
    #[arg(long, value_name = "NAME=VALUE")]
    pub var: Vec<OsString>,
    /// Pass a variable of the environment on, or set it
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,
    /// Start in this directory, which is then also the policy's $PWD, and what --read and the like are relative to
    #[arg(long, value_name = "DIRECTORY")]
    pub chdir: Option<PathBuf>,
    /// Who answers questions: deny, allow, terminal, control (`supervise approve` at another terminal), or the path of a program and its
    /// arguments, divided at blanks or as a JSON list; it reads the question from its standard input, and 0 as its exit status is a yes
    #[arg(long, value_name = "APPROVER")]
    pub approver: Option<String>,
}

/// What comes out of a terminal of the command's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pty {
    /// What is harmless: text, colours, the cursor, other screens, the mouse
    Filtered,
    /// Everything, also what asks the terminal, names it, or uses the clipboard
    Passthrough,
}

/// How to run.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// The policy.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// End everything after this time (`90s`, `10m`, `1h30m`), with exit status 124
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub timeout: Option<Duration>,
    /// Append the record of this run to this file, by default one in $XDG_STATE_HOME/supervise
    #[arg(long, value_name = "FILE")]
    pub audit: Option<PathBuf>,
    /// Write what happens to this descriptor, one JSON object a line: start, orphans, timed-out, end or failed
    #[arg(long, value_name = "FD")]
    pub status_fd: Option<RawFd>,
    /// Have what the kernel refuses alone in the record, too, for `supervise explain`; nothing else changes, but an open takes
    /// some 12 µs of processor time more, a change of a name some 23 µs, and what is refused some 40 µs
    #[arg(long)]
    pub trace: bool,
    /// Have what is allowed in the record, too, each thing once.
    #[arg(skip)]
    pub everything: bool,
    /// Give the command a terminal of its own, shown on yours: it can then neither type into yours nor leave it without echo, and
    /// what it writes cannot reach the clipboard, the title or your keys. `--pty=passthrough` shows all that it writes as it is.
    /// Without a terminal it changes nothing, and what is no terminal (pipes, files) stays what it is
    #[arg(
        long,
        value_name = "OUTPUT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "filtered"
    )]
    pub pty: Option<Pty>,
    /// The policy, which is in no file, and where it would be.
    #[arg(skip)]
    pub text: Option<(String, PathBuf)>,
    /// Say what would be run, and what would enforce the policy; run nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Say how the command is confined, where the record is, and what came of it
    #[arg(short, long)]
    pub verbose: bool,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// A time such as `300ms`, `90s`, `10m` or `1h30m`; a bare number is seconds.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no time: write it like 300ms, 90s, 10m or 1h30m");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let value: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let step = match &rest[..unit] {
            "ms" => Some(Duration::from_millis(value)),
            "s" => Some(Duration::from_secs(value)),
            "" if text.len() == digits => Some(Duration::from_secs(value)),
            "m" => value.checked_mul(60).map(Duration::from_secs),
            "h" => value.checked_mul(3600).map(Duration::from_secs),
            _ => None,
        };
        total = step
            .and_then(|step| total.checked_add(step))
            .ok_or_else(bad)?;
        rest = &rest[unit..];
    }
    if text.is_empty() {
        Err(bad())
    } else {
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_needs_no_subcommand_and_may_have_flags_of_its_own() {
        let cli =
            Cli::try_parse_from(["supervise", "-p", "build", "--", "ls", "-p", "--json"]).unwrap();
        assert!(cli.action.is_none());
        assert_eq!(cli.run.command, ["ls", "-p", "--json"]);
        let cli = Cli::try_parse_from(["supervise", "run", "--", "doctor"]).unwrap();
        assert!(matches!(cli.action, Some(Action::Run(run)) if run.command == ["doctor"]));
        assert!(Cli::try_parse_from(["supervise", "ls"]).is_err());
        assert!(Cli::try_parse_from(["supervise"]).is_err());
    }

    #[test]
    fn what_can_be_read_without_subcommands_means_the_same_with_them() {
        let lines = [
            "-- ls",
            "-- ls -- --help",
            "-- --version",
            "--",
            "--read a --read=b -p build -v -- ls --json run",
            "--timeout 90s --env doctor -- run",
            "run -- ls",
            "presets",
            "--help",
            "--version",
            "help run",
            "ls",
            "",
            "--read run",
            "--read a run -- ls",
            "--quiet --verbose -- ls",
            "--hel -- ls",
            "--pty -- ls",
            "--pty=passthrough -- ls",
            "--pty=all -- ls",
            "--pty passthrough -- ls",
        ];
        for line in lines {
            let words: Vec<OsString> = ["supervise"]
                .into_iter()
                .chain(line.split_whitespace())
                .map(OsString::from)
                .collect();
            let [short, long] = [Cli::read(&words), Cli::try_parse_from(&words)]
                .map(|read| format!("{:?}", read.map_err(|error| error.to_string())));
            assert_eq!(short, long, "{line}");
        }
    }

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(parse_time("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_time("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(parse_time("90"), Ok(Duration::from_secs(90)));
        for bad in ["", "m", "1x", "10 s", "-1s", "99999999999999999999s", "1h2"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
