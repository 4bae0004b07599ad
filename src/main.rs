//! `supervise`: the operator's hand. It reads what it was told, prints what came of it, and decides nothing.
#![forbid(unsafe_code)]

mod amend;
mod args;
#[cfg(test)]
mod codes;
mod commands;
mod exit;
mod hint;
mod law;
mod places;
mod preload;
mod render;
mod report;
mod setup;
mod waiting;

/// Keeps what is freed: the process is short, and its allocations are small and many.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

use args::{Action, Cli};
use clap::error::ErrorKind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    let cli = match Cli::read(&words) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.action {
        None => commands::run::run(&cli.run),
        Some(Action::Run(run)) => commands::run::run(&run),
        Some(Action::Request(args)) => commands::request::request(&args),
        Some(Action::Presets) => commands::presets::presets(),
        Some(Action::Show { name }) => commands::presets::show(&name),
        Some(Action::Init { preset, file }) => commands::init::init(&preset, &file),
        Some(Action::Check { file, policy, json }) => {
            let policy = commands::check::with_positional(*policy, file.as_deref());
            commands::check::check(&policy, json)
        }
        Some(Action::Explain(args)) => commands::explain::explain(&args),
        Some(Action::Learn(args)) => commands::learn::learn(&args),
        Some(Action::Audit(action)) => commands::audit::audit(&action),
        Some(Action::Import(args)) => commands::import::import(&args),
        Some(Action::Report(args)) => commands::report::report(&args),
        Some(Action::Daemon(args)) => commands::daemon::daemon(&args),
        Some(Action::Workers(action)) => commands::workers::workers(&action),
        Some(Action::Schema { of }) => commands::schema::schema(of),
        Some(Action::Completions { shell }) => commands::completions::completions(shell),
        Some(Action::Man { directory }) => commands::man::man(directory.as_deref()),
        Some(Action::Doctor { json }) => commands::doctor::doctor(json),
    }
}

/// Prints what clap has to say. Help and version are no errors; bad usage is one of ours.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed standard error leaves nobody to tell.
    let _unheard = error.print();
    let is_divided = std::env::args_os().any(|argument| argument == "--");
    if error.kind() == ErrorKind::UnknownArgument && !is_divided {
        eprintln!("A command to run stands behind `--`: supervise -- COMMAND [ARGS]...");
    }
    if error.use_stderr() {
        ExitCode::from(exit::OURS)
    } else {
        ExitCode::SUCCESS
    }
}
