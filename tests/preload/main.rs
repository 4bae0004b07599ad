//! Unmodified programs that ask their supervisor for files, by the library that they preload.

#[path = "../harness/mod.rs"]
mod harness;

#[allow(dead_code, reason = "it serves programs that know what they ask, too")]
#[path = "../asking/house.rs"]
mod house;

mod calls;
mod door;
mod processes;
mod programs;

use harness::run::{Ran, run};
use house::House;
use std::path::Path;

const GIVEN: &str = "a file that is given";

/// The shell's own words for what a program gets without the library.
const REFUSED: &str = "Permission denied";

/// A sandbox whose programs preload the library.
struct Preloaded {
    house: House,
}

impl Preloaded {
    fn new() -> Self {
        // It lies beside the command.
        harness::built::preload();
        let house = House::new();
        let sandbox = Self { house };
        sandbox.says("preload");
        sandbox
    }

    /// Which door the policy names.
    fn says(&self, transparent: &str) {
        let policy = self.house.path("policy.toml");
        let text = std::fs::read_to_string(&policy).expect("a policy");
        let kept = text.lines().filter(|line| !line.starts_with("transparent"));
        let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
        // It ends with what it says of the broker.
        text.push_str(&format!("transparent = \"{transparent}\"\n"));
        std::fs::write(policy, text).expect("written");
    }

    fn given(&self, name: &str) -> String {
        self.house
            .path("given")
            .join(name)
            .to_str()
            .expect("text")
            .to_owned()
    }

    /// What a program does that has the library.
    fn run(&self, words: &[&str]) -> Ran {
        self.run_with(&[], words)
    }

    fn run_with(&self, options: &[&str], words: &[&str]) -> Ran {
        run(self.house.supervise(options).args(words))
    }

    fn shell(&self, script: &str) -> Ran {
        self.run(&["sh", "-c", script])
    }

    /// A program of Python's, told the directory where everything is given. What it prints.
    fn python(&self, script: &str) -> String {
        let script = format!("import os, sys\ngiven = sys.argv[1]\n{script}");
        let ran = self.run(&["/usr/bin/python3", "-c", &script, &self.given("")]);
        assert_eq!(ran.code(), 0, "{ran}");
        ran.stdout.trim_end().to_owned()
    }

    fn reads(&self, name: &str) -> String {
        std::fs::read_to_string(self.given(name)).expect("it was made")
    }

    /// How often the supervisor was asked.
    fn questions(&self) -> usize {
        self.house.decisions().len()
    }
}

/// The system's own, which the policy can name.
fn python() -> Result<(), String> {
    match Path::new("/usr/bin/python3").exists() {
        true => Ok(()),
        false => Err("`/usr/bin/python3` is not installed".to_owned()),
    }
}
