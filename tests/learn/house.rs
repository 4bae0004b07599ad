//! A directory to work in, beside one that is nobody's business, and what is learned in it.

use super::harness::Workspace;
use super::harness::built::supervise;
use super::harness::run::{Ran, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The directories on the way to what the command keeps are granted entry by entry: nobody makes others there meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

pub struct House {
    /// The directory that the command works in; it is made anew for each run.
    work: PathBuf,
    /// Beside it, the same.
    pub beside: PathBuf,
    all: Workspace,
    /// Apart from where every test makes its files: where names come and go all the time, not all of them can be granted.
    kept: tempfile::TempDir,
    furnish: fn(&Path),
    /// Given up when the directories are gone.
    _alone: MutexGuard<'static, ()>,
}

impl House {
    /// `furnish` puts into the working directory what is there before each run.
    pub fn new(furnish: fn(&Path)) -> Self {
        let all = Workspace::new();
        let work = all.make_dir("work");
        let beside = all.make_dir("beside");
        all.write("beside/canary", "a secret\n");
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let house = Self {
            _alone: alone,
            kept,
            work,
            beside,
            all,
            furnish,
        };
        house.anew();
        house
    }

    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Everything is as it was before the first run.
    pub fn anew(&self) {
        std::fs::remove_dir_all(&self.work).expect("it is ours");
        self.all.make_dir("work");
        self.all.write("work/canary", "a secret\n");
        self.all.write("work/kept/canary", "a secret\n");
        (self.furnish)(&self.work);
    }

    pub fn supervise(&self, arguments: &[&str]) -> Command {
        let mut supervise = Command::new(supervise());
        let path = std::env::var_os("PATH").unwrap_or_default();
        // What stands in for programs runs others to find out which.
        let kept = std::env::split_paths(&path).filter(|directory| !directory.ends_with("shims"));
        supervise
            .args(arguments)
            .current_dir(&self.work)
            .env("PWD", &self.work)
            .env(
                "PATH",
                std::env::join_paths(kept).expect("these came from a PATH"),
            )
            .env("XDG_RUNTIME_DIR", self.kept.path())
            .env("XDG_STATE_HOME", self.kept.path())
            .env_remove("SUPERVISE")
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("TMPDIR");
        supervise
    }

    pub fn policy(&self) -> PathBuf {
        self.kept.path().join("policy.toml")
    }

    /// Learns from a run. Returns the policy.
    pub fn learn(&self, flags: &[&str], command: &[&str]) -> String {
        let policy = self.policy();
        let policy = policy.to_str().expect("text");
        let arguments = [&["learn", "-o", policy], flags, &["--"], command].concat();
        run(&mut self.supervise(&arguments)).expect_code(0);
        std::fs::read_to_string(policy).expect("it was written")
    }

    /// Runs under what was learned.
    pub fn under(&self, command: &[&str]) -> Ran {
        let policy = self.policy();
        let arguments = [&["-p", policy.to_str().expect("text"), "--"], command].concat();
        run(&mut self.supervise(&arguments))
    }

    /// Learns from a run in a directory as it was, and has it go through there again under what was learned. Then nothing beside is
    /// to be had: neither what is beside the directory nor what is beside what was used.
    #[track_caller]
    pub fn learns(&self, flags: &[&str], command: &[&str]) -> String {
        let text = self.learn(flags, command);
        self.anew();
        let ran = self.under(command);
        assert_eq!(ran.code(), 0, "{text}\n{ran}\n{}", self.explained());
        // Once more, where everything is there already.
        let ran = self.under(command);
        assert_eq!(ran.code(), 0, "{text}\n{ran}\n{}", self.explained());
        self.keeps_out(&text);
        text
    }

    /// Nothing of what was not used is to be had.
    #[track_caller]
    pub fn keeps_out(&self, text: &str) {
        let beside = self.beside.join("canary");
        for canary in [
            self.work.join("canary"),
            self.work.join("kept/canary"),
            beside,
        ] {
            let canary = canary.to_str().expect("text");
            for act in ["cat", "touch", "rm -f", "tee -a"] {
                let script = format!("{act} '{canary}' </dev/null");
                let ran = self.under(&["/bin/sh", "-c", &script]);
                assert_ne!(ran.code(), 0, "{act} {canary}\n{text}\n{ran}");
            }
        }
        let made = self.beside.join("made");
        let ran = self.under(&["/bin/sh", "-c", &format!("echo x >'{}'", made.display())]);
        assert_ne!(ran.code(), 0, "{text}\n{ran}");
        assert!(!made.exists());
    }

    fn explained(&self) -> String {
        run(&mut self.supervise(&["explain", "--last"])).stdout
    }
}
