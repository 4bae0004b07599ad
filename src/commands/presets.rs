//! `supervise presets` and `supervise show NAME`: the policies that are compiled in.

use crate::render::{fail, print, table};
use std::process::ExitCode;
use supervisor::policy::{NoFiles, Policy, Preset};

/// Prints a line for each preset.
pub fn presets() -> ExitCode {
    let rows: Vec<[String; 2]> = Preset::ALL
        .into_iter()
        .chain([Preset::BUILT_IN])
        .map(|preset| [preset.name.to_owned(), preset.summary().to_owned()])
        .collect();
    print(&format!(
        "{}\nRead one with `supervise show NAME`, use one with `supervise -p NAME -- COMMAND`.\n",
        table(&rows)
    ))
}

/// Prints a preset's text, with its comments.
pub fn show(name: &str) -> ExitCode {
    if let Some(preset) = Preset::named(name) {
        return print(preset.text);
    }
    // Loading it says which one was perhaps meant.
    match Policy::named(name, &mut NoFiles) {
        Err(error) => fail(error),
        Ok(_) => fail(format!("`{name}` is not a preset")),
    }
}
