//! `supervise man`: manual pages, made of what `--help` says.

use crate::args::Cli;
use crate::render::{fail, print};
use clap::CommandFactory;
use clap_mangen::Man;
use std::path::Path;
use std::process::ExitCode;

/// Prints the page of the command itself, or writes a page for it and for each subcommand into `directory`, which is made where there
/// is none.
pub fn man(directory: Option<&Path>) -> ExitCode {
    // A page about asking for help helps nobody.
    let command = Cli::command().disable_help_subcommand(true);
    let Some(directory) = directory else {
        let mut text = Vec::new();
        return match Man::new(command).render(&mut text) {
            Ok(()) => print(&String::from_utf8_lossy(&text)),
            Err(error) => fail(error),
        };
    };
    let made = std::fs::create_dir_all(directory);
    match made.and_then(|()| clap_mangen::generate_to(command, directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(format!("{}: {error}", directory.display())),
    }
}
