//! What the tests of every room share. A test takes it in at the root of its crate:
//! `#[path = "../harness/mod.rs"] mod harness;`.
#![allow(dead_code, reason = "each test takes what it needs")]

pub mod built;
pub mod feature;
pub mod process;
pub mod run;
pub mod worker;

use std::io::Write;
use std::path::{Path, PathBuf};

/// Ends the test early, aloud, when the machine lacks what the test needs: `require!(harness::feature::root())`. With
/// `SUPERVISE_MUST_WORK=1` in the environment the lack is a failure.
#[allow(unused_macros, reason = "not every test needs what a machine may lack")]
macro_rules! require {
    ($feature:expr) => {
        if let Err(reason) = $feature {
            fn here() {}
            $crate::harness::skip(std::any::type_name_of_val(&here), &reason);
            return;
        }
    };
}
#[allow(
    unused_imports,
    reason = "not every test needs what a machine may lack"
)]
pub(crate) use require;

/// Says that a test was skipped, past the test runner, which would swallow it; and to the file that `SUPERVISE_SKIPS` names, so
/// that whoever runs everything can count.
pub fn skip(here: &str, reason: &str) {
    let test = here.strip_suffix("::here").unwrap_or(here);
    let test = test.replace("::{{closure}}", "");
    if std::env::var_os("SUPERVISE_MUST_WORK").is_some_and(|value| value == "1") {
        panic!("{test} must work here, and would be skipped: {reason}");
    }
    let line = format!("SKIP {test}: {reason}\n");
    // The runner captures the print macros, not the stream itself.
    let mut stderr = std::io::stderr().lock();
    stderr
        .write_all(line.as_bytes())
        .expect("standard error takes a line");
    if let Some(path) = std::env::var_os("SUPERVISE_SKIPS") {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("SUPERVISE_SKIPS={}: {error}", path.display()));
    }
}

/// A directory for one test, gone when the test is. Its path has no symbolic link in it.
pub struct Workspace(tempfile::TempDir);

impl Workspace {
    /// Readable by nobody else.
    pub fn new() -> Self {
        let made = tempfile::Builder::new()
            .prefix("supervise-test-")
            .tempdir()
            .expect("a temporary directory");
        give_away(made.path());
        Self(made)
    }

    /// One that every user may enter and read.
    pub fn open_to_all() -> Self {
        let workspace = Self::new();
        set_mode(&workspace.path(), 0o755);
        workspace
    }

    pub fn path(&self) -> PathBuf {
        self.0
            .path()
            .canonicalize()
            .expect("the workspace is there")
    }

    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file, and the directories above it where they are missing.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        let parent = path.parent().expect("a file stands in a directory");
        std::fs::create_dir_all(parent)
            .unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
        std::fs::write(&path, content)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    pub fn make_dir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        give_away(&path);
        path
    }
}

/// Where `SUPERVISE_TEST_OWNER` says so, the directories that tests work in are another user's, and open to everybody: what it is
/// to work as root, without its capabilities, in somebody else's tree.
fn give_away(directory: &Path) {
    if let Some(owner) = owner_of_directories() {
        set_mode(directory, 0o777);
        std::os::unix::fs::chown(directory, Some(owner), Some(owner)).expect("root may");
    }
}

fn owner_of_directories() -> Option<u32> {
    let owner = std::env::var("SUPERVISE_TEST_OWNER").ok()?;
    Some(owner.parse().expect("SUPERVISE_TEST_OWNER is a number"))
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    // Who says what others may do with a file means one of its own.
    if owner_of_directories().is_some() {
        let own = nix::unistd::geteuid().as_raw();
        std::os::unix::fs::chown(path, Some(own), Some(own)).expect("root may");
    }
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
