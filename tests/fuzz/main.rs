//! Inputs that strangers can choose: real ones with something wrong, thousands of each kind. What must hold of them stands in
//! `targets.rs`, and is fuzzed for as long as anybody likes with `cargo +nightly fuzz run --fuzz-dir tests/fuzz/cargo frames`.

mod seeds;
mod targets;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// What is put somewhere in the middle: what a parser has to be careful about.
const PIECES: [&[u8]; 18] = [
    b"\"",
    b"{",
    b"}",
    b"]",
    b",",
    b":",
    b"\n",
    b"\0",
    b"null",
    b"-1",
    b"18446744073709551616",
    b"1e999",
    b"\\ud800",
    b"\\u0000",
    b"\xff\xfe",
    b"\xc3\xa9",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"..//../",
];

/// One thing that goes wrong with an input.
#[derive(Clone, Debug)]
enum Change {
    Flip(usize, u8),
    Cut(usize),
    Take(usize, usize),
    Put(usize, usize),
    Twice(usize, usize),
    Deep(usize),
    /// Ends like another input.
    Splice(usize, usize),
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let at = 0..10_000_usize;
        prop_oneof![
            6 => (at.clone(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            1 => at.clone().prop_map(Self::Cut),
            3 => (at.clone(), 1..20_usize).prop_map(|(at, count)| Self::Take(at, count)),
            6 => (at.clone(), 0..PIECES.len()).prop_map(|(at, which)| Self::Put(at, which)),
            2 => (at.clone(), 1..200_usize).prop_map(|(at, count)| Self::Twice(at, count)),
            1 => at.clone().prop_map(Self::Deep),
            2 => (at, any::<usize>()).prop_map(|(at, which)| Self::Splice(at, which)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        let place = |at: usize| at % (bytes.len() + 1);
        match *self {
            Self::Flip(at, bit) => {
                let at = place(at);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Cut(at) => bytes.truncate(place(at)),
            Self::Take(at, count) => {
                let at = place(at);
                bytes.drain(at..bytes.len().min(at + count));
            }
            Self::Put(at, which) => {
                let at = place(at);
                bytes.splice(at..at, PIECES[which].iter().copied());
            }
            Self::Twice(at, count) => {
                let at = place(at);
                let part = bytes[at..bytes.len().min(at + count)].to_vec();
                bytes.splice(at..at, part);
            }
            Self::Deep(at) => {
                let at = place(at);
                bytes.splice(at..at, vec![b'['; 5000]);
            }
            Self::Splice(at, which) => {
                let other = &seeds[which % seeds.len()];
                let at = place(at);
                bytes.truncate(at);
                bytes.extend_from_slice(other.get(at..).unwrap_or_default());
            }
        }
    }
}

/// As often as each kind is tried, unless the environment says otherwise.
const CASES: u32 = 1000;

fn holds(name: &str) {
    let found = targets::TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = found.expect("there is such a target");
    let seeds = seeds::of(name);
    for seed in &seeds {
        target(seed);
    }
    let cases = std::env::var("PROPTEST_CASES").ok();
    let cases = cases.map_or(CASES, |cases| cases.parse().expect("a number"));
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let spoilt = (0..seeds.len(), prop::collection::vec(Change::any(), 1..6));
    let tried = runner.run(&spoilt, |(seed, changes)| {
        let mut bytes = seeds[seed].clone();
        for change in changes {
            change.apply(&mut bytes, &seeds);
        }
        target(&bytes);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{name}: {error}"));
    let noise = prop::collection::vec(any::<u8>(), 0..300);
    let tried = runner.run(&noise, |bytes| {
        target(&bytes);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn frames_are_refused_or_read_again_as_they_were_read() {
    holds("frames");
}

#[test]
fn lines_are_the_same_in_whatever_pieces_they_come() {
    holds("lines");
}

#[test]
fn whatever_is_said_on_the_control_socket_is_answered_or_understood() {
    holds("control");
}

#[test]
fn whatever_is_said_to_a_worker_or_by_one_is_answered_or_understood() {
    holds("jobs");
}

#[test]
fn answers_to_a_probe_are_refused_or_are_one() {
    holds("probe");
}

#[test]
fn manifests_are_refused_or_are_one_whoever_sealed_them() {
    holds("manifest");
}

#[test]
fn an_entry_of_the_registry_hides_no_other_and_is_never_another() {
    holds("registry");
}

#[test]
fn what_is_wanted_is_never_taken_for_nothing() {
    holds("desired");
}

#[test]
fn pool_files_are_refused_or_name_each_worker_once() {
    holds("pool_file");
}

#[test]
fn policies_are_refused_or_read_the_same_twice() {
    holds("policy");
}

#[test]
fn records_of_the_kernel_are_understood_or_nothing() {
    holds("kernel_audit");
}

#[test]
fn each_kind_of_input_has_a_target_for_cargo_fuzz() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/cargo");
    let manifest = std::fs::read_to_string(format!("{directory}/Cargo.toml"));
    let manifest = manifest.expect("there is one");
    for (name, _) in targets::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let text = std::fs::read_to_string(format!("{directory}/fuzz_targets/{name}.rs"));
        assert!(text.is_ok_and(|text| text.contains(&format!("targets::{name}(data)"))));
    }
}
