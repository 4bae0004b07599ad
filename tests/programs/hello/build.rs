//! Turns `words.txt` into a table of Rust, as build scripts do.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=words.txt");
    let words = fs::read_to_string("words.txt").expect("words.txt is readable");
    let pairs = words.lines().filter_map(|line| line.split_once(' '));
    let rows: String = pairs
        .map(|(language, word)| format!("    ({language:?}, {word:?}),\n"))
        .collect();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let table = format!("pub const WORDS: &[(&str, &str)] = &[\n{rows}];\n");
    fs::write(out.join("words.rs"), table).expect("OUT_DIR is writable");
}
