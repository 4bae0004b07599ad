//! What a sandbox costs, side by side with others: each is told to do the same job, is seen to do it, and is then measured in turn
//! with all the others. Who cannot do a job is in the table with the reason.
//!
//! The job: the system's programs run; files are written where the work is, and nowhere else; nobody is reached over the network. And
//! once more with something inside the work that must not be read.

mod crowd;
mod jobs;
mod page;
mod plot;
mod results;
mod subjects;

use crate::built::Built;
use crate::programs;
use results::Results;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The program that opens files, where everybody lets it be executed.
fn copied(built: &Built) -> PathBuf {
    let copy = built.sub("programs").join("floor");
    let pair = built.best().expect("it was tried");
    // By another process: whoever forks meanwhile does not hold it open for writing.
    let status = Command::new("cp").arg(&pair.floor).arg(&copy).status();
    assert!(status.is_ok_and(|status| status.success()), "cp works");
    copy
}

/// How much of it.
pub struct Extent {
    /// What all rounds of one row may take.
    pub row: Duration,
    pub fewest: usize,
    pub most: usize,
    /// Sandboxes at once.
    pub crowds: Vec<usize>,
}

/// Measures, prints, and writes what was found.
pub fn run(built: &Built, words: &[String]) {
    let mut extent = Extent {
        row: Duration::from_secs(40),
        fewest: 10,
        most: 200,
        crowds: vec![100, 1000],
    };
    let mut page = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut operand = || {
            words
                .next()
                .unwrap_or_else(|| panic!("{word} needs an operand"))
        };
        match word.as_str() {
            "--quick" => {
                extent = Extent {
                    row: Duration::from_secs(6),
                    fewest: 5,
                    most: 40,
                    crowds: vec![20],
                }
            }
            "--crowd" => extent.crowds = vec![operand().parse().expect("a number of sandboxes")],
            "--page" => page = Some(PathBuf::from(operand())),
            _ => panic!("{word} is not known"),
        }
    }
    // It runs in the directory that commands are measured in.
    let tree = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let into = tree.join("target/peers");
    std::fs::create_dir_all(&into).unwrap_or_else(|error| panic!("{}: {error}", into.display()));
    programs::plant(built);
    let before = results::Machine::now();
    let (subjects, absent) = subjects::all(built);
    let mut results = Results::new(before, built, &subjects, absent);
    let floor = copied(built);
    jobs::rows(built, &subjects, &floor, &extent, &mut results);
    crowd::rows(built, &subjects, &floor, &extent, &mut results);
    results.finish();
    print!("{}", page::text(&results));
    let write = |name: &str, text: &str| {
        let path = into.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{}", path.display());
    };
    write("peers.json", &results.json());
    let plot = plot::svg(&results);
    write("peers.svg", &plot);
    if let Some(page) = page {
        page::put(&tree.join(page), &results, &plot);
    }
}
