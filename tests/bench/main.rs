//! `cargo bench`: what a supervised launch and a grant cost, against the least that they can cost and against others.
//!
//! `cargo bench -- start` runs only the rows whose name holds that word. `cargo bench -- --against NAME='COMMAND'…` holds the
//! command against other programs instead. Nothing here is a test: machines differ, ratios are for people to read.

mod built;
mod grants;
mod memory;
mod paired;
mod start;
mod table;

/// A group of rows and the word that selects it.
type Group = (&'static str, fn(&built::Built));

const GROUPS: [Group; 3] = [("start", start::rows), ("grant", grants::rows), ("memory", memory::rows)];

fn main() {
    // Cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let built = built::Built::make();
    table::heading();
    if let Some((first, others)) = words.split_first()
        && first == "--against"
    {
        start::against(&built, others);
        return;
    }
    for (name, rows) in GROUPS {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            rows(&built);
        }
    }
}
