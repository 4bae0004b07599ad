//! `supervise completions`: what a shell completes our command line by.

use crate::args::Cli;
use crate::render::print;
use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::process::ExitCode;

/// Prints the script for that shell.
pub fn completions(shell: Shell) -> ExitCode {
    let mut command = visible(&Cli::command());
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "supervise", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// As `command`, without what `--help` does not show. A generated script would offer it.
fn visible(command: &Command) -> Command {
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let below = command.get_subcommands().filter(|one| !one.is_hide_set());
    // As long as the process, which prints and ends.
    let name: &'static str = command.get_name().to_owned().leak();
    Command::new(name)
        .about(command.get_about().cloned().unwrap_or_default())
        .subcommand_negates_reqs(true)
        .args(flags)
        .groups(command.get_groups())
        .subcommands(below.map(visible))
}
