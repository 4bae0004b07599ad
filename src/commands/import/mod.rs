//! `supervise import`: what somebody said to another sandbox, as a policy of ours.
//!
//! In comes the text of a profile, or the words of a command line; out goes TOML, in which everything that was said is found again: as a
//! rule, or in a comment that says why there is none. What restricts less here than there is said aloud, and is the exit status.
//! What never happens here: running anything, and guessing. A rule that our own parser does not take becomes a comment.

mod bwrap;
mod draft;
mod firejail;
mod landrun;
mod nono;
mod sandlock;
mod srt;
mod systemd;
mod words;

use crate::exit;
use crate::render::{fail, print};
use clap::{Args, ValueEnum};
use draft::{Draft, Weight};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use supervisor::policy::{NoFiles, Policy};

/// Profiles are written by people.
const LONGEST: u64 = 1 << 20;

/// What to import.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  supervise import --from srt ~/.srt-settings.json -o policy.toml
  supervise import --from bwrap -- --ro-bind /usr /usr --bind . . --unshare-net make
  supervise import --from landrun run.sh
  supervise import --from systemd /etc/systemd/system/worker.service

Exit status: 0 all of it has an equivalent; 1 something that was allowed there is not allowed here; 2 something restricts less here than
there; 125 nothing was written. What it is stands in the policy's comments.")]
pub struct ImportArgs {
    /// Whose language it is
    #[arg(long, value_enum)]
    from: From,
    /// Write the policy to this file, which must not be there, instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A profile, or a file with a command line; `-` is standard input
    #[arg(required_unless_present = "words", conflicts_with = "words")]
    file: Option<PathBuf>,
    /// The flags of a command line (landrun, bwrap, sandlock, firejail, nono)
    #[arg(last = true, value_name = "FLAGS")]
    words: Vec<OsString>,
}

/// Who reads it otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// Settings of sandbox-runtime, in JSON
    Srt,
    /// A command line of landrun
    Landrun,
    /// A command line of bubblewrap
    Bwrap,
    /// A command line of sandlock
    Sandlock,
    /// A profile of firejail, or its command line
    Firejail,
    /// A profile of nono, in JSON, or its command line
    Nono,
    /// A unit of systemd
    Systemd,
}

/// What was said there.
enum Said {
    /// In a file.
    Text(String),
    /// On a command line.
    Words(Vec<String>),
}

/// Imports.
pub fn import(args: &ImportArgs) -> ExitCode {
    let (draft, text) = match read(args).and_then(|said| translated(args.from, said)) {
        Ok(done) => done,
        Err(error) => return fail(error),
    };
    let written = match &args.output {
        None => print(&text),
        // Creating it fails where anything has that name, a link included.
        Some(file) => {
            match File::create_new(file).and_then(|mut made| made.write_all(text.as_bytes())) {
                Ok(()) => told(&draft, file),
                Err(error) => fail(format!("cannot make {}: {error}", file.display())),
            }
        }
    };
    if written != ExitCode::SUCCESS {
        return written;
    }
    // Once more where nobody reads the policy before it is used.
    let (status, said) = match draft.worst() {
        Weight::Same => return ExitCode::SUCCESS,
        Weight::Narrower => (
            exit::NARROWER,
            "some of what it allowed is not allowed here",
        ),
        Weight::Weaker => (exit::WEAKER, "some of it restricts less here than there"),
    };
    let _status = fail(format!("{said}: see the comments of the policy"));
    ExitCode::from(status)
}

/// Says how what is to be run is run under the policy in that file.
fn told(draft: &Draft, file: &Path) -> ExitCode {
    match draft.line(&file.to_string_lossy()) {
        Some(line) => print(&format!("{line}\n")),
        None => ExitCode::SUCCESS,
    }
}

/// The policy, and its text.
fn translated(from: From, said: Said) -> Result<(Draft, String), String> {
    let (name, draft) = match (from, said) {
        (From::Srt, Said::Text(text)) => ("sandbox-runtime", srt::draft(&text)),
        (From::Nono, Said::Text(text)) => ("nono", nono::draft(&text)),
        (From::Nono, Said::Words(words)) => ("nono", nono::from_words(&words)),
        (From::Systemd, Said::Text(text)) => ("systemd", systemd::draft(&text)),
        (From::Firejail, Said::Text(text)) => ("firejail", firejail::draft(&text)),
        (From::Firejail, Said::Words(words)) => ("firejail", firejail::from_words(&words)),
        (From::Landrun, said) => ("landrun", landrun::draft(&words_of(said, "landrun")?)),
        (From::Bwrap, said) => ("bubblewrap", bwrap::draft(&words_of(said, "bwrap")?)),
        (From::Sandlock, said) => ("sandlock", sandlock::draft(&words_of(said, "sandlock")?)),
        (_, Said::Words(_)) => return Err("this is read from a file, not from flags".to_owned()),
    };
    let draft = draft?;
    let text = draft.toml(name);
    // Each rule was tried by itself. That all of it is a policy is tried here.
    Policy::parse("imported", &text, &mut NoFiles)
        .map_err(|error| format!("what came of it is no policy, and is not written: {error}"))?;
    Ok((draft, text))
}

fn words_of(said: Said, program: &str) -> Result<Vec<String>, String> {
    match said {
        Said::Words(words) => Ok(words),
        Said::Text(text) => words::of_program(&text, program),
    }
}

fn read(args: &ImportArgs) -> Result<Said, String> {
    let Some(file) = &args.file else {
        let words = args
            .words
            .iter()
            .map(|word| word.to_str().map(str::to_owned));
        let words: Option<Vec<String>> = words.collect();
        return words
            .map(Said::Words)
            .ok_or_else(|| "a flag is not UTF-8".to_owned());
    };
    let wrong = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().take(LONGEST + 1).read_to_string(&mut text),
        false => File::open(file).and_then(|open| open.take(LONGEST + 1).read_to_string(&mut text)),
    };
    match read.map_err(wrong)? {
        read if read as u64 > LONGEST => {
            Err(format!("{} is no profile: it is too long", file.display()))
        }
        _ => Ok(Said::Text(text)),
    }
}
