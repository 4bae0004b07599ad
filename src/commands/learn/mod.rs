//! `supervise learn`: runs a command with everything seen and written down, and says what a policy for it must say.

pub mod diff;
pub mod ground;
pub mod merge;
mod observe;
mod written;

use crate::amend;
use crate::args::{PolicyArgs, RunArgs};
use crate::commands::audit;
use crate::commands::run;
use crate::places;
use crate::render::{fail, print, quoted};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use supervisor::advice::learn::{Lesson, Things};
use supervisor::audit::{Entry, Started, entries};

/// What is to be learned.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LearnArgs {
    /// Write the policy to this file, which is not there yet; otherwise it is printed
    #[arg(short, long, value_name = "FILE", conflicts_with = "merge")]
    pub output: Option<PathBuf>,
    /// Add to this policy what it does not allow yet, keeping its comments, and show what was changed
    #[arg(long, value_name = "FILE", conflicts_with = "base")]
    pub merge: Option<PathBuf>,
    /// The preset that the policy extends
    #[arg(long, value_name = "PRESET", default_value = "base")]
    pub base: String,
    /// What the command may do meanwhile
    #[arg(long, value_enum, default_value = "observe")]
    pub mode: Mode,
    /// A sensitive place (keys, tokens, histories, sockets of daemons) that may stand in the policy if it is used
    #[arg(long, value_name = "PATH")]
    pub include: Vec<PathBuf>,
    /// Pass a variable of the environment on, or set it, beside those that the preset passes on
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub env: Vec<OsString>,
    /// Start in this directory, which is then also the policy's $PWD
    #[arg(long, value_name = "DIRECTORY")]
    pub chdir: Option<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What a command may do while it is learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Nearly everything that you may: only for programs that you trust
    Observe,
    /// The same without what is sensitive: keys, tokens, histories, browser profiles, sockets of daemons
    Guard,
}

const EXAMPLES: &str = "\
Examples:
  supervise learn -o policy.toml -- cargo build --offline     observe a build, and write the policy that it needs
  supervise learn --merge policy.toml -- cargo test           add what the tests need beside that; shows what was changed
  supervise learn --base build --mode guard -- ./configure    begin with a preset, refuse what is sensitive meanwhile

What the run did not do is not in the policy. What is sensitive is not either, unless --include names it; the policy says in a
comment what was left out. A program that is linked statically and opens nothing is not seen to be run.";

/// Learns, and returns the command's own exit status, or ours.
pub fn learn(args: &LearnArgs) -> ExitCode {
    match try_learn(args) {
        Ok(status) => status,
        Err(error) => fail(error),
    }
}

fn try_learn(args: &LearnArgs) -> Result<ExitCode, String> {
    if let Some(output) = &args.output
        && fs::symlink_metadata(output).is_ok()
    {
        let output = output.display();
        return Err(format!(
            "{output} is there already; --merge {output} adds to it"
        ));
    }
    let before = match &args.merge {
        Some(file) => {
            Some(fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?)
        }
        None => None,
    };
    let home = places::home().map_err(|error| error.to_string())?;
    let state = places::state(&home);
    let base = ground::Base::of(args, &state)?;
    // It may be the first that this user ever runs.
    let made = fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(&state);
    made.map_err(|error| format!("{}: {error}", state.display()))?;
    let log = state.join(format!("audit.learn-{}.jsonl", std::process::id()));
    let policy = PolicyArgs {
        policy: vec![ground::NAME.into()],
        env: args.env.clone(),
        chdir: args.chdir.clone(),
        ..PolicyArgs::default()
    };
    let path = base.path.clone();
    let cwd = args.chdir.as_deref().unwrap_or(Path::new("."));
    let cwd = fs::canonicalize(cwd).map_err(|error| format!("{}: {error}", cwd.display()))?;
    let status = run::run(&RunArgs {
        policy: policy.clone(),
        audit: Some(log.clone()),
        trace: true,
        everything: true,
        text: Some((observe::policy(&base, args.mode, &home, &cwd), path)),
        quiet: true,
        command: args.command.clone(),
        ..RunArgs::default()
    });
    let (start, things) = seen(&log)?;
    let ground = ground::Ground::survey(&policy, &base, &start, &args.include)?;
    let lesson = ground.learn(&things);
    match (&args.merge, before) {
        (Some(file), Some(before)) => {
            let after = merge::merged(&before, &lesson)?;
            ground.check(&after)?;
            amend::replace(file, &before, &after)?;
            let shown = diff::shown(&before, &after);
            let name = file.display();
            print(&match shown.is_empty() {
                true => format!("{name} allows all of it already\n"),
                false => format!("--- {name}\n+++ {name}\n{shown}"),
            });
            say_next(&lesson, file, args);
        }
        _ => {
            let text = written::policy(&lesson, &base.extends, &start, args.mode, &things);
            ground.check(&text)?;
            match &args.output {
                Some(file) => {
                    let made =
                        File::create_new(file).and_then(|mut file| file.write_all(text.as_bytes()));
                    made.map_err(|error| format!("cannot make {}: {error}", file.display()))?;
                    say_next(&lesson, file, args);
                }
                None => {
                    print(&text);
                }
            }
        }
    }
    if status != ExitCode::SUCCESS {
        crate::render::warn(
            "the command failed: what it would have done after that is not in the policy",
        );
    }
    Ok(status)
}

/// What the record of the run says.
fn seen(log: &Path) -> Result<(Started, Things), String> {
    let nothing = |why: &dyn std::fmt::Display| format!("nothing was learned: {why}");
    let text = audit::read(log).map_err(|error| nothing(&error))?;
    let mut started = None;
    let mut things = Things::default();
    let report = entries(text.as_slice(), |entry| match entry {
        Entry::Start(start) => started = Some(start),
        Entry::Decision(recorded) => things.note(&recorded),
        Entry::End(_) => {}
    });
    let report = report.map_err(|error| nothing(&error))?;
    match (started, report.fault) {
        (Some(started), None) => Ok((started, things)),
        (_, Some(fault)) => Err(nothing(&fault)),
        (None, None) => Err(nothing(&"the command did not start")),
    }
}

fn say_next(lesson: &Lesson, file: &Path, args: &LearnArgs) {
    let name = file.display().to_string();
    let policy = match name.contains('/') || name.ends_with(".toml") {
        true => name.clone(),
        false => format!("./{name}"),
    };
    let words = args
        .command
        .iter()
        .map(|word| quoted(&word.to_string_lossy()));
    let command: Vec<String> = words.collect();
    let mut text = format!(
        "supervise: learned {} rules, and left {} things out\n\
         supervise: read it, then see what it gives:  supervise check {}\n\
         supervise: run under it:  supervise -p {} -- {}\n\
         supervise: if that is refused something:  supervise explain --last\n",
        lesson.lines.len(),
        lesson.left_out.len(),
        quoted(&name),
        quoted(&policy),
        command.join(" "),
    );
    for (what, why) in &lesson.left_out {
        text += &format!(
            "supervise: left out: {} ({why})\n",
            crate::render::visible(what)
        );
    }
    // A closed standard error leaves nobody to tell.
    let _unheard = std::io::stderr().write_all(text.as_bytes());
}
