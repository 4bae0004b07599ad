//! Unmodified programs that ask their supervisor for files, by the library that they preload.

#[path = "../harness/mod.rs"]
mod harness;

#[allow(dead_code, reason = "it serves programs that know what they ask, too")]
#[path = "../asking/house.rs"]
mod house;

mod calls;
mod processes;
mod programs;

use harness::run::{Ran, eventually, run_without_listener, start};
use house::House;
use std::path::{Path, PathBuf};
use std::process::Command;

const GIVEN: &str = "a file that is given";

/// The shell's own words for what a program gets without the library.
const REFUSED: &str = "Permission denied";

/// A sandbox, and the library, which lies where programs may be run from only because it is named.
struct Preloaded {
    house: House,
    library: PathBuf,
}

impl Preloaded {
    fn new() -> Self {
        let house = House::new();
        house.workspace.make_dir("library");
        let library = house.path("library/preload.so");
        std::fs::copy(harness::built::preload(), &library).expect("copied");
        Self { house, library }
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
        let library = self.library.to_str().expect("text");
        let preload = format!("LD_PRELOAD={library}");
        let mut every = vec!["--exec", library, "--env", &preload];
        every.extend(options);
        let mut command = self.house.supervise(&every);
        run_without_listener(command.args(words))
    }

    fn shell(&self, script: &str) -> Ran {
        self.run(&["sh", "-c", script])
    }

    /// A shell that has connections, and so a way to the supervisor by name. What is given appears only when it runs: nothing needs
    /// the supervisor's answer to every open then, and the library is all there is here, too.
    fn shell_with_connections(&self, script: &str) -> Ran {
        let (given, away) = (self.house.path("given"), self.house.path("away"));
        let policy = std::fs::read_to_string(self.house.path("policy.toml")).expect("a policy");
        let (files, _) = policy.split_once("[[request]]").expect("requests");
        let write = format!("write = [\"{}?\", ", given.display());
        let policy = files.replace("write = [", &write);
        let policy = self.house.workspace.write("later.toml", policy);
        std::fs::rename(&given, &away).expect("renamed");
        let library = self.library.to_str().expect("text");
        let script = format!(
            "echo >began; until test -e {}; do sleep 0.01; done; export LD_PRELOAD={library}; {script}",
            given.display()
        );
        let mut command = Command::new(harness::built::supervise());
        command
            .args(["--exec", library, "--policy"])
            .arg(policy)
            .args(["--audit"])
            .arg(self.house.path("audit.jsonl"))
            .args(["--", "sh", "-c", &script])
            .env("XDG_STATE_HOME", self.house.path("state"))
            .env("XDG_RUNTIME_DIR", self.house.path("runtime"))
            .current_dir(self.house.path("work"));
        let running = start(&mut command);
        let began = self.house.path("work/began");
        eventually("it began", || began.exists());
        std::fs::remove_file(began).expect("it was there");
        std::fs::rename(&away, &given).expect("renamed");
        running.wait()
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
