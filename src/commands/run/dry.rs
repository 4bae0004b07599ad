//! `--dry-run`: what would run and what would enforce the policy, found out as for a run, of which only the command is missing.

use super::door::Refusals;
use super::found::{find_program, working_directory};
use super::{Failure, Run, ours};
use crate::render::{print, table, visible};
use crate::report::Reporter;
use std::fmt::Write;
use std::process::ExitCode;
use supervisor::audit::State;

/// Says it, and fails where the run would fail before its start.
pub fn run(run: &Run<'_>, reporter: &mut Reporter) -> Result<u8, Failure> {
    reporter.warnings(run.ruleset.warnings());
    let missing: Vec<_> = run
        .ruleset
        .make_dirs()
        .iter()
        .filter(|path| !path.exists())
        .collect();
    drop(working_directory(run.ruleset, run.law.cwd())?);
    let environment = run.environment();
    let program = find_program(
        &run.args.command[0],
        &environment,
        run.law.cwd(),
        run.ruleset,
    )?;
    let mut text = String::new();
    let mut rows: Vec<[String; 2]> = vec![
        ["would run".into(), program.path().display().to_string()],
        ["in".into(), run.law.cwd().display().to_string()],
        ["policy".into(), run.law.describe()],
    ];
    if !missing.is_empty() {
        let made: Vec<_> = missing
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        rows.push(["would make".into(), made.join(" ")]);
    }
    let names: Vec<_> = environment
        .iter()
        .map(|(name, _)| name.to_string_lossy().into_owned())
        .collect();
    rows.push(["environment".into(), names.join(" ")]);
    text.push_str(&table(&rows));
    text.push('\n');
    if missing.is_empty() {
        text.push_str(&layers(run)?);
    } else {
        text.push_str("  What enforces it can be said once these directories are there.\n");
    }
    let what = |path: &dyn std::fmt::Display| visible(&path.to_string());
    writeln!(
        text,
        "\nWhat it may do: supervise check{}",
        run.args
            .policy
            .policy
            .iter()
            .map(|name| format!(" -p {}", what(&name.display())))
            .collect::<String>()
    )
    .map_err(ours)?;
    match print(&text) {
        ExitCode::SUCCESS => Ok(0),
        _ => Err(ours("nothing could be printed")),
    }
}

/// What would be in force, found out by preparing it.
fn layers(run: &Run<'_>) -> Result<String, Failure> {
    let confined = run.confined(run.listener(), Refusals::Unheard)?;
    let rows: Vec<[String; 3]> = confined
        .confinement
        .layers()
        .recorded()
        .iter()
        .map(|layer| {
            let state = match layer.state {
                State::Enforced => "enforced",
                State::Weakened => "weaker",
                State::Missing => "missing",
                State::Unused => "not asked for",
            };
            let detail = layer.detail.unwrap_or_default();
            [layer.name, state, detail].map(str::to_owned)
        })
        .collect();
    Ok(table(&rows))
}
