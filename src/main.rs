//! `supervise`: the operator's hand. It reads what it was told, prints what came of it, and decides nothing.
#![forbid(unsafe_code)]

mod args;
mod commands;
mod exit;
mod law;
mod places;

use args::{Action, Cli};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.action {
        None => commands::run::run(&cli.run),
        Some(Action::Run(run)) => commands::run::run(&run),
        Some(Action::Request(args)) => commands::request::request(&args),
        Some(Action::Doctor { json }) => commands::doctor::doctor(json),
    }
}

/// Prints what clap has to say. Help and version are no errors; bad usage is one of ours.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed standard error leaves nobody to tell.
    let _unheard = error.print();
    if error.use_stderr() {
        ExitCode::from(exit::OURS)
    } else {
        ExitCode::SUCCESS
    }
}
