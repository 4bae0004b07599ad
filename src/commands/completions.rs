//! `supervise completions`: what a shell completes our command line by.

use crate::args::Cli;
use crate::render::print;
use clap::{Arg, Command, CommandFactory};
use clap_complete::Shell;
use std::process::ExitCode;

/// Prints the script for that shell.
pub fn completions(shell: Shell) -> ExitCode {
    let mut command = visible(&Cli::command());
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "supervise", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// As `command`, without what `--help` does not show: a generated script would offer it.
fn visible(command: &Command) -> Command {
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let below = command.get_subcommands().filter(|one| !one.is_hide_set());
    Command::new(kept(command.get_name()))
        .about(command.get_about().cloned().unwrap_or_default())
        .args(flags.map(alone))
        .subcommands(below.map(visible))
}

/// As `flag`, without what it has to do with others, of which some may not be there.
fn alone(flag: &Arg) -> Arg {
    let mut alone = Arg::new(flag.get_id())
        .action(flag.get_action().clone())
        .value_parser(flag.get_value_parser().clone())
        .value_hint(flag.get_value_hint())
        .help(flag.get_help().cloned().unwrap_or_default());
    if let Some(names) = flag.get_value_names() {
        alone = alone.value_names(names);
    }
    if let Some(letter) = flag.get_short() {
        alone = alone.short(letter);
    }
    if let Some(word) = flag.get_long() {
        alone = alone.long(kept(word));
    }
    alone
}

/// As long as the process lives, which prints and ends.
fn kept(text: &str) -> &'static str {
    text.to_owned().leak()
}
