//! Where cargo put what it built.

use super::{Workspace, set_mode};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::SystemTime;

/// `target/debug`, or whatever stands for it: the directory above the one that the running test lies in.
fn directory() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    let deps = test.parent().expect("a file stands in a directory");
    deps.parent()
        .expect("`deps` stands in the directory of its profile")
        .to_owned()
}

/// The top of the source tree.
pub fn tree() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top = own
        .ancestors()
        .find(|above| above.join("tests/probe/main.rs").exists());
    top.expect("the package lies in the tree").to_owned()
}

/// The command. Cargo builds it before it runs a test of the root package.
pub fn supervise() -> PathBuf {
    let path = option_env!("CARGO_BIN_EXE_supervise")
        .map_or_else(|| directory().join("supervise"), PathBuf::from);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

/// The hostile child. A test that runs itself again as another user, who may not enter the tree, says where a copy is.
pub fn probe() -> PathBuf {
    static PROBE: LazyLock<PathBuf> = LazyLock::new(|| {
        let copy = std::env::var_os("SUPERVISE_TEST_PROBE");
        copy.map_or_else(|| example("probe", "tests/probe"), PathBuf::from)
    });
    PROBE.clone()
}

/// The worker of the tests about identity. A test that runs itself again as another user says where a copy is.
pub fn kept() -> PathBuf {
    static KEPT: LazyLock<PathBuf> = LazyLock::new(|| {
        let copy = std::env::var_os("SUPERVISE_TEST_KEPT");
        copy.map_or_else(|| example("kept", "tests/identity/kept"), PathBuf::from)
    });
    KEPT.clone()
}

/// The command that runs another as if in a container.
pub fn contained() -> PathBuf {
    static CONTAINED: LazyLock<PathBuf> = LazyLock::new(|| example("contained", "tests/container"));
    CONTAINED.clone()
}

/// A keeper with the least of daemons.
pub fn keeping() -> PathBuf {
    static KEEPING: LazyLock<PathBuf> = LazyLock::new(|| example("keeping", "tests/keeper/daemon"));
    KEEPING.clone()
}

/// Another sandbox's command line, run by the command.
pub fn peer() -> PathBuf {
    static PEER: LazyLock<PathBuf> = LazyLock::new(|| example("peer", "tests/peers/peer"));
    PEER.clone()
}

/// The library that unmodified programs preload. No other package uses it.
pub fn preload() -> PathBuf {
    static PRELOAD: LazyLock<PathBuf> = LazyLock::new(|| {
        build(&["--package", "supervise-preload"]);
        let path = directory().join("libsupervise_preload.so");
        assert!(path.exists(), "{} is not built", path.display());
        path
    });
    PRELOAD.clone()
}

/// The directory of the libraries for C, `libsupervise.a` and `libsupervise.so`. No other package uses them.
pub fn c_libraries() -> PathBuf {
    static LIBRARIES: LazyLock<PathBuf> = LazyLock::new(|| {
        build(&["--package", "supervise-c"]);
        for name in ["libsupervise.a", "libsupervise.so"] {
            let path = directory().join(name);
            assert!(path.exists(), "{} is not built", path.display());
        }
        directory()
    });
    LIBRARIES.clone()
}

/// The worker that does what its jobs say.
pub fn worker() -> PathBuf {
    static WORKER: LazyLock<PathBuf> = LazyLock::new(|| {
        build(&["--package", "child-shim", "--example", "worker"]);
        directory().join("examples/worker")
    });
    WORKER.clone()
}

/// An example of the root package. `cargo test` builds it, but `cargo test --test NAME` does not: then it is built here, also
/// when it is older than its source.
fn example(name: &str, source: &str) -> PathBuf {
    let path = directory().join("examples").join(name);
    if modified(&path) < newest_below(&tree().join(source)) {
        build(&["--package", "supervise", "--example", name]);
    }
    assert!(path.exists(), "{} is not built", path.display());
    path
}

fn build(what: &[&str]) {
    if std::env::var_os("SUPERVISE_TEST_BUILT").is_some() {
        return;
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet"]).args(what);
    let status = like_this_test(&mut cargo).status().expect("cargo runs");
    assert!(status.success(), "{what:?} does not build");
}

/// Makes cargo build as it built the test that runs, and where that lies.
pub fn like_this_test(cargo: &mut Command) -> &mut Command {
    let directory = directory();
    if directory
        .file_name()
        .is_some_and(|profile| profile == "release")
    {
        cargo.arg("--release");
    }
    let target = directory
        .parent()
        .expect("a profile stands in the target directory");
    cargo.arg("--target-dir").arg(target).current_dir(tree())
}

/// The beginning of time for what is not there.
fn modified(path: &Path) -> SystemTime {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn newest_below(directory: &Path) -> SystemTime {
    let entries = std::fs::read_dir(directory).expect("an example has source");
    let times = entries.map(|entry| {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            newest_below(&path)
        } else {
            modified(&path)
        }
    });
    times.max().expect("an example has source")
}

/// Copies of the command and the probe in a directory that every user may enter: the tree itself may lie below somebody's home.
pub struct Installed {
    pub directory: Workspace,
    pub supervise: PathBuf,
    pub probe: PathBuf,
}

/// Copies a file that is going to be executed. By another process: were it written by this one, a sibling test that forks at that
/// moment would hold the descriptor for a while, and the kernel executes nothing that is open for writing (ETXTBSY).
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("--").arg(from).arg(to).status();
    let copied = copied.unwrap_or_else(|error| panic!("cp: {error}"));
    assert!(copied.success(), "{} was not copied", from.display());
}

pub fn installed() -> Installed {
    let directory = Workspace::open_to_all();
    let copy = |from: PathBuf, name: &str| {
        let to = directory.join(name);
        copy_program(&from, &to);
        set_mode(&to, 0o755);
        to
    };
    let supervise = copy(supervise(), "supervise");
    let probe = copy(probe(), "probe");
    Installed {
        directory,
        supervise,
        probe,
    }
}
