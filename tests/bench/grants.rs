//! What it costs a program to be given a file.

use crate::built::Built;
use crate::paired::{Subject, measure};
use crate::processor;
use crate::table;
use crate::told::Told;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ROUNDS: usize = 60;
/// Grants in one round.
const COUNT: u32 = 500;

/// What one grant took, of `COUNT` with so many asked for at a time.
fn ask(told: &mut Told, depth: u32) -> Duration {
    told.tell(&format!("{COUNT} {depth}")) / COUNT
}

pub fn rows(built: &Built) {
    if let Err(reason) = built.best() {
        return table::missing("grant", &reason);
    }
    compare(built, "grant, unpinned", 1, Some(1.5));
    compare(built, "grant, 20 asked for at a time", 20, None);
    let pinned = processor::on_one(|| {
        compare(built, "grant, one processor", 1, Some(2.0));
        compare(built, "grant, one processor, 20 at a time", 20, None);
    });
    if let Err(reason) = pinned {
        table::missing("grant, one processor", &reason);
    }
}

fn compare(built: &Built, name: &str, depth: u32, goal: Option<f64>) {
    let pair = built.fixed.as_ref().unwrap_or(&built.dynamic);
    let file = built.sub("granted").join("file");
    std::fs::write(&file, b"granted").expect("the directory is ours");
    let mut floor = Told::start(built.command(&pair.floor).arg("grants").arg(&file));
    let mut real = Told::start(
        built
            .command(&pair.supervise)
            .arg("--policy")
            .arg(policy(built, &pair.asker))
            .arg("--")
            .arg(&pair.asker)
            .arg(&file),
    );
    let samples = measure(
        ROUNDS,
        vec![
            Subject::new("grant", || ask(&mut real, depth)),
            Subject::new("floor", || ask(&mut floor, depth)),
        ],
    );
    table::row(name, &samples[0], &samples[1], goal);
    println!(
        "{:<44} {:.0} grants a second",
        "",
        1.0 / samples[0].median().as_secs_f64()
    );
}

/// A policy under which the asker runs, and the files of one directory are to be had over the socket only.
fn policy(built: &Built, asker: &Path) -> PathBuf {
    let path = built.place.path().join("grants.toml");
    let text = format!(
        "version = 1\n[fs]\nread = [\"$PWD\"]\nexec = [{asker:?}]\n[[request]]\npath = {:?}\naccess = [\"read\"]\ndecision = \"allow\"\n",
        built.sub("granted")
    );
    std::fs::write(&path, text).expect("the directory is ours");
    path
}
