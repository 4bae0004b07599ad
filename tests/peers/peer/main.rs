//! Another sandbox's command line, run by `supervise`: called by the name of that program, or with that name as the first argument,
//! it has `supervise import` make a policy of the flags, and the command run under it.
//!
//! `ln -s …/peer landrun` stands for `landrun` in tests that somebody else wrote. `$PEER_SUPERVISE` is the command, by default
//! the one in `$PATH`. What would restrict less here than there is not run, unless `--even-weaker` stands before everything else.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Whose command lines are known.
const KNOWN: [&str; 5] = ["bwrap", "firejail", "landrun", "nono", "sandlock"];
/// What `supervise import` exits with where something restricts less.
const WEAKER: i32 = 2;
/// What `supervise` exits with when it has failed itself.
const OURS: u8 = 125;

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    let called = words.remove(0);
    let called = Path::new(&called).file_name().unwrap_or_default();
    let language = match KNOWN.iter().find(|name| called == **name) {
        Some(name) => OsString::from(name),
        None if words.is_empty() => return failed("whose command line is it?"),
        None => words.remove(0),
    };
    let takes_weaker = words.first().is_some_and(|word| word == "--even-weaker");
    if takes_weaker {
        words.remove(0);
    }
    let supervise = std::env::var_os("PEER_SUPERVISE").unwrap_or_else(|| "supervise".into());
    let place = match tempfile::tempdir() {
        Ok(place) => place,
        Err(error) => return failed(&format!("no directory for the policy: {error}")),
    };
    let policy = place.path().join("policy.toml");
    let imported = Command::new(&supervise)
        .args(["import", "--from"])
        .arg(&language)
        .arg("--output")
        .arg(&policy)
        .arg("--")
        .args(&words)
        .stdin(Stdio::null())
        .output();
    let imported = match imported {
        Ok(imported) => imported,
        Err(error) => return failed(&format!("{}: {error}", supervise.display())),
    };
    let is_weaker = imported.status.code() == Some(WEAKER);
    if !policy.exists() || (is_weaker && !takes_weaker) {
        eprint!("{}", String::from_utf8_lossy(&imported.stderr));
        let text = std::fs::read_to_string(&policy).unwrap_or_default();
        let comments = text.lines().take_while(|line| line.starts_with('#'));
        comments.for_each(|line| eprintln!("{line}"));
        return failed("it is not run");
    }
    // It says itself how the command is run under that policy.
    let line = String::from_utf8_lossy(&imported.stdout);
    if line.is_empty() {
        return failed("there is no command");
    }
    let script = format!("supervise() {{ \"$0\" --quiet \"$@\"; }}\n{line}");
    let status = Command::new("/bin/sh")
        .args(["-c", &script])
        .arg(&supervise)
        .status();
    match status.map(|status| status.code()) {
        // A shell has no other end than an exit status that fits.
        Ok(code) => ExitCode::from(
            code.and_then(|code| u8::try_from(code).ok())
                .unwrap_or(OURS),
        ),
        Err(error) => failed(&format!("/bin/sh: {error}")),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("peer: {why}");
    ExitCode::from(OURS)
}
