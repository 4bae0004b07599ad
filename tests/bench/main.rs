//! `cargo bench`: what a supervised launch and a grant cost, against the least that they can cost and against others.
//!
//! What is measured is built by itself, as it is released.
//!
//! `cargo bench -- start` runs only the rows whose name holds that word. `tests/bench/peers` holds the command against other sandboxes
//! instead. Nothing here is a test: machines differ, ratios are for people to read.

mod attach;
mod beside;
mod built;
mod calls;
mod grants;
mod law;
mod library;
mod memory;
mod paired;
mod plan;
mod processor;
mod programs;
mod start;
mod table;
mod told;
mod workers;

/// A group of rows and the word that selects it.
type Group = (&'static str, fn(&built::Built));

const GROUPS: [Group; 9] = [
    ("start", start::rows),
    ("library", library::rows),
    ("grant", grants::rows),
    ("calls", calls::rows),
    ("programs", programs::rows),
    ("memory", memory::rows),
    ("attach", attach::rows),
    ("workers", workers::rows),
    ("workers' jobs", workers::jobs),
];

fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let built = built::Built::make();
    // The policy that is compiled here is to be that of the commands, which is about the directory they run in.
    std::env::set_current_dir(built.sub("work")).expect("the directory is there");
    sys::process::become_subreaper().expect("any process can");
    if let Some((first, others)) = words.split_first()
        && first == "--beside"
    {
        beside::run(&built, others);
        return;
    }
    table::heading();
    for (name, rows) in GROUPS {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            rows(&built);
        }
    }
}
