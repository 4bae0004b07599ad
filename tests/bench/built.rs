//! The programs that are measured, built as they are released.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One way of linking: the command, the floor, the program that asks for files, the worker that echoes, and the one that does jobs.
pub struct Pair {
    pub supervise: PathBuf,
    pub floor: PathBuf,
    pub asker: PathBuf,
    pub kept: PathBuf,
    pub worker: PathBuf,
}

pub struct Built {
    /// As `cargo build --release` links it.
    pub dynamic: Pair,
    /// Linked statically against musl; why not, where that target is missing.
    pub fixed: Result<Pair, String>,
    /// The library that programs preload, as it is built for this machine.
    preload: PathBuf,
    /// Somewhere to be in, with nothing in it.
    pub place: tempfile::TempDir,
    /// What a session keeps while it lives, its private temporary directory with it: in memory, as the one is wherever somebody
    /// logs in, and the other on many systems. On a disk with ext4 a new directory passes over every inode that was freed in the
    /// last five seconds, which are hundreds only because a benchmark has freed them: it would measure itself.
    runtime: tempfile::TempDir,
}

impl Built {
    pub fn make() -> Self {
        let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        Self {
            dynamic: build(None).unwrap_or_else(|error| panic!("{error}")),
            fixed: build(Some(&musl)),
            preload: directory()
                .map(|directory| directory.join("release/libsupervise_preload.so"))
                .unwrap_or_else(|error| panic!("{error}")),
            place: tempfile::tempdir().expect("a temporary directory"),
            runtime: tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .expect("a temporary directory"),
        }
    }

    /// A program with the environment that all of them get, and nothing to read or to say.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.sub("home"))
            .env("XDG_STATE_HOME", self.sub("state"))
            .env("XDG_RUNTIME_DIR", self.runtime.path())
            .env("TMPDIR", self.runtime.path())
            .current_dir(self.sub("work"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        command
    }

    /// A directory of ours where what sessions keep while they live is.
    pub fn in_memory(&self, name: &str) -> PathBuf {
        let path = self.runtime.path().join(name);
        std::fs::create_dir_all(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Whether that command runs anything here; if not, what it says.
    pub fn runs(&self, pair: &Pair) -> Result<(), String> {
        let output = self
            .command(&pair.supervise)
            .args(["--", "/usr/bin/true"])
            .stderr(Stdio::piped())
            .output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}: {}", output.status, said.trim()))
    }

    /// The pair to measure where one is enough: the static one where there is one, and only when it runs.
    pub fn best(&self) -> Result<&Pair, String> {
        let pair = self.fixed.as_ref().unwrap_or(&self.dynamic);
        self.runs(pair).map(|()| pair)
    }

    /// That command once more, with the library that programs preload beside it.
    pub fn with_preload(&self, pair: &Pair) -> PathBuf {
        let place = self.sub("installed");
        let copied = [&pair.supervise, &self.preload].map(|file| {
            let copy = place.join(file.file_name().expect("a file has a name"));
            std::fs::copy(file, &copy)
                .unwrap_or_else(|error| panic!("{}: {error}", copy.display()));
            copy
        });
        let [supervise, _library] = copied;
        supervise
    }

    /// A directory of ours, made when it is absent.
    pub fn sub(&self, name: &str) -> PathBuf {
        use std::os::unix::fs::DirBuilderExt;
        let path = self.place.path().join(name);
        let made = std::fs::DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&path);
        made.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

/// Where everything is built that is measured. The benchmark lies in TARGET/release/deps, among programs that may have been built in
/// another way.
fn directory() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let directory = own.ancestors().nth(3).ok_or("the benchmark lies nowhere")?;
    Ok(directory.join("measured"))
}

fn build(target: Option<&str>) -> Result<Pair, String> {
    let directory = directory()?;
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "supervise",
        "--bin",
        "supervise",
        "--example",
        "floor",
        "--example",
        "asker",
        "--example",
        "kept",
        "--package",
        "child-shim",
        "--example",
        "worker",
    ]);
    // What the benchmark itself may need to be built is not how anything is released.
    cargo.env_remove("CARGO_PROFILE_RELEASE_PANIC");
    cargo
        .arg("--target-dir")
        .arg(&directory)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let release = match target {
        None => {
            cargo.args(["--package", "supervise-preload", "--lib"]);
            directory.join("release")
        }
        Some(target) => {
            cargo.args(["--target", target]).stderr(Stdio::null());
            directory.join(target).join("release")
        }
    };
    let status = cargo.status().map_err(|error| format!("cargo: {error}"))?;
    if !status.success() {
        return Err(match target {
            Some(target) => {
                format!("does not build for {target}; is it installed? rustup target add {target}")
            }
            None => "does not build".to_owned(),
        });
    }
    Ok(Pair {
        supervise: release.join("supervise"),
        floor: release.join("examples/floor"),
        asker: release.join("examples/asker"),
        kept: release.join("examples/kept"),
        worker: release.join("examples/worker"),
    })
}
